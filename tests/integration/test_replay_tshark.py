"""What kdns reads of a capture, message by message, beside what tshark reads of it.

Without tshark the tests are skipped, and fail if KDNS_REQUIRE_TSHARK=1 (as in CI).
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest
from msgspec import UNSET

from kdns_replay import BACKEND
from kubectl_kdns.backend import Plan, Scope
from kubectl_kdns.dns.tables import rcode_number, type_number
from kubectl_kdns.model import Lookup, Message, Record
from kubectl_kdns.times import parse_time
from support.captures import START_NS, Pcapng, ethernet, ip, query, response, tcp, udp

DATA = Path(__file__).parents[1] / "golden" / "data"
FIELDS = (
    "frame.time_epoch",
    "dns.id",
    "dns.flags.response",
    "dns.qry.name",
    "dns.qry.type",
    "dns.flags.rcode",
    "dns.a",
    "dns.aaaa",
    "dns.cname",
    "dns.time",
    "dns.retransmit_response_in",
)

Frame = dict[str, Counter[str]]
"""What the DNS messages of one frame hold, by field."""


@pytest.fixture(scope="module")
def tshark() -> str:
    path = shutil.which("tshark")
    if path is None:
        reason = "tshark is not installed. Try: apt-get install tshark"
        if os.environ.get("KDNS_REQUIRE_TSHARK") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def nanoseconds(text: str) -> int:
    seconds, _, fraction = text.partition(".")
    return int(seconds) * 10**9 + int(fraction.ljust(9, "0"))


def theirs(tshark: str, path: Path) -> tuple[dict[int, Frame], dict[int, int]]:
    """The frames by their time, and the latency of each response by its time (ns). Duplicates and what ICMP
    errors repeat are left out."""
    options = [word for field in FIELDS for word in ("-e", field)]
    shown = ["-Y", "dns && !icmp && !icmpv6", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=|"]
    command = [tshark, "-r", str(path), *shown]
    run = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    frames: dict[int, Frame] = {}
    latencies: dict[int, int] = {}
    for line in run.stdout.splitlines():
        time, ids, responses, names, types, rcodes, a, aaaa, cnames, latency, duplicate = (
            [word for word in cell.split("|") if word] for cell in line.split("\t")
        )
        if duplicate:
            continue
        time_ns = nanoseconds(time[0])
        frames[time_ns] = {
            "id": Counter(str(int(word, 16)) for word in ids),
            "response": Counter(responses),
            "name": Counter(name.lower().replace("<root>", ".") for name in names),
            "type": Counter(types),
            "rcode": Counter(rcodes),
            "address": Counter(a + aaaa),
            "cname": Counter(name.lower() for name in cnames),
        }
        if latency:
            latencies[time_ns] = nanoseconds(latency[0])
    return frames, latencies


def ours(path: Path) -> tuple[dict[int, Frame], dict[int, int]]:
    """The same of what kdns reads."""
    with path.open("rb") as file:
        source = BACKEND.decode(file, Scope(messages=True), Plan())
        records: list[Record] = [record for batch in source for record in batch]
    frames: dict[int, Frame] = {}
    latencies: dict[int, int] = {}
    for record in records:
        if isinstance(record, Message):
            assert record.time
            frame = frames.setdefault(
                parse_time(record.time),
                {key: Counter() for key in ("id", "response", "name", "type", "rcode", "address", "cname")},
            )
            add(frame, record)
        elif isinstance(record, Lookup) and record.latency_ms is not UNSET:
            assert record.time
            latency_ns = round(record.latency_ms * 1_000_000)
            latencies[parse_time(record.time) + latency_ns] = latency_ns
    return frames, latencies


def add(frame: Frame, message: Message) -> None:
    dns = message.dns
    assert dns
    frame["id"][str(dns.id)] += 1
    frame["response"][str(int(message.direction == "response"))] += 1
    if dns.name and dns.type:
        frame["name"][dns.name] += 1
        frame["type"][str(type_number(dns.type))] += 1
    if dns.rcode:
        frame["rcode"][str(rcode_number(dns.rcode))] += 1
    for answer in dns.answers or ():
        if answer.type in ("A", "AAAA"):
            frame["address"][answer.data] += 1
        elif answer.type == "CNAME":
            frame["cname"][answer.data] += 1


@pytest.mark.parametrize("name", ["loopback.pcap", "loopback.pcapng"])
def test_real_traffic(tshark: str, name: str) -> None:
    their_frames, their_latencies = theirs(tshark, DATA / name)
    frames, latencies = ours(DATA / name)
    assert len(frames) > 120
    assert frames == their_frames
    assert latencies == their_latencies


def test_link_types_extension_headers_and_segments(tshark: str, tmp_path: Path) -> None:
    """All that one machine's loopback cannot show, in one file of many interfaces."""
    asked, answered = query(), response("web.shop.svc.cluster.local", "A", 7, "10.1.2.3")
    ends = ("10.96.0.10", 53, "10.244.1.17", 40001)
    ends6 = ("fd00:10:96::a", 53, "fd00:10:244::17", 40001)
    pair = [udp(asked), udp(answered, *ends)]
    pair6 = [udp(asked, ends6[2], 40001, ends6[0], 53), udp(answered, *ends6)]
    options = b"\x3c\x01" + bytes(14) + b"\x11\x00" + bytes(6)
    stream = b"".join(
        struct.pack("!H", len(m)) + m for m in (query("a.test", id_=1), query("b.test", id_=2), asked)
    )
    cut = [0, 1, 2, 14, 40, 41, 80, len(stream)]
    segments = [tcp(stream[a:b], 101 + a) for a, b in pairwise(cut)]
    ether = [
        *map(ethernet, [*pair, *pair6]),
        *(ethernet(packet, 0x8100) for packet in pair),
        *(ethernet(packet, 0x88A8, 0x8100) for packet in pair6),
        *(ethernet(ip(60, options + packet[40:], ends6[2], ends6[0])) for packet in pair6[:1]),
        *map(ethernet, [tcp(b"", 100, flags=2), *segments, segments[3]]),
    ]
    cooked = [struct.pack("!HHH8sH", 4, 1, 6, bytes(8), 0x0800) + packet for packet in pair]
    cooked2 = [struct.pack("!HHIHBB8s", 0x0800, 0, 2, 1, 4, 6, bytes(8)) + packet for packet in pair]
    null = [struct.pack("<I", 2) + packet for packet in pair]
    links = {1: ether, 113: cooked, 276: cooked2, 101: [*pair, *pair6], 0: null, 228: pair, 229: pair6}
    file = Pcapng().section()
    for link_type in links:
        file.interface(link_type)
    number = 0
    for interface, frames in enumerate(links.values()):
        for frame in frames:
            number += 1
            file.enhanced(START_NS // 1000 + number * 1_000_000, frame, interface)
    path = tmp_path / "links.pcapng"
    path.write_bytes(file.data)
    their_frames, _ = theirs(tshark, path)
    our_frames, _ = ours(path)
    assert len(our_frames) > 20
    assert our_frames == their_frames
