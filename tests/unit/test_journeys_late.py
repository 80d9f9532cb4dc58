"""Nodes that tell late: their lookups are waited for; nothing is concluded from what they have not told."""

from __future__ import annotations

from random import Random

import pytest

from kubectl_kdns.frontier import STALL_NS
from kubectl_kdns.journeys import Journeys
from kubectl_kdns.model import (
    PROGRESS,
    WATCHING,
    Client,
    Dns,
    Journey,
    Lookup,
    Notice,
    Record,
    Server,
    ServerBackend,
)
from kubectl_kdns.times import NS_PER_S, format_time
from support.journey_world import START_NS, TIMEOUT_NS, World

T = 1_770_000_000 * NS_PER_S
MS = NS_PER_S // 1000
POD = ServerBackend(ip="10.1.2.3", pod="coredns-b", node="n2")


class Live:
    """A run whose clock the test turns: `n1` has the application, `n2` the DNS server."""

    def __init__(self) -> None:
        self.now_ns = T
        self.stage = Journeys(5 * NS_PER_S, now=lambda: self.now_ns)
        start = format_time(T - NS_PER_S)
        self.told: list[Journey] = []
        self.add(
            *(Notice(time=start, node=node, code=WATCHING, ports=[53]) for node in ("n1", "n2")),
            Notice(time=start, code="forwards", ports=[53]),
        )

    def add(self, *records: Record) -> None:
        found = self.stage.add(records)
        if not any(isinstance(record, Notice) and record.code == PROGRESS for record in records):
            found += self.stage.rest()  # nothing comes just now; nodes that tell how far they are never pause
        self.told += [record for record in found if isinstance(record, Journey)]
        assert not any(isinstance(record, Notice) and record.code == PROGRESS for record in found)

    def known(self, node: str, seconds: float) -> Notice:
        return Notice(time=format_time(T + round(seconds * NS_PER_S)), node=node, code=PROGRESS)

    def turn(self, seconds: float, *nodes: str) -> None:
        """Time goes on; those nodes tell that they have told all."""
        end_ns = self.now_ns + round(seconds * NS_PER_S)
        while self.now_ns < end_ns:
            self.now_ns += 100 * MS
            self.add(*(self.known(node, (self.now_ns - T) / NS_PER_S) for node in nodes))


def asked() -> Lookup:
    return _lookup("n1", "client", "client", 0, 5, Client(ip="10.1.1.1", port=4000, kind="pod", pod="web-1"))


def answered() -> Lookup:
    return _lookup("n2", "client", "server", 1, 3, Client(ip="10.1.1.1", port=4000))


def forwarded() -> Lookup:
    return _lookup("n2", "coredns", "client", 2, 1, Client(ip="10.1.2.3", port=5000, pod="coredns-b"))


def _lookup(node: str, hop: str, side: str, at_ms: int, took_ms: int, client: Client) -> Lookup:
    upstream = Server(ip="8.8.8.8", port=53, kind="external")
    at_server = Server(ip="10.1.2.3", kind="coredns", pod="coredns-b")
    service = Server(ip="10.96.0.10", kind="service", backend=POD)
    return Lookup(
        time=format_time(T + at_ms * MS),
        backend="ebpf",
        node=node,
        hop=hop,
        side=side,
        status="answered",
        latency_ms=float(took_ms),
        transport="udp",
        client=client,
        server=upstream if hop == "coredns" else service if node == "n1" else at_server,
        dns=Dns(id=9 if hop == "coredns" else 7, name="www.example.com", type="A", rcode="NOERROR"),
    )


@pytest.mark.parametrize("late_s", [0.0, 0.7, 1.5, 2.5])
def test_a_node_that_tells_late_is_waited_for(late_s: float) -> None:
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    live.add(asked())
    live.turn(late_s, "n1")
    assert live.told == []
    live.add(answered(), forwarded())
    live.turn(1.5, "n1", "n2")
    (journey,) = live.told
    assert (journey.code, len(journey.attempts[0].hops)) == ("upstream", 2)


def test_when_kdns_itself_stood_still_nobody_is_late() -> None:
    """After Ctrl-Z, behind a pager, on a machine that slept: all have told, and are read one by one."""
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    live.add(asked())
    live.now_ns += 60 * NS_PER_S
    live.add(live.known("n1", 60))
    live.add(answered(), forwarded())
    live.add(live.known("n2", 60))
    live.turn(1.5, "n1", "n2")
    (journey,) = live.told
    assert (journey.code, len(journey.attempts[0].hops)) == ("upstream", 2)


def test_a_node_that_lags_but_tells_is_waited_for() -> None:
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    live.add(asked())
    for step in range(80):
        live.now_ns += 100 * MS
        live.add(live.known("n1", step / 10), live.known("n2", step / 1000))
    assert live.told == []
    live.add(answered(), forwarded())
    live.turn(9, "n1", "n2")
    (journey,) = live.told
    assert (journey.code, len(journey.attempts[0].hops)) == ("upstream", 2)


def test_nobody_waits_for_ever_and_nothing_is_made_up() -> None:
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    live.add(asked(), answered())  # the forward was on its way when the node fell silent
    live.turn(STALL_NS / NS_PER_S + 1.5, "n1")
    (journey,) = live.told
    assert (journey.code, len(journey.attempts[0].hops)) == ("answered", 1)
    assert "whether it asked others was not seen" in str(journey.conclusion)


def test_who_asks_without_a_pause_is_told_all_the_same() -> None:
    """What comes next from the same client for the same name is another request, and known to be so."""
    live = Live()
    for number in range(150):
        lookup = asked()
        assert lookup.client
        lookup.time = format_time(live.now_ns)
        lookup.client = Client(ip="10.1.1.1", port=4000 + number, kind="pod", pod="web-1")
        live.add(lookup)
        live.turn(0.1)
        assert number + 1 - len(live.told) <= 15  # of the last 1.5 s
    assert all(len(journey.attempts) == 1 for journey in live.told)


def test_without_progress_the_clock_decides() -> None:
    live = Live()
    live.add(asked(), answered())
    live.turn(2)
    (journey,) = live.told
    assert journey.code == "own"


def test_a_node_without_agent_is_not_waited_for() -> None:
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    live.add(asked(), answered(), Notice(time=format_time(T), node="n2", code="agent_gone"))
    live.turn(1.5, "n1")
    (journey,) = live.told
    assert journey.code == "answered"


def test_a_recording_may_have_them_in_any_order_of_a_run() -> None:
    stage = Journeys(5 * NS_PER_S)
    other = _lookup("n1", "client", "client", 2500, 5, Client(ip="10.1.1.8", port=1, pod="web-2"))
    told = stage.add([asked(), other]) + stage.add([answered(), forwarded()]) + stage.rest(at_end=True)
    first, _ = (record for record in told if isinstance(record, Journey))
    assert (first.code, len(first.attempts[0].hops)) == ("upstream", 2)


@pytest.mark.parametrize("seed", range(30))
def test_of_a_herd_each_lookup_is_told_once_or_counted_as_apart(seed: int) -> None:
    """Live: a lookup that can belong to two requests may become clear when one of them has been told."""
    world = World(Random(seed))
    for _ in range(150):
        world.ask(world.random.randrange(600 * MS), "same.example.com", cached=0.3, silent=0.02)
    now_ns = START_NS
    stage = Journeys(TIMEOUT_NS, now=lambda: now_ns)
    told: list[Record] = []
    for at_ns, lookup in world.told:
        now_ns = START_NS + at_ns
        told += stage.add([lookup])
    told += stage.rest(at_end=True)
    hops = sum(len(attempt.hops) for each in told if isinstance(each, Journey) for attempt in each.attempts)
    assert hops + stage.counters["lookups_apart"] == len(world.truth)
    assert stage.counters["sightings_late"] == 0


def test_a_sighting_that_comes_when_its_request_was_told_is_counted() -> None:
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    live.add(asked())
    live.turn(STALL_NS / NS_PER_S + 1.5, "n1")
    assert len(live.told) == 1
    live.add(answered())
    live.turn(1.5, "n1", "n2")
    assert len(live.told) == 1
    assert live.stage.counters["sightings_late"] == 1
