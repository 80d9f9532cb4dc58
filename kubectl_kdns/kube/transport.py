"""Requests over a few kept connections: logs in, tries again where that is safe, and never hangs.

A connection serves one request at a time. An idle one may have been closed by the server meanwhile: a GET is
then sent once more on a new one. 401 asks the login for another credential, once; 429 and a server that will
come back (502, 503, 504, or any 5xx with Retry-After) are tried again, a few times.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Callable, Mapping

from kubectl_kdns import __version__
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.body import Body
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.dial import Endpoint, dial, proxy_authorization
from kubectl_kdns.kube.login import Credential, Login, impersonation
from kubectl_kdns.kube.proxy import choose_proxy
from kubectl_kdns.kube.request_log import RequestLog
from kubectl_kdns.kube.tls import ClientCertificate, tls_context
from kubectl_kdns.kube.waiting import READABLE, wait

MAX_RETRIES = 4
MAX_RETRY_AFTER_S = 30.0
MAX_IDLE = 4
_STALE = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)

Headers = list[tuple[str, str]]


class Answer:
    """An answer whose head has come; `body` gives the rest, then `release`, or `close` at any time."""

    def __init__(self, connection: _Connection, raw: http.client.HTTPResponse, pool: Transport) -> None:
        self._connection, self._raw, self._pool = connection, raw, pool
        self.status = raw.status
        self.headers = raw.headers
        self.body = Body(raw)
        self.sock = connection.socket

    def read(self, timeout_s: float | None) -> bytes:
        """The whole body. Raises OSError or HTTPException; TimeoutError after `timeout_s` in all."""
        deadline = timeout_s and time.monotonic() + timeout_s
        parts = []
        try:
            while part := self.body.read1(1 << 20):
                parts.append(part)
                if deadline:
                    # Zero would mean "do not wait at all", which is another error.
                    self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
        except BaseException:
            self.close()
            raise
        self._raw.close()
        if self._raw.will_close:
            self.close()
        else:
            self._pool.keep(self._connection)
        return b"".join(parts)

    def early(self) -> bytes:
        """What came right behind the head of a 101: it belongs to the next protocol.

        The socket does not block from now on; whoever calls this reads and writes it, and `close`s us.
        """
        self.sock.setblocking(False)
        try:
            return self._raw.fp.peek()
        except ssl.SSLWantReadError:
            return b""

    def close(self) -> None:
        """Drops the connection with whatever is still under way on it."""
        self._raw.close()
        self._connection.close()


class _Connection(http.client.HTTPConnection):
    """An HTTP connection over a socket that is dialled already; it never dials itself."""

    auto_open = 0

    def __init__(self, host: str, port: int, sock: socket.socket, key: ClientCertificate | None) -> None:
        super().__init__(host, port)
        self.sock = self.socket = sock
        self.key = key

    def is_stale(self) -> bool:
        """The server has closed it, or said something unasked."""
        return wait(self.socket, READABLE, 0)

    def close(self) -> None:
        super().close()
        self.socket.close()


class Transport:
    """Sends requests to one API server. `sleep` is given the seconds before a retry."""

    def __init__(
        self,
        config: ClientConfig,
        login: Login,
        log: RequestLog,
        env: Mapping[str, str],
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.endpoint = endpoint = Endpoint.of(config.server)
        scheme = "https" if endpoint.secure else "http"
        self.proxy = choose_proxy(scheme, endpoint.host, endpoint.port, config.cluster.proxy_url, env)
        self._config, self._login, self._log, self._sleep = config, login, log, sleep
        self._headers: Headers = [
            ("User-Agent", f"kubectl-kdns/{__version__}"),
            *impersonation(config.user),
        ]
        self._prefix = endpoint.path
        if self.proxy and self.proxy.scheme == "http" and not endpoint.secure:
            # RFC 9112 section 3.2.2: a proxy is given the whole URL.
            self._prefix = f"http://{endpoint.authority}{endpoint.path}"
            if authorization := proxy_authorization(self.proxy):
                self._headers.append(("Proxy-Authorization", authorization))
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._context: tuple[ClientCertificate | None, ssl.SSLContext] | None = None
        self._closed = False

    def send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        *,
        timeout_s: float | None,
        connected: Callable[[socket.socket], None] = lambda _: None,
        sleep: Callable[[float], object] | None = None,
        fresh: bool = False,
    ) -> Answer:
        """The answer to one request, whatever its status. Raises ConfigError, OSError, HTTPException.

        `timeout_s` is the longest wait for its head. `connected` gets each socket that is used, as soon as
        it is open, so that another thread can shut it down. `fresh` asks for a connection of its own.
        """
        backoff = Backoff(0.5, 8.0)
        logged_in_again = False
        while True:
            credential = self._login.current()
            reuse = method == "GET" and not fresh
            answer = self._exchange(method, target, headers, body, credential, timeout_s, connected, reuse)
            if answer.status == 401 and not logged_in_again and self._login.rejected(credential):
                logged_in_again = True
                answer.close()
                continue
            wait_s = _retry_wait_s(method, answer, backoff)
            if wait_s is None:
                return answer
            answer.close()
            (sleep or self._sleep)(wait_s)

    def keep(self, connection: _Connection) -> None:
        """Takes back a connection whose answer was read to its end."""
        with self._lock:
            if not self._closed and len(self._idle) < MAX_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Ends everything that is under way; requests that wait fail with OSError."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            sockets = list(self._sockets)
        for connection in idle:
            connection.close()
        for sock in sockets:
            shut_down(sock)

    def _exchange(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        credential: Credential,
        timeout_s: float | None,
        connected: Callable[[socket.socket], None],
        reuse: bool,
    ) -> Answer:
        headers = [*self._headers, *headers]
        if credential.authorization:
            headers.append(("Authorization", credential.authorization))
        kept = self._take(credential.certificate) if reuse else None
        if kept:
            try:
                connected(kept.socket)
                return self._ask(kept, method, target, headers, body, timeout_s)
            except _STALE:
                pass  # the server had closed it, and cannot have begun to work on it
            except BaseException:
                kept.close()
                raise
        return self._ask(
            self._dial(credential.certificate, connected), method, target, headers, body, timeout_s
        )

    def _ask(
        self,
        connection: _Connection,
        method: str,
        target: str,
        headers: Headers,
        body: bytes,
        timeout_s: float | None,
    ) -> Answer:
        started = time.monotonic()
        outcome, received = "", []
        try:
            connection.socket.settimeout(timeout_s)
            connection.putrequest(method, self._prefix + target, skip_host=True)
            connection.putheader("Host", self.endpoint.authority)
            for name, value in headers:
                connection.putheader(name, value)
            if body:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
            raw = connection.getresponse()
            outcome, received = f"{raw.status} {raw.reason}", raw.headers.items()
            return Answer(connection, raw, self)
        except BaseException as error:
            outcome = outcome or f"{type(error).__name__}: {error}"
            connection.close()
            raise
        finally:
            url = f"{self._config.server}{target}"
            self._log.exchange(method, url, headers, outcome, received, time.monotonic() - started)

    def _take(self, key: ClientCertificate | None) -> _Connection | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if connection.key == key and not connection.is_stale():
                return connection
            connection.close()

    def _dial(self, key: ClientCertificate | None, connected: Callable[[socket.socket], None]) -> _Connection:
        def register(sock: socket.socket) -> None:
            with self._lock:
                if self._closed:
                    raise ConnectionAbortedError("closed")
                self._sockets.add(sock)
            connected(sock)

        endpoint = self.endpoint
        context = self._tls(key) if endpoint.secure else None
        sock = dial(endpoint, self.proxy, context, self._config.cluster.tls_server_name, register)
        return _Connection(endpoint.host, endpoint.port, sock, key)

    def _tls(self, key: ClientCertificate | None) -> ssl.SSLContext:
        with self._lock:
            if self._context is None or self._context[0] != key:
                self._context = (key, tls_context(self._config.cluster, key))
            return self._context[1]


def shut_down(sock: socket.socket) -> None:
    """Wakes whoever reads from it."""
    try:
        # The plain socket's method: SSLSocket's own would take the TLS state from under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
    except OSError:
        return


def _retry_wait_s(method: str, answer: Answer, backoff: Backoff) -> float | None:
    """How long to wait before the next try; None when the answer stands."""
    status, asked = answer.status, answer.headers.get("Retry-After", "")
    again = (
        status == 429 or (status >= 500 and bool(asked)) or (method == "GET" and status in (502, 503, 504))
    )
    if not again or backoff.failures >= MAX_RETRIES:
        return None
    asked_s = float(asked) if asked.isdecimal() else 0.0
    return max(backoff.next_s(), min(asked_s, MAX_RETRY_AFTER_S))
