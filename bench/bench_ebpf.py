"""The agent under load, beside DESIGN section 9's limits and tcpdump on the same traffic: root on Linux.

`rows()` measures. agent/test/flood.c asks itself over loopback: four messages a lookup, so 50,000 lookups a
second are 200,000 messages. "CPU of the DNS path" is what both ends of it use, with the agent and without.
"""

from __future__ import annotations

import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from row import Row

from kdns_ebpf import wire
from kdns_ebpf.agent_stream import AgentStream
from kdns_ebpf.local import AGENT_FOLDER, READ_BYTES, own_binary

PORT = 5399
SECONDS = 30
LOOKUPS_PER_S = 50_000
MESSAGES = 4
SHORT_SECONDS = 5
READABLE_PER_S = 30_000  # what one client can read all of
PAIRS = 3  # of everything and 1 %, in turns: a machine that others use is now slow and now fast
_NS_PER_MS = 1_000_000


def rows() -> Iterator[Row]:
    if platform.system() != "Linux" or os.geteuid() != 0:
        print("ebpf: not measured, an agent needs root on Linux", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as folder:
        flood = build_flood(Path(folder))
        alone_us = run_flood(flood, LOOKUPS_PER_S, SHORT_SECONDS)
        whole = Watched(flood, LOOKUPS_PER_S, SECONDS)
        stats = whole.stats
        lost = stats.ring_lost + stats.lost + stats.over_rate
        yield Row("ebpf: of 6 M messages at 200 k/s, not seen", lost, "limit", 1, "messages")
        per_100k_ms = stats.cpu_ns / _NS_PER_MS / (stats.seen / 100_000)
        yield Row("ebpf: CPU of the agent for 100 k messages", per_100k_ms, "capture alone", 31, "ms")
        if shutil.which("tcpdump"):
            peer = tcpdump_ms_per_100k(flood)
            yield Row("ebpf: CPU of the agent for 100 k messages", per_100k_ms, "tcpdump -w", peer, "ms")
        yield Row("ebpf: memory of the agent", stats.rss_bytes / 1e6, "limit", 10, "MB")
        with_us = Watched(flood, LOOKUPS_PER_S, SHORT_SECONDS).path_us
        yield Row("ebpf: CPU of the DNS path, a lookup", with_us, "without agent", alone_us, "us")
        everything, wanted = [], []
        for _ in range(PAIRS):
            everything.append(Watched(flood, READABLE_PER_S, SHORT_SECONDS, decode=True))
            wanted.append(Watched(flood, READABLE_PER_S, SHORT_SECONDS, decode=True, percent=1))
        all_s = sum(run.client_s for run in everything)
        wanted_s = sum(run.client_s for run in wanted)
        yield Row("ebpf: client's CPU, 1 % wanted", wanted_s * 1000, "2 % of all", all_s * 20, "ms")
        speed = sum(run.lookups for run in everything) / all_s
        yield Row("ebpf: lookups to JSON", speed, "limit", 50_000)


class Watched:
    """One run of the flood under an agent, and what its client took to read what came."""

    def __init__(
        self, flood: Path, rate: int, seconds: int, *, decode: bool = False, percent: int = 100
    ) -> None:
        agent = subprocess.Popen(
            [str(own_binary()), "local", "--port", str(PORT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert agent.stdin is not None
        assert agent.stdout is not None
        names = [(wire.NAME_SUFFIX, b".wanted.test")] if percent < 100 else []
        agent.stdin.write(wire.config(bytes(16), names=names))
        os.read(agent.stdout.fileno(), 1 << 16)  # its hello: it watches
        self.path_us = 0.0

        def run() -> None:
            assert agent.stdin is not None
            self.path_us = run_flood(flood, rate, seconds, percent)
            agent.stdin.write(wire.frame(wire.CLOSE))

        thread = threading.Thread(target=run)
        thread.start()
        stream, tail = AgentStream("bench"), b""
        encode = msgspec.json.Encoder().encode
        before_s = time.thread_time()
        while data := os.read(agent.stdout.fileno(), READ_BYTES):
            if decode:
                for record in stream.feed(data):
                    encode(record)
            tail = (tail + data)[-wire.BYE_HEAD.size :]
        self.client_s = time.thread_time() - before_s
        thread.join()
        agent.wait()
        agent.stdout.close()
        agent.stdin.close()
        _, self.stats = wire.read_bye(memoryview(tail))
        self.lookups = stream.lookups


def build_flood(folder: Path) -> Path:
    compiler = shutil.which("gcc") or shutil.which("clang")
    command = [compiler] if compiler else [sys.executable, "-m", "ziglang", "cc"]
    out = folder / "flood"
    source = str(AGENT_FOLDER / "test/flood.c")
    subprocess.run([*command, "-O2", "-D_GNU_SOURCE", "-pthread", source, "-o", str(out)], check=True)
    return out


def run_flood(flood: Path, rate: int, seconds: int, percent: int = 100) -> float:
    """The CPU of both ends, microseconds a lookup."""
    command = [str(flood), str(PORT), str(rate), str(seconds), str(percent)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.match(r"sent (\d+) answered (\d+) cpu_us (\d+)", out)
    assert found, out
    return int(found[3]) / int(found[1])


def tcpdump_ms_per_100k(flood: Path) -> float:
    """tcpdump sees each packet of loopback twice as well (sent and received), as the agent does."""
    peer = subprocess.Popen(
        ["tcpdump", "-i", "lo", "-B", "32768", "-w", "/dev/null", f"udp port {PORT}"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert peer.stderr is not None
    while "listening" not in peer.stderr.readline():
        pass
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    flood_us = run_flood(flood, LOOKUPS_PER_S, SHORT_SECONDS) * LOOKUPS_PER_S * SHORT_SECONDS
    time.sleep(0.5)
    peer.terminate()
    said = peer.communicate()[1]
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime - flood_us / 1e6
    packets = re.search(r"(\d+) packets? captured", said)
    assert packets, said
    return cpu_s * 1000 / (int(packets[1]) / 100_000)
