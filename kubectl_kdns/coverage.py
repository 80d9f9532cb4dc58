"""What was watched, and when: only where nothing can have been missed is "not seen" the same as "not there".

It is fed with the stream's own records, so that a recording proves as much as the run did. A notice
`watching` says that a backend sees all DNS at the sockets of a node, on its `ports`, from its time on; a
notice `forwards` to which ports the cluster's DNS servers forward; a notice `progress` that all that
ended on a node by its time has come; a loss where something is missing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from msgspec import UNSET

from kubectl_kdns.model import FORWARDS, PROGRESS, WATCHING, Loss, Maybe, Notice, Record
from kubectl_kdns.times import NS_PER_S, parse_time

_ENDS = ("agent_gone", "agent_failed", "agent_ended", "agent_unreadable")
MAX_LOSSES = 1000
AROUND_NS = 2 * NS_PER_S
"""A loss without a span of time is about what came in the time before it was told."""


class Coverage:
    """Times are nanoseconds since the epoch."""

    def __init__(self) -> None:
        self._since_ns: dict[str, int] = {}
        self._known_ns: dict[str, int] = {}  # only of nodes that tell
        self._ports: dict[str, frozenset[int]] = {}
        self._forward_ports: frozenset[int] | None = None
        self._losses: deque[tuple[Maybe[str], int, int]] = deque(maxlen=MAX_LOSSES)

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            if isinstance(record, Notice):
                self._note(record)
            elif isinstance(record, Loss) and record.time:
                until_ns = parse_time(record.until or record.time)
                from_ns = parse_time(record.from_) if record.from_ else until_ns - AROUND_NS
                self._losses.append((record.node, from_ns, until_ns))

    def _note(self, notice: Notice) -> None:
        if notice.code == FORWARDS and notice.ports is not UNSET:
            self._forward_ports = frozenset(notice.ports)
        elif notice.node and notice.time:
            if notice.code == PROGRESS:
                self._known_ns[notice.node] = parse_time(notice.time)
            elif notice.code == WATCHING and notice.ports is not UNSET:
                self._since_ns.setdefault(notice.node, parse_time(notice.time))
                self._ports[notice.node] = frozenset(notice.ports)
            elif notice.code in _ENDS:
                self._since_ns.pop(notice.node, None)
                self._known_ns.pop(notice.node, None)

    @property
    def known_ns(self) -> int | None:
        """Until when all has come of all nodes that tell; None while none does."""
        return min(self._known_ns.values(), default=None)

    def saw_all(self, node: Maybe[str], from_ns: int, until_ns: int) -> bool:
        """Whether all DNS of that node, from one time to the other, was seen."""
        since_ns = self._since_ns.get(node) if node else None
        if since_ns is None or since_ns > from_ns or (node and self._known_ns.get(node, until_ns) < until_ns):
            return False
        return not any(
            (where is UNSET or where == node) and begin <= until_ns and from_ns <= end
            for where, begin, end in self._losses
        )

    def saw_forwards(self, node: Maybe[str], from_ns: int, until_ns: int) -> bool:
        """Whether a DNS server on that node could have asked nobody without being seen."""
        ports = self._forward_ports
        if ports is None or not node:
            return False
        return ports <= self._ports.get(node, frozenset()) and self.saw_all(node, from_ns, until_ns)
