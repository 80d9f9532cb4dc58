"""Where a Hubble server listens, as `--hubble-server` says it: HOST:PORT, tls://HOST:PORT or unix:PATH."""

from __future__ import annotations

import ipaddress
import re

from msgspec import Struct

from kubectl_kdns.errors import UsageError

PLAIN_PORT = 4245
"""What a relay and `kubectl port-forward` in Cilium's documentation listen on."""
TLS_PORT = 443

_FORMS = "--hubble-server HOST:PORT, tls://HOST:PORT or unix:PATH"
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_.])?")


class Address(Struct, frozen=True):
    """A host (a name, or an address without brackets) and a port, or the path of a unix socket.

    `tls` says that the address itself asks for TLS; what is spoken in the end is for the options to say.
    """

    host: str = ""
    port: int = 0
    path: str = ""
    tls: bool = False

    @property
    def target(self) -> str:
        """The name that gRPC knows it by, with its scheme: a host called `unix` is a host."""
        return f"unix:{self.path}" if self.path else f"dns:///{self.where}"

    @property
    def where(self) -> str:
        """HOST:PORT or the path."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.path or f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"unix:{self.path}" if self.path else f"{'tls://' if self.tls else ''}{self.where}"


def parse_address(text: str) -> Address:
    """The address that `--hubble-server TEXT` names; UsageError for what is none."""
    if text.startswith("unix:"):
        # `unix:///path` has an empty host, as in gRPC's own naming.
        path = text.removeprefix("unix:")
        path = path[2:] if path.startswith("///") else path
        if not path or path.startswith("//"):
            raise UsageError(f"--hubble-server {text}: no path of a unix socket", hint="unix:///PATH")
        return Address(path=path)
    scheme, separator, rest = text.rpartition("://")
    if separator and scheme != "tls":
        raise UsageError(f"--hubble-server {text}: {scheme}:// is not known", hint=_FORMS)
    host, port = _host_and_port(text, rest)
    return Address(host=host, port=port or (TLS_PORT if scheme else PLAIN_PORT), tls=bool(scheme))


def _host_and_port(text: str, rest: str) -> tuple[str, int]:
    """(host, port or 0)."""
    if rest.startswith("["):
        host, bracket, port_part = rest[1:].partition("]")
        if not bracket or not _is_ipv6(host) or port_part[:1] not in ("", ":"):
            raise UsageError(f"--hubble-server {text}: not an IPv6 address in brackets", hint="[::1]:4245")
        return host, _port(text, port_part[1:]) if port_part else 0
    if _is_ipv6(rest):
        raise UsageError(f"--hubble-server {text}: an IPv6 address needs brackets", hint=f"[{rest}]:4245")
    host, colon, port_text = rest.partition(":")
    if not _HOST.fullmatch(host):
        raise UsageError(f"--hubble-server {text}: {host!r} is not a host", hint=_FORMS)
    return host, _port(text, port_text) if colon else 0


def _port(text: str, port: str) -> int:
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65536):
        raise UsageError(f"--hubble-server {text}: {port!r} is not a port (1 to 65535)", hint=_FORMS)
    return int(port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True
