"""Websocket messages over a socket pair: frames cut anywhere, garbage, pings, and an end for everybody."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.errors import ClusterError
from kubectl_kdns.kube import duplex
from kubectl_kdns.kube import websocket as module
from kubectl_kdns.kube.websocket import Handshake, ProtocolError, WebSocket
from support.websocket_server import BINARY, CLOSE, CONT, PING, PONG, WebSocketPeer, frame

Pair = tuple[WebSocket, socket.socket]
Conversation = tuple[list[tuple[int, bytes]], bytes]
HANDSHAKE = Handshake.of("a.channel.k8s.io")


class FakeAnswer:
    """A 101 whose connection is one end of a socket pair."""

    def __init__(self, sock: socket.socket, early: bytes = b"") -> None:
        self.sock, self._early = sock, early
        self.headers = {"Sec-WebSocket-Accept": "", "Sec-WebSocket-Protocol": "a.channel.k8s.io"}

    def early(self) -> bytes:
        self.sock.setblocking(False)
        return self._early

    def close(self) -> None:
        self.sock.close()


@contextmanager
def pair(early: bytes = b"", silence_limit_s: float | None = None) -> Iterator[Pair]:
    """A websocket that is open, and the raw socket of its server."""
    ours, theirs = socket.socketpair()
    answer: Any = FakeAnswer(ours, early)

    def broken(error: Exception, lost: bool) -> ClusterError:
        return ClusterError(f"{'lost' if lost else 'cannot open'}: {error}")

    class Agreed(Handshake, frozen=True):
        def agreed(self, answer: Any) -> str:  # noqa: ARG002
            return "a.channel.k8s.io"

    handshake = Agreed(HANDSHAKE.key, HANDSHAKE.protocols)
    opened = WebSocket(lambda _: answer, handshake, broken, silence_limit_s=silence_limit_s)
    opened.open()
    try:
        yield opened, theirs
    finally:
        opened.close()
        theirs.close()


def peer_of(sock: socket.socket) -> WebSocketPeer:
    """For what the client sends."""
    return WebSocketPeer(sock, sock.makefile("rb").read, {"sec-websocket-protocol": ""})


def everything(opened: WebSocket) -> list[tuple[int, bytes]]:
    """Messages up to the end, parts of one channel that follow each other joined."""
    joined: list[tuple[int, bytes]] = []
    while message := opened.receive():
        channel, data = message[0], bytes(message[1])
        assert data
        if joined and joined[-1][0] == channel:
            joined[-1] = (channel, joined[-1][1] + data)
        else:
            joined.append((channel, data))
    return joined


END = frame(struct.pack("!H", 1000), CLOSE)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    """(messages, the server's bytes), cut into frames anywhere, with control frames in between."""
    messages: list[tuple[int, bytes]] = []
    wire = b""
    for channel, data in draw(st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=300)), max_size=6)):
        payload = bytes([channel]) + data
        cuts = sorted(draw(st.lists(st.integers(0, len(payload)), max_size=3)))
        parts = [payload[a:b] for a, b in zip([0, *cuts], [*cuts, len(payload)], strict=True)]
        for number, part in enumerate(parts):
            wire += frame(part, CONT if number else BINARY, fin=number == len(parts) - 1)
            wire += draw(st.sampled_from([b"", frame(b"x", PING), frame(b"", PONG)]))
        if data and messages and messages[-1][0] == channel:
            messages[-1] = (channel, messages[-1][1] + data)
        elif data:
            messages.append((channel, data))
    return messages, wire


@given(conversations(), st.integers(0, 40))
def test_messages_however_they_are_cut(conversation: Conversation, early: int) -> None:
    messages, wire = conversation
    wire += END
    with pair(early=wire[:early]) as (opened, server):
        server.sendall(wire[early:])
        assert everything(opened) == messages
        assert opened.receive() is None


@given(st.binary(max_size=100))
def test_garbage_is_an_error_or_an_end(garbage: bytes) -> None:
    with pair() as (opened, server):
        server.sendall(garbage)
        server.shutdown(socket.SHUT_WR)
        with suppress(ClusterError):
            everything(opened)
        assert opened.receive() is None


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"", "IncompleteRead"),
        (frame(b"\1abc")[:-1], "IncompleteRead"),
        (frame(b"\1ab", fin=False), "IncompleteRead"),
        (frame(b"ab", CONT), "wrong order"),
        (frame(b"\1ab", fin=False) + frame(b"\1ab"), "wrong order"),
        (b"\x82\x7f" + struct.pack("!Q", 1 << 62), "a frame of 4611686018427387904 bytes"),
        (b"\xc2\1\1", "rsv"),
        (b"\x83\1\1", "opcode"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", ""),
    ],
)
def test_what_is_no_message(wire: bytes, text: str) -> None:
    with pair() as (opened, server):
        server.sendall(wire)
        server.shutdown(socket.SHUT_WR)
        with pytest.raises(ClusterError, match=f"lost.*{text}"):
            everything(opened)
        assert opened.receive() is None, "after the error it has ended"
        opened.send(0, b"ignored")


def test_what_is_sent() -> None:
    with pair() as (opened, server):
        peer = peer_of(server)
        sent = bytes(range(256)) * 700
        sender = threading.Thread(target=opened.send, args=(4, memoryview(sent)))
        sender.start()
        parts = [peer.message() for _ in range(3)]
        sender.join(10)
        assert {channel for channel, _ in parts} == {4}
        assert b"".join(data for _, data in parts) == sent
        opened.send(0, b"")
        opened.close()
        assert peer.frame() == (CLOSE, struct.pack("!H", 1000)), "an empty message is not sent"


def test_a_ping_is_answered_while_nobody_can_send() -> None:
    with pair() as (opened, server):
        stuck = threading.Thread(target=opened.send, args=(0, b"x" * (8 << 20)))
        stuck.start()
        server.sendall(frame(b"hello", PING) + frame(b"\1data"))
        message = opened.receive()
        assert message is not None
        assert bytes(message[1]) == b"data", "the reader does not wait for the writer"
        peer = peer_of(server)
        while (seen := peer.frame())[0] != PONG:
            assert seen[0] == BINARY
        assert seen == (PONG, b"hello")
        opened.close()
        stuck.join(10)
        assert not stuck.is_alive()


def test_silence_is_broken_by_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PING_PERIOD_S", 0.01)
    with pair() as (_, server):
        peer = peer_of(server)
        assert [peer.frame() for _ in range(3)] == [(PING, b"")] * 3


def test_a_server_that_answers_no_ping_is_gone() -> None:
    with pair(silence_limit_s=0.05) as (opened, _), pytest.raises(ClusterError, match="lost"):
        opened.receive()


def test_close_wakes_the_reader_and_the_writer() -> None:
    with pair() as (opened, _):
        ended: list[object] = []
        threads = [
            threading.Thread(target=lambda: ended.append(opened.receive())),
            threading.Thread(target=lambda: ended.append(opened.send(0, b"x" * (8 << 20)))),
        ]
        for thread in threads:
            thread.start()
        opened.close()
        opened.close()
        for thread in threads:
            thread.join(10)
        assert ended == [None, None]


def test_close_wakes_where_the_system_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplex, "shut_down", lambda _: None)  # as Windows' select takes it
    monkeypatch.setattr(duplex, "LOOK_S", 0.01)
    test_close_wakes_the_reader_and_the_writer()


def test_close_before_the_request() -> None:
    def start(_: WebSocket) -> Any:
        raise AssertionError("sent")

    never = WebSocket(start, HANDSHAKE, lambda error, _: ClusterError(str(error)))
    never.close()
    assert never.receive() is None
    never.send(0, b"x")
    with pytest.raises(ClusterError):
        never.open()


def test_a_request_that_fails_is_sent_once() -> None:
    tries: list[WebSocket] = []

    def start(opening: WebSocket) -> Any:
        tries.append(opening)
        raise ConnectionRefusedError("refused")

    refused = WebSocket(start, HANDSHAKE, lambda error, lost: ClusterError(f"{error} {lost}"))
    for call in (refused.open, lambda: refused.send(0, b"x"), refused.receive):
        with pytest.raises(ClusterError, match="refused False"):
            call()
    assert refused.receive() is None
    assert len(tries) == 1


# The handshake (RFC 6455 section 4)


def test_the_example_of_the_rfc() -> None:
    handshake = Handshake("dGhlIHNhbXBsZSBub25jZQ==", ("chat",))
    answer: Any = FakeAnswer(socket.socket())
    answer.headers = {
        "Sec-WebSocket-Accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
        "Sec-WebSocket-Protocol": "chat",
    }
    assert handshake.agreed(answer) == "chat"
    answer.headers["Sec-WebSocket-Protocol"] = "other\x1b"
    with pytest.raises(ProtocolError, match=r"subprotocol 'other\\\\027'"):
        handshake.agreed(answer)
    answer.headers["Sec-WebSocket-Accept"] = "x"
    with pytest.raises(ProtocolError, match="not that of a websocket server"):
        handshake.agreed(answer)
    answer.close()
    assert Handshake.of("chat").key != Handshake.of("chat").key
