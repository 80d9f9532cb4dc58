"""`kdns-agent enter`: DNS messages from another network namespace, with its resolv.conf. Needs root."""

from __future__ import annotations

import errno
import os
import platform
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kdns_ebpf import wire
from kdns_ebpf.local import own_binary
from kubectl_kdns.resolver import question

pytestmark = pytest.mark.skipif(
    platform.system() != "Linux" or os.geteuid() != 0, reason="to enter another namespace needs root on Linux"
)
PORT = 5388


class Agent:
    """The program, by its standard streams."""

    def __init__(self, *who: str) -> None:
        self.process = subprocess.Popen(
            [own_binary(), "enter", *who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = wire.FrameReader()
        self._frames: list[wire.Frame] = []

    def send(self, slot: int, message: bytes, *, over_tcp: bool = False, port: int = PORT) -> None:
        assert self.process.stdin
        address = socket.inet_aton("127.0.0.1")
        self.process.stdin.write(wire.send(slot, address, port, over_tcp=over_tcp, message=message))
        self.process.stdin.flush()

    def next(self) -> wire.Frame:
        assert self.process.stdout
        while not self._frames:
            data = os.read(self.process.stdout.fileno(), 65536)
            assert data, self.process.stderr and self.process.stderr.read()
            self._frames += [
                wire.Frame(type_, memoryview(bytes(body))) for type_, body in self._reader.feed(data)
            ]
        return self._frames.pop(0)

    def close(self) -> int:
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            assert stream
            stream.close()
        return self.process.wait(10)


@pytest.fixture
def elsewhere() -> Iterator[int]:
    """A process in a network namespace of its own, whose loopback is up."""
    command = ["unshare", "--net", "sh", "-c", "ip link set lo up 2>/dev/null; echo ready; exec sleep 300"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "ready\n"
    yield process.pid
    process.kill()
    process.stdout.close()
    process.wait(10)


@pytest.fixture
def echo() -> Iterator[None]:
    """A server in our own namespace: over UDP, and over TCP in pieces."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    tcp = socket.create_server(("127.0.0.1", PORT))
    udp.bind(("127.0.0.1", PORT))

    def over_udp() -> None:
        with suppress(OSError):
            while (found := udp.recvfrom(4096))[1]:
                udp.sendto(*found)

    def over_tcp() -> None:
        with suppress(OSError):
            while True:
                connection, _ = tcp.accept()
                with connection:
                    while data := connection.recv(4096):
                        for byte in data:
                            connection.send(bytes((byte,)))

    threads = [threading.Thread(target=each, daemon=True) for each in (over_udp, over_tcp)]
    for thread in threads:
        thread.start()
    yield
    for end in (udp, tcp):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
    for thread in threads:
        thread.join(5)


def test_messages_go_out_and_come_back_over_udp_and_tcp(echo: None) -> None:  # noqa: ARG001
    agent = Agent("--pid", str(os.getpid()))
    pid, text = wire.read_entered(agent.next().data)
    assert pid == os.getpid()
    assert text == Path("/etc/resolv.conf").read_text()
    sent = {}
    for slot, over_tcp in ((0, False), (1, True)):
        for id_ in (1, 2):
            message = question("www.example.com", "A", 100 * slot + id_, "127.0.0.1").message
            agent.send(slot, message, over_tcp=over_tcp)
            sent[100 * slot + id_] = slot, message
    while sent:
        frame = agent.next()
        slot, error, message = wire.read_answer(frame.data)
        assert (frame.type, error) == (wire.ANSWER, 0)
        assert sent.pop(int.from_bytes(message[:2], "big")) == (slot, message)
    assert agent.close() == 0


def test_it_is_in_the_other_network(echo: None, elsewhere: int) -> None:  # noqa: ARG001
    agent = Agent("--pid", str(elsewhere))
    assert wire.read_entered(agent.next().data)[0] == elsewhere
    for over_tcp, slot in ((False, 3), (True, 4)):
        agent.send(slot, b"\0\1" + bytes(10), over_tcp=over_tcp)
        frame = agent.next()
        refused = wire.read_answer(frame.data)
        # Our server is not there: nobody listens on that loopback, or it has none that is up.
        assert frame.type == wire.REFUSED
        assert refused[0] == slot
        assert refused[1] in (errno.ECONNREFUSED, errno.ENETUNREACH)
    agent.close()


def test_it_ends_with_its_input(elsewhere: int) -> None:
    agent = Agent("--pid", str(elsewhere))
    agent.next()
    assert agent.process.stdin
    agent.process.stdin.close()
    assert agent.process.wait(5) == 0
    for stream in (agent.process.stdout, agent.process.stderr):
        assert stream
        stream.close()


@pytest.mark.parametrize(
    ("who", "words"),
    [
        (("--pod-uid", "11111111-2222-3333-4444-555555555555"), "has no process on this node"),
        (("--pid", "4194304"), "cannot read /etc/resolv.conf of process 4194304"),
    ],
)
def test_what_is_not_there_is_said(who: tuple[str, str], words: str) -> None:
    done = subprocess.run(
        [own_binary(), "enter", *who], capture_output=True, text=True, timeout=10, check=False
    )
    assert (done.returncode, words in done.stderr) == (1, True), done.stderr


@pytest.mark.parametrize(
    "garbage",
    [b"\xff" * 64, wire.frame(wire.SEND, b"short"), wire.frame(99), wire.frame(wire.SEND, bytes(65536 + 25))],
)
def test_no_input_breaks_it(garbage: bytes) -> None:
    agent = Agent("--pid", str(os.getpid()))
    agent.next()
    assert agent.process.stdin
    with suppress(BrokenPipeError):
        agent.process.stdin.write(garbage)
        agent.process.stdin.flush()
    deadline = time.monotonic() + 10
    while agent.process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert agent.process.returncode == 0
    with suppress(BrokenPipeError):
        agent.process.stdin.close()
    for stream in (agent.process.stdout, agent.process.stderr):
        assert stream
        stream.close()
