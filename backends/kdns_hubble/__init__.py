"""Cilium's Hubble: flows that its DNS proxy saw, paired to lookups."""

from kdns_hubble.backend import BACKEND

__all__ = ["BACKEND"]
