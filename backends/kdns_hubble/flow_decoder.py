"""Flows to records: each node's flows are paired by themselves, in their order and by that node's clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from kdns_hubble.flow_records import NAME, FlowRecords, exchange_of, refused
from kdns_hubble.flows import Flow, Response
from kdns_hubble.losses import Losses
from kdns_hubble.seen import Seen
from kdns_hubble.truncation import TruncationCheck
from kubectl_kdns.model import Loss, Record
from kubectl_kdns.pairing import GRACE_NS, Pairing, Sighting
from kubectl_kdns.times import NS_PER_S, format_time

OVERLAP_NS = 2 * NS_PER_S
REOPEN_NS = 600 * NS_PER_S


class _Node:
    """The flows of one node."""

    def __init__(self, name: str, timeout_ns: int, grace_ns: int, messages: bool, raw: bool) -> None:
        self._make = FlowRecords(name, raw=raw)
        self.pairing = Pairing(
            self._make.vantage,
            records=self._make,
            has_ids=False,
            timeout_ns=timeout_ns,
            grace_ns=grace_ns,
            messages=messages,
        )
        self._truncation = TruncationCheck()
        self._sightings: list[Sighting] = []
        self._ended: list[Record] = []
        self.high_ns = 0
        # How much later than its own time this node's newest flow has come, at the least.
        self._behind_ns: int | None = None
        # After a stream was opened again: the last flow before, until it is known whether it came again.
        self._gap_ns = 0

    def add(self, flow: Flow) -> None:
        dns, verdict = flow.dns, flow.verdict
        if dns is None:
            self._ended.append(self._make.dropped(flow))
        elif verdict == "DROPPED":
            self._ended.append(self._make.denied(flow))
        elif verdict == "ERROR" and not dns.is_response:
            self._sightings.append((flow.time_ns, exchange_of(flow), refused(dns), 0, flow))
        else:
            if flow.transport == "tcp" and not dns.is_response:
                self._truncation.asked_by_tcp(flow)
            self._sightings.append((flow.time_ns, exchange_of(flow), dns, 0, flow))
        if flow.time_ns > self.high_ns:
            self.high_ns = flow.time_ns

    def take(self, now_ns: int) -> list[Record]:
        """The records of what was added; `now_ns` is this machine's time, 0 when reading a file."""
        ended, self._ended = self._ended, []
        sightings, self._sightings = self._sightings, []
        if self._gap_ns and sightings:
            until_ns = max(self._gap_ns, sightings[0][0])
            ended.append(
                self._loss("the stream was interrupted, and the ring went on", self._gap_ns, until_ns)
            )
            self._gap_ns = 0
        if now_ns:
            behind_ns = now_ns - self.high_ns
            self._behind_ns = behind_ns if self._behind_ns is None else min(self._behind_ns, behind_ns)
        return ended + self._truncation.add(self.pairing.feed(sightings), self.high_ns)

    def reopened(self) -> None:
        """The stream is read anew, from before this node's last flow on."""
        self._gap_ns = self.high_ns

    def continued(self) -> None:
        """A flow came again (a ring that still has it has all that came after it): nothing is missing."""
        self._gap_ns = 0

    def restarted(self, uptime_ns: int, now_ns: int) -> Loss:
        """Its Cilium agent started again, so long ago when this machine's clock shows `now_ns`."""
        until_ns = max(self.high_ns, now_ns - (self._behind_ns or 0) - uptime_ns)
        return self._loss("the Cilium agent started again, and with it its ring", self.high_ns, until_ns)

    def _loss(self, why: str, from_ns: int, until_ns: int) -> Loss:
        return Loss(
            time=format_time(until_ns),
            backend=NAME,
            node=self._make.vantage.node,
            reason="disconnected",
            unit="flows",
            from_=format_time(from_ns),
            until=format_time(until_ns),
            message=why,
        )

    def advance(self, now_ns: int) -> list[Record]:
        """The records that are due, though nothing more came, when this machine's clock shows `now_ns`."""
        if self._behind_ns is None:
            return []
        there_ns = now_ns - self._behind_ns
        return self._truncation.add(self.pairing.advance(there_ns), there_ns)

    def finish(self) -> list[Record]:
        return self._truncation.add(self.pairing.finish(), self.high_ns) + self._truncation.rest()


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
        self._nodes: dict[str, _Node] = {}
        self._losses = Losses(since_ns)
        self._flows = self._doubles = 0
        self.seen = Seen()
        self.high_ns = 0
        """The newest time of a flow."""

    @property
    def counters(self) -> Mapping[str, int]:
        total = {"flows": self._flows, "flows_seen_before": self._doubles, "unread": self._losses.unread}
        for node in self._nodes.values():
            for name, count in node.pairing.counters.items():
                total[name] = total.get(name, 0) + count
        return total

    def feed(self, responses: Iterable[Response], now_ns: int = 0) -> list[Record]:
        """The records that these responses complete."""
        nodes, is_new = self._nodes, self.seen.is_new
        touched: dict[str, _Node] = {}
        out: list[Record] = []
        for response in responses:
            if type(response) is not Flow:
                out += self._losses.add(response, now_ns)
                continue
            self._flows += 1
            time_ns, name = response.time_ns, response.node
            # Cilium before 1.13 has no uuid.
            if not is_new(response.uuid or _identity(response), time_ns):
                self._doubles += 1
                if name in nodes:
                    nodes[name].continued()
                continue
            if time_ns > self.high_ns:
                self.high_ns = time_ns
            node = nodes.get(name)
            if node is None:
                node = nodes[name] = _Node(name, *self._settings)
            touched[name] = node
            node.add(response)
        for node in touched.values():
            out += node.take(now_ns)
        return out

    def reopen(self, since_ns: int, restarted: Collection[str] = ()) -> int:
        """From when on a stream is to be opened again, given from when it was before: so that the last flow
        of each node comes again, as far as flows that were seen are still known as such. The ring of a node
        that `restarted` cannot have it."""
        oldest_ns = max(since_ns, self.seen.since_ns, self.high_ns - REOPEN_NS)
        wanted_ns = self.high_ns
        for name, node in self._nodes.items():
            node.continued()
            if name not in restarted and node.high_ns >= oldest_ns:
                node.reopened()
                wanted_ns = min(wanted_ns, node.high_ns)
        return max(oldest_ns, wanted_ns - OVERLAP_NS)

    def restarted(self, uptimes: Mapping[str, int], now_ns: int) -> list[Record]:
        """The losses of nodes whose Cilium agent started again so long ago (nanoseconds)."""
        nodes = self._nodes
        return [nodes[name].restarted(ns, now_ns) for name, ns in uptimes.items() if name in nodes]

    def advance(self, now_ns: int) -> list[Record]:
        """The records that are due when this machine's clock shows `now_ns`, though nothing more came."""
        out = self._losses.due(now_ns)
        for node in self._nodes.values():
            out += node.advance(now_ns)
        return out

    def finish(self) -> list[Record]:
        """The rest, at the end of the run."""
        out = self._losses.due(None)
        for node in self._nodes.values():
            out += node.finish()
        return out


def _identity(flow: Flow) -> str:
    return f"{flow.node} {flow.time_ns} {flow.source_ip} {flow.source_port} {flow.destination_port}"
