"""The ring of one node: where a request begins, what it is given, and what it is told it lost."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from support.hubble_flows import START_NS, dropped_packet, enveloped, lost, request, response
from support.hubble_ring import RequestError, Ring, RingReader, mask_of, masked
from support.hubble_schema import GetFlowsRequest

S = 1_000_000_000
DNS = {"protocol": ["dns"]}


def at(second: float) -> Timestamp:
    stamp = Timestamp()
    stamp.FromNanoseconds(START_NS + round(second * S))
    return stamp


def flow(second: int) -> Any:
    return request(f"n{second}.test.", time_ns=START_NS + second * S)


def ring_of(count: int, capacity: int = 7) -> Ring:
    ring = Ring(capacity)
    for second in range(count):
        ring.write(enveloped(flow(second)))
    return ring


def reader(ring: Ring, **more: Any) -> RingReader:
    options = {name: more.pop(name) for name in ("knows_mask", "lost_every_s", "now_ns") if name in more}
    return RingReader(ring, GetFlowsRequest(**more), node="kdns-n1", **options)


def read(reader: RingReader) -> list[str]:
    """What comes until nothing does: names without ".test.", or "lost N"."""
    found = []
    while (message := reader.poll()) is not None:
        if message.HasField("flow"):
            found.append(message.flow.l7.dns.query.removesuffix(".test."))
        else:
            found.append(f"lost {message.lost_events.num_events_lost}")
    return found


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, "n3 n4 n5 n6 n7 n8 n9"),
        ({"number": 2}, "n8 n9"),
        ({"number": 100}, "n3 n4 n5 n6 n7 n8 n9"),
        ({"number": 2, "first": True}, "n3 n4"),
        ({"since": at(7)}, "n7 n8 n9"),
        ({"since": at(6.5)}, "n7 n8 n9"),
        (
            {"since": at(6.5), "number": 2},
            "n7 n8",
        ),  # since beats number as to the start; number still ends it
        ({"since": at(6.5), "number": 1, "first": True}, "n7"),
        ({"since": at(0)}, "n3 n4 n5 n6 n7 n8 n9"),
        ({"since": at(60)}, ""),
        ({"until": at(5)}, "n3 n4 n5"),
        ({"since": at(4), "until": at(5)}, "n4 n5"),
        ({"number": 2, "until": at(5)}, ""),
        ({"number": 2, "whitelist": [{"dns_query": ["[46]"]}]}, "n4 n6"),
        ({"number": 2, "blacklist": [{"dns_query": ["[79]"]}]}, "n6 n8"),
        ({"since": at(5), "whitelist": [{"dns_query": ["[468]"]}]}, "n6 n8"),
    ],
)
def test_history(fields: dict[str, Any], wanted: str) -> None:
    history = reader(ring_of(10), **fields)
    assert read(history) == wanted.split()
    assert history.finished


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({}, ""),
        ({"number": 2}, "n8 n9"),
        ({"since": at(8)}, "n8 n9"),
        ({"since": at(8), "number": 1}, "n8 n9"),  # with follow number only rewinds, and not with since
        ({"number": 3, "whitelist": [{"dns_query": ["[57]"]}]}, "n5 n7"),
    ],
)
def test_follow(fields: dict[str, Any], wanted: str) -> None:
    ring = ring_of(10)
    live = reader(ring, follow=True, **fields)
    assert read(live) == wanted.split()
    ring.write(enveloped(flow(57)))
    assert read(live) == ["n57"]
    assert not live.finished


def test_follow_until() -> None:
    ring = ring_of(3)
    live = reader(ring, follow=True, until=at(5))
    for second in (4, 6, 5):
        ring.write(enveloped(flow(second)))
    assert read(live) == ["n4"]
    assert live.finished


def test_an_empty_ring() -> None:
    ring = Ring(7)
    live = reader(ring, follow=True, number=1)
    assert read(live) == []
    assert read(reader(ring, number=5)) == []
    ring.write(enveloped(flow(1)))
    assert read(live) == ["n1"]


def test_each_overrun_event_is_one_lost_event() -> None:
    ring = ring_of(7)
    slow = reader(ring)
    assert slow.poll().flow.l7.dns.query == "n0.test."
    for second in range(7, 10):
        ring.write(enveloped(flow(second)))
    assert read(slow) == ["lost 1", "lost 1", "n3", "n4", "n5", "n6", "n7", "n8", "n9"]


def test_since_1_19_overrun_events_are_counted_up_and_forgotten_at_the_end() -> None:
    ring, now_ns = ring_of(7), START_NS
    slow = reader(ring, lost_every_s=1, now_ns=lambda: now_ns)
    assert slow.poll().flow.l7.dns.query == "n0.test."
    for second in range(7, 10):
        ring.write(enveloped(flow(second)))
    assert slow.poll().flow.l7.dns.query == "n3.test."
    now_ns += S
    assert read(slow) == ["lost 2", "n4", "n5", "n6", "n7", "n8", "n9"]
    late = reader(ring, lost_every_s=1, now_ns=lambda: now_ns)
    for second in range(10, 20):
        ring.write(enveloped(flow(second)))
    assert read(late) == [f"n{second}" for second in range(13, 20)]


def test_lost_events_stay_in_the_ring_whatever_is_asked() -> None:
    ring = ring_of(2)
    ring.write(lost("OBSERVER_EVENTS_QUEUE", 5))
    ring.write(enveloped(flow(2)))
    for fields in ({}, {"number": 2}, {"since": at(1)}, {"whitelist": [{"dns_query": ["n[12]"]}]}):
        assert read(reader(ring, **fields))[-3:] == ["n1", "lost 5", "n2"]
    assert read(reader(ring, since=at(2))) == ["lost 5", "n2"]
    assert read(reader(ring, number=1)) == ["n2"]


def test_a_mask_leaves_only_its_fields_and_empties_the_envelope() -> None:
    ring = Ring(7)
    ring.write(enveloped(response(request(), ips=["192.0.2.1"])))
    ring.write(enveloped(dropped_packet()))
    paths = ["l7.dns.query", "source.pod_name", "uuid", "event_type"]
    asked = reader(ring, field_mask={"paths": paths})
    answer, packet = asked.poll(), asked.poll()
    assert (answer.node_name, answer.HasField("time")) == ("", False)
    assert {field.name for field, _ in answer.flow.ListFields()} == {"l7", "source", "uuid", "event_type"}
    assert answer.flow.l7.dns.query == "example.com."
    assert not answer.flow.l7.dns.ips
    assert packet.flow.HasField("l7")  # empty: the agent makes every message on the way to a field
    assert packet.flow.event_type.type == 1


def test_a_mask_may_ask_for_the_envelope() -> None:
    ring = ring_of(1)
    message = reader(ring, field_mask={"paths": ["time", "node_name"]}).poll()
    assert (message.node_name, message.time) == ("kdns-n1", at(0))
    assert not message.flow.HasField("l7")


def test_a_parent_beats_its_children() -> None:
    whole = masked(flow(1), mask_of(["source.pod_name", "source"]))
    assert whole.source == flow(1).source


def test_an_old_agent_knows_no_mask() -> None:
    message = reader(ring_of(1), field_mask={"paths": ["nope"]}, knows_mask=False).poll()
    assert message.flow.l7.dns.query == "n0.test."


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"first": True, "follow": True}, "INVALID_ARGUMENT", "first cannot be specified with follow"),
        ({"whitelist": [DNS, {"dns_query": ["("]}]}, "UNKNOWN", "invalid DNS query filter"),
        ({"blacklist": [{"source_ip": ["x"]}]}, "UNKNOWN", "invalid IP address"),
        ({"field_mask": {"paths": ["uuid", "nope"]}}, "UNKNOWN", "invalid fieldmask"),
        ({"field_mask": {"paths": ["source.labels.x"]}}, "UNKNOWN", "invalid fieldmask"),
    ],
)
def test_what_an_agent_answers_with_an_error(fields: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(RequestError, match=words) as error:
        reader(ring_of(1), **fields)
    assert error.value.code == code
