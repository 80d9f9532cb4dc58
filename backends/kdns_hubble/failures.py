"""What went wrong between us and a Hubble server, in the words of errors.py: who, why, what to try.

gRPC says why only in a text. The texts here are those of grpcio 1.85, each with a test against a real server
that provokes it; a text that is not known is passed on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from msgspec import Struct

from kdns_hubble.address import Address
from kdns_hubble.handshake import Greeting
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError
from kubectl_kdns.times import NS_PER_S

_PROXY_VARIABLES = ("grpc_proxy", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY")
_SECRETS = "--hubble-tls-from-secret auto (reads the cluster's secrets)"
_EXPIRY = (
    "kubectl -n kube-system get secret hubble-relay-server-certs -o jsonpath='{.data.tls\\.crt}' |\n"
    "     base64 -d | openssl x509 -noout -dates"
)


class HubbleError(BackendError):
    """`code` is gRPC's name of it (UNAVAILABLE, ...); `lost`: a connection that was there broke, and a new
    one may do."""

    def __init__(
        self, what: str, *, cause: str = "", hint: str = "", code: str = "", lost: bool = False
    ) -> None:
        super().__init__(what, cause=cause, hint=hint)
        self.code = code
        self.lost = lost


class Peer(Struct, frozen=True):
    """Whom we speak with, and how: `called` as users know it, `trusts` whose authorities we believe."""

    called: str
    address: Address
    tls: bool = False
    server_name: str = ""
    trusts: str = ""
    shows_certificate: bool = False
    has_password: bool = False
    dial_timeout_ns: int = 0
    request_timeout_ns: int = 0


class _Reason(Struct, frozen=True):
    cause: str
    hint: str = ""


def proxies_of(env: Mapping[str, str]) -> tuple[str, ...]:
    """The variables that name a proxy. Hubble is asked without one: it is in the cluster, or at hand."""
    return tuple(name for name in _PROXY_VARIABLES if env.get(name))


def call_error(
    code: str, details: str, peer: Peer, proxies: tuple[str, ...], greet: Callable[[], Greeting]
) -> HubbleError:
    """The error for a call that ended with `code` and `details`. `greet` is asked only when they do not say
    what is wrong."""
    text = safe_text(details)[:400]
    if code == "UNAVAILABLE" and not _NEVER_THERE.search(details):
        return HubbleError(f"lost the connection to {peer.called}", cause=text, code=code, lost=True)
    if code == "UNAVAILABLE":
        reason = _unreachable(details, peer, greet) or _Reason(text)
        cause = reason.cause
        if proxies and not reason.hint:
            cause += f"; {' and '.join(proxies)} {'is' if len(proxies) == 1 else 'are'} not used for Hubble"
        hint = reason.hint or _where_to_look(peer)
        return HubbleError(f"cannot connect to {peer.called}", cause=cause, hint=hint, code=code)
    what, hint = _refusal(code, details, peer)
    return HubbleError(what, cause="" if code == "DEADLINE_EXCEEDED" else text, hint=hint, code=code)


def no_connection(peer: Peer, proxies: tuple[str, ...]) -> HubbleError:
    """The error for a server of which nothing was heard in the time for a connection."""
    return call_error("UNAVAILABLE", "failed to connect: timed out", peer, proxies, Greeting)


_NEVER_THERE = re.compile(r"failed to connect|errors resolving|resolution failed", re.IGNORECASE)
_SILENT = re.compile(r"timed out|handshaker shutdown|Endpoint closing|deadline", re.IGNORECASE)
# "Unwrap failed": an alert after the handshake, as Go sends it.
_CLOSED = re.compile(r"Socket closed|Connection reset|Broken pipe|recvmsg|Unwrap failed", re.IGNORECASE)
_ALERT = re.compile(r"ALERT_\w*(?:CERTIFICATE|UNKNOWN_CA|HANDSHAKE_FAILURE|ACCESS_DENIED)")
_VERIFY = re.compile(r"CERTIFICATE_VERIFY_FAILED: ([^:]*)")


def _unreachable(details: str, peer: Peer, greet: Callable[[], Greeting]) -> _Reason | None:
    """Why there is no connection; None when the text is not known."""
    if "Connection refused" in details:
        return _Reason("connection refused; nothing listens there")
    if "No such file" in details:
        return _Reason(f"there is no socket {peer.address.path}", "--hubble-server unix:PATH")
    if "Permission denied" in details:
        return _Reason("this user may not open the socket", f"ls -l {peer.address.path}")
    if re.search(r"errors resolving|lookup failed|resolution failed", details):
        host = f"the name {peer.address.host!r}"
        return _Reason(f"this machine cannot resolve {host}; is the VPN up?", "--hubble-server IP:PORT")
    if re.search(r"No route|unreachable", details):
        return _Reason("there is no route to it; is the VPN up?")
    if "http1.x" in details:
        return _Reason("it speaks HTTP/1, not gRPC", "--hubble-server with another port (a relay's is 4245)")
    if "security handshaker" in details:
        return _Reason(
            "our certificate or key cannot be used: it is damaged, or the key is that of another certificate",
            "openssl x509 -noout -text -in FILE",
        )
    return _tls_reason(details, peer, greet) or _silence(details, peer)


def _tls_reason(details: str, peer: Peer, greet: Callable[[], Greeting]) -> _Reason | None:
    if re.search(r"WRONG_VERSION_NUMBER|HTTP_REQUEST", details):
        return _speaks_plain(peer)
    if "Hostname Verification" in details:
        return _other_name(peer, greet().names)
    if match := _VERIFY.search(details):
        return _not_trusted(peer, match[1].strip())
    if _ALERT.search(details):
        return _wants_certificate(peer)
    if not _CLOSED.search(details):
        return None
    greeting = greet()
    if peer.tls and greeting.wants_certificate:
        return _wants_certificate(peer)
    if peer.tls and greeting.speaks_tls is False:
        return _speaks_plain(peer)
    if not peer.tls and greeting.speaks_tls:
        return _Reason("it speaks TLS, and was spoken to in plain text", "--hubble-tls on")
    return _Reason("it closed the connection without a word; is it a Hubble server?")


def _speaks_plain(peer: Peer) -> _Reason:
    hint = f"--hubble-server {peer.address.where}" if peer.address.tls else "--hubble-tls off"
    return _Reason("it speaks plain text, and was spoken to by TLS", hint)


def _wants_certificate(peer: Peer) -> _Reason:
    files = "--hubble-tls-cert FILE --hubble-tls-key FILE"
    if peer.shows_certificate:
        return _Reason("it does not accept our client certificate", f"{files} (of an authority it trusts)")
    return _Reason("it wants a client certificate", f"{files}, or {_SECRETS}")


def _not_trusted(peer: Peer, reason: str) -> _Reason:
    if "expired" in reason:
        return _Reason("its certificate has expired", _EXPIRY)
    if "not yet valid" in reason:
        return _Reason("its certificate is not valid yet (is this machine's clock right?)", "date")
    if "issuer" in reason or "self" in reason or "chain" in reason:
        return _Reason(
            f"its certificate is not signed by an authority of {peer.trusts}",
            f"--hubble-tls-ca FILE, or {_SECRETS}",
        )
    return _Reason(f"its certificate is not good: {safe_text(reason)}", "--hubble-tls-ca FILE")


def _other_name(peer: Peer, names: tuple[str, ...]) -> _Reason:
    expected = peer.server_name or peer.address.host
    if not names:
        return _Reason(f"its certificate is not for {expected}", "--hubble-tls-server-name NAME")
    # Any label will do for the star; Cilium's own programs take "instance".
    name = names[0].replace("*", "instance", 1)
    return _Reason(
        f"its certificate is for {', '.join(names[:5])}, not for {expected}",
        f"--hubble-tls-server-name {name}",
    )


def _silence(details: str, peer: Peer) -> _Reason | None:
    if not _SILENT.search(details):
        return None
    return _Reason(f"no answer within {peer.dial_timeout_ns / NS_PER_S:g} s (--hubble-timeout)")


def _where_to_look(peer: Peer) -> str:
    if peer.address.path:
        return "kubectl get pods -A -l k8s-app=hubble-relay"
    return "the same without --hubble-server: kdns finds the relay and forwards its port itself"


def _refusal(code: str, details: str, peer: Peer) -> tuple[str, str]:
    """(what, hint) for a server that answered, but not as wanted."""
    status = re.search(r"status: (\d{3})", details)
    if status:
        return (
            f"{peer.called} answered with HTTP status {status[1]}",
            "--hubble-server with the address of the relay itself",
        )
    if code == "UNIMPLEMENTED":
        return f"{peer.called} is not a Hubble server, or a very old one", "--hubble-server HOST:PORT"
    if code in ("UNAUTHENTICATED", "PERMISSION_DENIED"):
        login = "--hubble-basic-auth-username NAME --hubble-basic-auth-password PASSWORD"
        return (
            f"{peer.called} does not accept {'our user name and password' if peer.has_password else 'us'}",
            "" if peer.has_password else f"{login} (with TLS)",
        )
    if code == "DEADLINE_EXCEEDED":
        limit = f"{peer.request_timeout_ns / NS_PER_S:g} s"
        return f"{peer.called} did not answer within {limit}", "--hubble-request-timeout 60s"
    if code == "RESOURCE_EXHAUSTED" and "larger than max" in details:
        return f"{peer.called} sent a message that is larger than a flow can be", ""
    return f"{peer.called} refused the request ({code})", ""
