"""Any history of lookups, in any state of disorder: every request is a try of exactly one lookup."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.flows import Flow, Response
from kubectl_kdns.model import Lookup, Record
from support.hubble_script import MS, script

KINDS = ("ask", "answer", "empty", "servfail", "refuse", "deny", "undelivered")

events = st.tuples(
    st.integers(0, 9000),  # when, in ms
    st.integers(-1000, 1000),  # how much later it is told
    st.sampled_from(KINDS),
    st.sampled_from(("a.b.", "c.d.")),
    st.sampled_from(("A", "AAAA")),
    st.sampled_from((40001, 40002)),
    st.sampled_from(("n1", "n2")),
    st.booleans(),
)
histories = st.lists(events, max_size=40)


def flows_of(history: list[tuple[int, int, str, str, str, int, str, bool]]) -> list[Response]:
    """Distinct flows, in the order in which they are told."""
    told = sorted(enumerate(history), key=lambda item: item[1][0] + item[1][1])
    return [
        script(
            f"{at_ms} {kind} name={name} type={type_} port={port} node={node} uuid={number} {'tcp=1' * tcp}"
        )[0]
        for number, (at_ms, _, kind, name, type_, port, node, tcp) in told
    ]


def decode(flows: list[Response], cuts: list[int], *, live: bool = False) -> tuple[list[Record], FlowDecoder]:
    source = FlowDecoder(timeout_ns=5000 * MS)
    records: list[Record] = []
    now_ns = 0
    for first, behind in pairwise([0, *sorted(cuts), max(len(flows), *cuts, 0)]):
        if live and flows[first:behind]:
            now_ns = max(now_ns, *(flow.time_ns for flow in flows[first:behind] if isinstance(flow, Flow)))
        records += source.feed(flows[first:behind], now_ns)
        if live and now_ns:
            records += source.advance(now_ns + 100 * MS)
    return records + source.finish(), source


def tries(records: list[Record]) -> int:
    return sum(record.tries for record in records if isinstance(record, Lookup) and record.tries is not UNSET)


def requests(flows: list[Response]) -> int:
    """As `hubble observe --protocol dns` counts them: without those of verdict ERROR."""
    return sum(
        isinstance(flow, Flow) and not (flow.dns and flow.dns.is_response) and flow.verdict != "ERROR"
        for flow in flows
    )


cut_lists = st.lists(st.integers(0, 40), max_size=5)


@given(histories, cut_lists, st.booleans())
def test_each_request_is_one_try(
    history: list[tuple[int, int, str, str, str, int, str, bool]], cuts: list[int], live: bool
) -> None:
    flows = flows_of(history)
    records, source = decode(flows, cuts, live=live)
    assert tries(records) == requests(flows)
    counters = source.counters
    answered = sum(isinstance(record, Lookup) and record.status == "answered" for record in records)
    unpaired = counters.get("duplicate_responses", 0) + counters.get("late_responses", 0)
    assert answered + unpaired == counters.get("responses", 0)


@given(histories, cut_lists, st.data())
def test_doubles_change_nothing(
    history: list[tuple[int, int, str, str, str, int, str, bool]], cuts: list[int], data: st.DataObject
) -> None:
    """Flows that come again, at any place behind the first time."""
    flows = flows_of(history)
    doubled = list(flows)
    for flow in flows:
        if data.draw(st.booleans()):
            first = next(place for place, other in enumerate(doubled) if other is flow)
            doubled.insert(data.draw(st.integers(first + 1, len(doubled))), flow)
    once, _ = decode(flows, [])
    again, source = decode(doubled, cuts)
    assert sorted(map(repr, again)) == sorted(map(repr, once))
    assert source.counters["flows_seen_before"] == len(doubled) - len(flows)


@given(histories, cut_lists)
def test_batches_change_nothing(
    history: list[tuple[int, int, str, str, str, int, str, bool]], cuts: list[int]
) -> None:
    flows = flows_of(history)
    assert sorted(map(repr, decode(flows, cuts)[0])) == sorted(map(repr, decode(flows, [])[0]))
