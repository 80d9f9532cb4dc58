"""Pairing under loss, duplication, reordering, eviction and nonsense: what must hold whatever comes."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.dns.wire import decode_message
from kubectl_kdns.model import Lookup, Record
from kubectl_kdns.pairing import NO_ID, Exchange, Pairing, Sighting, Vantage
from support.captures import CLIENT, SERVER, START_NS, query, response

STEP_NS = 20_000_000  # more than CHECK_NS, so that it does not matter when the clock is looked at
END_PORT = 1

NAMES = ("a.test", "b.test", "c.test")
PORTS = (40001, 40002)
IDS = (7, 8, NO_ID)

Question = tuple[int, int, str]
"""Port, id and name."""

questions = st.tuples(st.sampled_from(PORTS), st.sampled_from(IDS), st.sampled_from(NAMES))
steps = st.integers(0, 1000)
lookups = st.dictionaries(
    questions, st.lists(st.tuples(steps, st.booleans()), min_size=1, max_size=6), max_size=8
)


def address(question: Question) -> str:
    port, id_, name = question
    return f"10.{PORTS.index(port)}.{IDS.index(id_)}.{NAMES.index(name)}"


MESSAGES = {
    (question, is_response): decode_message(
        response(question[2], "A", 0, address(question)) if is_response else query(question[2], "A", 0)
    )
    for question in ((port, id_, name) for port in PORTS for id_ in IDS for name in NAMES)
    for is_response in (False, True)
}
BARE_RESPONSE = decode_message(response("", "A", 0, rcode="FORMERR", question=False))
END = decode_message(query("end.test"))


def sighting(question: Question, step: int, is_response: bool) -> Sighting:
    message = MESSAGES[question, is_response]
    exchange: Exchange = (CLIENT, question[0], SERVER, 53, "udp", question[1])
    return (START_NS + step * STEP_NS, exchange, message, message.size, "")


def end(step: int) -> Sighting:
    return (START_NS + step * STEP_NS, (CLIENT, END_PORT, SERVER, 53, "udp", 0), END, END.size, "")


def outcome(record: Record) -> tuple[object, ...]:
    assert isinstance(record, Lookup)
    assert record.dns
    assert record.client
    return (
        record.time,
        record.client.port,
        record.dns.id,
        record.dns.name,
        record.status,
        record.latency_ms,
        record.tries,
        record.late,
    )


def run(pairing: Pairing, sightings: list[Sighting]) -> list[Lookup]:
    records = pairing.feed(sightings) + pairing.finish()
    return [record for record in records if isinstance(record, Lookup)]


def check_accounts(pairing: Pairing, found: list[Lookup], queries: int, responses: int) -> None:
    counters = pairing.counters
    alone = sum(record.tries is UNSET for record in found)
    told = Counter(record.status for record in found)
    assert counters["queries"] == queries
    assert counters["responses"] == responses
    assert queries == (
        len(found) - alone + counters["retries"] + counters["duplicate_queries"] + counters["evicted"]
    )
    assert responses == (told["answered"] + counters["duplicate_responses"] + counters["late_responses"])
    assert alone == counters["responses_without_query"]


@given(lookups)
def test_lookups_do_not_disturb_each_other(events: dict[Question, list[tuple[int, bool]]]) -> None:
    """However lookups interleave, each comes out as if it had been alone, though ids and ports are shared."""
    everything = sorted(
        (step, question, is_response) for question, seen in events.items() for step, is_response in seen
    )
    last = 2000
    together = run(Pairing(Vantage("replay")), [*(sighting(q, s, r) for s, q, r in everything), end(last)])
    apart: list[Lookup] = []
    for question in events:
        alone = [sighting(q, s, r) for s, q, r in everything if q == question]
        apart += run(Pairing(Vantage("replay")), [*alone, end(last)])[:-1]
    assert sorted(map(repr, map(outcome, together[:-1]))) == sorted(map(repr, map(outcome, apart)))


@given(
    st.lists(st.tuples(questions, steps, st.booleans()), max_size=60),
    st.integers(1, 10),
    st.lists(st.integers(0, 60), max_size=4),
    st.booleans(),
)
def test_every_message_is_accounted_for_in_any_order(
    events: list[tuple[Question, int, bool]], max_waiting: int, cuts: list[int], has_ids: bool
) -> None:
    pairing = Pairing(Vantage("replay"), max_waiting=max_waiting, has_ids=has_ids)
    sightings = [sighting(*event) for event in events]
    records: list[Record] = []
    bounds = [0, *sorted(cuts), len(sightings)]
    for first, behind in pairwise(bounds):
        records += pairing.feed(sightings[first:behind])
        assert len(pairing._waiting) + pairing._behind <= max_waiting
        assert sum(len(asked.behind or ()) for asked in pairing._waiting.values()) == pairing._behind
        assert sum(pairing._rivals.values()) <= len(pairing._waiting)
    records += pairing.finish()
    found = [record for record in records if isinstance(record, Lookup)]
    responses = sum(is_response for _, _, is_response in events)
    check_accounts(pairing, found, len(events) - responses, responses)
    evicted = sum(r.count for r in records if not isinstance(r, Lookup) and r.kind == "loss")  # type: ignore[union-attr]
    assert evicted == pairing.counters["evicted"]
    assert not pairing._rivals


@given(st.lists(st.tuples(questions, steps, st.booleans()), max_size=60))
def test_no_response_is_joined_to_another_question(events: list[tuple[Question, int, bool]]) -> None:
    for record in run(Pairing(Vantage("replay")), [sighting(*event) for event in events]):
        assert record.dns
        if record.status == "answered":
            port, id_ = record.client.port, record.dns.id  # type: ignore[union-attr]
            question = (port, NO_ID if id_ is UNSET else id_, record.dns.name)
            assert record.dns.resolved_ips == [address(question)]  # type: ignore[arg-type]
        if record.latency_ms is not UNSET:
            assert record.latency_ms >= 0


kinds = st.sampled_from(("query", "response", "bare"))


@given(st.lists(st.tuples(questions, st.integers(0, 20), kinds), max_size=40))
def test_responses_without_a_question_are_accounted_for(events: list[tuple[Question, int, str]]) -> None:
    sightings = []
    for question, step, kind in events:
        time_ns, exchange, message, size, raw = sighting(question, step, kind == "response")
        sightings.append((time_ns, exchange, BARE_RESPONSE if kind == "bare" else message, size, raw))
    pairing = Pairing(Vantage("replay"))
    found = run(pairing, sightings)
    responses = sum(kind != "query" for _, _, kind in events)
    check_accounts(pairing, found, len(events) - responses, responses)


@given(
    st.lists(st.tuples(questions, st.one_of(st.just(0), st.integers(0, 2**66)), st.booleans()), max_size=30)
)
def test_no_time_is_too_odd(events: list[tuple[Question, int, bool]]) -> None:
    """Times that jump a century ahead and back, and unknown ones."""
    pairing = Pairing(Vantage("replay"))
    century_ns = 253_402_300_799 * 10**9
    sightings = [
        (min(time_ns, century_ns), *sighting(question, 0, is_response)[1:])
        for question, time_ns, is_response in events
    ]
    found = run(pairing, sightings)
    responses = sum(is_response for _, _, is_response in events)
    check_accounts(pairing, found, len(events) - responses, responses)
