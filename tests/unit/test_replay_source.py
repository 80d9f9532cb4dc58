"""A capture as a stream of records: lookups, and all that the capture could not show."""

from __future__ import annotations

import io
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, to_builtins

from kdns_replay import BACKEND
from kubectl_kdns.backend import Backend, Plan, Scope
from kubectl_kdns.errors import BackendError, UsageError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.model import Lookup, Loss, Notice, Record
from support.captures import (
    CLIENT,
    SERVER,
    START_NS,
    Packet,
    Pcapng,
    ethernet,
    ip,
    pcap,
    query,
    response,
    tcp,
    udp,
)

MS = 1_000_000


def asked(at_ms: float, id_: int = 7, port: int = 53) -> Packet:
    return (START_NS + round(at_ms * MS), ethernet(udp(query(id_=id_), to_port=port)))


def answered(at_ms: float, id_: int = 7) -> Packet:
    reply = response("web.shop.svc.cluster.local", "A", id_, "10.1.2.3")
    return (START_NS + round(at_ms * MS), ethernet(udp(reply, SERVER, 53, CLIENT, 40001)))


def read(data: bytes, **scope: Any) -> list[Record]:
    assert BACKEND.sniff(data)
    source = BACKEND.decode(io.BytesIO(data), Scope(**scope), Plan())
    return [record for batch in source for record in batch]


def told(records: list[Record]) -> list[str]:
    """One line a record."""
    lines = []
    for record in records:
        if isinstance(record, Lookup):
            lines.append(f"{record.status} {record.latency_ms or '-'}")
        elif isinstance(record, Loss):
            lines.append(f"loss {record.reason} {record.count or '?'}: {record.message}")
        elif isinstance(record, Notice):
            lines.append(f"notice {record.code}: {record.message}")
        else:
            lines.append(f"{record.kind}")
    return lines


def test_lookups_of_a_capture() -> None:
    records = read(pcap([asked(0), answered(1.5), asked(2, 8)]))
    assert told(records) == ["answered 1.5", "pending -"]
    assert to_builtins(records[1]) == {
        "apiVersion": "kdns/v1",
        "kind": "lookup",
        "time": "2026-11-23T10:00:00.002000000Z",
        "backend": "replay",
        "status": "pending",
        "tries": 1,
        "transport": "udp",
        "client": {"ip": CLIENT, "port": 40001},
        "server": {"ip": SERVER, "port": 53},
        "dns": {
            "id": 8,
            "opcode": "QUERY",
            "name": "web.shop.svc.cluster.local",
            "type": "A",
            "class": "IN",
            "flags": ["rd"],
            "query_bytes": 44,
        },
    }


def test_the_time_out_and_the_grace_are_those_of_the_scope() -> None:
    data = pcap([asked(0), asked(1, 8), answered(150, 8), asked(250, 9)])
    assert told(read(data, timeout_ns=100 * MS)) == ["answered 149.0", "unanswered -", "pending -"]
    (late, *_) = read(data, timeout_ns=100 * MS)
    assert isinstance(late, Lookup)
    assert late.late is True


def test_messages_and_raw() -> None:
    records = read(pcap([asked(0), answered(1)]), messages=True, raw=True)
    assert [record.kind for record in records] == ["message", "message", "lookup"]
    raw = [to_builtins(record)["raw"] for record in records]
    assert raw == [query().hex(), answered(0)[1][42:].hex(), f"{raw[0]} {raw[1]}"]


def test_ports_are_an_option() -> None:
    data = pcap([asked(0, port=5353)])
    assert told(read(data, options={"ports": (53, 5353)})) == ["pending -"]
    assert told(read(data)) == [
        "notice no_dns: the input: none of 1 packets is DNS of port 53. Try: --port PORT"
    ]


def test_a_capture_that_breaks_off() -> None:
    data = pcap([asked(0), answered(1), asked(2, 8)])
    assert told(read(data[:-1])) == [
        "answered 1.0",
        "loss truncated ?: the input: the file ends inside a packet, 101 bytes after its beginning. "
        "All before it was read",
    ]


def test_a_capture_that_breaks_off_in_its_header() -> None:
    assert told(read(pcap([])[:20])) == [
        "loss truncated ?: the input: the file ends inside the file header, 20 bytes after its beginning. "
        "All before it was read"
    ]


def test_a_capture_without_packets_is_fine() -> None:
    assert read(pcap([])) == []


def test_what_the_capturing_program_missed() -> None:
    file = Pcapng().section().interface().enhanced(START_NS // 1000, asked(0)[1])
    file.block(5, bytes(12) + file.option(5, struct.pack("<Q", 17)))
    (_, loss) = read(file.data)
    assert loss == Loss(
        time="2026-11-23T10:00:00.000000000Z",
        backend="replay",
        reason="capture_drop",
        unit="messages",
        message="the input: the file says that 17 packets were missed",
    )


def test_blocks_that_contradict_themselves() -> None:
    file = Pcapng().section().interface().enhanced(START_NS // 1000, asked(0)[1]).block(6, b"")
    assert told(read(file.data)) == [
        "pending -",
        "loss malformed 1: the input: packet blocks that contradict themselves",
    ]


def test_fragments() -> None:
    part = answered(0)[1][34:94]
    data = pcap([(START_NS, ethernet(ip(17, part, SERVER, CLIENT, fragment=0x2000)))])
    (lookup, loss, notice) = read(data)
    assert to_builtins(lookup)["error"] == {
        "type": "malformed",
        "message": "response: only 52 of its 60 bytes were captured",
    }
    assert told([loss]) == [
        "loss fragment 1: the input: messages in several IP fragments: only the first is read"
    ]
    assert isinstance(notice, Notice)
    assert notice.code == "one_sided"


def test_gaps_in_streams() -> None:
    message = query()
    data = pcap(
        [(START_NS, ethernet(tcp(b"\xff" * 40, 1))), (START_NS + 1, ethernet(tcp(b"\0\x2c" + message, 41)))]
    )
    assert told(read(data)) == [
        "pending -",
        "loss tcp_gap ?: the input: 1 gaps in TCP streams, or streams joined inside a message",
    ]


def test_an_unknown_link_type() -> None:
    assert told(read(pcap([asked(0)] * 3, link_type=147))) == [
        "notice unknown_link_type: the input: 3 packets are of link type 147, which kdns does not read "
        "(their names: https://www.tcpdump.org/linktypes.html). Try: tcpdump -i any",
        "notice no_dns: the input: none of 3 packets is DNS of port 53. Try: --port PORT",
    ]


def test_a_capture_of_queries_only() -> None:
    records = read(pcap([asked(n * 1000, n) for n in range(12)]))
    assert told(records)[-1] == (
        "notice one_sided: the input: 12 queries and not one response: was only one direction captured? "
        "Try: tcpdump with the filter 'port 53'"
    )
    assert "one_sided" not in str(read(pcap([asked(n * 1000, n) for n in range(9)])))


def test_a_capture_of_responses_only() -> None:
    assert told(read(pcap([answered(0)]))) == [
        "answered -",
        "notice one_sided: the input: responses only, no query: latency and unanswered lookups cannot be "
        "told. Try: tcpdump with the filter 'port 53'",
    ]


def test_the_name_of_the_file_is_told() -> None:
    class Named(io.BytesIO):
        name = "prod.pcap"

    source = BACKEND.decode(Named(pcap([])[:-1]), Scope(), Plan())
    (loss,) = [record for batch in source for record in batch]
    assert str(to_builtins(loss)["message"]).startswith("prod.pcap: ")
    assert source.description == "the packets in prod.pcap"


def test_counters() -> None:
    source = BACKEND.decode(io.BytesIO(pcap([asked(0), answered(1), asked(2, port=99)])), Scope(), Plan())
    assert sum(len(batch) for batch in source) == 1
    assert {name: count for name, count in source.counters.items() if count} == {
        "packets": 3,
        "queries": 1,
        "responses": 1,
    }


def test_closing_ends_the_stream_with_what_is_pending() -> None:
    data = pcap([asked(n, n) for n in range(10_000)])
    source = BACKEND.decode(io.BytesIO(data), Scope(), Plan())
    batches = iter(source)
    next(batches)
    source.close()
    source.close()
    rest = [record for batch in batches for record in batch]
    assert 0 < len(rest) < 9_000
    assert {to_builtins(record)["kind"] for record in rest} <= {"lookup", "notice"}


def test_it_is_a_backend_that_only_reads_files() -> None:
    backend: Backend = BACKEND
    cluster: Any = object()
    probe = backend.probe(cluster, {})
    assert (probe.usable, probe.fix) == (False, "kubectl kdns trace --from FILE")
    assert backend.plan(parse_filter("latency_ms > 3")) == Plan()
    with pytest.raises(BackendError, match="cannot watch a cluster"):
        backend.open(Scope(), Plan())
    with pytest.raises(UsageError, match="changes nothing"):
        backend.change(cluster, {}, {})
    assert backend.leftovers(cluster) == []


SAMPLE = pcap(
    [
        asked(0),
        answered(1),
        (START_NS, ethernet(tcp(b"\0\x2c" + query(), 41))),
        (START_NS, ethernet(udp(query(), "fd00::1", 4000, "fd00::2", 53))),
    ]
)


@given(
    st.lists(st.tuples(st.integers(24, len(SAMPLE) - 1), st.integers(0, 255)), max_size=10),
    st.integers(24, len(SAMPLE)),
)
def test_no_damage_raises(changes: list[tuple[int, int]], size: int) -> None:
    data = bytearray(SAMPLE)
    for position, value in changes:
        data[position] = value
    for record in read(bytes(data[:size])):
        assert record.backend is not UNSET
