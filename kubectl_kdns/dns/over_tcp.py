"""DNS messages on a stream: two bytes of length before each (RFC 1035 section 4.2.2, RFC 7766)."""

from __future__ import annotations

import socket
from struct import pack, unpack


def exchange(connection: socket.socket, message: bytes) -> bytes:
    """Sends one and reads one. Raises TimeoutError, OSError, and EOFError when the peer ends before that."""
    connection.sendall(pack(">H", len(message)) + message)
    return _read(connection, *unpack(">H", _read(connection, 2)))


def _read(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = connection.recv(count - len(data))
        if not part:
            raise EOFError("it ended before an answer came")
        data += part
    return data
