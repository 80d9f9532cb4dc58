"""Which flows were seen already: histories overlap with what is live, and so do streams opened again."""

from __future__ import annotations

REMEMBERED = 65536


class Seen:
    """Remembers the last REMEMBERED flows at least, twice as many at most."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._recent: set[str] = set()
        self._older: set[str] = set()
        self._recent_since_ns = self._older_since_ns = 0

    def is_new(self, key: str, time_ns: int) -> bool:
        """Whether this flow was not seen before; from now on it was. Times come about in order."""
        if key in self._recent or key in self._older:
            return False
        if len(self._recent) >= self._remembered:
            self._older, self._recent = self._recent, set()
            self._older_since_ns, self._recent_since_ns = self._recent_since_ns, time_ns
        self._recent.add(key)
        return True

    @property
    def since_ns(self) -> int:
        """From this time on all flows are remembered; 0: all that ever came."""
        return self._older_since_ns
