"""What Hubble says of flows and nodes that are missing, as `loss` and `notice` records."""

from __future__ import annotations

from enum import Enum

from msgspec import UNSET

from kdns_hubble.flow_records import NAME
from kdns_hubble.flows import Lost, NodeStatus, Response, Unread
from kdns_hubble.seen import Seen
from kubectl_kdns.model import Loss, Maybe, Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time

TELL_NS = NS_PER_S
RING = "HUBBLE_RING_BUFFER"
_REASONS = {
    "PERF_EVENT_RING_BUFFER": ("ring_full", "the kernel's ring to the Cilium agent was full"),
    "OBSERVER_EVENTS_QUEUE": ("queue", "Hubble's queue of events was full"),
    RING: ("hubble_ring", "Hubble's ring was overwritten before it was read"),
}
_STATES = {
    "NODE_CONNECTED": ("node_connected", "flows come again"),
    "NODE_UNAVAILABLE": ("node_unavailable", "the relay has no connection to it, so none of its flows"),
    "NODE_GONE": ("node_gone", "gone, so none of its flows from now on"),
    "NODE_ERROR": ("node_error", "its flows stopped"),
}


class Phase(Enum):
    """What is read, which says what an overwritten ring means: LIVE, that flows were lost; LOOKING_BACK,
    nothing: a stream begins at the last flow of its kind before the time that was asked for, and where there
    is none at the oldest of all, which is overwritten just then."""

    LIVE = "live"
    LOOKING_BACK = "looking back"


class Losses:
    """Adds up what is lost (one message tells of one flow) and tells it once a second at most.

    Cilium keeps what it says of its queue among the flows, so it comes again with each request: what was told
    once, or is older than `since_ns`, is no news.
    """

    def __init__(self, since_ns: int = 0) -> None:
        self.unread = 0
        self.phase = Phase.LIVE
        self._since_ns = since_ns
        self._seen = Seen(4096)
        self._states: dict[str, str] = {}
        self._lost: dict[tuple[str, str], tuple[int, int, int]] = {}
        self._told_ns = 0

    def add(self, response: Response, now_ns: int) -> list[Record]:
        """What is to be told at once; losses wait for `due`."""
        if isinstance(response, Lost):
            self._add_lost(response)
            return self.due(now_ns) if now_ns else []
        if isinstance(response, NodeStatus):
            return [record for name in response.nodes or ("",) for record in self._change(name, response)]
        if isinstance(response, Unread):
            self.unread += 1
            if self.unread == 1:
                text = f"a response of Hubble is left out ({response.reason}); further ones are only counted"
                return [Notice(time=_time(now_ns), backend=NAME, code="unread_response", message=text)]
        return []

    def due(self, now_ns: int | None) -> list[Record]:
        """The losses since the last time, if that is a second ago; all of them at the end (None)."""
        if not self._lost or (now_ns is not None and now_ns - self._told_ns < TELL_NS):
            return []
        self._told_ns = now_ns or 0
        records: list[Record] = []
        for (node, source), (count, from_ns, until_ns) in self._lost.items():
            reason, words = _REASONS.get(source, ("hubble_ring", f"Hubble lost them ({source})"))
            records.append(
                Loss(
                    time=_time(until_ns),
                    backend=NAME,
                    node=node or UNSET,
                    reason=reason,
                    unit="flows",
                    count=count or UNSET,
                    from_=_time(from_ns),
                    until=_time(until_ns),
                    message=f"{words}; flows of any kind are counted, not only DNS" if count else words,
                )
            )
        self._lost.clear()
        return records

    def _add_lost(self, lost: Lost) -> None:
        if lost.time_ns and lost.time_ns < self._since_ns:
            return
        if lost.source == RING and self.phase is not Phase.LIVE:
            return
        if lost.source != RING and not self._seen.is_new(
            f"{lost.node} {lost.source} {lost.time_ns} {lost.count}"
        ):
            return
        key = lost.node, lost.source
        count, from_ns, until_ns = self._lost.get(key, (0, lost.time_ns, lost.time_ns))
        self._lost[key] = (
            count + lost.count,
            min(from_ns, lost.time_ns),
            max(until_ns, lost.time_ns),
        )

    def _change(self, node: str, status: NodeStatus) -> list[Record]:
        before, self._states[node] = self._states.get(node), status.state
        if before == status.state or (before is None and status.state == "NODE_CONNECTED"):
            return []
        code, words = _STATES.get(status.state, ("node_state", status.state))
        text = f"{node or 'a node'}: {words}" + (f": {status.message}" if status.message else "")
        return [Notice(time=_time(status.time_ns), backend=NAME, node=node or UNSET, code=code, message=text)]


def _time(time_ns: int) -> Maybe[str]:
    return format_time(time_ns) if time_ns else UNSET
