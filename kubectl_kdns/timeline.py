"""Legs of one place in the order of their start, found by time without a look at all of them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable, Iterator
from typing import Final

from kubectl_kdns.legs import Leg
from kubectl_kdns.times import NS_PER_S

_SPANS_NS: Final = (NS_PER_S // 200, NS_PER_S // 20, NS_PER_S // 2, 60 * NS_PER_S)
"""Legs are kept apart by how long they last: the few long ones do not make the search for all wide."""
_LAST = 1 << 62

_Entry = tuple[int, int, Leg]


class Timeline:
    """The legs of one place."""

    __slots__ = ("_lists", "count")

    def __init__(self) -> None:
        self._lists: list[list[_Entry] | None] = [None] * len(_SPANS_NS)
        self.count = 0

    def put(self, leg: Leg, start_ns: int, end_ns: int) -> tuple[int, _Entry]:
        """Adds it; what is returned takes it away again."""
        length_ns = end_ns - start_ns
        which = 0 if length_ns <= _SPANS_NS[0] else bisect_left(_SPANS_NS, min(length_ns, _SPANS_NS[-1]))
        entry = start_ns, leg.number, leg
        entries = self._lists[which]
        if entries is None:
            self._lists[which] = [entry]
        else:
            insort(entries, entry)
        self.count += 1
        return which, entry

    def drop(self, which: int, entry: _Entry) -> None:
        entries = self._lists[which]
        assert entries
        del entries[bisect_left(entries, entry)]
        self.count -= 1

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


NOTHING: Final = Timeline()


class Timelines:
    """Timelines by place. A leg is at one place at most, at one time."""

    def __init__(self) -> None:
        self._at: dict[Hashable, Timeline] = {}
        self._where: dict[int, tuple[Hashable, Timeline, int, _Entry]] = {}  # by the leg's number

    def at(self, place: Hashable) -> Timeline:
        return self._at.get(place, NOTHING)

    def put(self, place: Hashable, leg: Leg, start_ns: int, end_ns: int) -> None:
        """Adds it, or moves it to another place or time."""
        if leg.number in self._where:
            self.drop(leg)
        timeline = self._at.get(place)
        if timeline is None:
            timeline = self._at[place] = Timeline()
        self._where[leg.number] = (place, timeline, *timeline.put(leg, start_ns, end_ns))

    def drop(self, leg: Leg) -> None:
        """Nothing, when it is not there."""
        where = self._where.pop(leg.number, None)
        if where is None:
            return
        place, timeline, which, entry = where
        if timeline.count == 1:
            del self._at[place]
        else:
            timeline.drop(which, entry)
