"""Responses that are broken, odd or hostile: nothing raises, and every text that comes out is safe."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble import wire_flows
from kdns_hubble.flows import MAX_BYTES, Flow, Unread
from kdns_hubble.json_flows import read_line
from kdns_hubble.wire_flows import read_response
from support.hubble_flows import (
    enveloped,
    json_line,
    large,
    lost,
    node_status,
    request,
    response,
)
from support.hubble_reading import MESSAGES, check_texts, of_json, of_wire

BROKEN_LINES = (
    b"",
    b"{",
    b"[]",
    b"null",
    b'"flow"',
    b'{"flow":[]}',
    b'{"flow":{"time":5}}',
    b'{"flow":{"time":"yesterday"}}',
    b'{"flow":{"time":"2026-13-01T00:00:00Z"}}',
    b'{"flow":{"IP":null}}',
    b'{"flow":{"l4":{"UDP":{"source_port":-1}}}}',
    b'{"flow":{"l4":{"UDP":{"source_port":"53"}}}}',
    b'{"flow":{"l7":{"dns":{"ttl":4294967296}}}}',
    b'{"flow":{"l7":{"dns":{"ttl":1e99}}}}',
    b'{"flow":{"l7":{"dns":{"rcode":1.5}}}}',
    b'{"flow":{"l7":{"dns":{"ips":["a",1]}}}}',
    b'{"flow":{"source":{"pod_name":"\xff"}}}',
    b'{"flow":{"source":{"pod_name":"\\ud800"}}}',
    b'{"lost_events":{"num_events_lost":"-1"}}',
    b'{"lost_events":{"num_events_lost":"1e9"}}',
    b'{"lost_events":{"num_events_lost":-1}}',
    b'{"lost_events":{"num_events_lost":"' + b"9" * 5000 + b'"}}',
    b'{"node_status":{"node_names":"n1"}}',
    b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"verdict":true}',
    b'{"apiVersion":"kdns/v1","kind":"lookup","time":"2026-11-18T11:06:40.123456789Z","node":"n1"}',
    b"\x00",
    b"\xff\xfe",
)


@pytest.mark.parametrize("line", BROKEN_LINES, ids=range(len(BROKEN_LINES)))
def test_broken_lines(line: bytes) -> None:
    read = read_line(line, keep_raw=True)
    assert isinstance(read, Unread)
    assert len(read.reason) < 300
    check_texts(read)


def wire(number: int, content: bytes) -> bytes:
    """A field of a message with its bytes, less than 128 of them."""
    return bytes([number << 3 | 2, len(content)]) + content


BROKEN_BYTES = (
    b"\x0a",
    b"\x0a\x05abc",
    b"\xff" * 20,
    wire(1, wire(11, b"\xff\xfe")),
    wire(1, wire(5, b"\x0a\x02\xff\xfe")),
    wire(1, wire(5, b"\x0a")),
    wire(1, wire(6, b"\x12\x06\x08")),
    wire(1, wire(6, b"\x12\x06\x08\xff\xff\xff\x10\x35")),
    wire(1, wire(8, b"\x1a\x7f")),
    wire(1, wire(15, b"\xa2\x06\x05\x0a\x7f")),
    wire(2, b"\x12\x01\xff"),
    wire(3, b"\x10"),
)


@pytest.mark.parametrize("raw", BROKEN_BYTES, ids=range(len(BROKEN_BYTES)))
def test_broken_bytes(raw: bytes) -> None:
    read = read_response(raw)
    assert isinstance(read, Unread)
    check_texts(read)


def test_too_large() -> None:
    """Whatever makes it so large."""
    for size in (MAX_BYTES, 16 << 20):
        flow = large(request("\\001" * 100), size)
        assert isinstance(read_response(enveloped(flow).SerializeToString()), Unread)
        assert isinstance(of_wire(request("a" * size)), Unread)
        assert isinstance(read_line(b'{"flow":{"x":"' + b"x" * size + b'"}}', keep_raw=True), Unread)
    assert isinstance(of_wire(request("\\001" * 120_000)), Flow)


@pytest.mark.parametrize(
    ("seconds", "nanos"), [(2**62, 0), (-(2**62), 0), (0, -1), (253_402_300_800, 0), (-1, 5)]
)
def test_impossible_times_are_unknown(seconds: int, nanos: int) -> None:
    flow = pb.Flow(uuid="u")
    flow.time.seconds, flow.time.nanos = seconds, nanos
    read = read_response(pb.GetFlowsResponse(flow=flow).SerializeToString())
    assert isinstance(read, Flow)
    assert read.time_ns == 0


def test_the_first_and_the_last_second() -> None:
    for text, time_ns in (
        ("1969-12-31T23:59:59.999999999Z", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("1970-01-01T00:00:00.000000001Z", 1),
        ("9999-12-31T23:59:59.999999999Z", 253_402_300_799_999_999_999),
    ):
        read = read_line(f'{{"flow":{{"time":"{text}"}}}}'.encode())
        assert isinstance(read, Flow)
        assert read.time_ns == time_ns


@given(st.binary(max_size=12))
@example(b"\x12\x06\x08\xb1\xe3\x01\x10\x35")
@example(b"\x12\x06\x08\x35\x10\xb1\xe3\x01")
@example(b"\x12\x06\x08\x35\x10\xb1\xe3\x04")
@example(b"\x12\x06\x08\xb1\x63\x01\x10\x35")
@example(b"\x12\x06\x08\x31\xe3\x01\x10\x35")
@example(b"\x12\x06\x08\xff\xff\x03\x10\x35")
def test_ports_are_read_as_protobuf_reads_them(raw: bytes) -> None:
    try:
        l4 = pb.Layer4.FromString(raw)
    except Exception as error:  # noqa: BLE001 - whatever it is, it must be the same
        with pytest.raises(type(error)):
            wire_flows._read_ports(raw)
        return
    known = {"TCP": l4.TCP, "UDP": l4.UDP}.get(l4.WhichOneof("protocol") or "", pb.Ports())
    expected = (l4.WhichOneof("protocol") or "").lower(), known.source_port, known.destination_port
    assert wire_flows._read_ports(raw) == expected


@given(st.sampled_from(("UDP", "TCP")), st.integers(0, 70000), st.integers(0, 70000))
def test_all_ports(protocol: str, source: int, destination: int) -> None:
    ports = pb.Ports(source_port=source, destination_port=destination)
    raw = pb.Layer4(**{protocol: ports}).SerializeToString()
    assert wire_flows._read_ports(raw) == (protocol.lower(), source, destination)


# What JSON and protobuf can both hold: no lone surrogates.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    (
        "a.b.",
        "\\027[2J.",
        "x\x1b[31m",
        "\u202eevil",
        "a\x00b",
        "\\",
        "a\\",
        "\x7f",
        "\u2028",
        "Ünïcode.",
        "\ue000",
    )
)
uint32 = st.integers(0, 2**32 - 1)
times_ns = st.integers(-(10**18), 253_402_300_799 * 10**9)


@st.composite
def flows(draw: st.DrawFn) -> Any:
    ask = request(draw(texts), draw(texts), port=draw(uint32), protocol=draw(st.sampled_from(("UDP", "TCP"))))
    made = ask
    if draw(st.booleans()):
        lists = st.lists(texts, max_size=4)
        types = st.lists(st.sampled_from(("A", "AAAA", "CNAME", "MX", "\x1b")), max_size=4)
        made = response(
            ask,
            rcode=draw(uint32),
            ips=draw(lists),
            cnames=draw(lists),
            ttl=draw(uint32),
            rrtypes=draw(types),
        )
    if draw(st.booleans()):
        made.verdict = draw(st.integers(0, 9))
        made.drop_reason_desc = draw(st.sampled_from((0, 132, 133, 181, 250)))
        made.traffic_direction = draw(st.integers(0, 3))
        made.event_type.type = draw(st.integers(0, 130))
        for denied_by in (made.egress_denied_by, made.ingress_denied_by):
            if draw(st.booleans()):
                denied_by.add(name=draw(texts), namespace=draw(texts))
    made.time.FromNanoseconds(draw(times_ns))
    made.node_name, made.uuid = draw(texts), draw(texts)
    made.IP.source, made.IP.destination = draw(texts), draw(texts)
    for end in (made.source, made.destination):
        end.namespace, end.pod_name = draw(texts), draw(texts)
        if draw(st.booleans()):
            end.workloads.add(name=draw(texts), kind=draw(texts))
    if draw(st.booleans()):
        made.ClearField("l7")
    return made


@given(flows())
def test_any_flow_is_the_same_from_both_and_safe(flow: Any) -> None:
    read = of_wire(flow)
    assert isinstance(read, Flow)
    assert of_json(flow) == msgspec.structs.replace(read, raw="")
    check_texts(read)
    check_texts(read_line(json_line(enveloped(flow)).encode(), keep_raw=True))


@given(texts, texts, texts, st.integers(0, 2**64 - 1))
def test_other_responses_are_the_same_from_both_and_safe(a: str, b: str, c: str, count: int) -> None:
    for message in (node_status("NODE_ERROR", a, b, message=c), lost(count=count, node=a)):
        read = of_wire(message)
        assert read == of_json(message)
        check_texts(read)


VALID = [enveloped(make()) if make().DESCRIPTOR.name == "Flow" else make() for make in MESSAGES.values()]
changes = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255), st.integers(0, 3)), max_size=6)


def changed(data: bytes, edits: list[tuple[int, int, int]]) -> bytes:
    """Bytes replaced, put in, taken out, and cut off."""
    for place, byte, what in edits:
        place %= len(data) + 1
        if what == 0:
            data = data[:place] + bytes([byte]) + data[place + 1 :]
        elif what == 1:
            data = data[:place] + bytes([byte]) + data[place:]
        elif what == 2:
            data = data[:place] + data[place + 1 :]
        elif byte < 32:
            data = data[:place]
    return data


@given(st.sampled_from(VALID), changes)
def test_changed_bytes(message: Any, edits: list[tuple[int, int, int]]) -> None:
    check_texts(read_response(changed(message.SerializeToString(), edits)))


@given(st.sampled_from(VALID), changes)
def test_changed_lines(message: Any, edits: list[tuple[int, int, int]]) -> None:
    check_texts(read_line(changed(json_line(message).encode(), edits), keep_raw=True))


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    check_texts(read_response(data))
    check_texts(read_line(data, keep_raw=True))


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from(VALID), st.lists(st.integers(0, 20), min_size=1, max_size=6), json_values)
def test_wrong_types(message: Any, path: list[int], value: Any) -> None:
    """Any JSON in the place of any value."""
    line = json.loads(json_line(message))
    place = line
    for step in path:
        keys = list(place if isinstance(place, dict) else range(len(place)))
        if not keys:
            break
        key = keys[step % len(keys)]
        if step == path[-1] or not isinstance(place[key], dict | list):
            place[key] = value
            break
        place = place[key]
    check_texts(read_line(json.dumps(line).encode()))
