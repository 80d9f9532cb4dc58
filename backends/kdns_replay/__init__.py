"""The replay backend: recorded packets and records become the same stream as live ones."""

from kdns_replay.backend import BACKEND

__all__ = ["BACKEND"]
