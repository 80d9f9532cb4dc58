"""Nodes that tell late: their lookups are waited for; nothing is concluded from what they have not told."""

from __future__ import annotations

from random import Random

import pytest
from msgspec import UNSET

from kubectl_kdns.frontier import STALL_NS
from kubectl_kdns.journeys import Journeys
from kubectl_kdns.model import Client, Journey, Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time
from support.journey_live import MS, Live, T, answered, asked, forwarded, seen, telling
from support.journey_world import START_NS, TIMEOUT_NS, World


@pytest.mark.parametrize("late_s", [0.0, 0.7, 1.5, 2.5])
def test_a_node_that_tells_late_is_waited_for(late_s: float) -> None:
    live = telling()
    live.add(asked())
    live.turn(late_s, "n1")
    assert live.told == []
    live.add(answered(), forwarded())
    live.turn(1.5, "n1", "n2")
    assert live.codes_and_hops() == [("upstream", 2)]


def test_when_kdns_itself_stood_still_nobody_is_late() -> None:
    """After Ctrl-Z, behind a pager, on a machine that slept: all have told, and are read one by one."""
    live = telling()
    live.add(asked())
    live.now_ns += 60 * NS_PER_S
    live.add(live.known("n1", 60))
    live.add(answered(), forwarded())
    live.add(live.known("n2", 60))
    live.turn(1.5, "n1", "n2")
    assert live.codes_and_hops() == [("upstream", 2)]


def test_a_node_that_lags_but_tells_is_waited_for() -> None:
    live = telling()
    live.add(asked())
    for step in range(80):
        live.now_ns += 100 * MS
        live.add(live.known("n1", step / 10), live.known("n2", step / 1000))
    assert live.told == []
    live.add(answered(), forwarded())
    live.turn(9, "n1", "n2")
    assert live.codes_and_hops() == [("upstream", 2)]


def test_a_node_that_joins_late_and_lags_is_waited_for() -> None:
    live = Live()
    live.add(live.known("n1", 0))
    live.add(asked())
    for step in range(80):
        live.now_ns += 100 * MS
        live.add(live.known("n1", step / 10), live.known("n2", step / 1000 - 1))
    assert live.told == []


def test_nobody_waits_for_ever_and_nothing_is_made_up() -> None:
    live = telling()
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


@pytest.mark.parametrize(("every_ms", "status"), [(2000, "unanswered"), (50, "answered")])
def test_who_fails_and_asks_again_without_end_is_told_all_the_same(every_ms: int, status: str) -> None:
    """A pod whose name fails asks again and again, each time within the patience of a resolver."""
    live = Live()
    for number in range(60):
        lookup = asked()
        assert lookup.client
        assert lookup.dns
        lookup.time = format_time(live.now_ns)
        lookup.client = Client(ip="10.1.1.1", port=4000 + number, kind="pod", pod="web-1")
        lookup.status, lookup.dns.rcode = status, "SERVFAIL" if status == "answered" else UNSET
        if status == "unanswered":
            lookup.latency_ms = UNSET
        live.add(lookup)
        live.turn(every_ms / 1000)
    live.turn(20)
    assert [len(journey.attempts) for journey in live.told] == [2] * 30
    assert all("asked 2 times by the application" in str(each.conclusion) for each in live.told)


def test_without_progress_the_clock_decides() -> None:
    live = Live()
    live.add(asked(), answered())
    live.turn(2)
    (journey,) = live.told
    assert journey.code == "own"


def test_a_node_without_agent_is_not_waited_for() -> None:
    live = telling()
    live.add(asked(), answered(), Notice(time=format_time(T), node="n2", code="agent_gone"))
    live.turn(1.5, "n1")
    (journey,) = live.told
    assert journey.code == "answered"


def test_a_recording_may_have_them_in_any_order_of_a_run() -> None:
    stage = Journeys(5 * NS_PER_S)
    other = seen("n1", "client", "client", 2500, 5, Client(ip="10.1.1.8", port=1, pod="web-2"))
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
    live = telling()
    live.add(asked())
    live.turn(STALL_NS / NS_PER_S + 1.5, "n1")
    assert len(live.told) == 1
    live.add(answered())
    live.turn(1.5, "n1", "n2")
    assert len(live.told) == 1
    assert live.stage.counters["sightings_late"] == 1
