"""Which flows were seen already: histories overlap with what is live, and so do streams opened again."""

from __future__ import annotations

from collections.abc import Sequence

REMEMBERED = 65536


class Seen:
    """Remembers the last `remembered` keys at least, twice as many at most (and one batch)."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._recent: set[str] = set()
        self._older: set[str] = set()
        self._older_high_ns = 0
        self.high_ns = 0
        """The newest time of a flow so far, by any node's clock; the owner keeps it."""
        self.since_ns = 0
        """Of what is newer than this all is remembered; 0: all that ever came."""

    def are_new(self, keys: Sequence[str]) -> bool:
        """Whether none was seen before, nor is there twice: then they are remembered, else nothing is."""
        fresh = set(keys)
        if len(fresh) < len(keys) or not (self._recent.isdisjoint(fresh) and self._older.isdisjoint(fresh)):
            return False
        self._make_room()
        self._recent |= fresh
        return True

    def is_new(self, key: str) -> bool:
        """Whether it was not seen before; from now on it was."""
        if key in self._recent or key in self._older:
            return False
        self._make_room()
        self._recent.add(key)
        return True

    def _make_room(self) -> None:
        if len(self._recent) >= self._remembered:
            self.since_ns, self._older_high_ns = self._older_high_ns, self.high_ns
            self._older, self._recent = self._recent, set()
