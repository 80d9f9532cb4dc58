"""The tests' own Hubble relay, asked by gRPC: what it serves, and each fault that it can play."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from support.hubble_certificates import SERVER_NAME, RelayCertificates
from support.hubble_flood import Flood
from support.hubble_flows import large, node_status, request, unknown_response
from support.hubble_schema import (
    GetFlowsRequest,
    GetFlowsResponse,
    GetNamespacesRequest,
    GetNamespacesResponse,
    GetNodesRequest,
    GetNodesResponse,
    ServerStatusRequest,
    ServerStatusResponse,
)
from support.hubble_server import Abort, HubbleServer, Stall

ANY_SIZE = ("grpc.max_receive_message_length", -1)
OWN = ("grpc.use_local_subchannel_pool", 1)


@pytest.fixture
def server() -> Iterator[HubbleServer]:
    with HubbleServer(drain_s=0.05, peers_every_s=0.05, errors_every_s=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> RelayCertificates:
    return RelayCertificates.make(tmp_path_factory.mktemp("hubble") / "tls")


def channel(server: HubbleServer, credentials: grpc.ChannelCredentials | None = None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(server.address, [ANY_SIZE, OWN])
    name = ("grpc.ssl_target_name_override", SERVER_NAME.replace("*", "instance"))
    return grpc.secure_channel(server.address, credentials, [name, OWN])


def flows(channel: grpc.Channel, *, timeout_s: float = 20, metadata: Any = None, **fields: Any) -> Any:
    call = channel.unary_stream(
        "/observer.Observer/GetFlows",
        request_serializer=GetFlowsRequest.SerializeToString,
        response_deserializer=GetFlowsResponse.FromString,
    )
    return call(GetFlowsRequest(**fields), timeout=timeout_s, metadata=metadata)


def ask(channel: grpc.Channel, method: str, question: Any, answer: Any, *, timeout_s: float = 20) -> Any:
    call = channel.unary_unary(
        f"/observer.Observer/{method}",
        request_serializer=question.SerializeToString,
        response_deserializer=answer.FromString,
    )
    return call(question(), timeout=timeout_s)


def status(channel: grpc.Channel, **more: float) -> Any:
    return ask(channel, "ServerStatus", ServerStatusRequest, ServerStatusResponse, **more)


def said(message: Any) -> str:
    if message.HasField("flow"):
        return str(message.flow.l7.dns.query)
    if message.HasField("node_status"):
        known = message.node_status
        state = known.DESCRIPTOR.fields_by_name["state_change"].enum_type.values_by_number[known.state_change]
        return " ".join([state.name, *known.node_names])
    return message.WhichOneof("response_types") or "nothing known"


def test_history_of_both_nodes(server: HubbleServer) -> None:
    for number in range(4):
        server.node(f"kdns-n{1 + number % 2}").add(request(f"{number}.test.", time_ns=10**18 + number))
    with channel(server) as client:
        got = [said(message) for message in flows(client, number=1, whitelist=[{"protocol": ["dns"]}])]
    assert got == ["NODE_CONNECTED kdns-n1 kdns-n2", "2.test.", "3.test."]
    assert [(asked.number, list(asked.whitelist[0].protocol)) for asked in server.requests] == [(1, ["dns"])]


def test_follow_from_any_thread(server: HubbleServer) -> None:
    with channel(server) as client:
        stream = flows(client, follow=True)
        assert said(next(stream)) == "NODE_CONNECTED kdns-n1 kdns-n2"
        server.wait_for(lambda: server.streams)
        now_ns = time.time_ns()
        for number in range(3):
            flow = request(f"{number}.test.", time_ns=now_ns + number)
            threading.Thread(target=server.node("kdns-n1").add, args=(flow,)).start()
        assert sorted(said(next(stream)) for _ in range(3)) == ["0.test.", "1.test.", "2.test."]
        stream.cancel()
        server.wait_for(lambda: not server.streams)


def test_status_nodes_and_namespaces(server: HubbleServer) -> None:
    server.node("kdns-n1").add(request(), request())
    server.node("kdns-n2").go()
    with channel(server) as client:
        whole = status(client)
        nodes = ask(client, "GetNodes", GetNodesRequest, GetNodesResponse).nodes
        spaces = ask(client, "GetNamespaces", GetNamespacesRequest, GetNamespacesResponse).namespaces
    assert (whole.num_flows, whole.max_flows, whole.version) == (2, 4095, f"hubble-relay {server.version}")
    assert (whole.num_connected_nodes.value, list(whole.unavailable_nodes)) == (1, ["kdns-n2"])
    assert [(node.name, node.state, node.num_flows) for node in nodes] == [
        ("kdns-n1", 1, 2),
        ("kdns-n2", 2, 0),
    ]
    assert [space.namespace for space in spaces] == ["kube-system", "lab"]


def test_headers_and_basic_auth() -> None:
    with (
        HubbleServer(basic_auth=("me", "secret"), headers={"hubble-relay-version": "1.19.4"}) as server,
        channel(server) as client,
    ):
        with pytest.raises(grpc.RpcError) as error:
            list(flows(client))
        assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
        stream = flows(client, metadata=[("authorization", "Basic bWU6c2VjcmV0")])
        assert dict(stream.initial_metadata())["hubble-relay-version"] == "1.19.4"
        assert len(list(stream)) == 1
        assert [method for method, _ in server.calls] == ["GetFlows", "GetFlows"]
        assert server.calls[1][1]["authorization"] == "Basic bWU6c2VjcmV0"


def test_a_unix_socket(tmp_path: Path) -> None:
    with HubbleServer(unix=tmp_path / "hubble.sock") as server:
        assert server.address == f"unix://{tmp_path}/hubble.sock"
        with channel(server) as client:
            assert status(client).num_connected_nodes.value == 2


def test_tls(certificates: RelayCertificates) -> None:
    trusted = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
    with HubbleServer(tls=certificates.server) as server:
        with channel(server, trusted) as client:
            assert status(client).num_connected_nodes.value == 2
        wrong = grpc.ssl_channel_credentials(certificates.wrong_ca.read_bytes())
        for one in (channel(server, wrong), channel(server)):
            with one, pytest.raises(grpc.RpcError) as error:
                status(one)
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_an_expired_certificate(certificates: RelayCertificates) -> None:
    trusted = grpc.ssl_channel_credentials(certificates.ca.read_bytes())
    with (
        HubbleServer(tls=certificates.expired) as server,
        channel(server, trusted) as client,
        pytest.raises(grpc.RpcError, match=r"(?i)expired"),
    ):
        status(client)


def test_client_certificates(certificates: RelayCertificates) -> None:
    ca = certificates.ca.read_bytes()

    def pair(certificate: Path, key: Path) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(ca, key.read_bytes(), certificate.read_bytes())

    with HubbleServer(tls=certificates.server, client_ca=certificates.ca) as server:
        with channel(server, pair(*certificates.client)) as client:
            assert status(client).num_connected_nodes.value == 2
        for wrong in (grpc.ssl_channel_credentials(ca), pair(*certificates.stranger)):
            with channel(server, wrong) as client, pytest.raises(grpc.RpcError) as error:
                status(client)
            assert error.value.code() == grpc.StatusCode.UNAVAILABLE


def test_a_stall_says_nothing_until_the_client_gives_up(server: HubbleServer) -> None:
    server.script("GetFlows", Stall(after=1))
    server.script("ServerStatus", Stall())
    with channel(server) as client:
        stream = flows(client, timeout_s=0.3)
        assert said(next(stream)) == "NODE_CONNECTED kdns-n1 kdns-n2"
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        with pytest.raises(grpc.RpcError):
            status(client, timeout_s=0.3)
        server.wait_for(lambda: not server.streams)
        assert status(client).num_connected_nodes.value == 2


def test_an_abort_with_a_status(server: HubbleServer) -> None:
    server.script("GetFlows", Abort("RESOURCE_EXHAUSTED", "too much", after=1))
    with channel(server) as client:
        stream = flows(client, follow=True)
        assert said(next(stream)) == "NODE_CONNECTED kdns-n1 kdns-n2"
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
    assert (error.value.code(), error.value.details()) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")


def test_a_cut_ends_every_connection_and_new_ones_are_welcome(server: HubbleServer) -> None:
    with channel(server) as client:
        stream = flows(client, follow=True)
        next(stream)
        server.cut()
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        server.wait_for(lambda: not server.streams)
    with channel(server) as client:
        assert status(client).num_connected_nodes.value == 2
    assert server.connections == 2


def test_a_refused_connection(server: HubbleServer) -> None:
    server.refuse()
    with channel(server) as client, pytest.raises(grpc.RpcError) as error:
        status(client)
    assert error.value.code() == grpc.StatusCode.UNAVAILABLE
    server.accept()
    with channel(server) as client:
        assert status(client).num_connected_nodes.value == 2


def test_a_frozen_network_passes_nothing_until_it_thaws(server: HubbleServer) -> None:
    with channel(server) as client:
        stream = flows(client, follow=True)
        next(stream)
        server.freeze()
        server.node("kdns-n1").add(request("late.test."))
        with channel(server) as other, pytest.raises(grpc.RpcError) as error:
            status(other, timeout_s=0.3)
        assert error.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        server.thaw()
        assert said(next(stream)) == "late.test."


def test_a_node_goes_and_comes_back_with_an_empty_ring(server: HubbleServer) -> None:
    server.node("kdns-n1").add(request("before.test."))
    with channel(server) as client:
        stream = flows(client, follow=True, number=1)
        assert [said(next(stream)) for _ in range(2)] == ["NODE_CONNECTED kdns-n1 kdns-n2", "before.test."]
        server.node("kdns-n1").go()
        assert said(next(stream)) == "NODE_ERROR kdns-n1"
        server.node("kdns-n1").come_back()
        server.node("kdns-n1").add(request("after.test."))
        assert said(next(stream)) == "after.test."


def test_whatever_is_put_into_a_stream(server: HubbleServer) -> None:
    with channel(server) as client:
        stream = flows(client, follow=True)
        next(stream)
        server.say("NODE_GONE", "kdns-n2")
        server.inject(unknown_response(), node_status("UNKNOWN_NODE_STATE"))
        got = [said(next(stream)) for _ in range(3)]
        assert got == ["NODE_GONE kdns-n2", "nothing known", "UNKNOWN_NODE_STATE"]
        server.inject(b"\xff\xff\xff")
        with pytest.raises(grpc.RpcError) as error:
            next(stream)
        assert error.value.code() == grpc.StatusCode.INTERNAL


def test_a_message_of_16_mib(server: HubbleServer) -> None:
    server.node("kdns-n1").add(large(request("big.test."), 16 << 20))
    with channel(server) as client:
        sizes = [message.ByteSize() for message in flows(client)]
    assert max(sizes) > 16 << 20


def test_a_reader_that_is_too_slow_is_told_how_many_it_lost() -> None:
    with HubbleServer(["kdns-n1"], ring=15, sort_buffer=1) as server, channel(server) as client:
        stream = flows(client, follow=True)
        next(stream)
        server.wait_for(lambda: server.streams)
        for number in range(5000):
            server.node("kdns-n1").add(large(request(f"{number}.test."), 4096))
        lost = seen = 0
        for message in stream:
            lost += message.lost_events.num_events_lost
            seen += message.HasField("flow")
            if lost + seen == 4999:  # the sort buffer has the last one
                break
        assert lost > 0
        assert seen > 0


def test_the_flood_sends_each_flow_once_and_in_order() -> None:
    flood = Flood(5001, pairs=1000, names=7)
    thread = threading.Thread(target=flood.serve)
    thread.start()
    try:
        with grpc.insecure_channel(flood.address, [OWN]) as client:
            first, *rest = flows(client, follow=True)
            assert status(client).num_connected_nodes.value == 1
    finally:
        flood.close()
        thread.join()
    assert said(first) == "NODE_CONNECTED kdns-n1"
    assert len({message.flow.uuid for message in rest}) == len(rest) == 5001
    times = [message.time.ToNanoseconds() for message in rest[::2]]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(2.5e9, rel=0.01)
    assert [message.flow.l7.type for message in rest[:4]] == [1, 2, 1, 2]
