"""Flows to records: each node's flows are paired by themselves, and flows that came before are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kdns_hubble.flows import Flow, Response
from kdns_hubble.losses import Losses, Phase
from kdns_hubble.node_flows import HEARTBEAT_NS, OVERLAP_NS, NodeFlows
from kdns_hubble.seen import Seen
from kubectl_kdns.model import Record
from kubectl_kdns.pairing import GRACE_NS
from kubectl_kdns.times import NS_PER_S

REOPEN_NS = 600 * NS_PER_S
SKEW_NS = 5 * NS_PER_S
MAX_NODES = 8192
"""No cluster has more; of those that come and go, the ones known longest are forgotten."""


class FlowDecoder:
    """Feed it responses, each node's about in order; it gives back records in the order of completion.

    `since_ns`: what was lost before is not told. Times of this machine (`now_ns`) are needed only live, for
    what becomes due while nothing comes.
    """

    def __init__(
        self,
        *,
        timeout_ns: int,
        grace_ns: int = GRACE_NS,
        messages: bool = False,
        raw: bool = False,
        since_ns: int = 0,
    ) -> None:
        self._settings = timeout_ns, grace_ns, messages, raw
        self._nodes: dict[str, NodeFlows] = {}
        self._losses = Losses(since_ns)
        self._seen = Seen()
        self._flows = self._doubles = 0
        # The counters of nodes that were forgotten, and what is to be told next.
        self._former: dict[str, int] = {}
        self._ready: list[Record] = []
        self._now_ns = self._advanced_ns = 0
        self.high_ns = 0
        """The newest time of a flow, by any node's clock."""

    def begin(self, phase: Phase) -> None:
        """What is fed from now on."""
        self._losses.phase = phase

    @property
    def new_flows(self) -> int:
        """How many came that had not been seen before."""
        return self._flows - self._doubles

    @property
    def counters(self) -> Mapping[str, int]:
        total = {"flows": self._flows, "flows_seen_before": self._doubles, "unread": self._losses.unread}
        # A copy of the nodes: figures are asked for while flows are read.
        for counters in (self._former, *(node.counters for node in list(self._nodes.values()))):
            _add(total, counters)
        return total

    def feed(self, responses: Iterable[Response], now_ns: int = 0) -> list[Record]:
        """The records that these responses complete."""
        out = self._take_ready()
        flows: list[Flow] = []
        for response in responses:
            if type(response) is Flow:
                flows.append(response)
            else:
                out += self._losses.add(response, now_ns)
        by_node: dict[str, list[Flow]] = {}
        last: str | None = None
        of_node: list[Flow] = []
        for flow in self._new(flows):
            if flow.node is not last:
                last = flow.node
                of_node = by_node.setdefault(last, [])
            of_node.append(flow)
        for name, of_node in by_node.items():
            node = self._nodes.get(name) or self._add_node(name)
            before_ns = node.high_ns
            out += node.take(of_node, now_ns)
            if node.high_ns > self.high_ns:
                self.high_ns = node.high_ns
            elif node.high_ns < before_ns:
                self.high_ns = max(one.high_ns for one in self._nodes.values())
        self._seen.high_ns = self.high_ns
        self._now_ns = now_ns
        # While one node is busy, time goes on for the others.
        if now_ns and not 0 <= now_ns - self._advanced_ns < HEARTBEAT_NS:
            out += self.advance(now_ns)
        return out

    def advance(self, now_ns: int) -> list[Record]:
        """The records that are due when this machine's clock shows `now_ns`, though nothing more came."""
        self._now_ns = self._advanced_ns = now_ns
        out = self._take_ready() + self._losses.due(now_ns)
        for node in self._nodes.values():
            out += node.advance(now_ns)
        return out

    def finish(self) -> list[Record]:
        """The rest, at the end of the run."""
        out = self._take_ready() + self._losses.due(None)
        for node in self._nodes.values():
            out += node.finish()
        return out

    def reopen(self, since_ns: int, restarted: Collection[str] = ()) -> int:
        """From when on a stream is to be opened again, given from when it was before: so that the last flow
        of each node comes again, as far as flows that were seen are still known as such. The ring of a node
        that `restarted` cannot have it."""
        oldest_ns = max(since_ns, self._seen.since_ns, self.high_ns - REOPEN_NS)
        wanted_ns = self.high_ns
        for name, node in self._nodes.items():
            self._ready += node.close_gap()
            if name not in restarted and node.high_ns >= oldest_ns:
                node.reopened()
                wanted_ns = min(wanted_ns, node.high_ns)
        start_ns = max(oldest_ns, wanted_ns - OVERLAP_NS)
        for node in self._nodes.values():
            there_ns = node.there_ns(self._now_ns) if self._now_ns else None
            if there_ns is not None and there_ns < start_ns - SKEW_NS:
                why = "the stream was opened again from a time that this node's clock has yet to reach"
                self._ready.append(node.missing(why, there_ns, start_ns))
        return start_ns

    def restarted(self, uptimes: Mapping[str, int], now_ns: int) -> list[Record]:
        """The losses of nodes whose Cilium agent started again so long ago (nanoseconds)."""
        nodes = self._nodes
        return [nodes[name].restarted(ns, now_ns) for name, ns in uptimes.items() if name in nodes]

    def _new(self, flows: list[Flow]) -> list[Flow]:
        """Those that have not been seen before."""
        self._flows += len(flows)
        # Flows of old Ciliums have no uuid.
        keys = [flow.uuid or _identity(flow) for flow in flows]
        if self._seen.are_new(keys):
            return flows
        new: list[Flow] = []
        for key, flow in zip(keys, flows, strict=True):
            if self._seen.is_new(key):
                new.append(flow)
                continue
            self._doubles += 1
            if flow.node in self._nodes:
                self._nodes[flow.node].continued()
        return new

    def _add_node(self, name: str) -> NodeFlows:
        if len(self._nodes) >= MAX_NODES:
            former = self._nodes.pop(next(iter(self._nodes)))
            self._ready += former.finish()
            _add(self._former, former.counters)
        node = self._nodes[name] = NodeFlows(name, *self._settings)
        return node

    def _take_ready(self) -> list[Record]:
        ready, self._ready = self._ready, []
        return ready


def _add(total: dict[str, int], counters: Mapping[str, int]) -> None:
    for name, count in counters.items():
        total[name] = total.get(name, 0) + count


def _identity(flow: Flow) -> str:
    """Of a flow without uuid."""
    dns = flow.dns
    asked = f"{dns.name} {dns.type} {dns.is_response}" if dns else ""
    ends = f"{flow.client_ip} {flow.client_port} {flow.server_ip} {flow.server_port} {flow.transport}"
    return f"{flow.node} {flow.time_ns} {flow.verdict} {ends} {asked}"
