"""A port of a pod as a socket of ours: every connection to it gets a websocket of its own.

The port-forward protocol of kubelets over websockets (k8s.io/kubelet `cri/streaming/portforward`): channel 0
is the data, channel 1 an error text; each begins with the port, two bytes, little-endian. One websocket
serves one connection, and cannot tell that only one direction has ended.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ConfigError, KdnsError
from kubectl_kdns.kube.transport import shut_down
from kubectl_kdns.kube.waiting import LOOK_S, READABLE, Selector, wait
from kubectl_kdns.kube.websocket import WebSocket

PROTOCOLS = ("v4.channel.k8s.io",)
_DATA, _ERROR = 0, 1
_PORT_BYTES = 2
_CHUNK_BYTES = 64 << 10
_MAX_ERROR_BYTES = 4096
_MAX_PATH_BYTES = 103
"""sockaddr_un has room for 104 on macOS and 108 on Linux, with the zero at the end."""
_BACKLOG = 16
LOOPBACK = "127.0.0.1"


class PortForward:
    """Listens from the start; `connect` makes a websocket for each connection.

    At `path`, a unix socket in a directory that is ours alone, so nobody else can use the way into the pod.
    On Windows, which has none for Python, at `port` of 127.0.0.1, as `kubectl port-forward` does everywhere.
    """

    def __init__(self, connect: Callable[[], WebSocket]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._closed = False
        self.error = ""
        """What the kubelet said last about a connection that it could not make: "connection refused", ..."""
        self.failure: KdnsError | None = None
        """Why the last websocket could not be opened or broke: ForbiddenError, NotFoundError, ..."""
        self._folder, self._listener = _listen()
        name = self._listener.getsockname()
        self.path, self.port = (name, 0) if isinstance(name, str) else ("", int(name[1]))
        # Closing one end wakes who waits for connections; nothing else does so on every system.
        self._waker, wakened = socket.socketpair()
        self._acceptor = threading.Thread(
            target=self._accept, args=(wakened,), name="kdns-port-forward", daemon=True
        )
        self._acceptor.start()

    def dial(self, timeout_s: float | None = None) -> socket.socket:
        """A connection to the pod's port. Raises OSError."""
        if not self.path:
            return socket.create_connection((LOOPBACK, self.port), timeout_s)
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout_s)
        try:
            connection.connect(self.path)
        except OSError:
            connection.close()
            raise
        return connection

    def forget_path(self) -> None:
        """Takes no more connections and leaves nothing on disk; those that are open go on."""
        with self._lock:
            self._waker.close()
            if self._folder:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = ""
        self._acceptor.join()

    def close(self) -> None:
        """Ends everything; may be called more than once, from any thread."""
        with self._lock:
            self._closed = True
        self.forget_path()
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.close()
        for connection in connections:
            connection.join()

    def _accept(self, wakened: socket.socket) -> None:
        with self._listener, wakened, Selector() as selector:
            selector.register(self._listener, READABLE)
            selector.register(wakened, READABLE)
            is_over = False
            while not is_over:
                is_over = any(key.fileobj is wakened for key, _ in selector.select())
                # To the last: who has connected does not know that we have not accepted yet.
                try:
                    while True:
                        self._serve(self._listener.accept()[0])
                except BlockingIOError:
                    continue
                except OSError as error:
                    self.error = f"this process cannot take more connections: {error.strerror}"
                    return

    def _serve(self, local: socket.socket) -> None:
        local.setblocking(True)
        connection = _Connection(local, self._connect(), self._learn, self._ended)
        with self._lock:
            if not self._closed:
                self._connections.add(connection)
                connection.start()
                return
        local.close()

    def _learn(self, error: str, failure: KdnsError | None) -> None:
        self.error, self.failure = error or self.error, failure or self.failure

    def _ended(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Connection:
    """One local connection and its websocket, pumped both ways; the end of one is the end of both."""

    def __init__(
        self,
        local: socket.socket,
        websocket: WebSocket,
        learn: Callable[[str, KdnsError | None], None],
        ended: Callable[[_Connection], None],
    ) -> None:
        self._local, self._websocket, self._learn, self._ended = local, websocket, learn, ended
        self._closing = False
        self._up = threading.Thread(target=self._pump_up, name="kdns-port-forward-up", daemon=True)
        self._down = threading.Thread(target=self._pump_down, name="kdns-port-forward-down", daemon=True)

    def start(self) -> None:
        self._up.start()
        self._down.start()

    def close(self) -> None:
        self._closing = True
        self._websocket.close()
        shut_down(self._local)

    def join(self) -> None:
        self._down.join()

    def _pump_up(self) -> None:
        buffer = bytearray(_CHUNK_BYTES)
        view = memoryview(buffer)
        try:
            while self._may_read() and (count := self._local.recv_into(buffer)):
                self._websocket.send(_DATA, view[:count])
        except OSError:
            pass  # the local side is gone
        except KdnsError as failure:
            self._learn("", failure)
        finally:
            self.close()

    def _may_read(self) -> bool:
        """Waits until there is something, or an end; False when it is closed."""
        while not wait(self._local, READABLE, LOOK_S):
            if self._closing:
                return False
        return True

    def _pump_down(self) -> None:
        to_skip = {_DATA: _PORT_BYTES, _ERROR: _PORT_BYTES}
        try:
            while message := self._websocket.receive():
                channel, data = message
                skipped = min(to_skip.get(channel, 0), len(data))
                if skipped:
                    to_skip[channel] -= skipped
                    data = data[skipped:]
                if channel == _DATA:
                    self._local.sendall(data)
                elif channel == _ERROR and data:
                    text = bytes(data[:_MAX_ERROR_BYTES]).decode("utf-8", "replace")
                    # Before the local side sees the end, so that it can ask why.
                    self._learn(safe_text(text.strip()), None)
                    break
        except OSError:
            pass  # the local side is gone
        except KdnsError as failure:
            self._learn("", failure)
        finally:
            self.close()
            self._up.join()
            self._local.close()
            self._ended(self)


def _listen() -> tuple[str, socket.socket]:
    """A directory of ours and a socket in it; "" where there are no unix sockets. Raises ConfigError."""
    if not hasattr(socket, "AF_UNIX"):
        listener = socket.create_server((LOOPBACK, 0), backlog=_BACKLOG)
        listener.setblocking(False)
        return "", listener
    listener = socket.socket(socket.AF_UNIX)
    folder = ""
    try:
        folder = tempfile.mkdtemp(prefix="kdns-")
        if len(os.fsencode(folder)) + len("/s") > _MAX_PATH_BYTES:
            os.rmdir(folder)
            folder = tempfile.mkdtemp(prefix="kdns-", dir="/tmp")
        listener.bind(os.path.join(folder, "s"))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        shutil.rmtree(folder, ignore_errors=True)
        raise ConfigError(
            "cannot make a socket in a directory for temporary files",
            cause=f"{error.strerror or error}: {error.filename or folder or tempfile.gettempdir()}",
            hint="TMPDIR=/tmp",
        ) from error
    return folder, listener
