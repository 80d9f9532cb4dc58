"""Adds up what a run showed, a batch at a time and in bounded memory, for the record `summary` at its end.

Figures are kept per backend, hop and side: sightings of different places are never added up. All counting
is done a batch at a time by `Counter.update`, which is C: about half a microsecond a lookup, not several.
"""

from __future__ import annotations

import heapq
import math
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from itertools import count, groupby
from operator import attrgetter
from typing import Any

from msgspec import UNSET

from kubectl_kdns.model import (
    Client,
    Dns,
    Group,
    Journey,
    Lookup,
    Loss,
    Maybe,
    NameCount,
    Record,
    SlowLookup,
    Summary,
)
from kubectl_kdns.output.phrases import ABSENT, client_name

PERCENTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
TOP = 10
KEYS_LIMIT = 16_384

_Place = tuple[Maybe[str], Maybe[str], Maybe[str]]
_Who = tuple[Maybe[str], Maybe[str], Maybe[str], Maybe[str], Maybe[str]]
_place = attrgetter("backend", "hop", "side")

# The upper half of a float32 (a bfloat16: sign, exponent, 7 bits of the fraction) numbers buckets that are
# 1/128 of their lower bound wide, in order of size. HdrHistogram has the same idea; this one is all C.
_UPPER_HALF = slice(1 if sys.byteorder == "little" else 0, None, 2)


class Histogram:
    """Counts of numbers >= 0; a quantile is within 0.4 % of the true value, whatever the range."""

    def __init__(self) -> None:
        self._buckets: Counter[int] = Counter()
        self.maximum = 0.0

    def add(self, values: Sequence[float]) -> None:
        self.maximum = max(self.maximum, max(values))
        self._buckets.update(memoryview(array("f", values)).cast("B").cast("H")[_UPPER_HALF])

    def quantile(self, share: float) -> float:
        """The smallest value that at least this share of all are not above (nearest rank)."""
        rank = max(1, math.ceil(share * self._buckets.total()))
        for bucket in sorted(self._buckets):
            rank -= self._buckets[bucket]
            if rank <= 0:
                middle: float = struct.unpack("=f", struct.pack("=I", bucket << 16 | 1 << 15))[0]
                return min(middle, self.maximum)
        return 0.0

    def figures(self) -> dict[str, float]:
        """Percentiles in three significant digits, and the exact maximum; empty when nothing was added."""
        if not self._buckets:
            return {}
        figures = {name: float(f"{self.quantile(share):.3g}") for name, share in PERCENTILES.items()}
        return figures | {"max": self.maximum}


class Frequent:
    """The most frequent of however many keys, in bounded memory (lossy counting, Manku and Motwani 2002).

    When there are too many keys, the rarer half is forgotten. A count is then at most `missed` too low,
    and no key that came more often than that is missing.
    """

    def __init__(self, limit: int = KEYS_LIMIT) -> None:
        self._limit = limit
        self._counts: Counter[Any] = Counter()
        self.missed = 0

    def add(self, keys: Iterable[Hashable]) -> None:
        self._counts.update(keys)
        if len(self._counts) > self._limit:
            floor = sorted(self._counts.values())[-self._limit // 2]
            self._counts = Counter({key: n for key, n in self._counts.items() if n > floor})
            self.missed += floor

    @property
    def distinct(self) -> int | None:
        """How many different keys there were; None when some were forgotten."""
        return None if self.missed else len(self._counts) - (UNSET in self._counts)

    def items(self) -> dict[Any, int]:
        return {key: n for key, n in self._counts.items() if key is not UNSET}


class _Tally:
    """The figures of one group."""

    def __init__(self) -> None:
        self.lookups = 0
        self.statuses: Counter[Any] = Counter()
        self.rcodes: Counter[Any] = Counter()
        self.latencies = Histogram()
        self.names = Frequent()
        self.clients = Frequent()
        self._slowest: list[tuple[float, int, Lookup]] = []
        self._slow_enough_ms = -1.0
        self._serial = count()

    def add(self, run: list[Lookup]) -> None:
        self.lookups += len(run)
        self.statuses.update([lookup.status for lookup in run])
        contents = [dns for lookup in run if (dns := lookup.dns) is not UNSET]
        self.rcodes.update([dns.rcode for dns in contents])
        self.names.add([dns.name for dns in contents])
        self.clients.add(
            [
                (client.ip, client.kind, client.namespace, client.pod, client.node)
                for lookup in run
                if (client := lookup.client) is not UNSET
            ]
        )
        latencies = [latency for lookup in run if (latency := lookup.latency_ms) is not UNSET]
        if latencies:
            self.latencies.add(latencies)
            if max(latencies) > self._slow_enough_ms:
                self._add_slowest(run)

    def _add_slowest(self, run: Iterable[Lookup]) -> None:
        for lookup in run:
            latency_ms = lookup.latency_ms
            if latency_ms is UNSET or latency_ms <= self._slow_enough_ms:
                continue
            # The serial number keeps the older of two equally slow ones and spares comparing lookups.
            heapq.heappush(self._slowest, (latency_ms, -next(self._serial), lookup))
            if len(self._slowest) > TOP:
                heapq.heappop(self._slowest)
                self._slow_enough_ms = self._slowest[0][0]

    def group(self, backend: Maybe[str], hop: Maybe[str], side: Maybe[str]) -> Group:
        return Group(
            backend=backend,
            hop=hop,
            side=side,
            lookups=self.lookups,
            statuses=_ranked(self.statuses),
            rcodes=_ranked(self.rcodes),
            latency_ms=self.latencies.figures(),
            distinct_names=UNSET if self.names.distinct is None else self.names.distinct,
            top_names=_top(self.names.items()),
            top_clients=_top(_by_client_name(self.clients.items())),
            slowest=[_slow_lookup(lookup) for _, _, lookup in sorted(self._slowest, reverse=True)],
        )


class Summarizer:
    """Takes the records that a run shows, gives their Summary."""

    def __init__(self) -> None:
        self._tallies: dict[_Place, _Tally] = {}
        self._losses: dict[tuple[Any, ...], Loss] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Lookups and losses count; messages are parts of lookups, and other records no figures."""
        lookups = [record for record in records if type(record) is Lookup]
        for record in records:
            if type(record) is Journey:
                lookups += sightings_in(record)
        for place, run in _runs(lookups):
            tally = self._tallies.get(place)
            if tally is None:
                tally = self._tallies[place] = _Tally()
            tally.add(run)
        if len(lookups) != len(records):
            for record in records:
                if isinstance(record, Loss):
                    self._add_loss(record)

    def _add_loss(self, loss: Loss) -> None:
        """Losses of a known and of an unknown number stay apart: a sum would say too little."""
        key = (loss.backend, loss.reason, loss.unit, loss.count is UNSET)
        total = self._losses.get(key)
        if total is None:
            total = self._losses[key] = Loss(
                backend=loss.backend, reason=loss.reason, unit=loss.unit, from_=loss.from_, until=loss.until
            )
        if loss.count is not UNSET:
            total.count = (total.count or 0) + loss.count
        if loss.from_ is not UNSET:
            total.from_ = min(total.from_ or loss.from_, loss.from_)
        if loss.until is not UNSET:
            total.until = max(total.until or loss.until, loss.until)

    def summary(
        self, *, time: str, duration_ms: float, seen: int, filtered: int, counters: Mapping[str, int]
    ) -> Summary:
        """The record for the end; `seen` and `filtered` count lookups, `counters` are the sources'."""
        groups = [tally.group(*place) for place, tally in self._tallies.items()]
        groups.sort(
            key=lambda group: (-group.lookups, group.backend or "", group.hop or "", group.side or "")
        )
        return Summary(
            time=time,
            duration_ms=duration_ms,
            seen=seen,
            shown=sum(group.lookups for group in groups),
            filtered=filtered,
            pending=sum(group.statuses.get("pending", 0) for group in groups),
            groups=groups,
            loss=list(self._losses.values()),
            counters=dict(counters),
        )


def sightings_in(journey: Journey, *, nearest_only: bool = False) -> list[Lookup]:
    """All lookups of a journey, at each place that saw them, or only nearest to who asked."""
    return [
        Lookup(
            time=hop.time,
            backend=sight.backend,
            hop=hop.hop,
            side=sight.side,
            status=hop.status,
            latency_ms=sight.latency_ms,
            transport=hop.transport,
            tries=hop.tries,
            client=hop.client,
            server=hop.server,
            dns=Dns(name=attempt.name, type=attempt.type, rcode=hop.rcode),
            upstream=hop.upstream,
            error=hop.error,
        )
        for attempt in journey.attempts
        for hop in attempt.hops
        for sight in (hop.seen[:1] if nearest_only else hop.seen)
    ]


def _runs(lookups: list[Lookup]) -> Iterable[tuple[_Place, list[Lookup]]]:
    """The lookups by place, in order. A batch is nearly always of one: identity finds that out fastest."""
    if not lookups:
        return []
    backend, hop, side = place = _place(lookups[0])
    if not [
        None
        for lookup in lookups
        if lookup.backend is not backend or lookup.hop is not hop or lookup.side is not side
    ]:
        return [(place, lookups)]
    return [(place, list(run)) for place, run in groupby(lookups, _place)]


def _ranked(counts: Mapping[Any, int]) -> dict[str, int]:
    known = {key: n for key, n in counts.items() if key is not UNSET}
    return dict(sorted(known.items(), key=_by_count))


def _top(counts: Mapping[Any, int]) -> list[NameCount]:
    return [NameCount(name, n) for name, n in heapq.nsmallest(TOP, counts.items(), key=_by_count)]


def _by_count(item: tuple[str, int]) -> tuple[int, str]:
    return -item[1], item[0]


def _by_client_name(counts: Mapping[_Who, int]) -> Counter[str]:
    """The counts under the names that are printed: a pod with two addresses is one client."""
    names: Counter[str] = Counter()
    for (ip, kind, namespace, pod, node), n in counts.items():
        names[client_name(Client(ip=ip, kind=kind, namespace=namespace, pod=pod, node=node))] += n
    names.pop(ABSENT, None)
    return names


def _slow_lookup(lookup: Lookup) -> SlowLookup:
    assert lookup.latency_ms is not UNSET
    name = client_name(lookup.client)
    return SlowLookup(
        name=lookup.dns.name if lookup.dns else UNSET,
        type=lookup.dns.type if lookup.dns else UNSET,
        latency_ms=lookup.latency_ms,
        client=UNSET if name == ABSENT else name,
        time=lookup.time,
    )
