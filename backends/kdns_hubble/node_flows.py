"""The flows of one node to records, in their order and by that node's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET

from kdns_hubble.drops import DNS_PORT, PacketDrops
from kdns_hubble.flow_records import NAME, FlowRecords
from kdns_hubble.flows import Flow, refused
from kdns_hubble.truncation import TruncationCheck
from kubectl_kdns.model import Loss, Record
from kubectl_kdns.pairing import NO_ID, Pairing, Sighting
from kubectl_kdns.times import NS_PER_S, format_time

HEARTBEAT_NS = 200_000_000
"""While flows come more often than this, their own times are the node's clock."""

OVERLAP_NS = 2 * NS_PER_S
"""A stream that is opened again begins so long before the last flow; it may be out of order by a second."""


class NodeFlows:
    """Times that are called `now_ns` are of this machine's clock, 0 when reading a file."""

    def __init__(self, name: str, timeout_ns: int, grace_ns: int, messages: bool, raw: bool) -> None:
        self._truncation = TruncationCheck()
        self._make = FlowRecords(name, self._truncation, raw=raw)
        self._drops = PacketDrops(self._make.dropped)
        self._pairing = Pairing(
            self._make.vantage,
            records=self._make,
            has_ids=False,
            timeout_ns=timeout_ns,
            grace_ns=grace_ns,
            messages=messages,
        )
        self._messages = messages
        self._timeout_ns = timeout_ns
        self._counters = {
            "queries_denied": 0,
            "packets_dropped": 0,
            "responses_undelivered": 0,
            "flows_other": 0,
        }
        self.high_ns = 0
        """The newest time of a flow; it steps back with the node's clock."""
        # How much later than its own time this node's newest flow has come, at the least, and the last one.
        self._behind_ns: int | None = None
        self._heard_ns = 0
        # After a stream was opened again: the last flow before, until it is known whether it came again; and
        # the first one behind.
        self._gap_ns = self._gap_until_ns = 0

    @property
    def counters(self) -> Mapping[str, int]:
        return {**self._pairing.counters, **self._counters}

    def take(self, flows: Sequence[Flow], now_ns: int) -> list[Record]:
        """The records that these flows complete; none of them was seen before."""
        out: list[Record] = []
        sightings: list[Sighting] = []
        high_ns, truncation = self.high_ns, self._truncation
        for flow in flows:
            time_ns, dns = flow.time_ns, flow.dns
            if time_ns > high_ns:
                high_ns = time_ns
            elif 0 < time_ns < high_ns - self._timeout_ns:
                high_ns, self._behind_ns = time_ns, None  # as the pairing does
            if dns is None or flow.drop is not None or flow.verdict == "ERROR":
                out += self._take_special(flow, sightings)
                continue
            transport = flow.transport
            if transport == "tcp" and not dns.is_response:
                truncation.asked_by_tcp(flow, dns)
            # What a request and its response share. The server is left out: it may be a Service's address in
            # the one and the pod's behind it in the other.
            exchange = flow.client_ip, flow.client_port, UNSET, UNSET, transport, NO_ID
            sightings.append((time_ns, exchange, dns, 0, flow))
        self.high_ns = high_ns
        if self._gap_ns and not self._gap_until_ns:
            self._gap_until_ns = max(self._gap_ns, flows[0].time_ns)
        if now_ns:
            self._heard_ns = now_ns
            behind_ns = now_ns - high_ns
            self._behind_ns = behind_ns if self._behind_ns is None else min(self._behind_ns, behind_ns)
        return out + self._due(self._pairing.feed(sightings), high_ns)

    def advance(self, now_ns: int) -> list[Record]:
        """The records that are due though nothing more came."""
        there_ns = self.there_ns(now_ns)
        if there_ns is None or 0 <= now_ns - self._heard_ns < HEARTBEAT_NS:
            return []
        return self._due(self._pairing.advance(there_ns), there_ns)

    def finish(self) -> list[Record]:
        """The rest at the end of the run."""
        records = self._due(self._pairing.finish(), self.high_ns)
        verdicts = self._drops.rest()
        self._counters["packets_dropped"] += len(verdicts)
        return records + verdicts + self._truncation.rest() + self.close_gap()

    def there_ns(self, now_ns: int) -> int | None:
        """What this node's clock shows; None if nothing came of it live."""
        return None if self._behind_ns is None else now_ns - self._behind_ns

    def reopened(self) -> None:
        """The stream is read anew, from before this node's last flow on."""
        self._gap_ns = self.high_ns

    def continued(self) -> None:
        """A flow came again (a ring that still has it has all that came after it): nothing is missing."""
        self._gap_ns = self._gap_until_ns = 0

    def close_gap(self) -> list[Record]:
        """The gap, if flows have come and none that were known."""
        gap_ns, until_ns = self._gap_ns, self._gap_until_ns
        self.continued()
        why = "the stream was interrupted, and the ring went on"
        return [self.missing(why, gap_ns, until_ns)] if until_ns else []

    def restarted(self, uptime_ns: int, now_ns: int) -> Loss:
        """Its Cilium agent started again so long before `now_ns`."""
        self.continued()
        there_ns = self.there_ns(now_ns)
        until_ns = max(self.high_ns, (now_ns if there_ns is None else there_ns) - uptime_ns)
        return self.missing("the Cilium agent started again, and with it its ring", self.high_ns, until_ns)

    def missing(self, why: str, from_ns: int, until_ns: int) -> Loss:
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

    def _take_special(self, flow: Flow, sightings: list[Sighting]) -> list[Record]:
        """A packet, or what the DNS proxy did not let pass or could not pass on."""
        dns, drop = flow.dns, flow.drop
        if dns is None:
            if drop is None or flow.server_port != DNS_PORT:
                self._counters["flows_other"] += 1
                return []
            told = self._drops.add(flow, drop)
            self._counters["packets_dropped"] += len(told)
            return told
        if dns.is_response:
            # It was told before, and is told again because the proxy could not hand it to the client.
            self._counters["responses_undelivered"] += 1
            return []
        exchange = flow.client_ip, flow.client_port, UNSET, UNSET, flow.transport, NO_ID
        if drop is not None:
            self._counters["queries_denied"] += 1
            denied = self._make.denied(flow, dns, drop.policy)
            if self._messages:
                return [self._make.message((flow.time_ns, exchange, dns, 0, flow)), denied]
            return [denied]
        sightings.append((flow.time_ns, exchange, refused(dns), 0, flow))
        return []

    def _due(self, records: list[Record], there_ns: int) -> list[Record]:
        """What of these, and of what is held, can be told when this node's clock shows `there_ns`."""
        told = self._drops.due(there_ns)
        self._counters["packets_dropped"] += len(told)
        if self._gap_until_ns and there_ns >= self._gap_until_ns + OVERLAP_NS:
            told += self.close_gap()
        return told + self._truncation.filter(records, there_ns)
