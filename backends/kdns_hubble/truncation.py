"""Tells truncated answers from empty ones: in Hubble's flows both are NOERROR without records.

A resolver that gets a truncated answer asks again over TCP, at once. So a UDP answer without records is held
for HOLD_NS of event time; if the same client asks the same question over TCP meanwhile, it was truncated.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from msgspec import UNSET

from kdns_hubble.flows import Flow
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.model import Lookup, Maybe, Record

HOLD_NS = 300_000_000
MAX_ASKED = 4096
MAX_TIMES = 64

Question = tuple[str, Maybe[str], Maybe[str]]
"""The client's address, name and type."""


class TruncationCheck:
    """For the flows of one node, in their order."""

    def __init__(self) -> None:
        # When it was answered, what was asked, and the lookup; those of `_new` are still among the records
        # that `filter` is about to get.
        self._new: list[tuple[int, Question, Lookup]] = []
        self._held: deque[tuple[int, Question, Lookup]] = deque()
        # When a question was asked over TCP, the last few times.
        self._asked: OrderedDict[Question, deque[int]] = OrderedDict()

    def asked_by_tcp(self, flow: Flow, query: DecodedMessage) -> None:
        """A request over TCP has been seen."""
        question = flow.client_ip, query.name, query.type
        self._asked.setdefault(question, deque(maxlen=MAX_TIMES)).append(flow.time_ns)
        self._asked.move_to_end(question)
        if len(self._asked) > MAX_ASKED:
            self._asked.popitem(last=False)

    def answered(self, time_ns: int, flow: Flow, answer: DecodedMessage, lookup: Lookup) -> None:
        """A lookup has been made, of this flow and answered at `time_ns` (0 unknown)."""
        if answer.rcode == "NOERROR" and flow.transport == "udp" and time_ns:
            self._new.append((time_ns, (flow.client_ip, answer.name, answer.type), lookup))

    def filter(self, records: list[Record], now_ns: int) -> list[Record]:
        """What can be told at `now_ns` of event time: these records but for the doubtful, and some held."""
        if self._new:
            doubtful = {id(lookup) for _, _, lookup in self._new}
            records = [record for record in records if id(record) not in doubtful]
            self._held += self._new
            self._new = []
        # What is of a later time was answered before the node's clock was set back.
        while self._held and not 0 <= now_ns - self._held[0][0] < HOLD_NS:
            records.append(self._tell())
        return records

    def rest(self) -> list[Record]:
        """All that is held, at the end."""
        return [self._tell() for _ in range(len(self._held))]

    def _tell(self) -> Lookup:
        answered_ns, question, lookup = self._held.popleft()
        # Both are the times of one node, in which the flows were made one after the other.
        if any(0 <= asked_ns - answered_ns <= HOLD_NS for asked_ns in self._asked.get(question, ())):
            _make_truncated(lookup)
        return lookup


def _make_truncated(lookup: Lookup) -> None:
    dns = lookup.dns
    assert dns
    dns.flags = ["tc"]
    dns.response_class = dns.answers = dns.resolved_ips = UNSET
    others = [field for field in lookup.inferred or () if field != "dns.response_class"]
    lookup.inferred = [*others, "dns.flags"]
