"""CoreDNS log lines to JSON, beside the budget, a plain regex loop, grep, and stern where there is one.

`rows()` measures. Speeds are lines per second of CPU time, the best of a few passes; the lines are in memory,
as a kubelet serves them (with times), and records and JSON are made of them.
"""

from __future__ import annotations

import random
import re
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator

import msgspec
from row import Row

from kdns_coredns.corefile import COMMON
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.selection import select
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.model import Server
from kubectl_kdns.times import format_time, parse_time

_PASSES = 4
_LINES = 200_000
_NAMES = 2_000
_READ_BYTES = 65_536
_BUDGET_ALL = 400_000
_BUDGET_SELECTED = 3_000_000

# What one would write first: a regex a line, and its groups.
_PLAIN = re.compile(
    rb'^(?P<time>\S+) \[INFO\] (?P<remote>\[[^\]]+\]|[^:\s]+):(?P<port>\d+) - (?P<id>\d+) "(?P<type>\S+) '
    rb'(?P<class>\S+) (?P<name>(?:\\.|[^\s\\"])+) (?P<proto>\S+) (?P<size>\d+) (?P<do>true|false) '
    rb'(?P<bufsize>\d+)" (?P<rcode>\S+) (?P<rflags>\S*) (?P<rsize>\d+|-) (?P<duration>[\d.]+)s$'
)


def rows() -> Iterator[Row]:
    log, cold = make_log(repeating=True), make_log(repeating=False)
    plain = _best(lambda: _read_plainly(log))
    whole = _best(lambda: _read(log, ""))
    yield Row("coredns: all lines to JSON", whole, "budget", _BUDGET_ALL)
    yield Row("coredns: all lines to JSON", whole, "regex a line", plain)
    yield Row("coredns: all, names that never repeat", _best(lambda: _read(cold, "")), "regex a line", plain)
    servfail = _best(lambda: _read(log, 'dns.rcode == "SERVFAIL"'))
    yield Row("coredns: 0.5 % by rcode to JSON", servfail, "budget", _BUDGET_SELECTED)
    with tempfile.NamedTemporaryFile() as file:
        file.write(log)
        file.flush()
        peers = (("grep", "-c", " SERVFAIL "), ("stern", "--stdin", "--include", " SERVFAIL "))
        for command in peers:
            if shutil.which(command[0]):
                speed = _best(lambda command=command: _run_on(file.name, command))  # type: ignore[misc]
                yield Row("coredns: 0.5 % by rcode to JSON", servfail, " ".join(command[:2]), speed)
    for what, source in (
        ("class error", 'dns.response_class == "error"'),
        ("one name", 'dns.name == "svc-1234.shop.svc.cluster.local"'),
        ("slower than 100 ms", "latency_ms > 100"),
    ):
        speed = _best(lambda source=source: _read(log, source))  # type: ignore[misc]
        yield Row(f"coredns: {what} to JSON", speed, "regex a line", plain)


def make_log(*, repeating: bool) -> bytes:
    """A busy CoreDNS's log with the kubelet's times; one lookup in 200 is a SERVFAIL, one in 1000 is slow.

    Names repeat by Zipf's law, or never.
    """
    chance = random.Random(1)
    pool = [f"svc-{rank}.shop.svc.cluster.local." for rank in range(_NAMES)]
    names = chance.choices(pool, [1 / (rank + 1) for rank in range(_NAMES)], k=_LINES)
    if not repeating:
        names = [f"{chance.getrandbits(64):x}.example.com." for _ in range(_LINES)]
    time_ns = parse_time("2026-11-23T10:00:00Z")
    lines = []
    for number, name in enumerate(names):
        time_ns += chance.randrange(5_000, 100_000)
        client = f"10.244.{chance.randrange(4)}.{chance.randrange(250)}:{chance.randrange(30_000, 60_000)}"
        question = f"{chance.choice(('A', 'AAAA'))} IN {name} udp {len(name) + 16} false 512"
        rcode = "SERVFAIL" if number % 200 == 0 else chance.choice(("NOERROR", "NXDOMAIN"))
        response = f"{rcode} qr,aa,rd {2 * len(name) + 30}"
        duration_s = chance.randrange(30_000, 3_000_000) / 1e9 * (1000 if number % 1000 == 0 else 1)
        line = f'{client} - {chance.randrange(65_536)} "{question}" {response} {duration_s:.9f}s'
        lines.append(f"{format_time(time_ns)} [INFO] {line}\n")
    return "".join(lines).encode()


def _read(log: bytes, source: str) -> None:
    """The whole way from blocks of bytes, cut at line ends, to JSON lines."""
    server = Server(ip="10.244.0.3", port=53, kind="coredns", namespace="kube-system", pod="coredns-a")
    decoder = LogDecoder(server, "n1", (COMMON,), select(parse_filter(source)))
    encode = msgspec.json.Encoder().encode_lines
    start = 0
    while start < len(log):
        end = log.rfind(b"\n", start, start + _READ_BYTES) + 1
        encode(decoder.feed(log[start:end]))
        start = end
    encode(decoder.flush())


def _read_plainly(log: bytes) -> None:
    for line in log.splitlines():
        match = _PLAIN.match(line)
        if match:
            match.groupdict()


def _run_on(path: str, command: tuple[str, ...]) -> None:
    with open(path, "rb") as file:
        subprocess.run(command, stdin=file, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)


def _best(work: Callable[[], None]) -> float:
    """Lines per second of the CPU time of this process and its children."""
    return _LINES / min(_cpu_s(work) for _ in range(_PASSES))


def _cpu_s(work: Callable[[], None]) -> float:
    def now_s() -> float:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + children.ru_utime + children.ru_stime

    start_s = now_s()
    work()
    return now_s() - start_s
