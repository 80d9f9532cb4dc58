"""Which proxy, if any, stands before an API server: kubeconfig's `proxy-url`, else the environment.

The rules are Go's (golang.org/x/net/http/httpproxy), because kubectl's users have set them up for kubectl.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from kubectl_kdns.errors import ConfigError

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}


class Proxy(Struct, frozen=True):
    """`scheme` is http, socks5 or socks5h; the last two mean the same here: the proxy resolves names."""

    scheme: str
    host: str
    port: int
    username: str = ""
    password: str = ""

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host}:{self.port}"


def choose_proxy(scheme: str, host: str, port: int, proxy_url: str, env: Mapping[str, str]) -> Proxy | None:
    """The proxy for a server; None means to connect to it directly. Raises ConfigError."""
    if proxy_url:
        return _parse(proxy_url, "proxy-url in kubeconfig")
    name = f"{scheme}_proxy"
    url = env.get(name.upper()) or env.get(name) or ""
    if not url or not _wanted(host, port, env.get("NO_PROXY") or env.get("no_proxy") or ""):
        return None
    return _parse(url if "://" in url else f"http://{url}", f"the environment variable {name.upper()}")


def _parse(url: str, origin: str) -> Proxy:
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname or "", parts.port
    except ValueError:
        scheme, host, port = "", "", None
    if scheme == "https":
        raise ConfigError(
            f"a proxy that is itself reached by TLS is not supported: {origin}",
            hint=f"http://{host}:{port or 443} if that proxy also listens without TLS",
        )
    if scheme not in _PORTS or not host:
        raise ConfigError(
            f"{origin} is not the URL of a proxy: {url!r}", hint="http://HOST:PORT or socks5://HOST:PORT"
        )
    return Proxy(
        scheme, host, port or _PORTS[scheme], unquote(parts.username or ""), unquote(parts.password or "")
    )


def _wanted(host: str, port: int, no_proxy: str) -> bool:
    """Whether NO_PROXY leaves the proxy for this host in place; localhost never goes through one."""
    import ipaddress

    host = host.lower().rstrip(".")
    if host == "localhost":
        return False
    try:
        address = ipaddress.ip_address(host)
        if address.is_loopback:
            return False
    except ValueError:
        address = None
    for item in no_proxy.lower().split(","):
        entry = item.strip()
        if entry == "*":
            return False
        if not entry:
            continue
        if "/" in entry:
            try:
                if address and address in ipaddress.ip_network(entry, strict=False):
                    return False
            except ValueError:
                pass
            continue
        name, entry_port = _split_port(entry)
        if entry_port and entry_port != str(port):
            continue
        try:
            if ipaddress.ip_address(name) == address:
                return False
            continue
        except ValueError:
            pass
        suffix = "." + name.removeprefix("*").removeprefix(".")
        # "example.com" is also the host itself, ".example.com" and "*.example.com" only what is below.
        if host.endswith(suffix) or (name == suffix[1:] and host == name):
            return False
    return True


def _split_port(entry: str) -> tuple[str, str]:
    if entry.startswith("["):
        name, _, port = entry[1:].partition("]")
        return name, port.removeprefix(":")
    if entry.count(":") == 1:
        name, _, port = entry.partition(":")
        return name, port
    return entry, ""
