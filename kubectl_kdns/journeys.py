"""The stage of the pipeline that makes journeys: requests with their hops, as applications make them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from msgspec import UNSET

from kubectl_kdns.conclusion import conclude
from kubectl_kdns.coverage import Coverage
from kubectl_kdns.frontier import Frontier
from kubectl_kdns.journey import Joiner
from kubectl_kdns.legs import HOLD_NS, SKEW_NS, Leg
from kubectl_kdns.model import PROGRESS, Attempt, Journey, JourneyHop, Lookup, Maybe, Notice, Record, Sight
from kubectl_kdns.outcome import all_addresses, conclusion_of, deciding
from kubectl_kdns.request import MAX_TRIES, PAUSE_NS, Request, pid_of
from kubectl_kdns.search_list import CLUSTER_SUFFIX, base_name
from kubectl_kdns.timeline import Timelines
from kubectl_kdns.times import NS_PER_S, format_time, ms

MAX_COMPARED = 64
"""So many requests of one client and name at once are enough to look at: the nearest in time."""


class Journeys:
    """`add` gives the journeys that are over and all records that are no lookups. `accept` chooses by what
    the application got in the end, of each type; `now` is the clock of a live run (nanoseconds), None for a
    recording."""

    def __init__(
        self,
        timeout_ns: int,
        accept: Callable[[Lookup], bool] | None = None,
        now: Callable[[], int] | None = None,
    ) -> None:
        self.filtered = 0
        self.count = 0
        self.max_tries = MAX_TRIES
        """`attempts` of resolv.conf, for who knows it."""
        self._timeout_ns = timeout_ns
        self._joiner = Joiner(timeout_ns)
        self._coverage = Coverage()
        self._accept, self._frontier = accept, Frontier(now)
        self._due: list[tuple[int, int, Request]] = []
        self._requests: Timelines[Request] = Timelines()  # by when they end

    @property
    def counters(self) -> dict[str, int]:
        """`lookups_apart` were joined to none: nobody asked for them that was seen, or several may have.
        `sightings_late` came when their journey was told, from a node that was not waited for any longer."""
        return {
            "journeys": self.count,
            "lookups_apart": self._joiner.unjoined,
            "sightings_late": self._joiner.late,
        }

    def add(self, records: Iterable[Record]) -> list[Record]:
        records = list(records)
        self._coverage.add(records)
        self._joiner.add(records)
        others = (r for r in records if not isinstance(r, Lookup) and not _is_progress(r))
        return [*others, *self._ready()]

    def rest(self, *, at_end: bool = False) -> list[Record]:
        """For when nothing comes: what time alone has completed; at the end, everything."""
        return self._ready(everything=at_end, quiet=True)

    def _ready(self, *, everything: bool = False, quiet: bool = False) -> list[Record]:
        known_ns = self._frontier.known_ns(self._joiner.latest_ns, self._coverage.known_ns, quiet=quiet)
        self._joiner.now_ns = max(self._joiner.now_ns, known_ns)
        for leg in self._joiner.ready(everything=everything):
            self._fold(leg)
        # Its lookups are joined at HOLD_NS + SKEW_NS; joining others makes clear what else is theirs.
        now_ns = self._joiner.now_ns - HOLD_NS - SKEW_NS - PAUSE_NS
        journeys: list[Record] = []
        while self._due and (everything or self._due[0][0] <= now_ns):
            _, number, request = heappop(self._due)
            due_ns = self._due_ns(request)
            if not everything and (due_ns > now_ns or self._expects_more(request)):
                heappush(self._due, (max(due_ns, now_ns + PAUSE_NS), number, request))
                continue
            self._requests.drop(request)
            for leg in request.legs:
                leg.tell()
            if self._accept is None or any(map(self._accept, _finals(request))):
                journeys.append(self._journey(request))
            else:
                self.filtered += sum(leg.count() for leg in request.legs)
        return sorted(journeys, key=lambda journey: str(journey.time))

    def _expects_more(self, request: Request) -> bool:
        """Whether a lookup that is not over yet is part of it."""
        pending = self._joiner.pending.earliest(request.bucket, request.until_ns, MAX_COMPARED)
        return any(map(request.takes, pending))

    def _due_ns(self, request: Request) -> int:
        """When all of it is known. A resolver goes on where the cluster denies a name of its search list; if
        nobody answers what it asks next, that is told when the time for an answer is over."""
        last = request.last()
        goes_on = last.rcode == "NXDOMAIN" and CLUSTER_SUFFIX.search(str(last.question[0]))
        return request.end_ns + (self._timeout_ns + NS_PER_S if goes_on else 0)

    def _fold(self, leg: Leg) -> None:
        open_ = self._requests.latest(leg.bucket, leg.asked.start_ns, MAX_COMPARED)
        taking = [request for request in open_ if request.takes(leg)]
        if taking:
            request = max(taking, key=lambda one: (one.shares_socket(leg), one.number))
        else:
            request = Request(leg.number, leg.bucket, pid_of(leg), self.max_tries)
        request.put(leg)
        if not taking:
            heappush(self._due, (self._due_ns(request), leg.number, request))
        self._requests.put(leg.bucket, request, request.until_ns, request.until_ns)

    def _journey(self, request: Request) -> Journey:
        legs = request.in_order()
        attempts = [self._attempt(leg) for leg in legs]
        last = deciding(attempts)
        start_ns, _ = min(request.spans)
        took_ns = request.end_ns - start_ns
        journey = Journey(
            time=format_time(start_ns),
            name=base_name([attempt.name or "" for attempt in attempts]),
            types=list(dict.fromkeys([attempt.type for attempt in attempts if attempt.type])),
            client=legs[0].nearest.client,
            status=last.status,
            rcode=last.rcode,
            latency_ms=ms(took_ns) if last.latency_ms is not UNSET else UNSET,
            resolved_ips=all_addresses(attempts, last),
            code=last.code,
            conclusion=conclusion_of(attempts, last),
            attempts=attempts,
        )
        self.count += 1
        return journey

    def _attempt(self, leg: Leg) -> Attempt:
        nearest = leg.nearest
        code, conclusion = conclude(leg, self._coverage)
        dns = nearest.dns
        hops: list[JourneyHop] = []
        _add_hops(leg, 0, hops)
        return Attempt(
            time=nearest.time,
            name=leg.question[0],
            type=leg.question[1],
            status=nearest.status,
            rcode=leg.rcode if nearest.status == "answered" else UNSET,
            latency_ms=nearest.latency_ms,
            resolved_ips=dns.resolved_ips if dns else UNSET,
            code=code,
            conclusion=conclusion,
            apart=leg.apart,
            hops=hops,
        )


def _is_progress(record: Record) -> bool:
    return isinstance(record, Notice) and record.code == PROGRESS


def _finals(request: Request) -> list[Lookup]:
    """Of each type the last lookup that the application made, as it saw it."""
    return list({leg.question[1]: leg.nearest for leg in request.in_order()}.values())


def _add_hops(leg: Leg, depth: int, hops: list[JourneyHop]) -> None:
    nearest, at_server = leg.nearest, leg.at_server
    network_ms: Maybe[float] = UNSET
    server_ms: Maybe[float] = UNSET
    if at_server is not None and at_server.latency_ms is not UNSET:
        own_ns = round(at_server.latency_ms * 1e6)
        if at_server is not nearest and nearest.latency_ms is not UNSET:
            network_ms = ms(max(round(nearest.latency_ms * 1e6) - own_ns, 0))
        if all(child.is_answered for child in leg.children):
            waited_ns = sum([child.asked.end_ns - child.asked.start_ns for child in leg.children])
            server_ms = ms(max(own_ns - waited_ns, 0))
    seen = [Sight(view.backend, view.node, view.side, view.latency_ms) for view in leg.views]
    cause = nearest if len(seen) == 1 else next((view for view in leg.views if view.error), nearest)
    server = nearest.server
    if at_server is not None and at_server.server and not (server and server.backend):
        server = at_server.server
    hops.append(
        JourneyHop(
            depth=depth,
            hop=nearest.hop,
            sure=leg.sure,
            time=nearest.time,
            client=nearest.client,
            server=server,
            transport=nearest.transport,
            status=nearest.status,
            rcode=leg.rcode,
            tries=nearest.tries,
            latency_ms=nearest.latency_ms,
            network_ms=network_ms,
            server_ms=server_ms,
            upstream=cause.upstream,
            error=cause.error,
            seen=seen,
        )
    )
    for child in leg.children:
        _add_hops(child, depth + 1, hops)
