"""Packets of a capture to JSON lines, beside the budgets, dnslib on the same messages, and tshark.

`rows()` measures. Speeds are packets per second of CPU time, the best of a few passes. "Hot" are 200 names of
one address each, again and again; "cold" is a realistic stream (2,000 names by Zipf's law, all kinds of
answers, TTLs that count down) that begins with empty caches; "new names" never come twice. "Whole program"
is `trace --from FILE -o json`, start and summary included, beside tshark, which prints as many fields.
"""

from __future__ import annotations

import io
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence

import msgspec
from bench_dns import clear_caches, realistic_stream
from row import Row

from kdns_replay import BACKEND
from kubectl_kdns.backend import Plan, Scope

_PASSES = 10
_SHORT_PASSES = 60  # of a tenth of the length: a busy machine leaves one of them alone
_PEER_PASSES = 2
_HOT_LOOKUPS = 5_000
_HOT_NAMES = 200
_NEW_NAMES = 10_000
_DNSLIB_SAMPLE = 2_000
_STEP_NS = 20_000
_START_NS = 1_795_428_000_000_000_000
_BUDGET_HOT = 300_000
_BUDGET_COLD = 150_000
_BUDGET_MB = 120
_FIELDS = (
    *("frame.time_epoch", "ip.src", "udp.srcport", "ip.dst", "udp.dstport", "dns.id", "dns.qry.name"),
    *("dns.qry.type", "dns.flags.rcode", "dns.a", "dns.aaaa", "dns.cname", "dns.time"),
)


def rows() -> Iterator[Row]:
    realistic = realistic_stream()
    hot, cold = make_capture(_simple(_HOT_NAMES, _HOT_LOOKUPS)), make_capture(realistic)
    new = make_capture(_simple(_NEW_NAMES, _NEW_NAMES))
    dnslib = len(realistic[:_DNSLIB_SAMPLE]) / _cpu_s(lambda: _decode_by_dnslib(realistic[:_DNSLIB_SAMPLE]))
    yield Row("packets: hot to JSON", _per_s(hot, passes=_SHORT_PASSES), "budget", _BUDGET_HOT)
    speed = _per_s(cold, clear_caches)
    yield Row("packets: cold to JSON", speed, "budget", _BUDGET_COLD)
    yield Row("packets: cold to JSON", speed, "dnslib, decoding only", dnslib)
    yield Row("packets: new names to JSON", _per_s(new, clear_caches), "dnslib, decoding only", dnslib)
    with tempfile.NamedTemporaryFile(suffix=".pcap") as file:
        file.write(cold)
        file.flush()
        trace = (sys.executable, "-m", "kubectl_kdns", "trace", "--from", file.name, "-o", "json")
        whole = len(realistic) / _cpu_s(lambda: _run(trace), _PEER_PASSES)
        yield Row("packets: memory of the whole program", _memory_mb(trace), "budget", _BUDGET_MB, "MB")
        if shutil.which("tshark"):
            fields = [word for field in _FIELDS for word in ("-e", field)]
            peer = ("tshark", "-n", "-r", file.name, "-T", "fields", *fields)
            speed = len(realistic) / _cpu_s(lambda: _run(peer), _PEER_PASSES)
            yield Row("packets: whole program", whole, "tshark -T fields", speed)


def make_capture(messages: Sequence[bytes]) -> bytes:
    """Queries and responses in turn as a pcap file: UDP in IPv4 on Ethernet, clients and ports at random."""
    chance = random.Random(2)
    server = bytes((10, 96, 0, 10))
    out = [struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)]
    time_ns = _START_NS
    for number in range(0, len(messages), 2):
        client = bytes((10, 244, chance.randrange(4), chance.randrange(1, 250)))
        port = chance.randrange(30_000, 60_000)
        out.append(_packet(time_ns, client, port, server, 53, messages[number]))
        out.append(_packet(time_ns + _STEP_NS // 2, server, 53, client, port, messages[number + 1]))
        time_ns += _STEP_NS
    return b"".join(out)


def _packet(
    time_ns: int, source: bytes, from_port: int, target: bytes, to_port: int, payload: bytes
) -> bytes:
    udp = struct.pack("!HHHH", from_port, to_port, 8 + len(payload), 0) + payload
    ip = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0) + source + target + udp
    frame = bytes.fromhex("0242ac1100020242ac1100030800") + ip
    seconds, rest_ns = divmod(time_ns, 1_000_000_000)
    return struct.pack("<IIII", seconds, rest_ns // 1000, len(frame), len(frame)) + frame


def _simple(names: int, lookups: int) -> list[bytes]:
    """A lookups with one address; each name as often as any other."""
    from dnslib import RR, A, DNSRecord

    chance = random.Random(3)
    kinds = []
    for number in range(names):
        name = f"svc-{number}.team-{number % 40}.svc.cluster.local"
        query = DNSRecord.question(name)
        reply = query.reply()
        reply.add_answer(RR(name, rdata=A(f"10.96.{number // 256 % 256}.{number % 256}"), ttl=30))
        kinds.append((bytes(query.pack()), bytes(reply.pack())))
    messages = []
    for number in range(lookups):
        id_ = chance.randbytes(2)
        query_bytes, reply_bytes = kinds[number % names]
        messages += [id_ + query_bytes[2:], id_ + reply_bytes[2:]]
    return messages


def _per_s(capture: bytes, before: Callable[[], None] = lambda: None, *, passes: int = _PASSES) -> float:
    """Packets per second, from the bytes of the file to JSON lines."""
    counters: dict[str, int] = {}

    def read() -> None:
        encode = msgspec.json.Encoder().encode_lines
        source = BACKEND.decode(io.BytesIO(capture), Scope(), Plan())
        for batch in source:
            encode(batch)
        counters.update(source.counters)

    best_s = float("inf")
    for _ in range(passes):
        before()
        best_s = min(best_s, _cpu_s(read, 1))
    return counters["packets"] / best_s


def _decode_by_dnslib(messages: Sequence[bytes]) -> None:
    from dnslib import DNSRecord

    for message in messages:
        DNSRecord.parse(message)


def _run(command: Sequence[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _memory_mb(command: Sequence[str]) -> float:
    """The most memory (RSS) that a command takes, asked in a process that has no other children."""
    code = (
        "import resource as r, subprocess as s, sys; "
        "s.run(sys.argv[1:], stdout=s.DEVNULL, stderr=s.DEVNULL, check=True); "
        "print(r.getrusage(r.RUSAGE_CHILDREN).ru_maxrss)"
    )
    run = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    return int(run.stdout) / 1024


def _cpu_s(work: Callable[[], None], passes: int = _PASSES) -> float:
    """The least CPU time of this process and its children."""

    def now_s() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    def once_s() -> float:
        start_s = now_s()
        work()
        return now_s() - start_s

    return min(once_s() for _ in range(passes))


if __name__ == "__main__":
    for row in rows():
        print(row.line())
