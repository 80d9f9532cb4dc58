"""Cilium's Hubble as a backend: flows that its DNS proxy saw, paired to lookups."""
