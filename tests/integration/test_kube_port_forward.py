"""A port of a pod as a unix socket: bytes both ways, why it failed, and an end that leaves nothing."""

from __future__ import annotations

import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from kubectl_kdns.errors import ClusterError, ConfigError, ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect, port_forward
from kubectl_kdns.kube.port_forward import PortForward
from support.api_server import ApiServer, Reply, failure
from support.websocket_server import Serve, WebSocketPeer, frame, serving

V4 = "v4.channel.k8s.io"
PORT = (4245).to_bytes(2, "little")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


@pytest.fixture
def forward(cluster: Cluster) -> Iterator[PortForward]:
    forward = cluster.port_forward("kube-system", "relay", 4245)
    yield forward
    forward.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kdns-port-forward")]


@pytest.fixture
def dial(forward: PortForward) -> Iterator[Callable[[], socket.socket]]:
    """Connects as a client would; nothing waits for longer than 10 s."""
    clients: list[socket.socket] = []

    def connect_client() -> socket.socket:
        client = socket.socket(socket.AF_UNIX)
        clients.append(client)
        client.settimeout(10)
        client.connect(forward.path)
        return client

    yield connect_client
    for client in clients:
        client.close()


def opened(peer: WebSocketPeer) -> None:
    """What every kubelet begins with."""
    peer.accept(V4)
    peer.send(0, PORT)
    peer.send(1, PORT)


def echo(peer: WebSocketPeer) -> None:
    opened(peer)
    with suppress(EOFError):
        while True:
            channel, data = peer.message()
            assert channel == 0
            peer.send(0, data)
    peer.close()


def receive(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count and (part := sock.recv(65536)):
        data += part
    return bytes(data)


def test_there_and_back(server: ApiServer, forward: PortForward, dial: Callable[[], socket.socket]) -> None:
    server.websocket("/portforward$", echo)
    assert server.requests == [], "nothing is sent before somebody connects"
    client = dial()
    client.sendall(b"hello")
    assert receive(client, 5) == b"hello"
    request = server.requests[0]
    assert (request.method, request.path) == ("GET", "/api/v1/namespaces/kube-system/pods/relay/portforward")
    assert request.query == {"ports": "4245"}
    assert request.headers["sec-websocket-protocol"] == V4
    assert (forward.error, forward.failure) == ("", None)


def test_only_we_can_use_the_path(forward: PortForward) -> None:
    folder = os.stat(os.path.dirname(forward.path))
    assert stat.S_IMODE(folder.st_mode) == 0o700
    assert len(forward.path) < 104


def test_every_connection_has_its_own_websocket(server: ApiServer, dial: Callable[[], socket.socket]) -> None:
    server.websocket("/portforward$", echo)
    first, second = dial(), dial()
    first.sendall(b"1")
    second.sendall(b"2")
    assert (receive(second, 1), receive(first, 1)) == (b"2", b"1")
    first.close()
    second.sendall(b"3")
    assert receive(second, 1) == b"3"
    assert server.count("GET .*portforward") == 2


def test_the_port_may_come_in_pieces(server: ApiServer, dial: Callable[[], socket.socket]) -> None:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V4, early=frame(b"\0" + PORT[:1]) + frame(b"\1" + PORT[:1]))
        peer.send(7, b"not ours")
        peer.raw(frame(b"\0" + PORT[1:], fin=False) + frame(b"da", 0, fin=False) + frame(b"ta", 0))
        peer.send(1, PORT[1:])
        peer.send(0, b" and more")
        peer.close()

    server.websocket("/portforward$", serve)
    assert receive(dial(), 100) == b"data and more"


def test_a_burst_both_ways(server: ApiServer, dial: Callable[[], socket.socket]) -> None:
    server.websocket("/portforward$", echo)
    client, block = dial(), bytes(range(256)) * 256
    sender = threading.Thread(target=lambda: [client.sendall(block) for _ in range(256)])
    sender.start()
    assert receive(client, 256 * len(block)) == block * 256
    sender.join(10)


def test_who_does_not_read_is_waited_for(server: ApiServer, dial: Callable[[], socket.socket]) -> None:
    sent: list[int] = []
    block = bytes(1 << 20)

    def serve(peer: WebSocketPeer) -> None:
        opened(peer)
        peer.message()
        for _ in range(64):
            peer.send(0, block)
            sent.append(len(block))
        peer.close()

    serve, done = serving(serve)
    server.websocket("/portforward$", serve)
    client = dial()
    client.sendall(b"go")
    assert not done.wait(0.2), "it does not keep in memory what nobody reads"
    assert sum(sent) < 64 << 20
    assert len(receive(client, 64 << 20)) == 64 << 20
    assert done.wait(10)


def test_the_error_of_a_kubelet(
    server: ApiServer, forward: PortForward, dial: Callable[[], socket.socket]
) -> None:
    def serve(peer: WebSocketPeer) -> None:
        opened(peer)
        peer.send(1, b"error forwarding port 4245: connection\x1b refused\n")
        peer.wait_for_end()

    serve, done = serving(serve)
    server.websocket("/portforward$", serve)
    assert receive(dial(), 1) == b""
    assert forward.error == "error forwarding port 4245: connection\\027 refused"
    assert forward.failure is None
    assert done.wait(10), "our side ends it"


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (
            failure(403, "Forbidden", "no"),
            ForbiddenError,
            "get pods --subresource=portforward -n kube-",
        ),
        (failure(404, "NotFound", 'pods "relay" not found'), NotFoundError, 'pods "relay" not found'),
        (Reply(0), ClusterError, "closed the connection without an answer"),
    ],
)
def test_no_websocket(
    server: ApiServer,
    forward: PortForward,
    dial: Callable[[], socket.socket],
    reply: Reply,
    kind: type[ClusterError],
    text: str,
) -> None:
    server.script("/portforward", reply)
    client = dial()
    with suppress(ConnectionResetError, BrokenPipeError):
        client.sendall(b"hello")
        assert receive(client, 1) == b""
    assert isinstance(forward.failure, kind)
    assert text in str(forward.failure)
    assert server.count("portforward") == 1


@pytest.mark.parametrize(
    "end",
    [lambda peer: peer.close(), lambda _: None, lambda peer: peer.raw(b"\xff" * 9)],
    ids=["orderly", "cut", "garbage"],
)
def test_a_pod_that_goes_away(
    server: ApiServer,
    forward: PortForward,
    dial: Callable[[], socket.socket],
    end: Callable[[WebSocketPeer], object],
) -> None:
    def serve(peer: WebSocketPeer) -> None:
        opened(peer)
        peer.send(0, b"data")
        end(peer)

    server.websocket("/portforward$", serve)
    assert receive(dial(), 100) == b"data"
    assert receive(dial(), 100) == b"data", "the next connection begins anew"
    assert forward.error == ""


def test_a_client_that_goes_away(server: ApiServer, dial: Callable[[], socket.socket]) -> None:
    serve, done = serving(echo)
    server.websocket("/portforward$", serve)
    client = dial()
    client.sendall(b"1")
    assert receive(client, 1) == b"1"
    client.close()
    assert done.wait(10)


def test_without_its_path_it_goes_on(
    server: ApiServer, forward: PortForward, dial: Callable[[], socket.socket]
) -> None:
    server.websocket("/portforward$", echo)
    client = dial()
    forward.forget_path()
    forward.forget_path()
    assert not os.path.exists(os.path.dirname(forward.path))
    client.sendall(b"1")
    assert receive(client, 1) == b"1"
    with pytest.raises(FileNotFoundError):
        dial()


@pytest.mark.parametrize("forgotten", [False, True])
def test_close_ends_everything(
    server: ApiServer, forward: PortForward, dial: Callable[[], socket.socket], forgotten: bool
) -> None:
    serve, done = serving(echo)
    server.websocket("/portforward$", serve)
    client = dial()
    client.sendall(b"1")
    assert receive(client, 1) == b"1"
    if forgotten:
        forward.forget_path()
    threads = [threading.Thread(target=forward.close) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert receive(client, 1) == b""
    assert done.wait(10)
    assert not os.path.exists(os.path.dirname(forward.path))
    assert (forward.error, forward.failure) == ("", None)


def test_close_where_the_system_does_not_wake(
    server: ApiServer,
    forward: PortForward,
    dial: Callable[[], socket.socket],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(port_forward, "shut_down", lambda _: None)  # as Windows takes it
    monkeypatch.setattr(port_forward, "LOOK_S", 0.01)
    test_close_ends_everything(server, forward, dial, False)


def held_by(event: threading.Event) -> Serve:
    def serve(peer: WebSocketPeer) -> None:
        opened(peer)
        event.wait(10)

    return serve


@pytest.mark.parametrize("direction", ["up", "down", "opening"])
def test_close_while_blocked(
    server: ApiServer, forward: PortForward, dial: Callable[[], socket.socket], direction: str
) -> None:
    held = threading.Event()
    if direction == "opening":
        server.script("/portforward", Reply(after=held))
    elif direction == "up":
        server.websocket("/portforward$", held_by(held))
    else:
        server.websocket("/portforward$", lambda peer: (opened(peer), peer.send(0, bytes(32 << 20))))
    client = dial()
    server.wait_for(lambda server: server.count("portforward") == 1)
    if direction == "up":
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sendall(bytes(32 << 20))
    forward.close()
    held.set()


def test_close_of_the_cluster_ends_connections(
    server: ApiServer, cluster: Cluster, forward: PortForward, dial: Callable[[], socket.socket]
) -> None:
    server.websocket("/portforward$", echo)
    client = dial()
    client.sendall(b"1")
    assert receive(client, 1) == b"1"
    cluster.close()
    assert receive(client, 1) == b""
    assert isinstance(forward.failure, ClusterError)


def test_a_long_name_of_the_temporary_directory(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    forward = cluster.port_forward("ns", "p", 1)
    assert len(forward.path) < 104
    assert list(long.iterdir()) == []
    forward.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match="cannot make a socket"):
        cluster.port_forward("ns", "p", 1)
