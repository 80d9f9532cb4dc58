"""Tells truncated answers from empty ones: in Hubble's flows both are NOERROR without records.

A resolver that gets a truncated answer asks again over TCP, at once. So a UDP answer without records is held
for HOLD_NS of event time; if the same client asks the same question over TCP meanwhile, it was truncated.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from msgspec import UNSET

from kdns_hubble.flows import Flow
from kubectl_kdns.model import Lookup, Record
from kubectl_kdns.times import parse_time

HOLD_NS = 300_000_000
MAX_ASKED = 4096
MAX_TIMES = 64

Question = tuple[str | None, str | None, str | None]


class TruncationCheck:
    """For the flows of one node, in their order."""

    def __init__(self) -> None:
        self._held: deque[tuple[int, Question, Lookup]] = deque()
        # When a question was asked over TCP, the last few times.
        self._asked: OrderedDict[Question, deque[int]] = OrderedDict()

    def asked_by_tcp(self, flow: Flow) -> None:
        """A request over TCP has been seen."""
        if flow.dns is None:
            return
        question = flow.source_ip, flow.dns.name or None, flow.dns.type or None
        self._asked.setdefault(question, deque(maxlen=MAX_TIMES)).append(flow.time_ns)
        self._asked.move_to_end(question)
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)

    def add(self, records: list[Record], now_ns: int) -> list[Record]:
        """Takes records, and gives back those that are told at `now_ns`, of event time."""
        told: list[Record] = []
        for record in records:
            if type(record) is Lookup and _is_empty(record):
                self._held.append((_answered_ns(record), _question(record), record))
            else:
                told.append(record)
        return told + self.due(now_ns)

    def due(self, now_ns: int) -> list[Record]:
        """What was held long enough at `now_ns`."""
        told: list[Record] = []
        while self._held and self._held[0][0] + HOLD_NS <= now_ns:
            told.append(self._tell())
        return told

    def rest(self) -> list[Record]:
        """All that is held, at the end."""
        return [self._tell() for _ in range(len(self._held))]

    def _tell(self) -> Lookup:
        answered_ns, question, lookup = self._held.popleft()
        # Both are the times of one node, in which the flows were made one after the other.
        if any(0 <= asked_ns - answered_ns <= HOLD_NS for asked_ns in self._asked.get(question, ())):
            _make_truncated(lookup)
        return lookup


def _is_empty(lookup: Lookup) -> bool:
    dns = lookup.dns
    return (
        lookup.transport == "udp"
        and bool(dns)
        and dns is not UNSET
        and dns.rcode == "NOERROR"
        and dns.response_class == "denial"
    )


def _question(lookup: Lookup) -> Question:
    client, dns = lookup.client, lookup.dns
    return (client and client.ip) or None, (dns and dns.name) or None, (dns and dns.type) or None


def _answered_ns(lookup: Lookup) -> int:
    time_ns = parse_time(lookup.time) if lookup.time else 0
    return time_ns + round((lookup.latency_ms or 0) * 1e6)


def _make_truncated(lookup: Lookup) -> None:
    dns = lookup.dns
    assert dns
    dns.flags = ["tc"]
    dns.response_class = dns.answers = dns.resolved_ips = UNSET
    lookup.inferred = ["dns.flags"]
