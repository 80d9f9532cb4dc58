"""What went wrong between us and an API server, in the words of errors.py: which server, why, what to try."""

from __future__ import annotations

import http.client
import re
import socket
import ssl

import msgspec
from msgspec import Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ClusterError, ConflictError, ForbiddenError, GoneError, NotFoundError
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.proxy import Proxy

_RESOURCE = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+)(?:/.*)?)?)?"
)
_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_CLOSED = (http.client.IncompleteRead, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)
_OTHER_NAME, _OTHER_AUTHORITY = "--tls-server-name NAME", "--certificate-authority FILE"
_UNKNOWN_AUTHORITY = ("its certificate is signed by an unknown authority", _OTHER_AUTHORITY)
_OTHER_HOST = ("its certificate is for another host name", _OTHER_NAME)
_NOT_YET_VALID = ("its certificate is not valid yet (is this machine's clock right?)", "")
_EXPIRED = ("its certificate has expired", "")
_CERTIFICATE_CAUSES = {
    9: _NOT_YET_VALID,
    10: _EXPIRED,
    18: ("its certificate is signed by itself", _OTHER_AUTHORITY),
    19: _UNKNOWN_AUTHORITY,
    20: _UNKNOWN_AUTHORITY,
    21: _UNKNOWN_AUTHORITY,
    62: _OTHER_HOST,
    64: ("its certificate is for another address", _OTHER_NAME),
    # macOS' (SecBase.h), where it judges a certificate itself.
    -67602: _OTHER_HOST,
    -67818: _EXPIRED,
    -67819: _NOT_YET_VALID,
    -67843: _UNKNOWN_AUTHORITY,
    # Windows' (winerror.h), the same.
    0x800B0109: _UNKNOWN_AUTHORITY,
    0x800B010A: _UNKNOWN_AUTHORITY,
    0x800B010F: _OTHER_HOST,
}
"""By OpenSSL's number of what is wrong, or the system's: (cause, hint or "")."""


class Status(Struct):
    """What an API server sends instead of an object (meta/v1 Status)."""

    kind: str = ""
    message: str = ""
    reason: str = ""
    code: int = 0


class Access(Struct, frozen=True):
    """What RBAC decides about one request."""

    verb: str
    resource: str
    group: str = ""
    subresource: str = ""
    namespace: str = ""

    @classmethod
    def of(cls, method: str, path: str, watch: bool = False) -> Access | None:
        """None for paths that are not resources, such as /version."""
        match = _RESOURCE.fullmatch(path)
        if not match:
            return None
        verb = _VERBS.get(method) or ("watch" if watch else "get" if match["name"] else "list")
        return cls(
            verb, match["resource"], match["group"] or "", match["sub"] or "", match["namespace"] or ""
        )

    def __str__(self) -> str:
        resource = self.resource + (f"/{self.subresource}" if self.subresource else "")
        where = f"in namespace {self.namespace!r}" if self.namespace else "in the whole cluster"
        return f"{self.verb} {resource} {where}"

    @property
    def can_i(self) -> str:
        """`kubectl auth can-i` for it."""
        resource = f"{self.resource}.{self.group}" if self.group else self.resource
        subresource = f" --subresource={self.subresource}" if self.subresource else ""
        where = f"-n {self.namespace}" if self.namespace else "-A"
        return f"auth can-i {self.verb} {resource}{subresource} {where}"


def status_error(
    config: ClientConfig, method: str, path: str, code: int, body: bytes, *, watch: bool = False
) -> ClusterError:
    """The error for an answer that is not a success; `body` is a Status object, if all is well."""
    try:
        status = msgspec.json.decode(body, type=Status)
    except (msgspec.DecodeError, UnicodeDecodeError):
        status = Status()
    message = safe_text(status.message) if status.kind == "Status" else _text_of(body)
    request = f"{method} {safe_text(path)}"
    at = _at(config)
    access = Access.of(method, path, watch)
    if code == 401:
        return ForbiddenError(
            f"{at} does not accept the credentials of user {config.user_name!r}",
            status=code,
            cause=f"{message or 'Unauthorized'}; a token or certificate may have expired",
            hint=config.kubectl("auth whoami"),
        )
    if code == 403 and status.kind == "Status" and access:
        return ForbiddenError(
            f"not allowed to {access} ({at})",
            status=code,
            cause=message,
            hint=config.kubectl(access.can_i),
        )
    if status.kind != "Status" and code != 404:
        return ClusterError(
            f"{at} answered {request} with HTTP status {code}, and not as an API server does",
            status=code,
            cause=f"{message!r}; a proxy or a load balancer on the way?" if message else "",
            hint=config.kubectl("get --raw /version -v 6"),
        )
    tree = {403: ForbiddenError, 404: NotFoundError, 409: ConflictError, 410: GoneError}
    kind = tree.get(code, ClusterError)
    hint = "" if code < 500 and code != 429 else config.kubectl("get --raw '/readyz?verbose'")
    return kind(f"{request} failed with status {code} ({at})", status=code, cause=message, hint=hint)


def not_json(config: ClientConfig, path: str, body: bytes) -> ClusterError:
    return ClusterError(
        f"{_at(config)} answered GET {safe_text(path)} with something that is not JSON",
        cause=f"{_text_of(body)!r}; a proxy or a login page on the way?",
        hint=config.kubectl("get --raw /version -v 6"),
    )


def upgrade_error(config: ClientConfig, path: str, code: int, body: bytes) -> ClusterError:
    """The error for an answer to a websocket's request that did not open it."""
    if code < 400 or code == 426 or b"Upgrade request required" in body:
        return ClusterError(
            f"{_at(config)} answered GET {safe_text(path)} with HTTP status {code} instead of a websocket",
            status=code,
            cause="a proxy or a load balancer on the way that does not let websockets pass?",
            hint="kubeconfig with the API server's own address, or NO_PROXY with its host",
        )
    # A websocket is opened by GET, but since 1.35 it has to be allowed to "create" as well.
    method = "POST" if b"cannot create resource" in body else "GET"
    return status_error(config, method, path, code, body)


def command_error(config: ClientConfig, what: str, status: Status) -> ClusterError:
    """The error for a command in a container that did not come to an exit code; `what` says which."""
    kind = {403: ForbiddenError, 404: NotFoundError}.get(status.code, ClusterError)
    return kind(f"could not run {what} ({_at(config)})", status=status.code, cause=safe_text(status.message))


def connection_error(
    config: ClientConfig, proxy: Proxy | None, error: Exception, *, lost: bool = False
) -> ClusterError:
    """The error for a connection that did not come about, or broke: was `lost` after it had been of use."""
    through = f" through the proxy {proxy}" if proxy else ""
    cause, hint = _cause(error, proxy)
    if lost and isinstance(error, TimeoutError):
        cause = "it does not answer any more; a VPN that went down?"
    elif lost and isinstance(error, _CLOSED):
        cause = "it closed the connection"
    lost = lost or isinstance(error, http.client.IncompleteRead)
    return ClusterError(
        f"{'lost the connection to' if lost else 'cannot reach'} {_at(config)}{through}",
        cause=cause,
        hint=hint or config.kubectl("get --raw /version"),
    )


def _at(config: ClientConfig) -> str:
    context = f" of context {config.context!r}" if config.context else ""
    return f"the API server {config.server}{context}"


def _cause(error: Exception, proxy: Proxy | None) -> tuple[str, str]:
    """(cause, hint or "")."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _CERTIFICATE_CAUSES.get(error.verify_code, (safe_text(error.verify_message), ""))
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return "it closed the connection during TLS", ""
    if isinstance(error, ssl.SSLError):
        if error.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
            return "it does not speak TLS", "a server URL with http:// or another port"
        return f"TLS failed: {safe_text(error.reason or str(error))}", ""
    if isinstance(error, socket.gaierror):
        who = f"proxy {proxy.host!r}" if proxy else "host"
        return f"this machine cannot resolve the name of the {who}: {error.strerror}; is the VPN up?", ""
    if isinstance(error, ConnectionRefusedError):
        return "connection refused; nothing listens there", ""
    if isinstance(error, TimeoutError):
        return "no answer in time; a VPN that is down, a firewall, or a proxy that is needed?", ""
    if isinstance(error, http.client.IncompleteRead):
        return "it closed the connection in the middle of an answer", ""
    if isinstance(error, http.client.RemoteDisconnected | ConnectionResetError | BrokenPipeError):
        return "it closed the connection without an answer", ""
    if isinstance(error, http.client.HTTPException):
        return f"it does not speak HTTP: {safe_text(str(error))[:200]}", "a server URL with https://"
    return safe_text((isinstance(error, OSError) and error.strerror) or str(error)), ""


def _text_of(body: bytes) -> str:
    """The beginning of a page as one line of plain text."""
    text = body[:2000].decode("utf-8", "replace")
    text = re.sub(r"<(style|script)\b.*?</\1>|<[^>]*>", " ", text, flags=re.DOTALL | re.IGNORECASE)
    return safe_text(" ".join(text.split()))[:200]
