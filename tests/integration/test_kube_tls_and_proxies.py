"""TLS as kubeconfig asks for it, and ways through proxies, over real sockets."""

from __future__ import annotations

import base64
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.errors import ClusterError, ConfigError
from kubectl_kdns.kube import Cluster, ConnectionFlags, authorities, connect
from support.api_server import ApiServer
from support.certificates import Authority
from support.fake_proxy import FakeProxy

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command makes the certificates"
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("pki") / "ca")


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.make(tmp_path_factory.mktemp("pki") / "other")


@pytest.fixture(scope="module")
def tls_server(authority: Authority) -> Iterator[ApiServer]:
    with ApiServer(tls=authority.server_context("server")) as server:
        yield server


@pytest.fixture
def connect_to(tmp_path: Path) -> Iterator[Callable[..., Cluster]]:
    clusters: list[Cluster] = []

    def make(api: ApiServer, **flags: Any) -> Cluster:
        kubeconfig = api.kubeconfig(tmp_path / "config")
        clusters.append(connect(ConnectionFlags(kubeconfig=str(kubeconfig), **flags)))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


def test_the_authority_of_kubeconfig(
    tls_server: ApiServer, authority: Authority, connect_to: Callable[..., Cluster]
) -> None:
    cluster = connect_to(tls_server, certificate_authority=str(authority.certificate))
    for _ in range(3):
        assert cluster.get("/api/v1/nodes")["items"] == []
    assert len({request.connection for request in tls_server.requests[-3:]}) == 1


def test_no_check_when_told_so(tls_server: ApiServer, connect_to: Callable[..., Cluster]) -> None:
    assert connect_to(tls_server, insecure_skip_tls_verify=True).get("/api/v1/nodes")["items"] == []


def test_streams_over_tls_are_woken_by_close(
    tls_server: ApiServer, authority: Authority, connect_to: Callable[..., Cluster]
) -> None:
    tls_server.put({"kind": "Pod", "metadata": {"name": "p"}})
    log = tls_server.log("p")
    log.write("one")
    cluster = connect_to(tls_server, certificate_authority=str(authority.certificate))
    stream = cluster.open("/api/v1/namespaces/default/pods/p/log", follow=True)
    assert stream.read1() == b"one\n"
    rest: list[bytes] = []
    reader = threading.Thread(target=lambda: rest.append(stream.read1()))
    reader.start()
    log.wait_for_readers()
    stream.close()
    reader.join(10)
    assert rest == [b""]


def test_who_is_not_trusted(
    tls_server: ApiServer,
    authority: Authority,
    other_authority: Authority,
    connect_to: Callable[..., Cluster],
) -> None:
    def cause(server: ApiServer, **flags: str) -> str:
        with pytest.raises(ClusterError) as error:
            connect_to(server, **flags).get("/version")
        return error.value.cause

    trust = {"certificate_authority": str(authority.certificate)}
    assert "unknown authority" in cause(tls_server)
    assert "unknown authority" in cause(tls_server, certificate_authority=str(other_authority.certificate))
    assert "for another host name" in cause(tls_server, **trust, tls_server_name="api.internal")
    with ApiServer(tls=authority.server_context("named", names="DNS:api.internal")) as named:
        assert "for another address" in cause(named, **trust)
        cluster = connect_to(named, **trust, tls_server_name="api.internal")
        assert cluster.get("/api/v1/nodes")["items"] == []
    with ApiServer(tls=authority.server_context("expired", days=-1)) as expired:
        assert "has expired" in cause(expired, **trust)


def test_plain_and_tls_mixed_up(tls_server: ApiServer, connect_to: Callable[..., Cluster]) -> None:
    with ApiServer() as plain:
        url = plain.url.replace("http:", "https:")
        with pytest.raises(ClusterError, match="it does not speak TLS"):
            connect_to(plain, server=url, insecure_skip_tls_verify=True).get("/version")
    with pytest.raises(ClusterError):
        connect_to(tls_server, server=tls_server.url.replace("https:", "http:")).get("/version")


def test_client_certificates(
    authority: Authority, other_authority: Authority, connect_to: Callable[..., Cluster], tmp_path: Path
) -> None:
    with ApiServer(tls=authority.server_context("mutual", clients=True)) as server:
        trust = {"certificate_authority": str(authority.certificate)}
        certificate, key = authority.issue("jane")
        files = {"client_certificate": str(certificate), "client_key": str(key)}
        assert connect_to(server, **trust, **files).get("/api/v1/nodes")["items"] == []
        with pytest.raises(ClusterError):
            connect_to(server, **trust).get("/api/v1/pods")

        data = base64.b64encode(certificate.read_bytes()).decode()
        key_data = base64.b64encode(key.read_bytes()).decode()
        user = {"client-certificate-data": data, "client-key-data": key_data}
        kubeconfig = server.kubeconfig(tmp_path / "inline", user=user)
        inline = connect(ConnectionFlags(kubeconfig=str(kubeconfig), **trust))
        assert inline.get("/api/v1/nodes")["items"] == []
        inline.close()

        _, wrong_key = other_authority.issue("jane")
        for bad, text in (
            ({**files, "client_key": str(wrong_key)}, "the key is not that of the certificate"),
            ({**files, "client_certificate": __file__}, "it is not PEM"),
            ({**files, "client_key": str(tmp_path / "missing")}, "No such file"),
        ):
            with pytest.raises(ConfigError) as error:
                connect_to(server, **trust, **bad).get("/version")
            assert text in error.value.cause


@pytest.mark.parametrize("content", [None, "not PEM"])
def test_an_authority_that_is_none(
    tls_server: ApiServer, connect_to: Callable[..., Cluster], tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca"
    if content:
        file.write_text(content)
    with pytest.raises(ConfigError, match="cannot use the certificate authority"):
        connect_to(tls_server, certificate_authority=str(file)).get("/version")


def test_an_authority_of_this_machine(
    tls_server: ApiServer,
    authority: Authority,
    connect_to: Callable[..., Cluster],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setattr(authorities, "FILES", ("/nonexistent", str(authority.certificate)))
    assert connect_to(tls_server).get("/api/v1/nodes")["items"] == []


def test_where_the_system_judges(
    tls_server: ApiServer, connect_to: Callable[..., Cluster], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With truststore for Linux, as its own tests try those for macOS and Windows."""
    for variable in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(authorities, "JUDGES_ITSELF", True)
    with pytest.raises(ClusterError) as caught:
        connect_to(tls_server).get("/api/v1/nodes")
    assert "unknown authority" in str(caught.value.cause)


# Proxies


def _until(sock: socket.socket, end: bytes) -> bytes:
    data = b""
    while not data.endswith(end):
        data += sock.recv(1)
    return data


@pytest.fixture
def proxy_of() -> Iterator[Callable[..., FakeProxy]]:
    proxies: list[FakeProxy] = []

    def make(talk: Callable[[socket.socket], tuple[str, int] | None]) -> FakeProxy:
        proxies.append(FakeProxy(talk))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def through(tmp_path: Path, authority: Authority) -> Iterator[Callable[[ApiServer, str], Cluster]]:
    """Connects with `proxy-url`."""
    clusters: list[Cluster] = []

    def make(server: ApiServer, proxy_url: str) -> Cluster:
        path = server.kubeconfig(tmp_path / "config")
        text = path.read_text().replace('"server":', f'"proxy-url": "{proxy_url}", "server":')
        path.write_text(text)
        flags = {"certificate_authority": str(authority.certificate)} if "https" in server.url else {}
        clusters.append(connect(ConnectionFlags(kubeconfig=str(path), **flags)))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


def test_connect_through_an_http_proxy(
    tls_server: ApiServer, proxy_of: Callable[..., FakeProxy], through: Callable[[ApiServer, str], Cluster]
) -> None:
    heads: list[bytes] = []

    def talk(client: socket.socket) -> tuple[str, int]:
        heads.append(_until(client, b"\r\n\r\n"))
        client.sendall(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")
        return "127.0.0.1", tls_server.port

    proxy = proxy_of(talk)
    cluster = through(tls_server, f"http://me:p%40ss@127.0.0.1:{proxy.port}")
    assert cluster.get("/api/v1/nodes")["items"] == []
    assert heads == [
        f"CONNECT 127.0.0.1:{tls_server.port} HTTP/1.1\r\nHost: 127.0.0.1:{tls_server.port}\r\n"
        "Proxy-Authorization: Basic bWU6cEBzcw==\r\n\r\n".encode()
    ]


def test_plain_http_gives_the_proxy_the_whole_url(
    proxy_of: Callable[..., FakeProxy], through: Callable[[ApiServer, str], Cluster]
) -> None:
    heads: list[bytes] = []

    def talk(client: socket.socket) -> None:
        heads.append(_until(client, b"\r\n\r\n"))
        client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")

    with ApiServer(base_path="/base") as server:
        cluster = through(server, f"http://me:pass@127.0.0.1:{proxy_of(talk).port}")
        assert cluster.get("/version") == {}
        first, *headers = heads[0].decode().splitlines()
        assert first == f"GET {server.url}/version HTTP/1.1"
        assert f"Host: 127.0.0.1:{server.port}" in headers
        assert "Proxy-Authorization: Basic bWU6cGFzcw==" in headers


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407 Proxy Authentication Required"),
        (b"HTTP/1.1 503 \x1b[31mno\r\n\r\n", "503 \\\\027[31mno"),
        (b"", "closed the connection instead of an answer to CONNECT"),
        (b"hello\r\n\r\n", "'hello' to CONNECT"),
    ],
)
def test_a_proxy_that_does_not_connect(
    tls_server: ApiServer,
    proxy_of: Callable[..., FakeProxy],
    through: Callable[[ApiServer, str], Cluster],
    answer: bytes,
    text: str,
) -> None:
    def talk(client: socket.socket) -> None:
        _until(client, b"\r\n\r\n")
        client.sendall(answer)

    proxy = proxy_of(talk)
    with pytest.raises(ClusterError) as error:
        through(tls_server, f"http://127.0.0.1:{proxy.port}").get("/version")
    assert text in error.value.cause
    assert f"through the proxy http://127.0.0.1:{proxy.port}" in error.value.what


@pytest.mark.parametrize("login", [False, True])
@pytest.mark.parametrize("kind", [b"\x01\x7f\x00\x00\x01", b"\x03\x04host", b"\x04" + b"\0" * 16])
def test_socks5(
    tls_server: ApiServer,
    proxy_of: Callable[..., FakeProxy],
    through: Callable[[ApiServer, str], Cluster],
    login: bool,
    kind: bytes,
) -> None:
    heard: list[bytes] = []

    def talk(client: socket.socket) -> tuple[str, int]:
        heard.append(client.recv(3))
        client.sendall(b"\x05\x02" if login else b"\x05\x00")
        if login:
            heard.append(client.recv(20))
            client.sendall(b"\x01\x00")
        heard.append(client.recv(100))
        client.sendall(b"\x05\x00\x00" + kind + b"\x12\x34")
        return "127.0.0.1", tls_server.port

    port = proxy_of(talk).port
    url = f"socks5://{'me:secret@' if login else ''}127.0.0.1:{port}"
    assert through(tls_server, url).get("/api/v1/nodes")["items"] == []
    asked = b"\x05\x01\x00\x03\x09127.0.0.1" + tls_server.port.to_bytes(2, "big")
    greeting = [b"\x05\x01\x02", b"\x01\x02me\x06secret"] if login else [b"\x05\x01\x00"]
    assert heard == [*greeting, asked]


@pytest.mark.parametrize(
    ("url", "answers", "text"),
    [
        ("", [b"\x05\xff"], "does not take this way to log in"),
        ("", [b"HT"], "or is not SOCKS5"),
        ("me:x@", [b"\x05\x02", b"\x01\x01"], "does not accept the user name and password"),
        ("", [b"\x05\x00", b"\x05\x05\x00\x01"], "connection refused"),
        ("", [b"\x05\x00", b"\x05\x63\x00\x01"], "reply 99"),
        ("", [b"\x05\x00", b"\x05"], "closed the connection"),
    ],
)
def test_a_socks_proxy_that_does_not_connect(
    tls_server: ApiServer,
    proxy_of: Callable[..., FakeProxy],
    through: Callable[[ApiServer, str], Cluster],
    url: str,
    answers: list[bytes],
    text: str,
) -> None:
    def talk(client: socket.socket) -> None:
        for answer in answers:
            client.recv(100)
            client.sendall(answer)

    with pytest.raises(ClusterError) as error:
        through(tls_server, f"socks5://{url}127.0.0.1:{proxy_of(talk).port}").get("/version")
    assert text in error.value.cause
