"""The stage of the pipeline that makes journeys: requests with their hops, as applications make them.

A and AAAA of one name, the names of a search list one after the other, and an application's own retries are
one journey, when one process (as far as that is known) asks them without a pause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from heapq import heappop, heappush

from msgspec import UNSET, Struct

from kubectl_kdns.conclusion import TRUNCATED, conclude
from kubectl_kdns.coverage import Coverage
from kubectl_kdns.frontier import Frontier
from kubectl_kdns.journey import Bucket, Joiner
from kubectl_kdns.legs import FINAL, HOLD_NS, SKEW_NS, Leg, Question
from kubectl_kdns.model import PROGRESS, Attempt, Journey, JourneyHop, Lookup, Maybe, Notice, Record, Sight
from kubectl_kdns.times import NS_PER_S, format_time, ms

PAUSE_NS = NS_PER_S // 10
"""A resolver asks the next name of its search list at once."""
PATIENCE_NS = 6 * NS_PER_S
"""That of resolvers with one question is 2.5 to 5 s."""
CLUSTER_SUFFIX = re.compile(r"\.svc(\.|$)|\.cluster\.[^.]+$")
"""How names end that a pod's search list makes; the domain of the cluster is cluster.local nearly always."""


class _Group(Struct, eq=False, gc=False):
    """What one application asked. Times are its own node's; `settled` are the questions that need not be
    asked again, by their start; after `until_ns` nothing more belongs to it."""

    bucket: Bucket
    pid: Maybe[int]
    legs: list[Leg] = []
    spans: list[tuple[int, int]] = []
    settled: dict[Question, int] = {}
    end_ns: int = 0
    until_ns: int = 0

    def takes(self, leg: Leg) -> bool:
        """Whether this application asked `leg`, that began by `until_ns`, beside, before or after others."""
        settled_ns = self.settled.get(leg.question)
        if settled_ns is not None and (leg.asked.start_ns >= settled_ns or _is_settled(leg)):
            return False  # nobody asks again what was answered: it is another request
        pid = _pid(leg)
        if pid is not UNSET and self.pid is not UNSET and pid != self.pid:
            return False
        start_ns, end_ns = _span_ns(leg)
        name = leg.question[0]
        until_ns = _goes_on_until_ns(leg, start_ns, end_ns)
        for other, (other_start_ns, other_end_ns) in zip(self.legs, self.spans, strict=True):
            if other_start_ns <= start_ns:
                near = start_ns <= _goes_on_until_ns(other, other_start_ns, other_end_ns)
            else:
                near = other_start_ns <= until_ns
            if near and (other.question[0] == name or _is_search(str(other.question[0]), str(name))):
                return True
        return False

    def put(self, leg: Leg) -> None:
        start_ns, end_ns = _span_ns(leg)
        self.legs.append(leg)
        self.spans.append((start_ns, end_ns))
        if _is_settled(leg):
            self.settled[leg.question] = start_ns
        self.end_ns = max(self.end_ns, end_ns)
        self.until_ns = max(self.until_ns, _goes_on_until_ns(leg, start_ns, end_ns))

    def last(self) -> Leg:
        """The one that the application asked last."""
        if len(self.legs) == 1:
            return self.legs[0]
        return max(zip(self.spans, self.legs, strict=True), key=lambda item: item[0])[1]

    def in_order(self) -> list[Leg]:
        """As the application asked them."""
        if len(self.legs) == 1:
            return self.legs
        order = sorted(range(len(self.legs)), key=lambda i: (self.spans[i][0], self.legs[i].number))
        return [self.legs[i] for i in order]


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
        self._timeout_ns = timeout_ns
        self._joiner = Joiner(timeout_ns)
        self._coverage = Coverage()
        self._accept, self._frontier = accept, Frontier(now)
        self._due: list[tuple[int, int, _Group]] = []
        self._groups: dict[Bucket, list[_Group]] = {}

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
            _, number, group = heappop(self._due)
            due_ns = self._due_ns(group)
            if not everything and (due_ns > now_ns or self._expects_more(group)):
                heappush(self._due, (max(due_ns, now_ns + PAUSE_NS), number, group))
                continue
            groups = self._groups[group.bucket]
            groups.remove(group)
            if not groups:
                del self._groups[group.bucket]
            for leg in group.legs:
                leg.tell()
            if self._accept is None or any(map(self._accept, _finals(group))):
                journeys.append(self._journey(group))
            else:
                self.filtered += sum(leg.count() for leg in group.legs)
        return sorted(journeys, key=lambda journey: str(journey.time))

    def _expects_more(self, group: _Group) -> bool:
        """Whether a lookup that is not over yet is part of it."""
        pending = self._joiner.pending.begun(group.bucket, 0, group.until_ns)
        return any(map(group.takes, pending))

    def _due_ns(self, group: _Group) -> int:
        """When all of it is known. A resolver goes on where the cluster denies a name of its search list; if
        nobody answers what it asks next, that is told when the time for an answer is over."""
        last = group.last()
        goes_on = last.rcode == "NXDOMAIN" and CLUSTER_SUFFIX.search(str(last.question[0]))
        return group.end_ns + (self._timeout_ns + NS_PER_S if goes_on else 0)

    def _fold(self, leg: Leg) -> None:
        groups = self._groups.setdefault(leg.bucket, [])
        start_ns = leg.asked.start_ns
        for group in groups:
            if start_ns <= group.until_ns and group.takes(leg):
                group.put(leg)
                return
        group = _Group(leg.bucket, _pid(leg))
        group.put(leg)
        groups.append(group)
        heappush(self._due, (self._due_ns(group), leg.number, group))

    def _journey(self, group: _Group) -> Journey:
        legs = group.in_order()
        attempts = [self._attempt(leg) for leg in legs]
        last = deciding(attempts)
        start_ns, _ = min(group.spans)
        took_ns = group.end_ns - start_ns
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


def _finals(group: _Group) -> list[Lookup]:
    """Of each type the last lookup that the application made, as it saw it."""
    return list({leg.question[1]: leg.nearest for leg in group.in_order()}.values())


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


def _pid(leg: Leg) -> Maybe[int]:
    client = leg.nearest.client
    process = client.process if client else UNSET
    return process.pid if process else UNSET


def _span_ns(leg: Leg) -> tuple[int, int]:
    """An application waits for as long as it does; when it gave up shows in what it asked next."""
    start_ns, end_ns = leg.asked.start_ns, leg.asked.end_ns
    return start_ns, start_ns if leg.nearest.status == "unanswered" else end_ns


def _is_settled(leg: Leg) -> bool:
    return leg.is_answered and leg.rcode in FINAL and not _is_truncated(leg)


def _goes_on_until_ns(leg: Leg, start_ns: int, end_ns: int) -> int:
    """Until when its application may ask what comes next."""
    return max(end_ns, start_ns) + PAUSE_NS if leg.is_answered else start_ns + PATIENCE_NS


def _is_truncated(leg: Leg) -> bool:
    """Its client has to ask again, over TCP."""
    return any(view.dns and view.dns.flags and "tc" in view.dns.flags for view in leg.views)


def _is_search(one: str, other: str) -> bool:
    """Whether both names can be of one search list: the same first labels, then another suffix or none."""
    base = _common(one, other)
    if not base:
        return False
    suffixes = sorted((name[len(base) :].removeprefix(".") for name in (one, other)), key=len)
    short, long = suffixes
    return not short or long.endswith(f".{short}") or CLUSTER_SUFFIX.search(f".{long}") is not None


def _common(one: str, other: str) -> str:
    """The first labels that both names have."""
    labels = []
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if a != b:
            break
        labels.append(a)
    return ".".join(labels)


def base_name(names: list[str]) -> str:
    base = names[0]
    for name in names[1:]:
        base = _common(base, name) or base
    return base


def deciding(attempts: list[Attempt]) -> Attempt:
    """The attempt that made the request end as it did: of each type the last one counts, a failure most."""
    if len(attempts) == 1:
        return attempts[0]
    finals = {attempt.type: attempt for attempt in attempts}.values()
    failed = [a for a in finals if a.status != "answered" or a.rcode not in FINAL]
    with_data = [a for a in finals if a.resolved_ips]
    found = [a for a in finals if a.rcode == "NOERROR"]
    return (failed or with_data or found or list(finals))[-1]


def all_addresses(attempts: list[Attempt], last: Attempt) -> Maybe[list[str]]:
    """Of all types, under the name that was found."""
    found = [ip for each in attempts if each.name == last.name for ip in each.resolved_ips or ()]
    return list(dict.fromkeys(found)) or last.resolved_ips


def conclusion_of(attempts: list[Attempt], last: Attempt) -> str:
    """The conclusion of a request of several lookups."""
    if len(attempts) == 1 and TRUNCATED not in str(last.conclusion):
        return str(last.conclusion)
    names = list(dict.fromkeys(attempt.name for attempt in attempts))
    types = {attempt.type for attempt in attempts}
    text = str(last.conclusion)
    if len(types) > 1 and last.code not in ("upstream", "own", "answered"):
        text = f"{last.type}: {text}"
    same = [a for a in attempts if a.name == last.name and a.type == last.type]
    tries, transports = len(same), [hop.transport for a in same for hop in a.hops[:1]]
    if "udp" in transports and transports[-1] == "tcp":
        text += "; asked again over TCP"
    elif f", {TRUNCATED}" in text and transports[-1] == "udp":
        text += "; the application did not ask again over TCP"
    elif tries > 1:
        text += f"; asked {tries} times by the application"
    if len(names) > 1:
        place = names.index(last.name) + 1
        wasted = len(attempts) - sum(a.name == last.name for a in attempts)
        before = "1 lookup before it was" if wasted == 1 else f"{wasted} lookups before it were"
        text += f"; name {place} of a search list, {before} in vain"
    return text
