"""Kubernetes' channels over one websocket: messages in and out, pings, and an end that leaves nobody hanging.

RFC 6455, framed by `websocket-client`; the first byte of a message is the number of its channel
(`*.channel.k8s.io`, k8s.io/apimachinery `httpstream/wsstream`).
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import os
import socket
import struct
import threading
from collections.abc import Callable

from msgspec import Struct
from websocket import ABNF, WebSocketException, frame_buffer

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube.duplex import Duplex
from kubectl_kdns.kube.transport import Answer, Headers, shut_down

PING_PERIOD_S = 20.0
"""Load balancers on the way drop what is silent for 60 s and more."""
MAX_FRAME_BYTES = 64 << 20
MAX_SEND_BYTES = 64 << 10
_RECEIVE_BYTES = 64 << 10
_BROKEN = (OSError, http.client.HTTPException, WebSocketException)

Broken = Callable[[Exception, bool], KdnsError]
"""Makes the error for a connection that did not come about or (True) that was lost later."""


class ProtocolError(OSError):
    """What came is not how a websocket server talks."""


class Handshake(Struct, frozen=True):
    """What a client sends to open a websocket, with the subprotocols that it speaks, best first."""

    key: str
    protocols: tuple[str, ...]

    @classmethod
    def of(cls, *protocols: str) -> Handshake:
        return cls(base64.b64encode(os.urandom(16)).decode(), protocols)

    @property
    def headers(self) -> Headers:
        return [
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", self.key),
            ("Sec-WebSocket-Protocol", ", ".join(self.protocols)),
        ]

    def agreed(self, answer: Answer) -> str:
        """The subprotocol that the server chose. Raises ProtocolError."""
        digest = hashlib.sha1(f"{self.key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()
        if answer.headers.get("Sec-WebSocket-Accept", "").strip() != base64.b64encode(digest).decode():
            raise ProtocolError("its answer is not that of a websocket server")
        protocol = answer.headers.get("Sec-WebSocket-Protocol", "").strip()
        if protocol not in self.protocols:
            raise ProtocolError(f"it chose the subprotocol {safe_text(protocol)!r}, which nobody asked for")
        return protocol


class WebSocket:
    """One thread receives; any thread sends; any thread closes, more than once.

    `start` sends the request, and gets this object to tell it of sockets and to wait in `pause`. With
    `silence_limit_s` a connection on which not even pings are answered for so long counts as broken.
    """

    def __init__(
        self,
        start: Callable[[WebSocket], Answer],
        handshake: Handshake,
        broken: Broken,
        *,
        silence_limit_s: float | None = None,
    ) -> None:
        self._start, self._handshake, self._broken = start, handshake, broken
        self._silence_limit_s = silence_limit_s
        self._opening = threading.Lock()
        self._closed = threading.Event()
        self._beat = threading.Event()
        self._socket: socket.socket | None = None
        self._wire: Duplex | None = None
        self._protocol = ""
        self._failure: KdnsError | None = None
        self._pong: bytes | None = None  # that we owe; only the last ping wants an answer
        self._frames = _Frames(self._bytes, skip_utf8_validation=True)
        self._buffer, self._position = b"", 0
        self._ended = self._in_message = False
        self._channel: int | None = None

    def open(self) -> str:
        """Sends the request unless that was done; the subprotocol that both speak.

        Raises KdnsError: what the answer is (ForbiddenError, ...), ClusterError when none came or after
        `close`.
        """
        with self._opening:
            if self._failure:
                raise self._failure
            if self._wire is None:
                try:
                    self._wire = self._connect()
                except (*_BROKEN, KdnsError) as error:
                    self._failure = error if isinstance(error, KdnsError) else self._broken(error, False)
                    raise self._failure from error
                if self._closed.is_set():
                    self._release()
                threading.Thread(
                    target=self._keep_alive, args=(self._wire,), name="kdns-websocket-ping", daemon=True
                ).start()
        return self._protocol

    def receive(self) -> tuple[int, memoryview] | None:
        """(channel, data) of a message or of a part of it, never empty; None is the orderly end, or `close`.

        Raises what `open` does, and ClusterError when the connection broke.
        """
        if self._ended or self._closed.is_set():
            return None
        try:
            self.open()
            message = self._message()
        except (*_BROKEN, KdnsError) as error:
            self._ended = True
            self._release()
            if self._closed.is_set():
                return None
            raise error if isinstance(error, KdnsError) else self._broken(error, True) from error
        if message is None:
            self._ended = True
            self._release()
        return message

    def send(self, channel: int, data: bytes | memoryview) -> None:
        """Waits for as long as the other side does not take it. After `close` or the end it does nothing.

        Raises as `receive` does.
        """
        if self._ended or self._closed.is_set():
            return
        try:
            self.open()
            assert self._wire
            for start in range(0, len(data), MAX_SEND_BYTES):
                part = bytes((channel,)) + data[start : start + MAX_SEND_BYTES]
                self._wire.send(_frame(part, ABNF.OPCODE_BINARY))
        except (*_BROKEN, KdnsError) as error:
            if not self._ended and not self._closed.is_set():
                raise error if isinstance(error, KdnsError) else self._broken(error, True) from error

    def close(self) -> None:
        """Ends everything; who waits in `receive`, `send` or `open` wakes up."""
        self._closed.set()
        self._release()

    def connected(self, sock: socket.socket) -> None:
        """This is the socket that `close` has to shut down."""
        self._socket = sock
        if self._closed.is_set():
            raise ConnectionAbortedError("closed")

    def pause(self, wait_s: float) -> None:
        """Waits before the next try; ends early with ConnectionAbortedError when closed."""
        if self._closed.wait(wait_s):
            raise ConnectionAbortedError("closed")

    def _connect(self) -> Duplex:
        if self._closed.is_set():
            raise ConnectionAbortedError("closed")
        answer = self._start(self)
        try:
            self._protocol = self._handshake.agreed(answer)
            return Duplex(answer)
        except BaseException:
            answer.close()
            raise

    def _release(self) -> None:
        self._beat.set()
        if self._wire:
            self._wire.close(_frame(struct.pack("!H", 1000), ABNF.OPCODE_CLOSE))
        elif self._socket:
            shut_down(self._socket)

    def _message(self) -> tuple[int, memoryview] | None:
        while True:
            frame = self._frames.recv_frame()
            payload = frame.data
            assert isinstance(payload, bytes)
            if frame.opcode == ABNF.OPCODE_CLOSE:
                return None
            if frame.opcode == ABNF.OPCODE_PING:
                # Not answered here: who reads must not wait for a server that waits for its reader.
                self._pong = payload
                self._beat.set()
            if frame.opcode >= ABNF.OPCODE_CLOSE:
                continue
            if (frame.opcode == ABNF.OPCODE_CONT) != self._in_message:
                raise ProtocolError("it sent the frames of a message in the wrong order")
            if not self._in_message:
                self._channel = None
            self._in_message = not frame.fin
            data = memoryview(payload)
            if self._channel is None and data:
                self._channel, data = data[0], data[1:]
            if self._channel is not None and data:
                return self._channel, data

    def _bytes(self, n: int) -> bytes:
        """At least one of `n` bytes; from a buffer, because a small frame is read in three steps."""
        if self._position >= len(self._buffer):
            assert self._wire
            data = self._wire.receive(_RECEIVE_BYTES, self._silence_limit_s)
            if not data:
                raise http.client.IncompleteRead(b"")
            if len(data) <= n:
                return data
            self._buffer, self._position = data, 0
        part = self._buffer[self._position : self._position + n]
        self._position += len(part)
        return part

    def _keep_alive(self, wire: Duplex) -> None:
        while True:
            self._beat.wait(PING_PERIOD_S)
            self._beat.clear()
            if self._ended or self._closed.is_set():
                return
            pong, self._pong = self._pong, None
            try:
                wire.send(_frame(b"", ABNF.OPCODE_PING) if pong is None else _frame(pong, ABNF.OPCODE_PONG))
            except OSError:
                return  # whoever receives learns it


class _Frames(frame_buffer):
    """Frames of a size that memory can hold."""

    def recv_length(self) -> None:
        super().recv_length()
        if self.length and self.length > MAX_FRAME_BYTES:
            raise ProtocolError(f"it sent a frame of {self.length} bytes")


def _frame(data: bytes, opcode: int) -> bytes:
    return ABNF.create_frame(data, opcode).format()
