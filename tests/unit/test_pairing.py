"""What the messages of a lookup can do, and the lookups that come of it, case by case."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec import UNSET, to_builtins

from kubectl_kdns.dns.wire import decode_message
from kubectl_kdns.model import Lookup, Loss, Message, Notice, Record
from kubectl_kdns.pairing import NO_ID, Exchange, Pairing, Sighting, Vantage
from support.captures import CLIENT, SERVER, START_NS, query, response

MS = 1_000_000
VANTAGE = Vantage("replay")

PAYLOADS: dict[str, Callable[[str, str], bytes]] = {
    "ask": query,
    "ask-ad": lambda name, type_: query(name, type_, ad=True),
    "answer": lambda name, type_: response(name, type_, 7, "10.1.2.3"),
    "formerr": lambda name, type_: response(name, type_, rcode="FORMERR", question=False),
    "notify": lambda name, type_: query(name, type_, opcode=4),
    "notified": lambda name, type_: response(name, type_, opcode=4),
    "update": lambda name, type_: query(name, type_, opcode=5),
    "updated": lambda name, type_: response(name, type_, opcode=5),
}


def seen(at_ms: float, payload: bytes, port: int = 40001, transport: str = "udp", id_: int = 7) -> Sighting:
    exchange: Exchange = (CLIENT, port, SERVER, 53, transport, id_)
    return (START_NS + round(at_ms * MS), exchange, decode_message(payload), len(payload), "")


def script(text: str) -> list[Sighting]:
    """`0 ask; 5 answer name=c.d type=AAAA port=40002 transport=tcp id=none`: when (ms) and what."""
    sightings = []
    for event in text.split(";"):
        at_ms, what, *words = event.split()
        more = dict(word.split("=") for word in words)
        payload = PAYLOADS[what](more.get("name", "a.b"), more.get("type", "A"))
        port, id_ = int(more.get("port", 40001)), NO_ID if "id" in more else 7
        sightings.append(seen(float(at_ms), payload, port, more.get("transport", "udp"), id_))
    return sightings


def told(record: Record) -> str:
    """`a.b answered 1.5ms tries=2 late`: what matters of a record, in one line."""
    if isinstance(record, Notice):
        return f"notice {record.code}"
    if isinstance(record, Loss):
        return f"loss {record.reason} {record.count}"
    if isinstance(record, Message):
        return f"message {record.direction}"
    assert isinstance(record, Lookup)
    assert record.dns
    line = f"{record.dns.name or '?'} {record.status}"
    line += f" {record.latency_ms:g}ms" if record.latency_ms is not UNSET else ""
    line += f" tries={record.tries}" if record.tries else ""
    return line + (" late" if record.late else "")


def run(pairing: Pairing, sightings: list[Sighting]) -> str:
    return "; ".join(told(record) for record in pairing.feed(sightings) + pairing.finish())


CASES = {
    "a lookup": (
        "0 ask; 1.5 answer",
        "a.b answered 1.5ms tries=1",
    ),
    "no response, and the capture ends early": (
        "0 ask; 4999 ask name=c.d",
        "a.b pending tries=1; c.d pending tries=1",
    ),
    "no response, and the capture ends in the grace": (
        "0 ask; 5000 ask name=c.d",
        "a.b unanswered tries=1; c.d pending tries=1",
    ),
    "no response, and the grace is over": (
        "0 ask; 6000 ask name=c.d; 6001 answer name=c.d",
        "a.b unanswered tries=1; c.d answered 1ms tries=1",
    ),
    "retransmitted after 5 s, as glibc does": (
        "0 ask; 5004 ask; 5006 answer",
        "a.b answered 5006ms tries=2",
    ),
    "retransmitted in vain: the time-out runs from the last try": (
        "0 ask; 5000 ask; 10004 ask; 16003 ask name=c.d; 16030 answer name=c.d",
        "a.b unanswered tries=3; c.d answered 27ms tries=1",
    ),
    "late, in the grace": (
        "0 ask; 5500 answer",
        "a.b answered 5500ms tries=1 late",
    ),
    "not late: in time for the second try": (
        "0 ask; 5000 ask; 9000 answer",
        "a.b answered 9000ms tries=2",
    ),
    "one packet seen three times": (
        "0 ask; 0.01 ask; 0.02 ask; 1 answer; 1.01 answer; 1.02 answer",
        "a.b answered 1ms tries=1",
    ),
    "seen again only behind the response": (
        "0 ask; 1 answer; 0.02 ask",
        "a.b answered 1ms tries=1",
    ),
    "again within 100 ms, but not the same query": (
        "0 ask; 50 ask-ad; 51 answer",
        "a.b answered 51ms tries=2",
    ),
    "two responses to two tries": (
        "0 ask; 5000 ask; 5001 answer; 5002 answer",
        "a.b answered 5001ms tries=2",
    ),
    "the same again after the response": (
        "0 ask; 1 answer; 2 ask; 4 answer",
        "a.b answered 1ms tries=1; a.b answered 2ms tries=1",
    ),
    "another question with the same id": (
        "0 ask; 1 ask name=c.d; 2 answer name=c.d; 4 answer",
        "c.d answered 1ms tries=1; a.b answered 4ms tries=1",
    ),
    "A and AAAA with the same id, one tried again": (
        "0 ask; 0 ask type=AAAA; 2500 ask type=AAAA; 2501 answer type=AAAA; 2502 answer",
        "a.b answered 2501ms tries=2; a.b answered 2502ms tries=1",
    ),
    "a third question when the first is answered": (
        "0 ask; 1 ask name=c.d; 2 answer; 3 ask name=c.d; 4 ask name=e.f; 5 answer name=c.d;"
        "6 answer name=e.f; 7 answer name=c.d",
        "a.b answered 2ms tries=1; c.d answered 4ms tries=1; e.f answered 2ms tries=1",
    ),
    "a duplicate of the first of two answers": (
        "0 ask; 1 answer; 2 ask name=c.d; 3 answer name=c.d; 4 answer; 5 answer name=c.d",
        "a.b answered 1ms tries=1; c.d answered 1ms tries=1",
    ),
    "an answer to what nobody asked": (
        "0 ask; 1 answer name=c.d",
        "c.d answered; a.b pending tries=1",
    ),
    "another client": (
        "0 ask; 1 answer port=40002",
        "a.b answered; a.b pending tries=1",
    ),
    "another transport": (
        "0 ask; 1 answer transport=tcp",
        "a.b answered; a.b pending tries=1",
    ),
    "the case of the name, as 0x20 plays with it": (
        "0 ask name=wWw.A.b; 1 answer name=WwW.a.B",
        "www.a.b answered 1ms tries=1",
    ),
    "a response without its query, three times": (
        "0 answer; 0.1 answer; 900 answer; 2000 ask name=c.d; 2001 answer name=c.d",
        "a.b answered; c.d answered 1ms tries=1",
    ),
    "out of order: the response first": (
        "1 answer; 0 ask",
        "a.b answered 1ms tries=1",
    ),
    "out of order: the response first, with the earlier time": (
        "1 answer; 1.2 ask",
        "a.b answered tries=1",
    ),
    "the response to an earlier query, then a new lookup": (
        "0 answer; 500 ask; 501 answer",
        "a.b answered 1ms tries=1; a.b answered",
    ),
    "a duplicate of the answer behind the next query": (
        "0 ask; 1 answer; 2 ask; 1.01 answer; 4 answer",
        "a.b answered 1ms tries=1; a.b answered 2ms tries=1",
    ),
    "a bare FORMERR, seen twice": (
        "0 ask; 1 formerr; 1.1 formerr",
        "a.b answered 1ms tries=1",
    ),
    "a bare FORMERR, and two could be meant": (
        "0 ask; 0 ask name=c.d; 1 formerr",
        "? answered; a.b pending tries=1; c.d pending tries=1",
    ),
    "the clock steps back an hour": (
        "3600000 ask; 0 ask name=c.d; 1 answer name=c.d; 2 answer; 3 ask name=e.f",
        "c.d answered 1ms tries=1; a.b answered tries=1; e.f pending tries=1",
    ),
    "NOTIFY": (
        "0 notify type=SOA; 1 notified type=SOA",
        "a.b answered 1ms tries=1",
    ),
    "UPDATE with the id and the name of a query": (
        "0 ask type=SOA; 1 update type=SOA; 2 updated type=SOA",
        "a.b answered 1ms tries=1; a.b pending tries=1",
    ),
    "no ids, as from Hubble": (
        "0 ask id=none; 0 ask type=AAAA id=none; 2 answer id=none; 3 answer type=AAAA id=none",
        "a.b answered 2ms tries=1; a.b answered 3ms tries=1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_lookups(case: str) -> None:
    text, expected = CASES[case]
    assert run(Pairing(VANTAGE), script(text)) == expected


WITHOUT_IDS = {
    "a lookup": ("0 ask; 1.5 answer", "a.b answered 1.5ms tries=1"),
    "a retransmission": ("0 ask; 1000 ask; 1001 answer", "a.b answered 1001ms tries=2"),
    "the same question at once is another lookup, answered in its turn": (
        "0 ask; 5 ask; 10 ask; 700 answer; 706 answer; 712 answer",
        "a.b answered 700ms tries=1; a.b answered 701ms tries=1; a.b answered 702ms tries=1",
    ),
    "several at once, never answered": (
        "0 ask; 5 ask; 7000 ask name=c.d; 7001 answer name=c.d",
        "a.b unanswered tries=1; a.b unanswered tries=1; c.d answered 1ms tries=1",
    ),
    "several at once, and the run ends": (
        "0 ask; 5 ask; 10 ask name=c.d",
        "a.b pending tries=1; a.b pending tries=1; c.d pending tries=1",
    ),
    "retransmitted behind another one": (
        "0 ask; 5 ask; 1005 ask; 1010 answer; 1011 answer",
        "a.b answered 1010ms tries=1; a.b answered 1006ms tries=2",
    ),
    "with another question of the same port between them": (
        "0 ask; 1 ask name=c.d; 2 ask; 3 ask name=c.d; 4 answer name=c.d; 5 answer; 6 answer",
        "c.d answered 3ms tries=1; a.b answered 5ms tries=1; a.b answered 4ms tries=1; c.d pending tries=1",
    ),
    "a query told out of order is no duplicate": (
        "0 ask; 3 answer; 2 ask; 4 answer",
        "a.b answered 3ms tries=1; a.b answered 2ms tries=1",
    ),
}


@pytest.mark.parametrize("case", WITHOUT_IDS)
def test_lookups_of_a_source_without_ids(case: str) -> None:
    events, expected = WITHOUT_IDS[case]
    events = "; ".join(f"{event} id=none" for event in events.split("; "))
    assert run(Pairing(VANTAGE, has_ids=False), script(events)) == expected


def test_what_waits_behind_another_one_is_bounded_too() -> None:
    pairing = Pairing(VANTAGE, has_ids=False, max_waiting=2)
    assert run(pairing, script("0 ask id=none; 1 ask id=none; 2 ask id=none; 3 answer id=none")) == (
        "a.b answered 2ms tries=1; loss pairing_evicted 1; a.b pending tries=1"
    )


def test_a_late_response_after_the_grace_is_told_and_counted_but_is_no_second_lookup() -> None:
    pairing = Pairing(VANTAGE)
    pairing.feed(script("0 ask; 6500 ask name=c.d"))
    assert pairing.feed(script("7020 answer; 7021 answer")) == [
        Notice(
            time="2026-11-23T10:00:07.020000000Z",
            backend="replay",
            code="late_responses",
            message="a response came after the lookup was told as unanswered; the slowest took 7.02s (a.b A, "
            "from 10.96.0.10). The server is slow, not silent: try a longer --timeout",
        )
    ]
    assert pairing.counters["late_responses"] == 1
    assert pairing.counters["duplicate_responses"] == 1


def test_many_late_responses_are_few_notices() -> None:
    pairing = Pairing(VANTAGE)
    pairing.feed(script("; ".join(f"{n} ask name=n{n}" for n in range(50))))
    records = pairing.feed(script("; ".join(f"{7000 + n} answer name=n{n}" for n in range(50))))
    records += pairing.finish()
    assert [told(record) for record in records] == [
        *[f"n{n} unanswered tries=1" for n in range(50)],
        "notice late_responses",
        "notice late_responses",
    ]
    assert isinstance(records[-1], Notice)
    assert str(records[-1].message).startswith("49 responses came after the lookup was told as unanswered")


def test_a_longer_grace_makes_late_responses_late_lookups() -> None:
    pairing = Pairing(VANTAGE, grace_ns=5000 * MS)
    assert run(pairing, script("0 ask; 6500 ask name=c.d; 9999 answer")) == (
        "a.b answered 9999ms tries=1 late; c.d pending tries=1"
    )


def test_the_table_is_bounded_and_evictions_are_loss() -> None:
    pairing = Pairing(Vantage("ebpf", node="worker-1"), max_waiting=1)
    assert pairing.feed(script("0 ask; 1 ask name=c.d; 2 ask name=e.f")) == [
        Loss(
            time="2026-11-23T10:00:00.002000000Z",
            backend="ebpf",
            node="worker-1",
            reason="pairing_evicted",
            unit="messages",
            count=2,
            from_="2026-11-23T10:00:00.000000000Z",
            until="2026-11-23T10:00:00.001000000Z",
        )
    ]
    assert run(pairing, []) == "e.f pending tries=1"


def test_responses_without_queries_are_bounded_too() -> None:
    pairing = Pairing(VANTAGE)
    answer = response()
    records = pairing.feed(seen(0, answer, port) for port in range(9000))
    assert len(records) == 9000 - 8192
    assert len(pairing.finish()) == 8192


def test_time_alone_makes_a_lookup_unanswered_when_live() -> None:
    pairing = Pairing(VANTAGE)
    assert pairing.feed(script("0 ask; 1 answer name=c.d")) == []
    assert [told(r) for r in pairing.advance(START_NS + 1001 * MS)] == ["c.d answered"]
    assert pairing.advance(START_NS + 5999 * MS) == []
    assert [told(r) for r in pairing.advance(START_NS + 6000 * MS)] == ["a.b unanswered tries=1"]
    assert pairing.finish() == []


def test_an_unknown_time_gives_no_time_and_no_latency() -> None:
    timeless: list[Sighting] = [(0, *sighting[1:]) for sighting in script("0 ask; 1 answer")]
    (record,) = Pairing(VANTAGE).feed(timeless)
    assert isinstance(record, Lookup)
    assert (record.status, record.time, record.latency_ms) == ("answered", UNSET, UNSET)


def test_the_whole_record_of_a_lookup() -> None:
    vantage = Vantage("ebpf", "worker-1", "client", "client")
    time_ns, exchange, message, size, _ = seen(0.000204, query("A.b", id_=513), id_=513)
    reply = seen(1.5, response("A.b", "A", 513, "10.1.2.3", "10.1.2.4"), id_=513)
    pairing = Pairing(vantage)
    (record,) = pairing.feed([(time_ns, exchange, message, size, "0201"), (*reply[:4], "0202")])
    assert to_builtins(record) == {
        "apiVersion": "kdns/v1",
        "kind": "lookup",
        "time": "2026-11-23T10:00:00.000000204Z",
        "backend": "ebpf",
        "node": "worker-1",
        "hop": "client",
        "side": "client",
        "status": "answered",
        "latency_ms": 1.499796,
        "tries": 1,
        "transport": "udp",
        "client": {"ip": CLIENT, "port": 40001},
        "server": {"ip": SERVER, "port": 53},
        "dns": {
            "id": 513,
            "opcode": "QUERY",
            "name": "a.b",
            "type": "A",
            "class": "IN",
            "rcode": "NOERROR",
            "response_class": "success",
            "flags": ["qr", "rd", "ra"],
            "answers": [
                {"name": "a.b", "type": "A", "ttl": 5, "data": "10.1.2.3"},
                {"name": "a.b", "type": "A", "ttl": 5, "data": "10.1.2.4"},
            ],
            "resolved_ips": ["10.1.2.3", "10.1.2.4"],
            "query_bytes": 21,
            "response_bytes": 53,
        },
        "raw": "0201 0202",
    }


def test_the_whole_record_of_a_response_alone() -> None:
    pairing = Pairing(VANTAGE)
    pairing.feed([seen(0, response("a.b", "A", 7, rcode="NXDOMAIN"))])
    (record,) = pairing.finish()
    assert to_builtins(record) == {
        "apiVersion": "kdns/v1",
        "kind": "lookup",
        "time": "2026-11-23T10:00:00.000000000Z",
        "backend": "replay",
        "status": "answered",
        "transport": "udp",
        "inferred": ["time"],
        "client": {"ip": CLIENT, "port": 40001},
        "server": {"ip": SERVER, "port": 53},
        "dns": {
            "id": 7,
            "opcode": "QUERY",
            "name": "a.b",
            "type": "A",
            "class": "IN",
            "rcode": "NXDOMAIN",
            "response_class": "denial",
            "flags": ["qr", "rd", "ra"],
            "answers": [],
            "resolved_ips": [],
            "response_bytes": 21,
        },
    }


def test_a_truncated_response_is_an_answer_with_a_flag() -> None:
    (record,) = Pairing(VANTAGE).feed([*script("0 ask"), seen(1, response("a.b", truncated=True))])
    assert isinstance(record, Lookup)
    assert record.dns
    assert (record.status, record.dns.flags, record.error) == ("answered", ["qr", "tc", "rd", "ra"], UNSET)


CUT_QUERY, CUT_RESPONSE = query("a.b")[:-1], response("a.b", "A", 7, "10.1.2.3")[:-2]
QUERY_FAULT = f"query: {decode_message(CUT_QUERY).malformed}"
RESPONSE_FAULT = f"response: {decode_message(CUT_RESPONSE).malformed}"
BARE_FORMERR = response("", "A", 7, rcode="FORMERR", question=False)

MALFORMED = {
    "query": ([seen(0, CUT_QUERY), seen(1, BARE_FORMERR)], QUERY_FAULT),
    "response": ([*script("0 ask"), seen(1, CUT_RESPONSE)], RESPONSE_FAULT),
    "both": ([seen(0, CUT_QUERY), seen(1, CUT_RESPONSE)], f"{QUERY_FAULT}; {RESPONSE_FAULT}"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_a_lookup_with_an_error(case: str) -> None:
    sightings, message = MALFORMED[case]
    (record,) = Pairing(VANTAGE).feed(sightings)
    assert isinstance(record, Lookup)
    assert to_builtins(record.error) == {"type": "malformed", "message": message}
    assert (record.status, record.latency_ms) == ("answered", 1)


def test_what_the_capture_cut_is_said_as_that() -> None:
    time_ns, exchange, message, size, raw = seen(1, response("a.b", "A", 7, "10.1.2.3")[:-2])
    (record,) = Pairing(VANTAGE).feed([*script("0 ask"), (time_ns, exchange, message, size + 2, raw)])
    assert isinstance(record, Lookup)
    assert to_builtins(record.error) == {
        "type": "malformed",
        "message": "response: only 35 of its 37 bytes were captured",
    }


def test_garbage_without_an_id_is_a_lookup_too() -> None:
    pairing = Pairing(VANTAGE)
    pairing.feed([seen(0, b"", id_=NO_ID)])
    (record,) = pairing.finish()
    assert to_builtins(record)["error"]["type"] == "malformed"
    assert to_builtins(record)["dns"] == {"query_bytes": 0}


def test_messages_come_besides_and_duplicates_do_not() -> None:
    pairing = Pairing(VANTAGE, messages=True)
    records = pairing.feed(script("0 ask; 0.01 ask; 2500 ask; 2501 answer; 2501.1 answer"))
    assert [told(record) for record in records] == [
        "message query",
        "message query",
        "message response",
        "a.b answered 2501ms tries=2",
    ]
    assert to_builtins(records[0]) == {
        "apiVersion": "kdns/v1",
        "kind": "message",
        "time": "2026-11-23T10:00:00.000000000Z",
        "backend": "replay",
        "direction": "query",
        "transport": "udp",
        "client": {"ip": CLIENT, "port": 40001},
        "server": {"ip": SERVER, "port": 53},
        "dns": {
            "id": 7,
            "opcode": "QUERY",
            "name": "a.b",
            "type": "A",
            "class": "IN",
            "flags": ["rd"],
            "query_bytes": 21,
        },
    }


def test_counters_add_up() -> None:
    pairing = Pairing(VANTAGE)
    run(pairing, script("0 ask; 0.1 ask; 5000 ask; 5001 answer; 5001.1 answer; 9 answer name=c.d"))
    assert pairing.counters == {
        "queries": 3,
        "retries": 1,
        "duplicate_queries": 1,
        "evicted": 0,
        "responses": 3,
        "responses_without_query": 1,
        "duplicate_responses": 1,
        "late_responses": 0,
    }
