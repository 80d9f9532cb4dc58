"""What Hubble tells of flows and nodes that are missing, and when kdns tells it."""

from __future__ import annotations

from typing import Any

from msgspec import to_builtins

from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.flows import NodeStatus
from kdns_hubble.losses import Phase
from kubectl_kdns.model import Notice
from support.hubble_flows import START_NS
from support.hubble_script import MS, script, told_all

S = 1000 * MS


def decoder(**more: Any) -> FlowDecoder:
    return FlowDecoder(timeout_ns=5 * S, **more)


def run(text: str, **more: Any) -> str:
    source = decoder(**more)
    return told_all(source.feed(script(text)) + source.finish())


def only(text: str, **more: Any) -> dict[str, Any]:
    source = decoder(**more)
    [record] = source.feed(script(text)) + source.finish()
    made: dict[str, Any] = to_builtins(record)
    return made


def test_losses_are_told_once_a_second() -> None:
    source = decoder()
    lost = "0 lost of=HUBBLE_RING_BUFFER"
    now_ns = START_NS
    assert told_all(source.feed(script(lost), now_ns)) == "loss hubble_ring 1"
    assert source.feed(script("; ".join([lost] * 999)), now_ns + S - 1) == []
    assert told_all(source.advance(now_ns + S)) == "loss hubble_ring 999"
    assert source.advance(now_ns + 3 * S) == []


def test_a_loss_is_told_at_once_when_the_last_one_is_long_ago() -> None:
    source = decoder()
    assert source.advance(START_NS) == []
    [loss] = source.feed(script("0 lost of=HUBBLE_RING_BUFFER"), START_NS + 100 * MS)
    assert to_builtins(loss)["message"] == (
        "Hubble's ring was overwritten before it was read; flows of any kind are counted, not only DNS"
    )


def test_what_an_overwritten_ring_means() -> None:
    """When a stream looks back, nothing; when it is live, that flows were lost."""
    source = decoder(since_ns=START_NS - 60 * S)
    source.begin(Phase.LOOKING_BACK)
    ring = "0 lost of=HUBBLE_RING_BUFFER; 1 lost of=HUBBLE_RING_BUFFER; 1 lost of=HUBBLE_RING_BUFFER node=n2"
    assert source.feed(script(ring)) + source.advance(START_NS) == []
    source.begin(Phase.LIVE)
    assert told_all(source.feed(script(ring)) + source.advance(START_NS + 4 * S)) == (
        "loss hubble_ring 2; loss hubble_ring 1"
    )


def test_what_was_lost_before_the_time_asked_for_is_no_news() -> None:
    assert run("0 lost; 5 lost count=2; 6 lost of=HUBBLE_RING_BUFFER", since_ns=START_NS + 5 * MS) == (
        "loss queue 2; loss hubble_ring 1"
    )


def test_a_loss_says_from_when_to_when() -> None:
    record = only(
        "0 lost of=HUBBLE_RING_BUFFER; 700 lost of=HUBBLE_RING_BUFFER; 300 lost of=HUBBLE_RING_BUFFER"
    )
    assert (record["from"][-10:], record["until"][-10:]) == ("123456789Z", "823456789Z")
    assert (record["count"], record["node"], record["unit"]) == (3, "kdns-n1", "flows")


def test_a_state_of_the_future_is_told_as_it_is() -> None:
    odd = NodeStatus(START_NS, "{0} {x}", ("n1", ""), "why")
    assert [record.message for record in decoder().feed([odd])] == [  # type: ignore[union-attr]
        "n1: {0} {x}: why",
        "a node: {0} {x}: why",
    ]
    assert decoder().feed([NodeStatus(0, "NODE_ERROR", (), "bad regexp")]) == [
        Notice(backend="hubble", code="node_error", message="a node: its flows stopped: bad regexp")
    ]
