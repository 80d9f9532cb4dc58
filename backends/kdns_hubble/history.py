"""Puts a history in the order of time: a relay merges its nodes only roughly."""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from itertools import count

from kubectl_kdns.model import Lookup, Message, Record

MAX_HELD = 65536


class TimeOrder:
    """Holds MAX_HELD lookups at most, and lets the oldest go first; other records pass at once."""

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held = max_held
        self._heap: list[tuple[str, int, Record]] = []
        self._number = count()

    def add(self, records: Iterable[Record]) -> list[Record]:
        """What goes out: in order unless more than MAX_HELD are out of it."""
        out: list[Record] = []
        for record in records:
            if isinstance(record, Lookup | Message):
                heapq.heappush(self._heap, (record.time or "", next(self._number), record))
                if len(self._heap) > self._max_held:
                    out.append(heapq.heappop(self._heap)[2])
            else:
                out.append(record)
        return out

    def rest(self) -> list[Record]:
        """All that is held."""
        held = [record for _, _, record in sorted(self._heap, key=lambda item: item[:2])]
        self._heap = []
        return held
