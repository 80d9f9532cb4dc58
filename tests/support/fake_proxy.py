"""A proxy on loopback for tests: it says what a test wants, then carries bytes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress


class FakeProxy:
    """A proxy that lets `talk` greet the client, then carries bytes to `target` both ways."""

    def __init__(self, talk: Callable[[socket.socket], tuple[str, int] | None]) -> None:
        self.talk = talk
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.sockets: list[socket.socket] = [self.listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.sockets.append(client)
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with suppress(OSError):
            target = self.talk(client)
            if target is None:
                client.shutdown(socket.SHUT_RDWR)
                return
            server = socket.create_connection(target)
            self.sockets.append(server)
            threading.Thread(target=_pump, args=(server, client), daemon=True).start()
            _pump(client, server)

    def close(self) -> None:
        for sock in self.sockets:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
