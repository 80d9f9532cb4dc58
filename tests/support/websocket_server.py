"""The server's side of a websocket, frame by frame, written here so that it can also be wrong in any way."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


class WebSocketPeer:
    """Frames to and from one client. `protocols` are those that it offered, `protocol` is the one chosen."""

    def __init__(self, sock: socket.socket, read: Callable[[int], bytes], headers: dict[str, str]) -> None:
        self._socket, self._read, self._headers = sock, read, headers
        self.protocols = [name.strip() for name in headers["sec-websocket-protocol"].split(",")]
        self.protocol = ""
        self.received: list[tuple[int, bytes]] = []

    def accept(self, protocol: str, *, accept: str = "", early: bytes = b"") -> None:
        """Answers 101; `early` goes out together with the head."""
        self.protocol = protocol
        key = self._headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        digest = accept or base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        head = (
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {digest}\r\nSec-WebSocket-Protocol: {protocol}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + early)

    def send(self, channel: int, data: bytes) -> None:
        self.raw(frame(bytes([channel]) + data))

    def status(self, status: dict[str, Any]) -> None:
        """Channel 3 of a remote command, then the end."""
        self.send(3, json.dumps({"metadata": {}, **status}).encode())
        self.close()

    def exit(self, code: int) -> None:
        causes = {"causes": [{"reason": "ExitCode", "message": str(code)}]}
        failure = {"status": "Failure", "reason": "NonZeroExitCode", "details": causes}
        self.status(failure if code else {"status": "Success"})

    def close(self, code: int = 1000) -> None:
        self.raw(frame(struct.pack("!H", code), CLOSE))

    def raw(self, data: bytes) -> None:
        self._socket.sendall(data)

    def frame(self) -> tuple[int, bytes]:
        """(opcode, data) of the client's next frame; EOFError when it has gone."""
        first, second = self._exactly(2)
        assert second & 0x80, "a client masks its frames (RFC 6455 section 5.1)"
        length = second & 0x7F
        if length > 125:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
        mask = self._exactly(4)
        key = mask * (length // 4 + 1)
        data = self._exactly(length)
        unmasked = int.from_bytes(data, "big") ^ int.from_bytes(key[:length], "big")
        self.received.append((first & 15, unmasked.to_bytes(length, "big")))
        return self.received[-1]

    def message(self) -> tuple[int, bytes]:
        """(channel, data) of the client's next message; EOFError when it closes or has gone."""
        while True:
            opcode, data = self.frame()
            if opcode == CLOSE:
                raise EOFError
            if opcode == BINARY:
                return data[0], data[1:]

    def wait_for_end(self) -> None:
        """Until the client has closed."""
        try:
            while True:
                self.frame()
        except (EOFError, OSError):
            return

    def _exactly(self, count: int) -> bytes:
        try:
            data = self._read(count)
        except OSError as error:
            raise EOFError from error
        if len(data) < count:
            raise EOFError
        return data


Serve = Callable[[WebSocketPeer], None]


def frame(data: bytes, opcode: int = BINARY, *, fin: bool = True) -> bytes:
    """A frame of a server, which does not mask."""
    head = bytes([opcode | (0x80 if fin else 0)])
    if len(data) < 126:
        head += bytes([len(data)])
    elif len(data) < 65536:
        head += struct.pack("!BH", 126, len(data))
    else:
        head += struct.pack("!BQ", 127, len(data))
    return head + data


def serving(serve: Serve) -> tuple[Serve, threading.Event]:
    """`serve`, and an event that is set when it has come to its end without an exception."""
    done = threading.Event()

    def wrapped(peer: WebSocketPeer) -> None:
        serve(peer)
        done.set()

    return wrapped, done


def noise(size: int) -> bytes:
    """Bytes that do not repeat, cheaply."""
    return os.urandom(size)
