"""Legs of one place in the order of their start, found by time without a look at all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterator
from typing import Final

from kubectl_kdns.legs import Leg
from kubectl_kdns.times import NS_PER_S

_SPANS_NS: Final = (NS_PER_S // 200, NS_PER_S // 20, NS_PER_S // 2, 60 * NS_PER_S)
"""Legs are kept apart by how long they last: the few long ones do not make the search for all wide."""
_LAST = 1 << 62

_Entry = tuple[int, int, Leg]


class Timeline:
    """Each leg is there once, by the start and the length that it was put in with."""

    def __init__(self) -> None:
        self._lists: tuple[list[_Entry], ...] = ([], [], [], [])  # one for each of _SPANS_NS
        self._where: dict[int, tuple[int, int]] = {}  # by number: which list, and the start there

    def __len__(self) -> int:
        return len(self._where)

    def put(self, leg: Leg, start_ns: int, end_ns: int) -> None:
        """Adds it, or moves it to another time."""
        self.drop(leg)
        length_ns = end_ns - start_ns
        which = bisect_left(_SPANS_NS, min(length_ns, _SPANS_NS[-1]))
        insort(self._lists[which], (start_ns, leg.number, leg))
        self._where[leg.number] = which, start_ns

    def drop(self, leg: Leg) -> None:
        """Nothing, when it is not there."""
        where = self._where.pop(leg.number, None)
        if where is not None:
            which, start_ns = where
            entries = self._lists[which]
            del entries[bisect_left(entries, (start_ns, leg.number))]

    def begun(self, from_ns: int, until_ns: int) -> Iterator[Leg]:
        """Those that started between two times."""
        for entries in self._lists:
            if entries:
                low, high = bisect_left(entries, (from_ns,)), bisect_right(entries, (until_ns, _LAST))
                for _, _, leg in entries[low:high]:
                    yield leg

    def open_at(self, time_ns: int, slack_ns: int) -> Iterator[Leg]:
        """Those that may be open at a time, by clocks that differ by so much."""
        for entries, span_ns in zip(self._lists, _SPANS_NS, strict=True):
            if entries:
                low = bisect_left(entries, (time_ns - span_ns - slack_ns,))
                high = bisect_right(entries, (time_ns + slack_ns, _LAST))
                for _, _, leg in entries[low:high]:
                    yield leg
