"""One lookup is one line: of several sightings of it on one hop, the one nearest to who asks is shown.

Several vantage points see one lookup: a packet before and behind a Service's address, a client's side and a
server's side. Sightings belong together when who asked (address and port), transport, message id and
question are the same and their spans of time touch; what is ambiguous stays apart. A sighting is held for
HOLD_NS of event time, so that a nearer one can take its place.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kubectl_kdns.model import Lookup, Record
from kubectl_kdns.times import NS_PER_S, parse_time

HOLD_NS = NS_PER_S // 5
REMEMBER_NS = 5 * NS_PER_S
MAX_HELD = 20_000
_RANK_OF_SIDE = {"client": 0, "proxy": 1, "server": 2}

_Key = tuple[Any, ...]


class _Span(NamedTuple):
    """When a lookup was asked and when it ended: nanoseconds since the epoch."""

    start_ns: int
    end_ns: int

    def touches(self, other: _Span) -> bool:
        return abs(self.start_ns - other.start_ns) <= HOLD_NS or abs(self.end_ns - other.end_ns) <= HOLD_NS


class NearestSightings:
    """Takes lookups as they complete and gives back those to show, in the order in which they came first."""

    def __init__(self) -> None:
        self.hidden = 0
        self._held: dict[_Key, tuple[_Span, Lookup]] = {}
        self._shown: dict[_Key, _Span] = {}
        self._now_ns = 0

    def add(self, records: Iterable[Record]) -> list[Record]:
        """The records that are ready. What is no lookup, or too little known to be joined, is so at once."""
        ready: list[Record] = []
        for record in records:
            key = _key(record) if isinstance(record, Lookup) else None
            if key is None or not isinstance(record, Lookup):
                ready.append(record)
                continue
            span = _span(record)
            self._now_ns = max(self._now_ns, span.end_ns)
            held = self._held.get(key)
            if held and held[0].touches(span):
                self.hidden += 1
                if _distance(record) < _distance(held[1]):
                    self._held[key] = held[0], record
                continue
            if held:
                ready.append(self._show(key))
            elif (shown := self._shown.get(key)) and shown.touches(span):
                self.hidden += 1
                continue
            self._held[key] = span, record
        ready += self._release(self._now_ns - HOLD_NS)
        return ready

    def rest(self) -> list[Record]:
        """All that is held; for the end, and for when nothing comes any more."""
        return [self._show(key) for key in list(self._held)]

    def _show(self, key: _Key) -> Lookup:
        span, record = self._held.pop(key)
        self._shown.pop(key, None)
        self._shown[key] = span
        return record

    def _release(self, until_ns: int) -> list[Record]:
        """Those that ended by then; the oldest of too many in any case."""
        ready: list[Record] = []
        for key in list(self._held):
            if self._held[key][0].end_ns > until_ns and len(self._held) <= MAX_HELD:
                break
            ready.append(self._show(key))
        for key in list(self._shown):
            if self._now_ns - self._shown[key].end_ns <= REMEMBER_NS and len(self._shown) <= MAX_HELD:
                break
            del self._shown[key]
        return ready


def _key(lookup: Lookup) -> _Key | None:
    client, dns = lookup.client, lookup.dns
    if not client or not dns or not client.ip or not client.port or not isinstance(dns.id, int):
        return None
    return client.ip, client.port, lookup.transport, dns.id, dns.name, dns.type, lookup.hop


def _span(lookup: Lookup) -> _Span:
    start_ns = parse_time(lookup.time) if lookup.time else 0
    return _Span(start_ns, start_ns + round((lookup.latency_ms or 0) * 1e6))


def _distance(lookup: Lookup) -> tuple[int, bool, float]:
    """How far from the client: by side; where that is unknown, the longest latency is the nearest."""
    rank = _RANK_OF_SIDE.get(lookup.side or "", 3)
    return rank, lookup.status != "answered", -(lookup.latency_ms or 0.0)
