"""Joins against truth: what belongs together is found, and never what does not."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.journey import Joiner
from kubectl_kdns.legs import Leg, fits
from kubectl_kdns.model import Lookup
from support.journey_world import MS, TIMEOUT_NS, World

SKEWS_NS = (0, 50 * MS, -50 * MS)


def joined(records: list[Lookup], joiner: Joiner | None = None) -> list[Leg]:
    joiner = joiner or Joiner(TIMEOUT_NS)
    legs = []
    for record in records:
        joiner.add([record])
        joiner.now_ns = joiner.latest_ns
        legs += list(joiner.ready())
    return legs + list(joiner.ready(everything=True))


def number_of(leg: Leg) -> int:
    dns = leg.views[0].dns
    assert dns
    assert dns.id is not UNSET
    return dns.id


def pairs(legs: list[Leg]) -> Iterator[tuple[int, int]]:
    for leg in legs:
        for child in leg.children:
            yield number_of(leg), number_of(child)
        yield from pairs(leg.children)


def true_pairs(world: World) -> set[tuple[int, int]]:
    return {(truth.number, child) for truth in world.truth.values() for child in truth.children}


@pytest.mark.parametrize("skew_ns", SKEWS_NS)
@pytest.mark.parametrize("nodelocal", [False, True])
def test_lookups_apart_in_time_are_all_joined(skew_ns: int, nodelocal: bool) -> None:
    world = World(Random(1), skew_ns=skew_ns, nodelocal=nodelocal)
    asked = {world.ask(i * 300 * MS, "www.example.com") for i in range(60)}
    legs = joined(world.records)
    assert {number_of(leg) for leg in legs} == asked
    assert set(pairs(legs)) == true_pairs(world)
    assert all({view.side for view in leg.views} == {"client", "server"} for leg in legs)
    assert sum(leg.apart for leg in legs) == 0


@pytest.mark.parametrize("skew_ns", SKEWS_NS)
@pytest.mark.parametrize("nodelocal", [False, True])
@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_the_same_names_at_the_same_time_are_never_joined_wrongly(
    skew_ns: int, nodelocal: bool, seed: int
) -> None:
    random = Random(seed)
    world = World(random, skew_ns=skew_ns, nodelocal=nodelocal)
    asked = {
        world.ask(random.randrange(2000 * MS), random.choice(["a.test", "b.test"]), silent=0.1)
        for _ in range(60)
    }
    joiner = Joiner(TIMEOUT_NS)
    legs = joined(world.records, joiner)
    assert {number_of(leg) for leg in legs} == asked
    found = list(pairs(legs))
    assert set(found) <= true_pairs(world)
    assert len(found) == len(set(found))
    # Each lookup is in a request, or counted as apart: with what belongs to it, too.
    assert len(legs) + len(found) + joiner.unjoined == len(world.truth)
    # What is missing is said.
    missing = {parent for parent, _ in true_pairs(world) - set(found)}
    for leg in legs:
        if number_of(leg) in missing:
            assert leg.apart


@pytest.mark.parametrize("skew_ns", SKEWS_NS)
@pytest.mark.parametrize("silent", [1.0, 0.5])
def test_while_an_upstream_is_dead_a_name_that_many_ask_for_costs_no_more_a_lookup(
    skew_ns: int, silent: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is not joined wrongly: hundreds are open at a time, each with three questions to the upstream."""
    compared = 0

    def counting(child: Leg, parent: Leg) -> bool:
        nonlocal compared
        compared += 1
        return fits(child, parent)

    monkeypatch.setattr("kubectl_kdns.journey.fits", counting)
    world = World(Random(1), skew_ns=skew_ns)
    asked = {world.ask(i * 10 * MS, "dead.test", cached=0, silent=silent) for i in range(1500)}
    joiner = Joiner(TIMEOUT_NS)
    legs = joined(world.records, joiner)
    assert {number_of(leg) for leg in legs} == asked
    found = list(pairs(legs))
    assert set(found) <= true_pairs(world)
    assert len(found) > len(true_pairs(world)) / 20
    assert len(legs) + len(found) + joiner.unjoined == len(world.truth)
    assert compared < 60 * len(world.truth)


def test_a_herd_is_told_or_counted() -> None:
    """What a lookup that is left apart asked in turn is in no request either."""
    apart = 0
    for seed in range(60):
        random = Random(seed)
        world = World(random, nodelocal=True)
        for _ in range(40):
            world.ask(random.randrange(5 * MS), "a.test", cached=0.1)
        joiner = Joiner(TIMEOUT_NS)
        legs = joined(world.records, joiner)
        told = len(legs) + len(list(pairs(legs)))
        assert told + joiner.unjoined == len(world.truth)
        apart += joiner.unjoined
    assert apart
