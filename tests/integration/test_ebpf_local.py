"""The agent on this machine: what goes over loopback is seen, counted and told. Needs root on Linux."""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdns_ebpf import wire
from kdns_ebpf.local import LocalAgent, own_binary
from kubectl_kdns.errors import BackendError
from kubectl_kdns.times import NS_PER_S, parse_time
from support.agent_build import build
from support.dns_wire import QUERY, message, name, question

PORT = 5399
LOOKUPS = 997

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or os.geteuid() != 0, reason="an agent needs root on Linux"
)


@pytest.fixture(scope="module")
def flood(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Asks itself over loopback (agent/test/flood.c)."""
    return build(tmp_path_factory.mktemp("flood") / "flood", ["test/flood.c"], "-O2", "-pthread")


def watch(*arguments: str, config: bytes | None = None) -> tuple[LocalAgent, list[Any], threading.Thread]:
    """An agent that has said hello, the records that come of it, and who reads them."""
    agent = LocalAgent(["--port", str(PORT), *arguments], config or wire.config(bytes(16)))
    records: list[Any] = []
    reader = threading.Thread(target=lambda: [records.extend(batch) for batch in agent], daemon=True)
    reader.start()
    deadline = time.monotonic() + 30
    while agent._stream.hello is None:
        assert time.monotonic() < deadline, "the agent said nothing"
        time.sleep(0.01)
    return agent, records, reader


def end(agent: LocalAgent, reader: threading.Thread) -> wire.Stats:
    agent.close()
    reader.join(10)
    assert not reader.is_alive()
    assert agent._stream.stats is not None
    return agent._stream.stats


def run_flood(flood: Path, lookups: int, *more: str) -> None:
    out = subprocess.run([flood, str(PORT), str(lookups), "1", *more], capture_output=True, text=True).stdout
    assert out.startswith(f"sent {lookups} answered {lookups} "), out


def counted(records: list[Any], reason: str) -> int:
    return sum(record.count for record in records if record.kind == "loss" and record.reason == reason)


def adds_up(stats: wire.Stats) -> bool:
    told = stats.sent + stats.filtered + stats.lost + stats.over_rate + stats.pending
    return stats.seen == told and stats.captured == stats.control + stats.ring_sent + stats.ring_lost


def test_every_lookup_at_both_ends_with_its_process(flood: Path) -> None:
    agent, records, reader = watch()
    run_flood(flood, LOOKUPS)
    stats = end(agent, reader)
    lookups = [record for record in records if record.kind == "lookup"]
    assert len(lookups) == 2 * LOOKUPS
    at_client = [record for record in lookups if record.side == "client"]
    assert len(at_client) == LOOKUPS
    assert {record.client.process.name for record in at_client} == {"flood"}
    assert {record.status for record in lookups} == {"answered"}
    assert all(record.latency_ms > 0 and record.tries == 1 for record in lookups)
    assert stats.seen == stats.sent == 4 * LOOKUPS
    assert adds_up(stats)


def test_what_is_under_way_when_it_begins_is_not_told_as_unanswered(flood: Path) -> None:
    """The kernel checks one direction's program, then the other's: of what comes meanwhile half is seen."""
    with subprocess.Popen([flood, str(PORT), "2000", "60"], stdout=subprocess.DEVNULL) as busy:
        for _ in range(5):
            agent, records, reader = watch()
            wait_for(lambda: len(records) > LOOKUPS)  # noqa: B023
            stats = end(agent, reader)
            lookups = [record for record in records if record.kind == "lookup"]
            last_ns = max(parse_time(each.time) for each in lookups if each.status == "answered")
            # Those of the last moment are still under way.
            others = [each for each in lookups if parse_time(each.time) < last_ns - NS_PER_S // 100]
            assert {each.status for each in others} == {"answered"}
            assert adds_up(stats)
        busy.kill()


def test_a_node_that_is_a_container_does_not_name_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with kind: the kernel's number of a process is that of another one in the node's own /proc."""
    ask = """
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.connect(("127.0.0.1", int(sys.argv[1])))
client.send(bytes.fromhex(sys.stdin.readline()))
"""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        subprocess.Popen(["python3", "-c", ask, str(PORT)], stdin=subprocess.PIPE, text=True) as asker,
    ):
        silent.bind(("127.0.0.1", PORT))
        other = f"echo {asker.pid - 1} >/proc/sys/kernel/ns_last_pid; sleep 60 & "
        script = f'{other} test -e /proc/{asker.pid}/comm && exec {own_binary()} "$@"'
        node = tmp_path / "node"
        enter = "exec unshare --pid --kill-child --mount-proc"
        node.write_text(f"#!/bin/sh\n{enter} sh -c '{script}' node \"$@\"\n")
        node.chmod(0o755)
        monkeypatch.setattr("kdns_ebpf.local.own_binary", lambda: node)
        agent, records, reader = watch("--timeout-ms", "100")
        asker.communicate(message(QUERY, [question(name(b"who", b"test"))]).hex() + "\n")
        wait_for(lambda: any(records_of(records)))
        end(agent, reader)
    (record,) = records_of(records)
    assert record.client.process.name.startswith("python")


def test_what_is_filtered_never_leaves_the_agent(flood: Path) -> None:
    config = wire.config(bytes(16), names=[(wire.NAME_SUFFIX, b".wanted.test")])
    agent, records, reader = watch(config=config)
    run_flood(flood, 1000, "1")
    stats = end(agent, reader)
    assert len([record for record in records if record.kind == "lookup"]) == 20
    assert (stats.sent, stats.filtered) == (40, 3960)
    assert adds_up(stats)


def test_what_is_over_the_rate_is_counted(flood: Path) -> None:
    agent, records, reader = watch(config=wire.config(bytes(16), max_rate=100))
    run_flood(flood, 1000)
    time.sleep(1.2)
    stats = end(agent, reader)
    told = counted(records, "rate_cap")
    assert told == stats.over_rate > 0
    assert adds_up(stats)


def test_a_ring_that_is_too_small_counts_what_it_had_no_room_for(flood: Path) -> None:
    agent, records, reader = watch("--ring-bytes", "4096")
    run_flood(flood, 20_000)
    time.sleep(1.2)
    stats = end(agent, reader)
    lost = counted(records, "ring_full")
    assert lost == stats.ring_lost > 0
    assert stats.ring_sent + stats.ring_lost == 80_000
    assert adds_up(stats)


@pytest.mark.parametrize("arguments", [(), ("--fallback",)])
def test_what_nobody_answers_is_told_and_what_waits_is_pending(arguments: tuple[str, ...]) -> None:
    agent, records, reader = watch("--timeout-ms", "300", *arguments)
    # Somebody listens and never answers.
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        silent.bind(("127.0.0.1", PORT))
        for label in (b"old", b"old", b"new"):
            if label == b"new":
                wait_for(lambda: any(record.status == "unanswered" for record in records_of(records)))
            query = message(QUERY, [question(name(label, b"test"))], id_=len(label) + label[0])
            client.sendto(query, ("127.0.0.1", PORT))
            time.sleep(0.15)
        stats = end(agent, reader)
    found = {(record.dns.name, record.status): record.tries for record in records_of(records)}
    assert found[("old.test", "unanswered")] == 2
    assert found[("new.test", "pending")] == 1
    assert stats.pending == 0
    told = stats.sent + stats.filtered
    assert stats.seen == told


def test_the_packet_socket_has_the_packets_own_times() -> None:
    """Not those at which a busy agent comes to read them."""
    agent, records, reader = watch("--fallback")
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        server.bind(("127.0.0.1", PORT))
        agent._agent.send_signal(signal.SIGSTOP)
        try:
            begun_ns = time.time_ns()
            client.sendto(message(QUERY, [question(name(b"late", b"test"))]), ("127.0.0.1", PORT))
            query, address = server.recvfrom(512)
            time.sleep(0.3)
            server.sendto(query[:2] + b"\x81\x80" + query[4:], address)
            client.recv(512)
            ended_ns = time.time_ns()
            time.sleep(0.3)
        finally:
            agent._agent.send_signal(signal.SIGCONT)
        wait_for(lambda: any(records_of(records)))
        end(agent, reader)
    (record,) = records_of(records)
    assert record.status == "answered"
    assert 300 <= record.latency_ms <= (ended_ns - begun_ns) / 1e6
    assert begun_ns <= parse_time(record.time) <= ended_ns


def records_of(records: list[Any]) -> Iterator[Any]:
    """The lookups, as the client's side or the only one saw them."""
    for record in list(records):
        if record.kind == "lookup" and record.side in ("client", msgspec.UNSET):
            yield record


def wait_for(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_without_rights_it_says_what_to_do() -> None:
    command = [str(own_binary()), "local"]
    drop = ["setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps", "-all", "--bounding-set", "-all"]
    done = subprocess.run([*drop, *command], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 3
    assert "not permitted" in done.stderr


def test_an_agent_that_is_killed_is_an_error_and_leaves_nothing_in_the_kernel() -> None:
    before = programs_in_the_kernel()
    agent = LocalAgent(["--port", str(PORT)], wire.config(bytes(16)))
    batches = iter(agent)
    while agent._stream.hello is None:
        next(batches)
    assert programs_in_the_kernel() == before + 8
    agent._agent.kill()
    with pytest.raises(BackendError, match="could not work"):
        for _ in batches:
            pass
    # The kernel takes them away a moment after the last descriptor.
    wait_for(lambda: programs_in_the_kernel() == before)


def programs_in_the_kernel() -> int:
    """How many BPF programs there are: bpf(BPF_PROG_GET_NEXT_ID) until there is no next one."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    attributes = (ctypes.c_uint32 * 32)()
    count = 0
    while libc.syscall(number, 11, attributes, ctypes.sizeof(attributes)) == 0:
        attributes[0] = attributes[1]
        count += 1
    return count
