"""Streams that are opened again: what comes twice, what is missing, and from when on to ask."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import to_builtins

from kdns_hubble import flow_decoder
from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.seen import Seen
from support.hubble_flows import START_NS
from support.hubble_script import MS, script, told_all

S = 1000 * MS
LIVE_NS = START_NS + 300 * MS  # this machine's clock at START_NS of the nodes'


def decoder() -> FlowDecoder:
    return FlowDecoder(timeout_ns=5 * S)


def at(ms: int) -> int:
    return LIVE_NS + ms * MS


def test_the_last_flow_of_each_node_is_asked_for_again() -> None:
    source = decoder()
    source.feed(script("0 ask uuid=1; 7000 ask uuid=2 node=n2"), at(7000))
    assert source.reopen(START_NS - 10 * S) == START_NS - 2 * S
    assert source.reopen(START_NS - 1 * S) == START_NS - 1 * S


def test_not_the_one_of_a_node_that_is_quiet_for_long() -> None:
    source = decoder()
    source.feed(script("0 ask; 601000 ask node=n2"), at(601_000))
    assert source.reopen(START_NS) == START_NS + 599 * S


def test_nothing_is_missing_when_a_known_flow_comes_again() -> None:
    source = decoder()
    source.feed(script("0 ask uuid=1; 1 answer uuid=2"), at(0))
    source.reopen(START_NS)
    records = source.feed(script("0 ask uuid=1; 1 answer uuid=2; 5000 ask name=c.d."), at(5000))
    records += source.feed(script("9000 ask name=e.f."), at(9000))
    assert told_all(records) == ""


def test_nor_when_it_comes_a_little_later_than_new_ones() -> None:
    source = decoder()
    source.feed(script("0 ask uuid=1; 1 answer uuid=2"), at(0))
    source.reopen(START_NS)
    records = source.feed(script("900 ask name=c.d."), at(1000))
    records += source.feed(script("1 answer uuid=2; 1500 ask name=e.f."), at(1600))
    records += source.feed(script("5500 ask name=g.h."), at(5600))
    assert told_all(records) == ""


@pytest.mark.parametrize("way", ["later flows", "time", "the end", "opened again"])
def test_a_gap_is_told_when_only_new_flows_come(way: str) -> None:
    source = decoder()
    source.feed(script("0 ask; 1 answer"), at(0))
    source.reopen(START_NS)
    assert source.feed(script("4000 deny; 4001 answer"), at(4000))[0].kind == "lookup"
    if way == "later flows":
        records = source.feed(script("6100 deny"), at(6100))
    elif way == "time":
        assert source.advance(at(5900)) == []
        records = source.advance(at(6200))
    elif way == "the end":
        records = source.finish()
    else:
        source.reopen(START_NS)
        records = source.feed([], at(4500))
    gap = next(record for record in records if record.kind == "loss")
    assert to_builtins(gap) == {
        "apiVersion": "kdns/v1",
        "kind": "loss",
        "time": "2026-11-18T11:06:44.123456789Z",
        "backend": "hubble",
        "node": "kdns-n1",
        "reason": "disconnected",
        "unit": "flows",
        "from": "2026-11-18T11:06:40.124456789Z",
        "until": "2026-11-18T11:06:44.123456789Z",
        "message": "the stream was interrupted, and the ring went on",
    }
    assert "loss" not in told_all(source.finish())


def test_a_node_that_stays_quiet_misses_nothing() -> None:
    source = decoder()
    source.feed(script("0 answer; 100 answer node=n2"), at(100))
    source.reopen(START_NS)
    records = (
        source.feed(script("100 answer node=n2 uuid=again; 200 answer node=n2"), at(200)) + source.finish()
    )
    assert told_all(records).count("loss") == 1  # n2's


def test_an_agent_that_started_again() -> None:
    source = decoder()
    source.feed(script("0 ask; 1 answer; 10 ask node=n2 uuid=n2"), at(10))
    [loss] = source.restarted({"kdns-n1": 4 * S, "n3": 4 * S}, at(20_000))
    made: dict[str, Any] = to_builtins(loss)
    assert (made["node"], made["from"][-10:], made["until"][-13:]) == (
        "kdns-n1",
        "124456789Z",
        "56.114456789Z",
    )
    assert source.reopen(START_NS, {"kdns-n1"}) == START_NS
    records = source.feed(script("10 ask node=n2 uuid=n2; 17000 ask name=c.d."), at(17_000)) + source.finish()
    assert "loss" not in told_all(records)


def test_an_agent_that_started_before_anything_came_live() -> None:
    source = decoder()
    source.feed(script("0 ask; 1 answer"))
    [loss] = source.restarted({"kdns-n1": 4 * S}, START_NS + 20 * S)
    assert loss.until == "2026-11-18T11:06:56.123456789Z"  # type: ignore[union-attr]


def test_what_came_before_is_known_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often a stream is opened again, and however many flows came: from `reopen` on all are known."""
    monkeypatch.setattr(flow_decoder, "Seen", lambda: Seen(50))
    source = decoder()
    flows = [script(f"{at_ms} deny uuid={at_ms}")[0] for at_ms in range(0, 100_000, 100)]
    told = []
    since_ns, sent = START_NS, 0
    for until in (90, 290, 295, 700, 1000):
        again = [flow for flow in flows[:until] if flow.time_ns >= since_ns]  # type: ignore[union-attr]
        for first in range(0, len(again), 7):
            told += source.feed(again[first : first + 7])
        sent += len(again)
        since_ns = source.reopen(since_ns)
    told += source.finish()
    assert len(told) == len(flows)
    assert sent > len(flows)


def test_a_clock_that_is_far_behind_is_a_loss_where_it_is_not_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One time for all nodes: of one that is behind, flows are left out until its clock gets there."""
    monkeypatch.setattr(flow_decoder, "Seen", lambda: Seen(10))
    source = decoder()
    source.feed(script("0 answer node=behind; 300000 answer"), at(300_000))
    for ms in range(300_001, 300_060):
        source.feed(script(f"{ms} answer; {ms - 300_000} answer node=behind"), at(ms))
    start_ns = source.reopen(START_NS)
    assert start_ns == START_NS + 300_049 * MS
    [loss] = [record for record in source.feed([], at(300_100)) if record.kind == "loss"]
    made: dict[str, Any] = to_builtins(loss)
    assert (made["node"], made["from"][-13:], made["until"][-13:]) == (
        "behind",
        "40.182456789Z",
        "40.172456789Z",
    )


def test_nodes_that_are_forgotten_are_told_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow_decoder, "MAX_NODES", 2)
    source = decoder()
    records = source.feed(script("0 ask node=n1; 0 ask node=n2; 0 ask node=n3; 0 ask node=n4"))
    records += source.finish()
    assert told_all(records) == "; ".join(["a.b pending tries=1"] * 4)
    assert source.counters["queries"] == 4


def test_seen_remembers_as_many_as_it_says() -> None:
    seen = Seen(100)
    for number in range(1000):
        seen.high_ns = number
        assert seen.is_new(str(number))
    assert not any(seen.is_new(str(number)) for number in range(900, 1000))
    assert seen.since_ns < 900
    assert all(seen.is_new(str(number)) for number in range(seen.since_ns))


def test_a_batch_is_new_only_if_all_of_it_is() -> None:
    seen = Seen(100)
    assert seen.are_new(["a", "b"])
    assert not seen.are_new(["c", "b"])
    assert not seen.are_new(["d", "d"])
    assert seen.are_new(["c", "d"])
    assert seen.are_new([])
