"""What an error says: which server, why, and a command to try."""

from __future__ import annotations

import http.client
import json
import socket
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ClusterError, ConflictError, ForbiddenError, GoneError, NotFoundError
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.dial import ProxyError
from kubectl_kdns.kube.failures import Access, connection_error, not_json, status_error
from kubectl_kdns.kube.kubeconfig import ClusterEntry, User
from kubectl_kdns.kube.proxy import Proxy

CONFIG = ClientConfig("prod", "shop", "https://api:6443", ClusterEntry(), "jane", User())
WITHOUT_CONTEXT = ClientConfig("", "default", "http://api", ClusterEntry(), "", User())
AT = "the API server https://api:6443 of context 'prod'"


def status(message: str) -> bytes:
    return json.dumps({"kind": "Status", "message": message, "code": 1}).encode()


@pytest.mark.parametrize(
    ("method", "path", "watch", "text", "can_i"),
    [
        ("GET", "/api/v1/pods", False, "list pods in the whole cluster", "list pods -A"),
        ("GET", "/api/v1/pods", True, "watch pods in the whole cluster", "watch pods -A"),
        ("GET", "/api/v1/namespaces/a/pods", False, "list pods in namespace 'a'", "list pods -n a"),
        (
            "GET",
            "/api/v1/nodes/n1/proxy/configz",
            False,
            "get nodes/proxy in the whole cluster",
            "get nodes --subresource=proxy -A",
        ),
        (
            "GET",
            "/api/v1/namespaces/a/pods/x/log",
            False,
            "get pods/log in namespace 'a'",
            "get pods --subresource=log -n a",
        ),
        ("GET", "/api/v1/namespaces/a", False, "get namespaces in the whole cluster", "get namespaces -A"),
        (
            "PATCH",
            "/apis/apps/v1/namespaces/a/deployments/d",
            False,
            "patch deployments in namespace 'a'",
            "patch deployments.apps -n a",
        ),
        ("POST", "/api/v1/namespaces/a/pods", False, "create pods in namespace 'a'", "create pods -n a"),
        ("DELETE", "/api/v1/nodes/n", False, "delete nodes in the whole cluster", "delete nodes -A"),
    ],
)
def test_what_a_request_needs(method: str, path: str, watch: bool, text: str, can_i: str) -> None:
    access = Access.of(method, path, watch)
    assert (str(access), access and access.can_i) == (text, f"auth can-i {can_i}")


@pytest.mark.parametrize("path", ["/version", "/", "/api/v1", "/readyz"])
def test_not_a_resource(path: str) -> None:
    assert Access.of("GET", path) is None


LOG = "/api/v1/namespaces/kube-system/pods/coredns-1/log"


@pytest.mark.parametrize(
    ("code", "path", "body", "kind", "text"),
    [
        (
            401,
            LOG,
            status("Unauthorized"),
            ForbiddenError,
            f"{AT} does not accept the credentials of user 'jane': "
            "Unauthorized; a token or certificate may have expired\n"
            "Try: kubectl --context prod auth whoami",
        ),
        (
            403,
            LOG,
            status('pods "coredns-1" is forbidden: User "jane" cannot get resource'),
            ForbiddenError,
            f"not allowed to get pods/log in namespace 'kube-system' ({AT}): "
            'pods "coredns-1" is forbidden: User "jane" cannot get resource\n'
            "Try: kubectl --context prod auth can-i get pods --subresource=log -n kube-system",
        ),
        (
            403,
            LOG,
            b"<html><head><title>403</title><style>a{}</style></head><body>Blocked by\n proxy</body></html>",
            ClusterError,
            f"{AT} answered GET {LOG} with HTTP status 403, and not as an API server does: "
            "'403 Blocked by proxy'; a proxy or a load balancer on the way?\n"
            "Try: kubectl --context prod get --raw /version -v 6",
        ),
        (
            404,
            LOG,
            status('pods "coredns-1" not found'),
            NotFoundError,
            f'GET {LOG} failed with status 404 ({AT}): pods "coredns-1" not found',
        ),
        (404, "/apis/x/v1/y", b"404 page not found\n", NotFoundError, "404 page not found"),
        (409, LOG, status("the object has been modified"), ConflictError, "the object has been modified"),
        (410, LOG, status("too old resource version"), GoneError, "too old resource version"),
        (400, LOG, status("container is waiting to start"), ClusterError, "container is waiting to start"),
        (
            429,
            LOG,
            status("too many requests"),
            ClusterError,
            "Try: kubectl --context prod get --raw '/readyz",
        ),
        (503, LOG, b"", ClusterError, "with HTTP status 503, and not as an API server does\nTry"),
        (500, LOG, status("evil \x1b[2J text"), ClusterError, "evil \\027[2J text"),
        (302, LOG, b"", ClusterError, "HTTP status 302"),
    ],
)
def test_status(code: int, path: str, body: bytes, kind: type[ClusterError], text: str) -> None:
    error = status_error(CONFIG, "GET", path, code, body)
    assert (type(error), error.status) == (kind, code)
    assert text in str(error)


def test_without_a_context_no_command_names_one() -> None:
    error = status_error(WITHOUT_CONTEXT, "GET", "/api/v1/nodes", 403, status("no"))
    assert str(error) == (
        "not allowed to list nodes in the whole cluster (the API server http://api): no\n"
        "Try: kubectl auth can-i list nodes -A"
    )


@given(st.integers(100, 599), st.binary() | st.text().map(lambda text: status(text)))
def test_no_body_gives_a_control_character(code: int, body: bytes) -> None:
    text = str(status_error(CONFIG, "GET", LOG, code, body))
    assert all(safe_text(line) == line for line in text.split("\n"))


def test_not_json_shows_what_came() -> None:
    body = b"<!DOCTYPE html><html><script>bad()</script><h1>Sign in</h1>"
    assert str(not_json(CONFIG, "/version", body)) == (
        f"{AT} answered GET /version with something that is not JSON: "
        "'Sign in'; a proxy or a login page on the way?\n"
        "Try: kubectl --context prod get --raw /version -v 6"
    )


def verification(code: int, message: str = "x") -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, message
    return error


def tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] failed")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "cause", "hint"),
    [
        (
            ConnectionRefusedError(111, "Connection refused"),
            "connection refused; nothing listens",
            "/version",
        ),
        (TimeoutError(), "no answer in time", "/version"),
        (
            socket.gaierror(-2, "Name or service not known"),
            "the name of the host: Name or",
            "/version",
        ),
        (verification(10), "its certificate has expired", "/version"),
        (verification(9), "not valid yet (is this machine's clock right?)", "/version"),
        (verification(20), "signed by an unknown authority", "--certificate-authority FILE"),
        (verification(18), "signed by itself", "--certificate-authority FILE"),
        (verification(62), "for another host name", "--tls-server-name NAME"),
        (verification(64), "for another address", "--tls-server-name NAME"),
        (verification(-67843), "signed by an unknown authority", "--certificate-authority FILE"),
        (verification(-67602), "for another host name", "--tls-server-name NAME"),
        (verification(0x800B0109), "signed by an unknown authority", "--certificate-authority FILE"),
        (verification(0x800B010A), "signed by an unknown authority", "--certificate-authority FILE"),
        (verification(0x800B010F), "for another host name", "--tls-server-name NAME"),
        (verification(7, "odd\x1b"), "odd\\027", "/version"),
        (tls("WRONG_VERSION_NUMBER"), "it does not speak TLS", "a server URL with http://"),
        (tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "TLS failed: TLSV13_ALERT_CERT", "/version"),
        (ssl.SSLEOFError(8, "EOF"), "it closed the connection during TLS", "/version"),
        (http.client.RemoteDisconnected("x"), "it closed the connection without an answer", "/version"),
        (ConnectionResetError(104, "x"), "it closed the connection without an answer", "/version"),
        (http.client.BadStatusLine("\x15\x03"), "it does not speak HTTP: \\021\\003", "https://"),
        (ProxyError("the proxy p answered 407"), "the proxy p answered 407", "/version"),
        (OSError(101, "Network is unreachable"), "Network is unreachable", "/version"),
    ],
)
def test_connections(error: Exception, cause: str, hint: str) -> None:
    made = connection_error(CONFIG, None, error)
    assert (made.what, made.status) == (f"cannot reach {AT}", 0)
    assert cause in made.cause
    assert hint in made.hint


def test_a_proxy_is_named() -> None:
    error = connection_error(CONFIG, Proxy("socks5", "bastion", 1080), socket.gaierror(-2, "unknown"))
    assert error.what == f"cannot reach {AT} through the proxy socks5://bastion:1080"
    assert "the name of the proxy 'bastion': unknown" in error.cause


def test_a_break_in_the_middle_is_not_called_unreachable() -> None:
    error = connection_error(CONFIG, None, http.client.IncompleteRead(b""))
    assert error.what == f"lost the connection to {AT}"
    assert error.cause == "it closed the connection in the middle of an answer"
