"""Lookups whose client was translated on the way: the two ends know it by different sockets."""

from __future__ import annotations

import pytest

from kubectl_kdns.journey import Joiner
from kubectl_kdns.model import Client, Lookup, Record
from kubectl_kdns.times import NS_PER_S
from support.journey_live import MS, Live, T, answered, asked, forwarded, seen, telling


def run(*records: Record) -> Live:
    live = telling()
    live.add(*records)
    live.turn(4, "n1", "n2")
    return live


def translated(ip: str = "10.1.1.1", port: int = 42041) -> Lookup:
    lookup = answered()
    lookup.client = Client(ip=ip, port=port)
    return lookup


@pytest.mark.parametrize("ip", ["10.1.1.1", "192.168.0.11"])
@pytest.mark.parametrize("order", ["as it ends", "client first", "server last"])
def test_both_ends_are_one_lookup(ip: str, order: str) -> None:
    by_end = [forwarded(), translated(ip), asked()]
    records = {
        "as it ends": by_end,
        "client first": by_end[::-1],
        "server last": [by_end[i] for i in (0, 2, 1)],
    }
    live = run(*records[order])
    (journey,) = live.told
    (attempt,) = journey.attempts
    own, forward = attempt.hops
    assert (own.sure, [sight.side for sight in own.seen]) == ("unique", ["client", "server"])
    assert own.client == asked().client
    assert forward.hop == "coredns"
    assert (attempt.apart, live.stage.counters["lookups_apart"]) == (0, 0)


def test_two_that_the_server_may_have_seen_stay_apart() -> None:
    """The same id, name and time from two clients; both addresses were translated."""
    other = asked()
    other.client = Client(ip="10.1.1.9", port=4000, kind="pod", pod="web-9")
    live = run(translated(), asked(), other)
    assert [[sight.side for sight in each.attempts[0].hops[0].seen] for each in live.told] == [
        ["client"],
        ["client"],
        ["server"],
    ]


def test_the_servers_log_knows_the_translated_socket_too() -> None:
    log = translated()
    log.backend = "coredns"
    live = run(translated(), asked(), log)
    (journey,) = live.told
    assert [sight.backend for sight in journey.attempts[0].hops[0].seen] == ["ebpf", "ebpf", "coredns"]


def test_what_the_servers_end_asked_in_turn_goes_with_it() -> None:
    """Another lookup was joined first, and the forward, which began while both were open, cannot be its."""
    other = Client(ip="10.1.1.9", port=4000, kind="pod", pod="web-9")
    both = [seen("n1", "client", "client", 0, 3, other), seen("n2", "client", "server", 1, 1, other)]
    for lookup in both:
        assert lookup.dns
        lookup.dns.id = 8
    joiner = Joiner(5 * NS_PER_S)
    joiner.add([*both, forwarded(), translated()])
    joiner.now_ns = T + 650 * MS
    first = list(joiner.ready())
    joiner.add([asked()])
    joiner.now_ns = T + NS_PER_S
    (mine,) = joiner.ready()
    assert [leg.children for leg in first] == [()]
    assert [child.nearest for child in mine.children] == [forwarded()]
    assert len(mine.views) == 2
