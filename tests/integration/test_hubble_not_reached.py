"""Every way in which a Hubble server is not reached, provoked: one clear message each, within its time."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdns_hubble.address import Address
from kdns_hubble.client import HubbleClient
from kdns_hubble.credentials import Credentials
from kdns_hubble.failures import HubbleError
from kdns_hubble.options import HubbleOptions
from support.certificates import Authority
from support.hubble_certificates import RelayCertificates
from support.hubble_server import Abort, HubbleServer, Stall

NAME = "instance.hubble-relay.cilium.io"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> RelayCertificates:
    return RelayCertificates.make(tmp_path_factory.mktemp("tls") / "certificates")


def trust(ca: Path, pair: tuple[Path, Path] | None = None) -> Credentials:
    certificate, key = (path.read_bytes() for path in pair) if pair else (b"", b"")
    return Credentials(ca.read_bytes(), certificate, key, "the test")


def failure_of(
    address: Address,
    credentials: Credentials | None = None,
    name: str = NAME,
    call: Callable[[HubbleClient], object] = HubbleClient.connect,
    **options: int,
) -> HubbleError:
    client = HubbleClient(
        address, credentials, name, HubbleOptions(server=address, **options), called="the relay"
    )
    with contextlib.closing(client), pytest.raises(HubbleError) as caught:
        call(client)
    return caught.value


def at(server: HubbleServer) -> Address:
    return Address("127.0.0.1", server.port)


class Answering:
    """A server that is not Hubble's: `answer` is given each connection, in a thread of its own."""

    def __init__(self, answer: Callable[[socket.socket], object]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept)
        self.address = Address("127.0.0.1", self._listener.getsockname()[1])

    def __enter__(self) -> Address:
        self._thread.start()
        return self.address

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(5)
                self._answer(connection)


def test_nothing_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    error = failure_of(Address("127.0.0.1", port))
    assert (error.what, error.cause) == (
        "cannot connect to the relay",
        "connection refused; nothing listens there",
    )
    assert (error.code, error.lost) == ("UNAVAILABLE", False)
    assert "without --hubble-server" in error.hint


def test_an_unknown_proxy_is_mentioned_where_the_reason_may_be_that_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    assert failure_of(Address("127.0.0.1", port)).cause.endswith("; HTTPS_PROXY is not used for Hubble")


def test_no_socket(tmp_path: Path) -> None:
    path = tmp_path / "none.sock"
    assert failure_of(Address(path=str(path))).cause == f"there is no socket {path}"


def test_no_such_name() -> None:
    error = failure_of(Address("no-such-host.invalid", 4245))
    assert "cannot resolve the name 'no-such-host.invalid'" in error.cause


def test_plain_text_to_a_server_with_tls(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.server) as server:
        error = failure_of(at(server))
    assert (error.cause, error.hint) == (
        "it speaks TLS, and was spoken to in plain text",
        "--hubble-tls on",
    )


def test_plain_text_to_a_server_with_mutual_tls(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.server, client_ca=certificates.ca) as server:
        assert failure_of(at(server)).hint == "--hubble-tls on"


@pytest.mark.parametrize("tls_address", [False, True])
def test_tls_to_a_server_in_plain_text(certificates: RelayCertificates, tls_address: bool) -> None:
    with HubbleServer() as server:
        address = Address("127.0.0.1", server.port, tls=tls_address)
        error = failure_of(address, trust(certificates.ca))
    assert error.cause == "it speaks plain text, and was spoken to by TLS"
    assert error.hint == (f"--hubble-server {address.where}" if tls_address else "--hubble-tls off")


def test_tls_to_a_server_in_plain_text_at_a_socket(certificates: RelayCertificates, tmp_path: Path) -> None:
    with HubbleServer(unix=tmp_path / "sock"):
        error = failure_of(Address(path=str(tmp_path / "sock")), trust(certificates.ca))
    assert error.cause == "it speaks plain text, and was spoken to by TLS"


def test_an_authority_that_we_do_not_know(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.server) as server:
        error = failure_of(at(server), trust(certificates.wrong_ca))
    assert error.cause == "its certificate is not signed by an authority of the test"
    assert "--hubble-tls-ca FILE" in error.hint
    assert "--hubble-tls-from-secret auto" in error.hint


def test_a_certificate_that_has_expired(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.expired) as server:
        error = failure_of(at(server), trust(certificates.ca))
    assert error.cause == "its certificate has expired"
    assert "openssl x509 -noout -dates" in error.hint


def test_a_certificate_for_another_name(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.server) as server:
        error = failure_of(at(server), trust(certificates.ca), "relay.example")
        of_address = failure_of(at(server), trust(certificates.ca), "")
    assert error.cause == "its certificate is for *.hubble-relay.cilium.io, not for relay.example"
    assert error.hint == "--hubble-tls-server-name instance.hubble-relay.cilium.io"
    assert of_address.cause.endswith("not for 127.0.0.1")


def test_a_name_that_no_certificate_could_have(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.server) as server:
        error = failure_of(at(server), trust(certificates.ca), "relay..example")
    assert error.cause == "its certificate is for *.hubble-relay.cilium.io, not for relay..example"


def test_a_client_certificate_is_wanted(certificates: RelayCertificates) -> None:
    with HubbleServer(tls=certificates.server, client_ca=certificates.ca) as server:
        none = failure_of(at(server), trust(certificates.ca))
        other = failure_of(at(server), trust(certificates.ca, certificates.stranger))
    assert none.cause == "it wants a client certificate"
    assert none.hint.startswith("--hubble-tls-cert FILE --hubble-tls-key FILE, or")
    assert other.cause == "it does not accept our client certificate"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_proxy_that_wants_a_client_certificate(tmp_path: Path, version: ssl.TLSVersion) -> None:
    """It says so by an alert: in the handshake up to TLS 1.2, after it since 1.3, as Go's servers do."""
    authority = Authority.make(tmp_path / "ca")
    context = authority.server_context("proxy", clients=True, names=f"DNS:{NAME}")
    context.set_alpn_protocols(["h2"])
    context.maximum_version = version

    def answer(plain: socket.socket) -> None:
        with context.wrap_socket(plain, server_side=True) as tls:
            tls.recv(1)

    with Answering(answer) as address:
        error = failure_of(address, trust(authority.certificate))
    assert error.cause == "it wants a client certificate"


@pytest.mark.parametrize("damage", ["ca", "certificate", "key"])
def test_certificates_that_are_damaged(certificates: RelayCertificates, damage: str) -> None:
    credentials = {
        "ca": certificates.ca,
        "certificate": certificates.client[0],
        "key": certificates.client[1],
    }
    pem = {f"{name}_pem": path.read_bytes() for name, path in credentials.items()}
    lines = pem[f"{damage}_pem"].splitlines()
    pem[f"{damage}_pem"] = b"\n".join([lines[0], b"AAAA", lines[-1]])
    with HubbleServer(tls=certificates.server) as server:
        error = failure_of(at(server), Credentials(**pem))
    assert error.cause.startswith("our certificate or key cannot be used")


def test_a_key_of_another_certificate(certificates: RelayCertificates) -> None:
    pair = certificates.client[0], certificates.stranger[1]
    with HubbleServer(tls=certificates.server) as server:
        error = failure_of(at(server), trust(certificates.ca, pair))
    assert error.cause.endswith("the key is that of another certificate")


def test_a_web_server() -> None:
    page = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    with Answering(lambda connection: (connection.recv(99), connection.sendall(page))) as address:
        assert failure_of(address).cause == "it speaks HTTP/1, not gRPC"


def test_a_server_that_hangs_up() -> None:
    with Answering(lambda connection: connection.recv(1)) as address:
        assert failure_of(address).cause.startswith("it closed the connection without a word")


@pytest.mark.parametrize("by_tls", [False, True])
def test_a_server_that_says_nothing(certificates: RelayCertificates, by_tls: bool) -> None:
    credentials = trust(certificates.ca) if by_tls else None
    with HubbleServer() as server:
        server.freeze()
        error = failure_of(at(server), credentials, dial_timeout_ns=200_000_000)
    assert error.cause == "no answer within 0.2 s (--hubble-timeout)"
    assert error.code == "UNAVAILABLE"


def test_a_server_that_answers_nothing_but_the_connection() -> None:
    with HubbleServer() as server:
        server.script("Check", Stall())
        server.script("ServerStatus", Stall())
        connecting = failure_of(at(server), dial_timeout_ns=200_000_000)
        status = failure_of(at(server), call=HubbleClient.status, request_timeout_ns=200_000_000)
    assert connecting.cause == "no answer within 0.2 s (--hubble-timeout)"
    assert (status.code, status.what) == ("DEADLINE_EXCEEDED", "the relay did not answer within 0.2 s")
    assert "--hubble-request-timeout" in status.hint


def test_a_connection_that_is_accepted_by_nobody() -> None:
    with socket.socket() as listener, contextlib.ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):  # fills the queue of the kernel, which then drops what comes
            other = stack.enter_context(socket.socket())
            other.setblocking(False)
            other.connect_ex(listener.getsockname())
        error = failure_of(Address(*listener.getsockname()), dial_timeout_ns=300_000_000)
    assert error.cause == "no answer within 0.3 s (--hubble-timeout)"


@pytest.mark.parametrize(
    ("code", "details", "what"),
    [
        ("UNIMPLEMENTED", "unknown service observer.Observer", "the relay is not a Hubble server"),
        (
            "UNIMPLEMENTED",
            "Received http2 header with status: 404",
            "the relay answered with HTTP status 404",
        ),
        ("UNAUTHENTICATED", "token", "the relay does not accept us"),
        ("PERMISSION_DENIED", "no", "the relay does not accept us"),
        ("RESOURCE_EXHAUSTED", "too many", "the relay refused the request (RESOURCE_EXHAUSTED)"),
        ("INVALID_ARGUMENT", "first cannot be", "the relay refused the request (INVALID_ARGUMENT)"),
    ],
)
def test_a_server_that_refuses(code: str, details: str, what: str) -> None:
    with HubbleServer() as server:
        server.script("ServerStatus", Abort(code, details))
        error = failure_of(at(server), call=HubbleClient.status)
    assert error.what.startswith(what)
    assert (error.code, error.cause, error.lost) == (code, details, False)


@pytest.mark.parametrize("code", ["UNAUTHENTICATED", "PERMISSION_DENIED"])
def test_connecting_fails_where_nobody_may_enter(code: str) -> None:
    with HubbleServer() as server:
        server.script("Check", Abort(code, "no"))
        error = failure_of(at(server))
    assert "--hubble-basic-auth-username" in error.hint


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    return
