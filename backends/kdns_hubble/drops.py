"""Packets that Cilium dropped before its DNS proxy saw them: of one packet it tells up to twice.

Where a policy drops it, its verdict is an event, and the drop is another, right behind it on the same CPU.
Either can be switched off. Only the verdict names the policy.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable

from msgspec import UNSET

from kdns_hubble.flows import Drop, Flow
from kubectl_kdns.model import Lookup, Maybe, Record

HOLD_NS = 100_000_000
MAX_HELD = 4096
DNS_PORT = 53

Ends = tuple[str, int, str, int, str]


class PacketDrops:
    """For the flows of one node; `tell` makes the lookup of a dropped packet and of the policy's name."""

    def __init__(self, tell: Callable[[Flow, Drop, Maybe[str]], Lookup]) -> None:
        self._tell = tell
        # Verdicts that wait for their drop, all in order, and by the packet's ends.
        self._held: deque[tuple[Flow, Drop]] = deque()
        self._by_ends: dict[Ends, deque[Flow]] = {}
        # Those that were told alone, when: the other of the two may come late, or before it, through a relay.
        self._alone: OrderedDict[tuple[Ends, bool], int] = OrderedDict()

    def add(self, flow: Flow, drop: Drop) -> list[Record]:
        """A dropped packet to a DNS server."""
        ends = _ends(flow)
        other_ns = self._alone.get((ends, not drop.is_verdict))
        if other_ns is not None and abs(flow.time_ns - other_ns) < HOLD_NS:
            del self._alone[ends, not drop.is_verdict]
            return []
        if not drop.is_verdict:
            verdict = self._take(ends)
            if verdict is None:
                return [self._tell_alone(flow, drop)]
            policy = verdict.drop.policy if verdict.drop else UNSET
            return [self._tell(flow, drop, drop.policy or policy)]
        self._held.append((flow, drop))
        self._by_ends.setdefault(ends, deque()).append(flow)
        return self._tell_oldest() if len(self._held) > MAX_HELD else []

    def due(self, now_ns: int) -> list[Record]:
        """The verdicts that no drop has followed at `now_ns` of event time."""
        told: list[Record] = []
        # What is of a later time was told before the node's clock was set back.
        while self._held and not 0 <= now_ns - self._held[0][0].time_ns < HOLD_NS:
            told += self._tell_oldest()
        return told

    def rest(self) -> list[Record]:
        """All that is held, at the end."""
        return [record for _ in range(len(self._held)) for record in self._tell_oldest()]

    def _tell_oldest(self) -> list[Record]:
        flow, drop = self._held.popleft()
        ends = _ends(flow)
        if self._by_ends.get(ends, (None,))[0] is not flow:
            return []  # its drop has come
        self._take(ends)
        return [self._tell_alone(flow, drop)]

    def _tell_alone(self, flow: Flow, drop: Drop) -> Record:
        self._alone[_ends(flow), drop.is_verdict] = flow.time_ns
        if len(self._alone) > MAX_HELD:
            self._alone.popitem(last=False)
        return self._tell(flow, drop, drop.policy)

    def _take(self, ends: Ends) -> Flow | None:
        waiting = self._by_ends.get(ends)
        if waiting is None:
            return None
        flow = waiting.popleft()
        if not waiting:
            del self._by_ends[ends]
        return flow


def _ends(flow: Flow) -> Ends:
    return flow.client_ip, flow.client_port, flow.server_ip, flow.server_port, flow.transport
