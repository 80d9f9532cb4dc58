"""Commands in containers over a scripted API server: output, exit codes, errors, breaks, `close`."""

from __future__ import annotations

import json
import re
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.errors import ClusterError, ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from kubectl_kdns.kube import cluster as cluster_module
from kubectl_kdns.kube.exec import ExecStream
from support.api_server import ApiServer, Reply, failure
from support.certificates import Authority
from support.fake_proxy import FakeProxy
from support.websocket_server import Serve, WebSocketPeer, frame, serving

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


def run(cluster: Cluster, *command: str, stdin: bool = False) -> ExecStream:
    return cluster.exec("default", "p", "main", command or ("true",), stdin=stdin)


def read_all(stream: ExecStream, n: int = 65536) -> bytes:
    parts = []
    while part := stream.read1(n):
        assert len(part) <= n
        parts.append(part)
    return b"".join(parts)


def answering(
    server: ApiServer, *messages: tuple[int, bytes], exit_code: int = 0, protocol: str = V5
) -> None:
    """Every command gives these messages."""

    def serve(peer: WebSocketPeer) -> None:
        peer.accept(protocol)
        peer.send(1, b"")  # kubelets and API servers begin with an empty message
        for channel, data in messages:
            peer.send(channel, data)
        peer.exit(exit_code)
        peer.wait_for_end()

    server.websocket("/exec$", serve)


@pytest.mark.parametrize("protocol", [V5, V4])
@pytest.mark.parametrize("exit_code", [0, 3])
def test_a_command(server: ApiServer, cluster: Cluster, protocol: str, exit_code: int) -> None:
    answering(server, (1, b"hi\n"), (2, b"oh"), (1, b"ho"), (9, b"?"), exit_code=exit_code, protocol=protocol)
    stream = run(cluster, "sh", "-c", "echo hi & more")
    assert stream.exit_code is None
    assert read_all(stream) == b"hi\nho"
    assert (stream.exit_code, stream.stderr) == (exit_code, b"oh")
    assert stream.read1() == b""


def test_what_is_asked_for(server: ApiServer, tmp_path: Path) -> None:
    answering(server)
    lines: list[str] = []
    flags = ConnectionFlags(
        kubeconfig=str(server.kubeconfig(tmp_path / "c", user={"token": "abc"})),
        as_="jane",
        as_group=("ops",),
        v=7,
    )
    verbose = connect(flags, log=lines.append)
    server.token = "abc"
    read_all(verbose.exec("ns", "p", "", ["sh", "-c", "a b&c"], stdin=True))
    read_all(verbose.exec("ns", "p", "main", ["true"]))
    verbose.close()
    first, second = server.requests
    assert (first.method, first.path) == ("GET", "/api/v1/namespaces/ns/pods/p/exec")
    assert first.query["command"] == "a b&c"
    assert (first.query["stdin"], first.query["stdout"], first.query["stderr"]) == ("true", "true", "true")
    assert "container" not in first.query
    assert (second.query["container"], second.query["stdin"]) == ("main", "false")
    assert first.headers["authorization"] == "Bearer abc"
    assert (first.headers["impersonate-user"], first.headers["impersonate-group"]) == ("jane", "ops")
    assert first.headers["sec-websocket-protocol"] == f"{V5}, {V4}"
    log = "".join(lines)
    assert re.search(r"GET \S+/exec\?command=sh&command=-c&command=a\+b%26c&\S+ 101 Switching Protocols", log)
    assert "abc" not in log


def test_below_a_path(tmp_path: Path) -> None:
    with ApiServer(base_path="/k8s/clusters/c-1") as server:
        answering(server, (1, b"x"))
        cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
        assert read_all(run(cluster)) == b"x"
        cluster.close()


def test_a_token_that_is_rejected_is_asked_for_again(server: ApiServer, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("old")
    user = {"tokenFile": str(token)}
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "c", user=user))))
    server.token = "old"
    assert cluster.get("/api/v1/pods")["items"] == []
    server.token = "new"
    token.write_text("new")
    answering(server, (1, b"x"))
    assert read_all(run(cluster)) == b"x"
    cluster.close()


def test_a_command_has_a_connection_of_its_own(server: ApiServer, cluster: Cluster) -> None:
    answering(server)
    cluster.get("/api/v1/pods")
    read_all(run(cluster))
    cluster.get("/api/v1/pods")
    first, command, last = [request.connection for request in server.requests]
    assert first == last != command


def test_small_reads(server: ApiServer, cluster: Cluster) -> None:
    answering(server, (1, b"abcdefgh"), (1, b"ij"))
    assert read_all(run(cluster), 3) == b"abcdefghij"


def test_output_comes_at_once(server: ApiServer, cluster: Cluster) -> None:
    go_on = threading.Event()

    def serve(peer: WebSocketPeer) -> None:
        # In one piece with the answer's head, as a fast server does.
        peer.accept(V5, early=frame(b"\1one"))
        go_on.wait(10)
        peer.send(1, b"two")
        peer.exit(0)

    server.websocket("/exec$", serve)
    stream = run(cluster)
    assert stream.read1() == b"one"
    go_on.set()
    assert read_all(stream) == b"two"


def test_a_burst(server: ApiServer, cluster: Cluster) -> None:
    block = bytes(range(256)) * 128
    answering(server, *[(1, block)] * 512)
    assert read_all(run(cluster)) == block * 512


def test_stderr_keeps_its_end(server: ApiServer, cluster: Cluster) -> None:
    answering(server, *((2, b"%05d" % number) for number in range(20000)), (2, b"x" * 100000 + b"end"))
    stream = run(cluster)
    read_all(stream)
    assert stream.stderr == b"x" * 8189 + b"end"


@pytest.mark.parametrize("protocol", [V5, V4])
def test_standard_input(server: ApiServer, cluster: Cluster, protocol: str) -> None:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(protocol)
        while (message := peer.message()) != (255, b"\0"):
            peer.send(1, message[1].upper())
            if protocol == V4:
                break
        peer.exit(0)

    server.websocket("/exec$", serve)
    stream = run(cluster, stdin=True)
    stream.write(b"hello")
    assert stream.read1() == b"HELLO"
    assert stream.close_stdin() == (protocol == V5), "version 4 has no way to say it"
    assert read_all(stream) == b""
    assert stream.exit_code == 0
    stream.write(b"too late")


# What an answer may be


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (
            failure(403, "Forbidden", 'cannot get resource "x"'),
            ForbiddenError,
            "can-i get pods --sub",
        ),
        (
            failure(403, "Forbidden", 'cannot create resource "x"'),
            ForbiddenError,
            "can-i create pods --sub",
        ),
        (failure(404, "NotFound", 'pods "p" not found'), NotFoundError, 'pods "p" not found'),
        (failure(400, "BadRequest", "container main is bad"), ClusterError, "container main is bad"),
        (failure(400, "BadRequest", "Upgrade request required"), ClusterError, "not let websockets pass"),
        (Reply(200, b"<html>hello</html>"), ClusterError, "HTTP status 200 instead of a websocket"),
        (Reply(0), ClusterError, "closed the connection without an answer"),
        (failure(401, "Unauthorized"), ForbiddenError, "auth whoami"),
    ],
)
def test_no_websocket(
    server: ApiServer, cluster: Cluster, reply: Reply, kind: type[ClusterError], text: str
) -> None:
    server.script("/exec", reply)
    stream = run(cluster)
    with pytest.raises(kind) as error:
        stream.read1()
    assert text in str(error.value)
    assert stream.read1() == b""


@pytest.mark.parametrize(
    ("accept", "protocol", "text"),
    [("x", V5, "not that of a websocket server"), ("", "v1.channel.k8s.io", "'v1.channel.k8s.io'")],
)
def test_another_protocol(server: ApiServer, cluster: Cluster, accept: str, protocol: str, text: str) -> None:
    server.websocket("/exec$", lambda peer: peer.accept(protocol, accept=accept))
    with pytest.raises(ClusterError) as error:
        run(cluster).read1()
    assert text in error.value.cause


def test_a_server_that_does_not_answer(server: ApiServer, tmp_path: Path) -> None:
    held = threading.Event()
    server.script("/exec", Reply(after=held))
    kubeconfig = str(server.kubeconfig(tmp_path / "config"))
    cluster = connect(ConnectionFlags(kubeconfig=kubeconfig, request_timeout="100ms"))
    with pytest.raises(ClusterError, match="no answer in time"):
        run(cluster).read1()
    held.set()
    cluster.close()


NO_NUMBER = {"causes": [{"reason": "ExitCode", "message": "x"}]}


@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        (
            {"status": "Failure", "code": 500, "message": 'exec: "x": no\x1bt found'},
            ClusterError,
            "could not run 'true' in pod default/p .*: exec: \"x\": no\\\\027t found",
        ),
        ({"status": "Failure", "code": 404, "message": "container not found"}, NotFoundError, "not found"),
        ({"status": "Failure", "details": None}, ClusterError, "could not run"),
        ({"status": "Failure", "details": NO_NUMBER}, ClusterError, "could not run"),
        ({"status": 7}, ClusterError, "could not run"),
    ],
)
def test_a_command_that_does_not_start(
    server: ApiServer, cluster: Cluster, status: dict[str, Any], kind: type[ClusterError], text: str
) -> None:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, b"some")
        peer.status(status)

    server.websocket("/exec$", serve)
    stream = run(cluster)
    assert stream.read1() == b"some"
    with pytest.raises(kind, match=text):
        stream.read1()
    assert (stream.read1(), stream.exit_code) == (b"", None)


# Breaks and `close`


def broken_by(end: Callable[[WebSocketPeer], object]) -> Serve:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, b"one")
        end(peer)

    return serve


@pytest.mark.parametrize(
    "end",
    [
        lambda _: None,
        lambda peer: peer.close(),
        lambda peer: peer.raw(frame(b"\1two")[:-1]),
        lambda peer: peer.raw(b"\xff" * 20),
    ],
    ids=["cut", "no status", "cut in a frame", "garbage"],
)
def test_a_break_is_an_error(
    server: ApiServer, cluster: Cluster, end: Callable[[WebSocketPeer], object]
) -> None:
    server.websocket("/exec$", broken_by(end))
    stream = run(cluster)
    assert stream.read1() == b"one"
    with pytest.raises(ClusterError, match="lost the connection"):
        read_all(stream)
    assert (stream.read1(), stream.exit_code) == (b"", None)


def test_a_break_after_the_status_is_none(server: ApiServer, cluster: Cluster) -> None:
    status = json.dumps({"status": "Success"}).encode()
    server.websocket("/exec$", broken_by(lambda peer: peer.send(3, status)))
    stream = run(cluster)
    assert read_all(stream) == b"one"
    assert stream.exit_code == 0


def test_a_silent_server_is_pinged_and_given_up(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "SILENCE_LIMIT_S", 0.1)
    server.websocket("/exec$", broken_by(lambda peer: peer.wait_for_end()))
    stream = run(cluster)
    assert stream.read1() == b"one"
    with pytest.raises(ClusterError, match="it does not answer any more"):
        stream.read1()


def in_thread(read: Callable[[], object]) -> Callable[[], object]:
    """Runs it in a thread; the result waits for its end."""
    results: list[object] = []

    def target() -> None:
        try:
            results.append(read())
        except ClusterError as error:
            results.append(error)

    thread = threading.Thread(target=target, daemon=True)
    thread.start()

    def result() -> object:
        thread.join(10)
        assert not thread.is_alive(), "it hangs"
        return results[0]

    return result


def test_close_wakes_the_reader_and_ends_the_command(server: ApiServer, cluster: Cluster) -> None:
    serve, done = serving(broken_by(lambda peer: peer.wait_for_end()))
    server.websocket("/exec$", serve)
    stream = run(cluster)
    assert stream.read1() == b"one"
    result = in_thread(lambda: read_all(stream))
    stream.close()
    assert result() == b""
    stream.close()
    assert done.wait(10), "the server sees that we have gone"


def test_close_drops_what_was_not_read(server: ApiServer, cluster: Cluster) -> None:
    answering(server, (1, b"abcdef"))
    stream = run(cluster)
    assert stream.read1(2) == b"ab"
    stream.close()
    assert stream.read1() == b""
    assert stream.exit_code is None


def test_close_wakes_a_writer(server: ApiServer, cluster: Cluster) -> None:
    held = threading.Event()

    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, b"one")
        held.wait(10)

    server.websocket("/exec$", serve)
    stream = run(cluster, stdin=True)
    assert stream.read1() == b"one"
    result = in_thread(lambda: stream.write(b"x" * (32 << 20)))
    stream.close()
    assert result() is None
    held.set()


def test_close_ends_the_wait_for_an_answer(server: ApiServer, cluster: Cluster) -> None:
    held = threading.Event()
    server.script("/exec", Reply(after=held))
    stream = run(cluster)
    result = in_thread(stream.read1)
    server.wait_for(lambda server: len(server.requests) == 1)
    stream.close()
    assert result() == b""
    held.set()


def test_close_before_the_first_read_sends_nothing(server: ApiServer, cluster: Cluster) -> None:
    stream = run(cluster)
    stream.close()
    assert stream.read1() == b""
    assert server.requests == []


def test_close_of_the_cluster_ends_commands(server: ApiServer, cluster: Cluster) -> None:
    server.websocket("/exec$", broken_by(lambda peer: peer.wait_for_end()))
    stream = run(cluster)
    assert stream.read1() == b"one"
    result = in_thread(stream.read1)
    cluster.close()
    assert isinstance(result(), ClusterError)


# TLS and proxies


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command makes the certificates")
    return Authority.make(tmp_path_factory.mktemp("pki") / "ca")


def test_both_ways_at_once_through_a_proxy_and_tls(authority: Authority, tmp_path: Path) -> None:
    block = bytes(range(256)) * 128

    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        sender = threading.Thread(target=lambda: [peer.send(1, block) for _ in range(512)])
        sender.start()
        received = 0
        while (message := peer.message())[0] == 0:
            received += len(message[1])
        sender.join()
        peer.send(2, b"%d" % received)
        peer.exit(0)

    with ApiServer(tls=authority.server_context("server")) as server:
        server.websocket("/exec$", serve)

        def talk(client: socket.socket) -> tuple[str, int]:
            assert client.recv(1000).startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % server.port)
            client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            return "127.0.0.1", server.port

        proxy = FakeProxy(talk)
        kubeconfig = server.kubeconfig(tmp_path / "config")
        config = json.loads(kubeconfig.read_text())
        config["clusters"][0]["cluster"]["proxy-url"] = f"http://127.0.0.1:{proxy.port}"
        kubeconfig.write_text(json.dumps(config))
        trust = {"certificate_authority": str(authority.certificate)}
        cluster = connect(ConnectionFlags(kubeconfig=str(kubeconfig), **trust))
        stream = run(cluster, stdin=True)

        def write() -> None:
            for _ in range(512):
                stream.write(block)
            stream.close_stdin()

        written = in_thread(write)
        assert read_all(stream) == block * 512
        assert written() is None
        assert (stream.exit_code, stream.stderr) == (0, b"%d" % (512 * len(block)))
        proxy.close()
        cluster.close()


def test_close_wakes_a_reader_over_tls(authority: Authority, tmp_path: Path) -> None:
    with ApiServer(tls=authority.server_context("server2")) as server:
        serve, done = serving(broken_by(lambda peer: peer.wait_for_end()))
        server.websocket("/exec$", serve)
        flags = {"certificate_authority": str(authority.certificate)}
        cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config")), **flags))
        stream = run(cluster)
        assert stream.read1() == b"one"
        result = in_thread(stream.read1)
        stream.close()
        assert result() == b""
        assert done.wait(10)
        cluster.close()
