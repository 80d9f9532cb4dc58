"""Greets a server with TLS, to say what gRPC does not: whether it speaks TLS, and what it wants of us."""

from __future__ import annotations

import socket
import ssl

from msgspec import Struct

from kdns_hubble.address import Address
from kubectl_kdns.dns.names import safe_text

_PATIENCE_S = 2.0
_PLAIN = frozenset({"WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"})
"""OpenSSL's reasons for an answer that is no TLS record."""


class Greeting(Struct, frozen=True):
    """`speaks_tls` None: no telling. `names` are those of its certificate, if its authority is trusted."""

    speaks_tls: bool | None = None
    wants_certificate: bool = False
    names: tuple[str, ...] = ()


def greet(address: Address, server_name: str, ca_pem: bytes) -> Greeting:
    """One connection, which asks for `server_name` ("" the host) and shows no certificate.

    Takes 2 s at most for each step, and never raises.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    try:
        context.load_verify_locations(cadata=ca_pem.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        context.verify_mode = ssl.CERT_NONE
    name = _askable(server_name) or _askable(address.host) or None
    try:
        with _dial(address) as plain, context.wrap_socket(plain, server_hostname=name) as tls:
            certificate = tls.getpeercert() or {}
            kinds: tuple[tuple[str, str], ...] = certificate.get("subjectAltName", ())  # type: ignore[assignment]
            names = tuple(safe_text(name) for _, name in kinds)
            return Greeting(True, _is_refused(tls), names)
    except ssl.SSLCertVerificationError:
        return Greeting(True)
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return Greeting()
    except ssl.SSLError as error:
        reason = error.reason or ""
        if "ALERT" in reason:
            return Greeting(True, _is_about_certificate(reason))
        return Greeting(False if reason in _PLAIN else None)
    except OSError:
        return Greeting()


def _askable(name: str) -> str:
    """Empty for a name that cannot be asked for: the server then shows the certificate that it has."""
    try:
        name.encode("idna")
    except UnicodeError:
        return ""
    return name


def _dial(address: Address) -> socket.socket:
    if not address.path:
        return socket.create_connection((address.host, address.port), _PATIENCE_S)
    plain = socket.socket(socket.AF_UNIX)
    plain.settimeout(_PATIENCE_S)
    try:
        plain.connect(address.path)
    except OSError:
        plain.close()
        raise
    return plain


def _is_refused(tls: ssl.SSLSocket) -> bool:
    """Since TLS 1.3 a server misses a certificate only after the handshake. It says so, or just hangs up;
    one that is content speaks first: HTTP/2 begins with its settings."""
    try:
        return not tls.recv(1)
    except ssl.SSLError as error:
        return _is_about_certificate(error.reason or "")
    except OSError:
        return False


def _is_about_certificate(reason: str) -> bool:
    return "CERTIFICATE" in reason or "HANDSHAKE_FAILURE" in reason
