"""Legs by place and in the order of their start, found by time without a look at all of them."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Final

from kubectl_kdns.legs import Leg
from kubectl_kdns.times import NS_PER_S

_SPANS_NS: Final = (NS_PER_S // 200, NS_PER_S // 20, NS_PER_S // 2, 60 * NS_PER_S)
"""Legs are kept apart by how long they last: the few long ones do not make the search for all wide."""

_Places = dict[Hashable, list["_Entry"]]
_Entry = tuple[int, int, Leg, _Places, Hashable]
"""Its start and number, by which entries are in order; the leg; and where it stands."""


class Timelines:
    """A leg is at one place at most, at one time; times are nanoseconds."""

    def __init__(self) -> None:
        self._by_span: Final[tuple[_Places, ...]] = tuple({} for _ in _SPANS_NS)
        self._entries: dict[int, _Entry] = {}  # by the leg's number

    def __contains__(self, leg: Leg) -> bool:
        return leg.number in self._entries

    def put(self, place: Hashable, leg: Leg, start_ns: int, end_ns: int) -> None:
        """Adds it, or moves it to another place or time."""
        if leg in self:
            self.drop(leg)
        length_ns = end_ns - start_ns
        which = 0 if length_ns <= _SPANS_NS[0] else bisect_left(_SPANS_NS, min(length_ns, _SPANS_NS[-1]))
        places = self._by_span[which]
        entry = self._entries[leg.number] = start_ns, leg.number, leg, places, place
        entries = places.get(place)
        if entries is None:
            places[place] = [entry]
        elif entry > entries[-1]:  # mostly: they come in about the order of time
            entries.append(entry)
        else:
            insort(entries, entry)

    def drop(self, leg: Leg) -> None:
        """Nothing, when it is not there."""
        entry = self._entries.pop(leg.number, None)
        if entry is None:
            return
        _, _, _, places, place = entry
        entries = places[place]
        if len(entries) == 1:
            del places[place]
        else:
            del entries[0 if entries[0] is entry else bisect_left(entries, entry)]

    def begun(self, place: Hashable, from_ns: int, until_ns: int) -> list[Leg]:
        """Those that started between two times."""
        found: list[Leg] = []
        for places in self._by_span:
            if places and place in places:
                _add_between(found, places[place], from_ns, until_ns)
        return found

    def open_at(self, place: Hashable, time_ns: int, slack_ns: int) -> list[Leg]:
        """Those that may be open at a time, by clocks that differ by so much."""
        found: list[Leg] = []
        for places, span_ns in zip(self._by_span, _SPANS_NS, strict=True):
            if places and place in places:
                _add_between(found, places[place], time_ns - span_ns - slack_ns, time_ns + slack_ns)
        return found


def _add_between(found: list[Leg], entries: list[_Entry], from_ns: int, until_ns: int) -> None:
    for i in range(bisect_left(entries, (from_ns,)), len(entries)):
        start_ns, _, leg, _, _ = entries[i]
        if start_ns > until_ns:
            break
        found.append(leg)
