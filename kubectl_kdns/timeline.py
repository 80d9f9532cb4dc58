"""What has a place and a time, in the order of time: found there without a look at all of it."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Hashable
from typing import Any, Final, Generic, Protocol, TypeVar

from kubectl_kdns.times import NS_PER_S

_SPANS_NS: Final = (NS_PER_S // 1000, NS_PER_S // 200, NS_PER_S // 20, NS_PER_S // 2, 60 * NS_PER_S)
"""Items are kept apart by how long they last: the few long ones do not make the search for all wide."""
_MAX_GONE: Final = 32


class Numbered(Protocol):
    """By its number an item is known, and those of one time are in order."""

    @property
    def number(self) -> int: ...


Item = TypeVar("Item", bound=Numbered)
_Entry = tuple[int, int, Item, "dict[Hashable, _Line[Item]]", Hashable]
"""Its start and number, by which entries are in order; the item; and where it stands."""
_GONE: Final[Any] = None


class _Line(list[_Entry[Item]]):
    """Entries of one place, in order, from `first` on; those before are gone. Taking the first of many out of
    a list moves all others: that is done for _MAX_GONE at once."""

    __slots__ = ("first",)
    first: int


class Timelines(Generic[Item]):
    """An item is at one place at most, at one time; times are nanoseconds."""

    def __init__(self) -> None:
        self._by_span: Final[tuple[dict[Hashable, _Line[Item]], ...]] = tuple({} for _ in _SPANS_NS)
        self._entries: dict[int, _Entry[Item]] = {}  # by the item's number

    def __contains__(self, item: Item) -> bool:
        return item.number in self._entries

    def put(self, place: Hashable, item: Item, start_ns: int, end_ns: int) -> None:
        """Adds it, or moves it to another place or time."""
        if item in self:
            self.drop(item)
        length_ns = end_ns - start_ns
        which = 0 if length_ns <= _SPANS_NS[0] else bisect_left(_SPANS_NS, min(length_ns, _SPANS_NS[-1]))
        places = self._by_span[which]
        entry = self._entries[item.number] = start_ns, item.number, item, places, place
        line = places.get(place)
        if line is None:
            line = places[place] = _Line((entry,))
            line.first = 0
        elif entry > line[-1]:  # mostly: they come in about the order of time
            line.append(entry)
        else:
            insort(line, entry, line.first)

    def drop(self, item: Item) -> None:
        """Nothing, when it is not there."""
        entry = self._entries.pop(item.number, None)
        if entry is None:
            return
        _, _, _, places, place = entry
        line = places[place]
        first = line.first
        if len(line) == first + 1:
            del places[place]
        elif line[first] is not entry:
            del line[bisect_left(line, entry, first)]
        elif first < _MAX_GONE:
            line[first] = _GONE
            line.first += 1
        else:
            del line[: first + 1]
            line.first = 0

    def begun(self, place: Hashable, from_ns: int, until_ns: int) -> list[Item]:
        """Those that started between two times."""
        found: list[Item] = []
        for places in self._by_span:
            if places and place in places:
                _add_between(found, places[place], from_ns, until_ns)
        return found

    def earliest(self, place: Hashable, until_ns: int, most: int) -> list[Item]:
        """The first that started by then."""
        lines = [(line, line.first) for line in self._lines(place)]
        return [e[2] for line, i in lines for e in line[i : i + most] if e[0] <= until_ns]

    def latest(self, place: Hashable, from_ns: int, most: int) -> list[Item]:
        """The last that started from then on."""
        lines = [(line, max(line.first, len(line) - most)) for line in self._lines(place)]
        return [e[2] for line, i in lines for e in line[i:] if e[0] >= from_ns]

    def _lines(self, place: Hashable) -> list[_Line[Item]]:
        return [line for places in self._by_span if (line := places.get(place)) is not None]

    def open_at(self, place: Hashable, time_ns: int, slack_ns: int) -> list[Item]:
        """Those that may be open at a time, by clocks that differ by so much."""
        found: list[Item] = []
        for places, span_ns in zip(self._by_span, _SPANS_NS, strict=True):
            if places and place in places:
                _add_between(found, places[place], time_ns - span_ns - slack_ns, time_ns + slack_ns)
        return found


def _add_between(found: list[Item], line: _Line[Item], from_ns: int, until_ns: int) -> None:
    for i in range(bisect_left(line, (from_ns,), line.first), len(line)):
        start_ns, _, item, _, _ = line[i]
        if start_ns > until_ns:
            break
        found.append(item)
