"""One connection to an API server: TCP, through a proxy where one is set, then TLS."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

from msgspec import Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.kube.proxy import Proxy

CONNECT_TIMEOUT_S = 10.0
_KEEPALIVE_S = 30


class ProxyError(OSError):
    """The proxy answered, but would not connect us."""


class Endpoint(Struct, frozen=True):
    """An API server's URL in parts. `path` stands before every request's path (Rancher, kcp)."""

    secure: bool
    host: str
    port: int
    path: str

    @classmethod
    def of(cls, url: str) -> Endpoint:
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        return cls(secure, parts.hostname or "", parts.port or (443 if secure else 80), parts.path)

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


def dial(
    endpoint: Endpoint,
    proxy: Proxy | None,
    context: ssl.SSLContext | None,
    server_name: str,
    connected: Callable[[socket.socket], None],
) -> socket.socket:
    """A socket ready for HTTP; `connected` gets it as soon as it can be shut down. Raises OSError."""
    target = (proxy.host, proxy.port) if proxy else (endpoint.host, endpoint.port)
    sock = socket.create_connection(target, CONNECT_TIMEOUT_S)
    with contextlib.ExitStack() as on_failure:
        on_failure.callback(sock.close)
        _keep_alive(sock)
        connected(sock)
        if proxy and proxy.scheme != "http":
            _socks5(sock, proxy, endpoint)
        elif proxy and endpoint.secure:
            _connect(sock, proxy, endpoint)
        if context:
            sock = context.wrap_socket(sock, server_hostname=server_name or endpoint.host)
            on_failure.callback(sock.close)
            connected(sock)
        on_failure.pop_all()
    return sock


def proxy_authorization(proxy: Proxy) -> str:
    """The value of Proxy-Authorization, or ""."""
    if not proxy.username:
        return ""
    return "Basic " + base64.b64encode(f"{proxy.username}:{proxy.password}".encode()).decode()


def _keep_alive(sock: socket.socket) -> None:
    """A peer that vanished is noticed after a minute and a half, on streams that wait for days too."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    idle = getattr(socket, "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE", None)
    for option, value in (
        (idle, _KEEPALIVE_S),
        (getattr(socket, "TCP_KEEPINTVL", None), 15),
        (getattr(socket, "TCP_KEEPCNT", None), 4),
        # Keep-alive is silent while a request is not acknowledged; the kernel alone would try for 15 minutes.
        (getattr(socket, "TCP_USER_TIMEOUT", None), 90_000),
    ):
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _connect(sock: socket.socket, proxy: Proxy, endpoint: Endpoint) -> None:
    """CONNECT of RFC 9110 section 9.3.6."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    target = f"{host}:{endpoint.port}"
    request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n"
    if authorization := proxy_authorization(proxy):
        request += f"Proxy-Authorization: {authorization}\r\n"
    sock.sendall(f"{request}\r\n".encode("latin-1"))
    head = b""
    # Byte by byte: what follows the head already belongs to TLS.
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte or len(head) > 65536:
            raise ProxyError(f"the proxy {proxy} closed the connection instead of an answer to CONNECT")
        head += byte
    status = head.split(b"\r\n", 1)[0].decode("latin-1")
    if status.split(" ", 2)[1:2] != ["200"]:
        raise ProxyError(f"the proxy {proxy} answered {safe_text(status)!r} to CONNECT {target}")


def _socks5(sock: socket.socket, proxy: Proxy, endpoint: Endpoint) -> None:
    """RFC 1928 and 1929; the proxy resolves the name."""
    method = 2 if proxy.username else 0
    sock.sendall(bytes([5, 1, method]))
    if _receive(sock, proxy, 2) != bytes([5, method]):
        raise ProxyError(f"the proxy {proxy} does not take this way to log in, or is not SOCKS5")
    if method:
        username, password = proxy.username.encode()[:255], proxy.password.encode()[:255]
        sock.sendall(bytes([1, len(username)]) + username + bytes([len(password)]) + password)
        if _receive(sock, proxy, 2)[1] != 0:
            raise ProxyError(f"the proxy {proxy} does not accept the user name and password")
    host = endpoint.host.encode("idna") if not endpoint.host.isascii() else endpoint.host.encode()
    sock.sendall(bytes([5, 1, 0, 3, len(host[:255])]) + host[:255] + endpoint.port.to_bytes(2, "big"))
    _, reply, _, kind = _receive(sock, proxy, 4)
    if reply:
        reason = _SOCKS5_REPLIES.get(reply, f"reply {reply}")
        raise ProxyError(f"the proxy {proxy} cannot reach {endpoint.host}:{endpoint.port}: {reason}")
    length = {1: 4, 4: 16}.get(kind) or _receive(sock, proxy, 1)[0]
    _receive(sock, proxy, length + 2)


_SOCKS5_REPLIES = {
    1: "general failure",
    2: "not allowed by its rules",
    3: "network unreachable",
    4: "host unreachable",
    5: "connection refused",
    6: "time to live expired",
}


def _receive(sock: socket.socket, proxy: Proxy, count: int) -> bytes:
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        if not part:
            raise ProxyError(f"the proxy {proxy} closed the connection")
        data += part
    return data
