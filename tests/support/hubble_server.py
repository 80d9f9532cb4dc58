"""A Hubble Relay for tests: gRPC in front of `hubble_relay`, and everything that may go wrong on the way.

    with HubbleServer() as server:
        server.node("kdns-n1").add(request("example.com."))
        ...                                     # a client of server.address
        server.wait_for(lambda: server.requests)
        server.cut()

A test waits with `wait_for`, never by sleeping. `python -m support.hubble_flood` is one for benchmarks.
"""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import grpc
from google.protobuf.message import Message

from support import hubble_schema as schema
from support.hubble_flows import node_status
from support.hubble_front import Front, scratch_socket
from support.hubble_relay import CAPACITY, NS_PER_S, Call, Clock, Node, Relay, Settings

VERSION = "v1.17.4+g55aecc0f4706"


@dataclass(frozen=True)
class Stall:
    """The call is accepted; `after` messages of a stream come, then nothing, until the client gives up."""

    after: int = 0


@dataclass(frozen=True)
class Abort:
    """The call ends with a gRPC status (its name, "UNAVAILABLE") after that many messages of a stream."""

    code: str
    details: str = ""
    after: int = 0


class HubbleServer:
    """`nodes` are names. `tls` is (certificate, key); with `client_ca` a client certificate is asked for.

    `sort_buffer`, `drain_s` and other `settings` are the relay's and the agents' (`hubble_relay.Settings`);
    `ring` is how many events an agent keeps. `basic_auth` is (user, password), which a proxy before a relay
    would check. `headers` is the initial metadata: `hubble-relay-version` since 1.19, nothing before.
    """

    def __init__(
        self,
        nodes: Sequence[str] = ("kdns-n1", "kdns-n2"),
        *,
        tls: tuple[Path, Path] | None = None,
        client_ca: Path | None = None,
        unix: Path | None = None,
        ring: int = CAPACITY,
        basic_auth: tuple[str, str] | None = None,
        version: str = VERSION,
        headers: dict[str, str] | None = None,
        **settings: Any,
    ) -> None:
        self.clock = Clock()
        self.nodes = [Node(name, self.clock, capacity=ring) for name in nodes]
        self.relay = Relay(self.nodes, self.clock, Settings(**settings))
        self.requests: list[Any] = []
        """GetFlowsRequest messages, as they came."""
        self.calls: list[tuple[str, dict[str, str]]] = []
        """(method, metadata) of every call, also of those that were refused."""
        self.streams: list[Call] = []
        """GetFlows in progress."""
        self.version = version
        self._headers = tuple((headers or {}).items())
        self._basic_auth = basic_auth
        self._scripts: dict[str, list[Stall | Abort]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="hubble")
        self._workers = ThreadPoolExecutor(64, thread_name_prefix="hubble")
        self._server, self._front = self._serve(tls, client_ca, unix)

    def _serve(
        self, tls: tuple[Path, Path] | None, client_ca: Path | None, unix: Path | None
    ) -> tuple[grpc.Server, Front]:
        behind = scratch_socket(self._folder.name)
        server = grpc.server(
            self._workers,
            handlers=[_Handlers(self)],
            options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
        )
        if tls:
            certificate, key = (path.read_bytes() for path in tls)
            credentials = grpc.ssl_server_credentials(
                [(key, certificate)],
                client_ca.read_bytes() if client_ca else None,
                require_client_auth=client_ca is not None,
            )
            server.add_secure_port(f"unix:{behind}", credentials)
        else:
            server.add_insecure_port(f"unix:{behind}")
        server.start()
        return server, Front(behind, unix=unix)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        for call in self.streams:
            call.active = False
        self.clock.changed()
        self._front.close()
        self._server.stop(None).wait()
        self._workers.shutdown()
        self._folder.cleanup()

    @property
    def address(self) -> str:
        """host:port, or unix:///path."""
        return self._front.address

    @property
    def port(self) -> int:
        return self._front.port

    @property
    def connections(self) -> int:
        """How many were accepted so far."""
        return self._front.connections

    def node(self, name: str) -> Node:
        return next(node for node in self.nodes if node.name == name)

    def script(self, method: str, *faults: Stall | Abort) -> None:
        """What happens to the next calls of that method ("GetFlows", "ServerStatus", ...), one by one."""
        self._scripts.setdefault(method, []).extend(faults)

    def inject(self, *messages: Message | bytes) -> None:
        """Puts messages, or bytes that are none, into every GetFlows in progress, past the sort buffer."""
        for call in list(self.streams):
            call.extra.extend(m if isinstance(m, bytes) else m.SerializeToString() for m in messages)
        self.clock.changed()

    def say(self, state: str, *nodes: str, message: str = "") -> None:
        """Puts a node_status (NODE_GONE, ...) into every GetFlows in progress."""
        self.inject(node_status(state, *nodes, message=message, time_ns=self.clock.now_ns()))

    def cut(self) -> None:
        """Every connection ends now, as when a port-forward dies; new ones are welcome."""
        self._front.cut()

    def freeze(self) -> None:
        """Nothing passes any more, on new connections neither; nobody is told."""
        self._front.freeze()

    def thaw(self) -> None:
        self._front.thaw()

    def refuse(self) -> None:
        """New connections are refused, until `accept`."""
        self._front.refuse()

    def accept(self) -> None:
        self._front.open()

    def wait_for(self, condition: Callable[[], object], timeout_s: float = 10) -> None:
        """Until the condition holds, by whatever change of the server; AssertionError after the time."""
        until_ns = self.clock.now_ns() + round(timeout_s * NS_PER_S)
        while True:
            seen = self.clock.changes
            if condition():
                return
            left_ns = until_ns - self.clock.now_ns()
            assert left_ns > 0, "the server did not see it in time"
            # Connections change without the clock being told.
            self.clock.wait(seen, min(0.02, left_ns / NS_PER_S))

    def begin(self, method: str, context: grpc.ServicerContext) -> Stall | Abort | None:
        """A call comes in: what is to become of it."""
        metadata = {str(key): str(value) for key, value in context.invocation_metadata()}
        self.calls.append((method, metadata))
        self.clock.changed()
        if self._headers:
            context.send_initial_metadata(self._headers)
        if self._basic_auth and metadata.get("authorization") != _basic(*self._basic_auth):
            return Abort("UNAUTHENTICATED", "unexpected HTTP status code received from server: 401")
        script = self._scripts.get(method)
        return script.pop(0) if script else None

    def server_status(self) -> Any:
        """The sum over the nodes, as the relay gives it."""
        status = schema.ServerStatusResponse(version=f"hubble-relay {self.version}")
        for node in self.nodes:
            if node.available:
                fields = node.status()
                status.num_flows += fields["num_flows"]
                status.max_flows += fields["max_flows"]
                status.seen_flows += fields["seen_flows"]
                status.uptime_ns = max(status.uptime_ns, fields["uptime_ns"])
        unavailable = [node.name for node in self.nodes if not node.available]
        status.num_connected_nodes.value = len(self.nodes) - len(unavailable)
        status.num_unavailable_nodes.value = len(unavailable)
        status.unavailable_nodes.extend(unavailable[:10])
        return status

    def list_nodes(self) -> Any:
        """Every node with its state."""
        response = schema.GetNodesResponse()
        for number, node in enumerate(self.nodes):
            known = response.nodes.add(name=node.name, address=f"192.0.2.{11 + number}:4244")
            known.tls.enabled, known.tls.server_name = True, f"{node.name}.default.hubble-grpc.cilium.io"
            known.state = 1 if node.available else 2
            if node.available:
                known.MergeFrom(type(known)(version=f"cilium {self.version}", **node.status()))
        return response

    def list_namespaces(self) -> Any:
        """Those that were seen in flows."""
        names = sorted({name for node in self.nodes if node.available for name in node.namespaces})
        return schema.GetNamespacesResponse(namespaces=[{"namespace": name} for name in names])

    def flows(self, request: Any, context: grpc.ServicerContext) -> Iterator[Message | bytes]:
        """GetFlows: the relay's stream, with what a script says."""
        fault = self.begin("GetFlows", context)
        self.requests.append(request)
        call = Call(request)
        self.streams.append(call)

        def end() -> None:
            call.active = False
            self.clock.changed()

        if not context.add_callback(end):
            end()
        try:
            if fault is not None:
                yield from islice(self.relay.flows(call), fault.after)
                self._fail(fault, call, context)
            else:
                yield from self.relay.flows(call)
        finally:
            self.streams.remove(call)
            self.clock.changed()

    def unary(self, method: str, answer: Callable[[], Message], context: grpc.ServicerContext) -> Message:
        """One of the other methods."""
        fault = self.begin(method, context)
        if fault is not None:
            call = Call(None)

            def end() -> None:
                call.active = False
                self.clock.changed()

            context.add_callback(end)
            self._fail(fault, call, context)
        return answer()

    def _fail(self, fault: Stall | Abort, call: Call, context: grpc.ServicerContext) -> None:
        if isinstance(fault, Abort):
            context.abort(getattr(grpc.StatusCode, fault.code), fault.details)
        while call.active:
            seen = self.clock.changes
            self.clock.wait(seen, 1)


class _Handlers(grpc.GenericRpcHandler):
    """The methods by their paths on the wire."""

    def __init__(self, server: HubbleServer) -> None:
        def unary(method: str, request: Any, answer: Callable[[], Message]) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                lambda _, context: server.unary(method, answer, context), request.FromString, _serialised
            )

        healthy = schema.HealthCheckResponse(status=1)
        self._methods = {
            "/observer.Observer/GetFlows": grpc.unary_stream_rpc_method_handler(
                server.flows, schema.GetFlowsRequest.FromString, _serialised
            ),
            "/observer.Observer/ServerStatus": unary(
                "ServerStatus", schema.ServerStatusRequest, server.server_status
            ),
            "/observer.Observer/GetNodes": unary("GetNodes", schema.GetNodesRequest, server.list_nodes),
            "/observer.Observer/GetNamespaces": unary(
                "GetNamespaces", schema.GetNamespacesRequest, server.list_namespaces
            ),
            "/grpc.health.v1.Health/Check": unary("Check", schema.HealthCheckRequest, lambda: healthy),
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        return self._methods.get(handler_call_details.method)


def _serialised(message: Message | bytes) -> bytes:
    return message if isinstance(message, bytes) else message.SerializeToString()


def _basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
