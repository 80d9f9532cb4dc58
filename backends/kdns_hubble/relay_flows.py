"""Flows of a relay (or of one Cilium agent's own socket), over one gRPC connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.client import FlowsCall, HubbleClient
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.flows import Flow, NodeStatus, Response, node_name
from kdns_hubble.observer import NodeUptime
from kdns_hubble.requests import flows_request
from kdns_hubble.wire_flows import read_response

PEERS = ("NODE_CONNECTED", "NODE_UNAVAILABLE")
"""What a relay says first of all its nodes."""
NUDGE_S = 0.25
NUDGED_NODES = 10


def undelayed(peers: int) -> int:
    """The `number` of a follow request by which a relay with so many nodes holds back the fewest flows.

    A relay sorts what it sends, in a queue of `number` times its nodes, 100 at most: at a few flows a second
    in a large cluster that takes half a minute. The product is computed modulo 2**64, where the smallest
    that can be had is the largest power of two in the number of nodes. Nothing else is done with `number`
    when `follow` and `since` are given (cilium: pkg/hubble/relay/observer/server.go, local_observer.go).
    """
    power_of_two = peers & -peers
    if power_of_two in (0, peers):
        return 1
    return pow(peers // power_of_two, -1, 1 << 64)


class RelayStream:
    """Fulfils kdns_hubble.observer.FlowStream."""

    def __init__(self, call: FlowsCall) -> None:
        self._call = call

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        return zip(self._call)  # batches of one

    def close(self) -> None:
        self._call.cancel()


class RelayObserver:
    """Fulfils kdns_hubble.observer.Observer. `close_way` ends what leads to the server."""

    def __init__(
        self,
        client: HubbleClient,
        filters: Sequence[FlowFilter],
        description: str,
        *,
        raw: bool = False,
        patience_s: float,
        close_way: Callable[[], None] = lambda: None,
    ) -> None:
        self.description, self.patience_s = description, patience_s
        self.read: Callable[[bytes], Response] = partial(read_response, keep_raw=raw)
        self._client, self._filters, self._close_way = client, filters, close_way
        # With --raw all of a flow is wanted.
        self._mask = not raw
        self.now_ns = self.newest_ns = self._peers = 0
        self._look()

    def _look(self) -> None:
        """Asks for the newest flow of each node: what time it is there, and how many nodes there are. An
        agent's own socket says neither."""
        for raw in self._client.flows(flows_request(self._filters, number=1, mask=self._mask), bounded=True):
            response = self.read(raw)
            if isinstance(response, NodeStatus):
                if self._mask and "fieldmask" in response.message:
                    self._mask = False  # of a version that lacks one of our fields: all of them, then
                    self._look()
                    return
                self.now_ns = self.now_ns or response.time_ns
                self._peers += len(response.nodes) if response.state in PEERS else 0
            elif isinstance(response, Flow):
                self.newest_ns = max(self.newest_ns, response.time_ns)

    @property
    def nudge_s(self) -> float:
        # Each time the relay asks all of its nodes.
        return max(NUDGE_S, self._peers * NUDGE_S / NUDGED_NODES) if self.now_ns else 0.0

    def history(self, since_ns: int | None, last: int | None) -> RelayStream:
        first = since_ns is None and last is None
        return self._stream(
            flows_request(self._filters, since_ns=since_ns, number=last or 0, first=first, mask=self._mask)
        )

    def follow(self, since_ns: int | None) -> RelayStream:
        # Without `since` the number would rewind.
        number = undelayed(self._peers) if since_ns else 0
        return self._stream(
            flows_request(self._filters, since_ns=since_ns, follow=True, number=number, mask=self._mask)
        )

    def reach(self) -> Mapping[str, int]:
        nodes = self._client.nodes()
        reach: dict[str, int] = {}
        for node in nodes.nodes if nodes else ():
            # A ring that is not full has all since its agent started.
            if node.uptime_ns and node.num_flows < node.max_flows:
                reach[node_name(node.name)] = self.now_ns - node.uptime_ns
        oldest = flows_request((), number=1, first=True, mask=self._mask)
        for raw in self._client.flows(oldest, bounded=True):
            response = self.read(raw)
            if isinstance(response, Flow):
                reach.setdefault(response.node, response.time_ns)
        return reach

    def check(self) -> None:
        self._client.connect()

    def uptimes(self) -> Sequence[NodeUptime]:
        nodes = self._client.nodes()
        return [NodeUptime(node.name, node.uptime_ns) for node in nodes.nodes] if nodes else []

    def close(self) -> None:
        self._client.close()
        self._close_way()

    def _stream(self, request: pb.GetFlowsRequest) -> RelayStream:
        return RelayStream(self._client.flows(request))
