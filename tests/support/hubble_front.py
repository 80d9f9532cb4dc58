"""A TCP (or unix socket) front of a server, which tests can freeze, cut and close, as networks do.

Bytes go to and from a unix socket behind it and are not looked at.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from pathlib import Path


class Front:
    """Listens on 127.0.0.1 and a free port, or at the path `unix`; `target` is the socket behind."""

    def __init__(self, target: Path, *, unix: Path | None = None) -> None:
        self._target, self._unix = str(target), unix
        self._port = 0
        self._lock = threading.Lock()
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._flowing = threading.Event()
        self._flowing.set()
        self._listener: socket.socket | None = None
        self.connections = 0
        """How many were accepted so far."""
        self.open()

    @property
    def address(self) -> str:
        return f"unix://{self._unix}" if self._unix else f"127.0.0.1:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    def open(self) -> None:
        """Listen (again), at the same address."""
        if self._listener is not None:
            return
        if self._unix:
            self._unix.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self._unix))
        else:
            listener = socket.socket()
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(("127.0.0.1", self._port))
            self._port = listener.getsockname()[1]
        listener.listen()
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def refuse(self) -> None:
        """No new connections; those that are there stay."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes accept
            listener.close()

    def cut(self) -> None:
        """All connections end now, without a word of HTTP/2."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _end(*pair)

    def freeze(self) -> None:
        """Connections are accepted and stay, but not a byte passes, until `thaw`."""
        self._flowing.clear()

    def thaw(self) -> None:
        self._flowing.set()

    def close(self) -> None:
        self.refuse()
        self.cut()
        self.thaw()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                outside, _ = listener.accept()
            except OSError:
                return
            inside = socket.socket(socket.AF_UNIX)
            try:
                inside.connect(self._target)
            except OSError:
                outside.close()
                inside.close()
                continue
            with self._lock:
                self.connections += 1
                self._pairs.add((outside, inside))
            for ends in ((outside, inside), (inside, outside)):
                threading.Thread(target=self._pump, args=ends, daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                sink.sendall(data)
        with self._lock:
            self._pairs -= {(source, sink), (sink, source)}
        _end(source, sink)


def _end(*sockets: socket.socket) -> None:
    for one in sockets:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()


def scratch_socket(folder: str) -> Path:
    """A path for a unix socket that is short enough for one."""
    path = Path(folder) / "s"
    assert len(os.fsencode(path)) < 100
    return path
