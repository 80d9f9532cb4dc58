"""One lookup is one line: of several sightings of it on one hop, the one nearest to who asks is shown.

Several vantage points see one lookup: a packet before and behind a Service's address, a client's side and a
server's side, a proxy between them. Sightings belong together when who asked (address and port), transport,
message id and question are the same and their spans of time touch. A backend that knows no ids (Hubble) is
joined with others by the rest, one sighting of each; what is ambiguous stays apart. A sighting is held for
HOLD_NS of event time, so that a nearer one can take its place.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

from msgspec import UNSET, Struct

from kubectl_kdns.model import Lookup, Record
from kubectl_kdns.times import NS_PER_S, parse_time

HOLD_NS = NS_PER_S // 5
REMEMBER_NS = 15 * NS_PER_S
"""Longer than a lookup may be waited for: one backend may tell its end long before another one."""
MAX_HELD = 20_000
RANK_OF_SIDE = {"client": 0, "proxy": 1, "server": 2}

_Key = tuple[Any, ...]


class _Span(NamedTuple):
    """When a lookup was asked and when it ended: nanoseconds since the epoch."""

    start_ns: int
    end_ns: int

    def touches(self, other: _Span) -> bool:
        return abs(self.start_ns - other.start_ns) <= HOLD_NS or abs(self.end_ns - other.end_ns) <= HOLD_NS


class _Line(Struct):
    """A lookup as one line; `record` is its nearest sighting so far, None when it was shown."""

    question: _Key
    id: int | None
    span: _Span
    record: Lookup | None
    backends: set[object]


class NearestSightings:
    """Takes lookups as they complete and gives back those to show, about in the order they came in."""

    filtered = 0

    def __init__(self) -> None:
        self.hidden = 0
        self._held: deque[_Line] = deque()
        self._shown: deque[_Line] = deque()
        self._by_id: dict[_Key, _Line] = {}
        # Kept only from the first sighting without an id on.
        self._by_question: dict[_Key, list[_Line]] | None = None
        self._now_ns = 0

    def add(self, records: Iterable[Record]) -> list[Record]:
        """The records that are ready. What is no lookup, or too little known to be joined, is so at once."""
        ready: list[Record] = []
        for record in records:
            line = _line(record) if isinstance(record, Lookup) else None
            if line is None or not isinstance(record, Lookup):
                ready.append(record)
                continue
            self._now_ns = max(self._now_ns, line.span.end_ns)
            if line.id is None and self._by_question is None:
                self._by_question = {}
                for known in (*self._shown, *self._held):
                    self._by_question.setdefault(known.question, []).append(known)
            twin = self._twin(line)
            if twin is None:
                self._keep(line)
                continue
            self.hidden += 1
            twin.backends |= line.backends
            if twin.record is not None:
                nearest, other = sorted((twin.record, record), key=_distance)
                _add_cause(nearest, other)
                twin.record = nearest
        ready += self._release(self._now_ns - HOLD_NS)
        return ready

    @property
    def counters(self) -> dict[str, int]:
        return {"other_sightings": self.hidden}

    def rest(self, *, at_end: bool = False) -> list[Record]:  # noqa: ARG002
        """All that is held; for the end, and for when nothing comes any more."""
        return [self._show() for _ in range(len(self._held))]

    def _twin(self, line: _Line) -> _Line | None:
        """The line that this sighting belongs to."""
        if line.id is not None:
            known = self._by_id.get((*line.question, line.id))
            if known is not None and known.span.touches(line.span):
                return known
        for other in (self._by_question or {}).get(line.question, ()):
            one_has_no_id = (other.id is None) is not (line.id is None)
            if one_has_no_id and other.backends.isdisjoint(line.backends) and other.span.touches(line.span):
                return other
        return None

    def _keep(self, line: _Line) -> None:
        self._held.append(line)
        if line.id is not None:
            self._by_id[(*line.question, line.id)] = line
        if self._by_question is not None:
            self._by_question.setdefault(line.question, []).append(line)

    def _show(self) -> Lookup:
        line = self._held.popleft()
        record, line.record = line.record, None
        assert record is not None
        self._shown.append(line)
        return record

    def _release(self, until_ns: int) -> list[Record]:
        """Those that ended by then; the oldest of too many in any case."""
        ready: list[Record] = []
        held, shown = self._held, self._shown
        while held and (held[0].span.end_ns <= until_ns or len(held) > MAX_HELD):
            ready.append(self._show())
        while shown and (self._now_ns - shown[0].span.end_ns > REMEMBER_NS or len(shown) > MAX_HELD):
            self._forget(shown.popleft())
        return ready

    def _forget(self, line: _Line) -> None:
        key = (*line.question, line.id)
        if self._by_id.get(key) is line:
            del self._by_id[key]
        if self._by_question is not None:
            lines = self._by_question[line.question]
            lines.remove(line)
            if not lines:
                del self._by_question[line.question]


def _line(lookup: Lookup) -> _Line | None:
    client, dns = lookup.client, lookup.dns
    if not client or not dns or not client.ip or not client.port:
        return None
    id_ = dns.id if isinstance(dns.id, int) else None
    if id_ is None and not dns.name:
        return None
    question = client.ip, client.port, lookup.transport, dns.name, dns.type, lookup.hop
    return _Line(question, id_, _span(lookup), lookup, {lookup.backend})


def _span(lookup: Lookup) -> _Span:
    start_ns = parse_time(lookup.time) if lookup.time else 0
    return _Span(start_ns, start_ns + round((lookup.latency_ms or 0) * 1e6))


def _add_cause(nearest: Lookup, other: Lookup) -> None:
    """Why it failed is often known only behind the one that is shown: whom the server asked, and what came
    of that."""
    if nearest.upstream is UNSET and nearest.error is UNSET:
        nearest.upstream, nearest.error = other.upstream, other.error


def _distance(lookup: Lookup) -> tuple[int, bool, float]:
    """How far from the client: by side; where that is unknown, the longest latency is the nearest."""
    rank = RANK_OF_SIDE.get(lookup.side or "", 3)
    return rank, lookup.status != "answered", -(lookup.latency_ms or 0.0)
