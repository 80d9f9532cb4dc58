"""Records of flows that are missing from a stream, and cannot be counted."""

from __future__ import annotations

from msgspec import UNSET

from kdns_hubble.flow_records import NAME
from kdns_hubble.observer import Observer
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.model import Loss, Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time

SLACK_NS = NS_PER_S
_FORGOTTEN = "not remembered: the node's ring begins later, or its Cilium agent started later"


def missing_flows(
    from_ns: int | None, until_ns: int, message: str, *, reason: str = "disconnected", node: str = ""
) -> Loss:
    """Flows of that span, in nanoseconds since the epoch; without a node, of any."""
    return Loss(
        time=format_time(until_ns),
        backend=NAME,
        node=node or UNSET,
        reason=reason,
        unit="flows",
        from_=format_time(from_ns) if from_ns else UNSET,
        until=format_time(until_ns),
        message=message,
    )


def out_of_reach(observer: Observer, since_ns: int) -> list[Record]:
    """What nobody remembers any more of a history from `since_ns` on (0: as far as it goes)."""
    if not since_ns:
        return []
    try:
        reach = observer.reach()
    except KdnsError as error:
        text = f"how far back Hubble's rings reach is not known: {error.what}"
        return [Notice(time=format_time(since_ns), backend=NAME, code="reach_unknown", message=text)]
    return [
        missing_flows(since_ns, begins_ns, _FORGOTTEN, reason="hubble_ring", node=node)
        for node, begins_ns in sorted(reach.items())
        if begins_ns > since_ns + SLACK_NS
    ]
