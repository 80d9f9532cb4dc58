"""The gRPC client against a Hubble server: its calls, how they end, and what leaves the terminal quiet."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.address import parse_address
from kdns_hubble.client import HubbleClient
from kdns_hubble.credentials import Credentials
from kdns_hubble.failures import HubbleError
from kdns_hubble.options import HubbleOptions
from kubectl_kdns.errors import BackendError, KdnsError
from support import hubble_schema as schema
from support.hubble_certificates import RelayCertificates
from support.hubble_flows import request, response
from support.hubble_server import Abort, HubbleServer, Stall

DNS = pb.FlowFilter(protocol=["dns"])
LIVE = pb.GetFlowsRequest(follow=True, whitelist=[DNS])


@pytest.fixture
def clients() -> Iterator[Callable[..., HubbleClient]]:
    """Makes clients that are closed in the end."""
    made: list[HubbleClient] = []

    def make(
        server: HubbleServer,
        credentials: Credentials | None = None,
        name: str = "",
        *,
        explain: Callable[[], KdnsError | None] = lambda: None,
        **options: str | int,
    ) -> HubbleClient:
        address = parse_address(server.address)
        made.append(
            HubbleClient(address, credentials, name, HubbleOptions(**options), explain=explain)  # type: ignore[arg-type]
        )
        return made[-1]

    yield make
    for client in made:
        client.close()


def kinds(stream: Iterator[bytes]) -> list[str | None]:
    return [pb.GetFlowsResponse.FromString(raw).WhichOneof("response_types") for raw in stream]


def test_every_call(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer(headers={"hubble-relay-version": "1.19.4"}) as server:
        asked = request("a.test.")
        server.node("kdns-n1").add(asked, response(asked))
        client = clients(server)
        client.connect()
        status = client.status()
        assert (status.version, status.num_connected_nodes.value) == ("hubble-relay v1.17.4+g55aecc0f4706", 2)
        nodes = client.nodes()
        assert nodes is not None
        assert [node.name for node in nodes.nodes] == ["kdns-n1", "kdns-n2"]
        assert [one.namespace for one in client.namespaces().namespaces]
        call = client.flows(pb.GetFlowsRequest(number=10, whitelist=[DNS]))
        assert kinds(iter(call)) == ["node_status", "flow", "flow"]
        assert call.headers()["hubble-relay-version"] == "1.19.4"
        assert [message.number for message in server.requests] == [10]
        assert server.connections == 1


def test_a_unix_socket(clients: Callable[..., HubbleClient], tmp_path: Path) -> None:
    with HubbleServer(unix=tmp_path / "hubble sock") as server:
        client = clients(server)
        client.connect()
        assert client.status().max_flows


def test_an_agent_knows_no_other_nodes(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer() as server:
        server.script("GetNodes", Abort("UNIMPLEMENTED", "GetNodes not implemented"))
        assert clients(server).nodes() is None


def test_connecting_asks_no_node_and_takes_any_answer(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer() as server:
        server.script("Check", Abort("UNIMPLEMENTED", "unknown service grpc.health.v1.Health"))
        clients(server).connect()
        assert [method for method, _ in server.calls] == ["Check"]


def test_proxies_of_the_environment_are_not_used(
    clients: Callable[..., HubbleClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with HubbleServer() as server:
        clients(server).connect()
        assert server.connections == 1


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> RelayCertificates:
    return RelayCertificates.make(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(clients: Callable[..., HubbleClient], certificates: RelayCertificates, mutual: bool) -> None:
    own = [path.read_bytes() for path in certificates.client] if mutual else [b"", b""]
    credentials = Credentials(certificates.ca.read_bytes(), *own)
    with HubbleServer(tls=certificates.server, client_ca=certificates.ca if mutual else None) as server:
        client = clients(server, credentials, "instance.hubble-relay.cilium.io")
        client.connect()
        assert client.status().max_flows


def test_basic_authentication(clients: Callable[..., HubbleClient], certificates: RelayCertificates) -> None:
    credentials = Credentials(certificates.ca.read_bytes())
    login = {"username": "me", "password": "pass word:ü"}
    with HubbleServer(tls=certificates.server, basic_auth=("me", "pass word:ü")) as server:
        name = "instance.hubble-relay.cilium.io"
        client = clients(server, credentials, name, **login)
        client.connect()
        assert kinds(iter(client.flows(pb.GetFlowsRequest(number=1)))) == ["node_status"]
        with pytest.raises(HubbleError, match="does not accept us"):
            clients(server, credentials, name).connect()
        with pytest.raises(HubbleError, match="does not accept our user name and password"):
            clients(server, credentials, name, **(login | {"password": "x"})).status()


# How a stream ends


class Reader(threading.Thread):
    """Reads a stream in a thread of its own, to its end; `begun` once something came."""

    def __init__(self, stream: Iterator[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self.begun = threading.Event()
        self.error: KdnsError | None = None
        self.start()

    def run(self) -> None:
        try:
            for _ in self._stream:
                self.begun.set()
        except KdnsError as error:
            self.error = error

    def end(self) -> KdnsError | None:
        """How it ended: None in order."""
        self.join(10)
        assert not self.is_alive()
        return self.error


@pytest.mark.parametrize("waits_for_headers", [True, False])
def test_a_stream_is_cancelled_from_another_thread(
    clients: Callable[..., HubbleClient], waits_for_headers: bool
) -> None:
    with HubbleServer() as server:
        if waits_for_headers:
            server.script("GetFlows", Stall())
        call = clients(server).flows(LIVE)
        reader = Reader(iter(call))
        server.wait_for(lambda: server.streams)
        if not waits_for_headers:
            assert reader.begun.wait(10)
        call.cancel()
        call.cancel()
        assert reader.end() is None
        server.wait_for(lambda: not server.streams)


def test_closing_the_client_ends_its_streams_and_further_calls(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer() as server:
        client = clients(server)
        reader = Reader(iter(client.flows(LIVE)))
        assert reader.begun.wait(10)
        client.close()
        client.close()
        assert reader.end() is None
        for call in (client.connect, client.status, client.nodes, lambda: client.flows(LIVE)):
            with pytest.raises(HubbleError, match="has been closed") as caught:
                call()
            assert caught.value.code == "CANCELLED"


def test_closing_the_client_ends_connecting(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer() as server:
        server.freeze()
        client = clients(server)
        ended: list[KdnsError] = []

        def connect() -> None:
            try:
                client.connect()
            except KdnsError as error:
                ended.append(error)

        thread = threading.Thread(target=connect)
        thread.start()
        server.wait_for(lambda: server.connections)
        client.close()
        thread.join(4)  # less than the time for a connection
        assert [str(error).startswith("the connection to the Hubble server") for error in ended] == [True]


def test_a_connection_that_breaks_is_lost(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer() as server:
        reader = Reader(iter(clients(server).flows(LIVE)))
        assert reader.begun.wait(10)
        server.cut()
        error = reader.end()
        assert isinstance(error, HubbleError)
        assert (error.code, error.lost) == ("UNAVAILABLE", True)
        assert error.what == f"lost the connection to the Hubble server {server.address}"


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
def test_a_relay_that_stops_says_so_itself(clients: Callable[..., HubbleClient], code: str) -> None:
    with HubbleServer() as server:
        server.script("GetFlows", Abort(code, "going \x1b[31m away", after=1))
        with pytest.raises(HubbleError) as caught:
            kinds(iter(clients(server).flows(LIVE)))
        assert (caught.value.code, caught.value.cause) == (code, "going \\027[31m away")


def test_who_forwards_the_port_is_asked_first(clients: Callable[..., HubbleClient]) -> None:
    gone = BackendError("the pod is gone")
    with HubbleServer() as server:
        server.refuse()
        with pytest.raises(BackendError) as caught:
            clients(server, explain=lambda: gone).connect()
        assert caught.value is gone


def test_a_message_of_16_mib_is_read_and_one_of_65_is_an_error(clients: Callable[..., HubbleClient]) -> None:
    with HubbleServer() as server:
        stream = iter(clients(server).flows(LIVE))
        next(stream)
        server.wait_for(lambda: server.streams)
        server.inject(schema.GetFlowsResponse(node_name="x" * (16 << 20)))
        assert len(next(stream)) > 16 << 20
        server.inject(schema.GetFlowsResponse(node_name="x" * (65 << 20)))
        with pytest.raises(HubbleError, match="larger than a flow can be") as caught:
            next(stream)
        assert caught.value.code == "RESOURCE_EXHAUSTED"


def test_an_answer_that_is_not_hubbles(
    clients: Callable[..., HubbleClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HubbleServer, "server_status", lambda _: b"\xff\xff\xff")
    with HubbleServer() as server, pytest.raises(HubbleError, match="answered, but not as Hubble does"):
        clients(server).status()


SCRIPT = """
import sys, threading
from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.address import Address
from kdns_hubble.client import HubbleClient
from kdns_hubble.credentials import Credentials
from kdns_hubble.failures import HubbleError
from kdns_hubble.options import HubbleOptions

plain, tls, ca = int(sys.argv[1]), int(sys.argv[2]), open(sys.argv[3], "rb").read()
for port, credentials in ((tls, Credentials(ca)), (tls, Credentials()), (tls, None), (plain, Credentials())):
    try:
        HubbleClient(Address("127.0.0.1", port), credentials, "other.example", HubbleOptions()).connect()
    except HubbleError as error:
        print(error.cause)
client = HubbleClient(Address("127.0.0.1", plain), None, "", HubbleOptions())
begun = threading.Event()
def read():
    for _ in client.flows(pb.GetFlowsRequest(follow=True)):
        begun.set()
threading.Thread(target=read, daemon=True).start()
print(begun.wait(10))
"""


def test_grpc_writes_nothing_by_itself_and_keeps_nobody_from_leaving(certificates: RelayCertificates) -> None:
    with HubbleServer() as plain, HubbleServer(tls=certificates.server) as tls:
        command = [sys.executable, "-c", SCRIPT, str(plain.port), str(tls.port), str(certificates.ca)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [
        "its certificate is for *.hubble-relay.cilium.io, not for other.example",
        "its certificate is not signed by an authority of this machine",
        "it speaks TLS, and was spoken to in plain text",
        "it speaks plain text, and was spoken to by TLS",
        "True",
    ]
