"""The lookups that an application makes for one request: which belong to it, and until when more may.

A and AAAA of one name, the names of a search list one after the other, and an application's own retries are
one request, when one process (as far as that is known) asks them without a pause. An application that begins
again whenever it failed makes many requests: a resolver does not go back in its search list, and gives up.
"""

from __future__ import annotations

from msgspec import UNSET, Struct

from kubectl_kdns.legs import FINAL, Bucket, Leg, Question
from kubectl_kdns.model import Maybe
from kubectl_kdns.search_list import is_search
from kubectl_kdns.times import NS_PER_S

PAUSE_NS = NS_PER_S // 10
"""A resolver asks the next name of its search list at once."""
PATIENCE_NS = 6 * NS_PER_S
"""That of resolvers with one question is 2.5 to 5 s."""
MAX_TRIES = 2
"""Of one question at one server, each by a socket of its own: Go and glibc (resolv.conf's `attempts:2`)."""
MAX_LOOKUPS = 256
"""A search list has 32 names at most (Kubernetes' limit), each for A and AAAA and with a retry of both."""


class Request(Struct, eq=False, gc=False):
    """What one application asked. Times are its own node's; `settled` are the questions that need not be
    asked again, by their start; after `until_ns` nothing more belongs to it."""

    number: int
    bucket: Bucket
    pid: Maybe[int]
    max_tries: int = MAX_TRIES
    legs: list[Leg] = []
    spans: list[tuple[int, int]] = []
    settled: dict[Question, int] = {}
    end_ns: int = 0
    until_ns: int = 0

    def takes(self, leg: Leg) -> bool:
        """Whether this application asked `leg`, that began by `until_ns`, beside, before or after others."""
        settled_ns = self.settled.get(leg.question)
        if settled_ns is not None and (leg.asked.start_ns >= settled_ns or _is_settled(leg)):
            return False  # nobody asks again what was answered: it is another request
        pid = pid_of(leg)
        if pid is not UNSET and self.pid is not UNSET and pid != self.pid:
            return False
        start_ns, end_ns = _span_ns(leg)
        name = leg.question[0]
        if self._is_full(leg, start_ns):
            return False
        until_ns = _goes_on_until_ns(leg, start_ns, end_ns)
        for other, (other_start_ns, other_end_ns) in zip(self.legs, self.spans, strict=True):
            if other_start_ns <= start_ns:
                near = start_ns <= _goes_on_until_ns(other, other_start_ns, other_end_ns)
            else:
                near = other_start_ns <= until_ns
            if near and (other.question[0] == name or is_search(str(other.question[0]), str(name))):
                return True
        return False

    def shares_socket(self, leg: Leg) -> bool:
        """Whether it asked by the same port: glibc asks for A and AAAA by one."""
        port = leg.socket[1]
        return any(other.socket[1] == port for other in self.legs)

    def _is_full(self, leg: Leg, at_ns: int) -> bool:
        """Whether no resolver would ask this then: it has given up, or is further in its search list."""
        if len(self.legs) >= MAX_LOOKUPS:
            return True
        begun = [(start_ns, other) for (start_ns, _), other in zip(self.spans, self.legs, strict=True)]
        same = [(start_ns, other) for start_ns, other in begun if other.question == leg.question]
        if sum(_is_asked_alike(other, leg) for _, other in same) >= self.max_tries:
            return True
        times = [at_ns, *(start_ns for start_ns, _ in same)]
        name, low_ns, high_ns = leg.question[0], min(times), max(times)
        return any(low_ns < start_ns < high_ns and other.question[0] != name for start_ns, other in begun)

    def put(self, leg: Leg) -> None:
        start_ns, end_ns = _span_ns(leg)
        self.legs.append(leg)
        self.spans.append((start_ns, end_ns))
        if _is_settled(leg):
            self.settled[leg.question] = start_ns
        self.end_ns = max(self.end_ns, end_ns)
        self.until_ns = max(self.until_ns, _goes_on_until_ns(leg, start_ns, end_ns))

    def last(self) -> Leg:
        """The one that the application asked last."""
        if len(self.legs) == 1:
            return self.legs[0]
        return max(zip(self.spans, self.legs, strict=True), key=lambda item: item[0])[1]

    def in_order(self) -> list[Leg]:
        """As the application asked them."""
        if len(self.legs) == 1:
            return self.legs
        order = sorted(range(len(self.legs)), key=lambda i: (self.spans[i][0], self.legs[i].number))
        return [self.legs[i] for i in order]


def pid_of(leg: Leg) -> Maybe[int]:
    client = leg.nearest.client
    process = client.process if client else UNSET
    return process.pid if process else UNSET


def _span_ns(leg: Leg) -> tuple[int, int]:
    """An application waits for as long as it does; when it gave up shows in what it asked next."""
    start_ns, end_ns = leg.asked.start_ns, leg.asked.end_ns
    return start_ns, start_ns if leg.nearest.status == "unanswered" else end_ns


def _is_settled(leg: Leg) -> bool:
    return leg.is_answered and leg.rcode in FINAL and not _is_truncated(leg)


def _goes_on_until_ns(leg: Leg, start_ns: int, end_ns: int) -> int:
    """Until when its application may ask what comes next."""
    return max(end_ns, start_ns) + PAUSE_NS if leg.is_answered else start_ns + PATIENCE_NS


def _is_asked_alike(one: Leg, other: Leg) -> bool:
    """Of the same server by the same transport."""
    servers = one.nearest.server, other.nearest.server
    ips = [server.ip if server else UNSET for server in servers]
    return ips[0] == ips[1] and one.nearest.transport == other.nearest.transport


def _is_truncated(leg: Leg) -> bool:
    """Its client has to ask again, over TCP."""
    return any(view.dns and view.dns.flags and "tc" in view.dns.flags for view in leg.views)
