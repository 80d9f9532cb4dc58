"""One lookup between an asker and a server, and the rules by which lookups can belong together.

Times are nanoseconds since the epoch; those of two nodes, or of a log and the wire, differ by their clocks.
"""

from __future__ import annotations

from msgspec import UNSET, Struct

from kubectl_kdns.model import Lookup, Maybe
from kubectl_kdns.sightings import RANK_OF_SIDE
from kubectl_kdns.times import NS_PER_S

HOLD_NS = NS_PER_S // 2
"""How long after its end the other hops of a lookup may still come in."""
TOUCH_NS = NS_PER_S // 5
SKEW_NS = NS_PER_S // 10
"""By how much the clocks of two nodes, or a log and the wire, may differ."""
ANSWER_NS = HOLD_NS
"""A server that has its upstream's answer answers within this: 0.1 ms as a rule, 70 ms were seen of one that
waited for a CPU. A lookup that ends later is not known yet when others are joined."""
WIRE = "ebpf"
"""The backend that sees all sockets of a node by one clock."""
FIRST_NS = NS_PER_S // 200
RETRY_NS, RETRY_LATE_NS = 2 * NS_PER_S - NS_PER_S // 1000, NS_PER_S // 50
"""CoreDNS waits 2 s for an upstream, then asks again (plugin/forward, readTimeout); measured: 2.0007 to
2.0014 s after the one before, on an idle machine."""
OPEN_NS = 5 * NS_PER_S + RETRY_LATE_NS
"""A server goes on with a lookup that its client has given up; CoreDNS's forward begins no try after 5 s."""
TURNS_NS = tuple(
    (turn * RETRY_NS, turn * (RETRY_NS + RETRY_LATE_NS) + FIRST_NS) for turn in range(OPEN_NS // RETRY_NS + 1)
)
"""From when until when each of its questions is due, after the start, if none before it is answered."""
FINAL = ("NOERROR", "NXDOMAIN")

Question = tuple[Maybe[str], Maybe[str]]
Socket = tuple[Maybe[str], Maybe[int], Maybe[str], Question]
"""The asker's address and port, the transport, and what is asked there."""
Bucket = tuple[Maybe[str], str]
"""The client's address, and the first label of what it asked."""
SeenAs = tuple[str, Question, int]
"""What of a lookup stays the same when its client is translated: server, question, message id."""


class Span(Struct, gc=False, frozen=True):
    """From query to response, as one place saw it: nanoseconds since the epoch by the clock of `node`."""

    start_ns: int
    end_ns: int
    node: Maybe[str]
    backend: Maybe[str]

    def slack_ns(self, other: Span) -> int:
        """By how much the two may differ by the clocks alone."""
        return 0 if self.node == other.node and self.backend == other.backend else SKEW_NS


class Leg(Struct, eq=False, gc=False):
    """One lookup between an asker and a server, with all sightings of it. `nearest` is the one nearest to the
    asker, `asked` its span; `served` is the span nearest to the server."""

    number: int
    nearest: Lookup
    question: Question
    asked: Span
    served: Span
    asker: str
    server: str
    is_request: bool
    bucket: Bucket
    socket: Socket
    id: int | None
    views: list[Lookup] = []
    sure: str = "exact"
    children: tuple[Leg, ...] = ()
    apart: int = 0
    may_have_more: bool = False
    """Something that its server asked meanwhile belongs to no lookup for sure: perhaps to this one."""
    is_taken: bool = False
    """It is a request that is over, or a request's."""
    is_told: bool = False

    has_waited: bool = False
    """For its client's end."""
    seen_as: SeenAs | None = None
    whole: Leg | None = None
    """The lookup of which this is what the server saw, by another address of the client."""
    at_server: Lookup | None = None
    is_answered: bool = False
    rcode: Maybe[str] = UNSET

    def see(self, view: Lookup) -> None:
        """One more sighting."""
        self.views.append(view)
        if view is not self.nearest and rank(view) < rank(self.nearest):
            self.nearest = view
        if view.side == "server" and self.at_server is None:
            self.at_server = view
        if view.status == "answered":
            self.is_answered = True
        if self.rcode is UNSET and view.dns:
            self.rcode = view.dns.rcode

    def tell(self) -> None:
        """Its journey is made: what is found from now on stands in none."""
        self.is_told = True
        for child in self.children:
            child.tell()

    @property
    def is_alone(self) -> bool:
        """Whether a socket of its server was all that saw it, and it belongs to no other lookup."""
        nearest = self.nearest
        return nearest.side == "server" and nearest.backend == WIRE and not self.is_taken

    @property
    def has_own_clock(self) -> bool:
        """Whether `served` is what the server's own socket saw: what it asks in turn has the same clock."""
        return self.at_server is not None and self.served.backend == WIRE

    def count(self) -> int:
        """Of lookups, with all that belong to it."""
        return len(self.views) + sum(child.count() for child in self.children)

    def lookups(self) -> int:
        """This one, and those that are known to belong to it."""
        return 1 + sum(child.lookups() for child in self.children)

    def open_until_ns(self) -> int:
        """Until when its server may have asked others for it, by the clock of `served`."""
        return self.served.end_ns if self.is_answered else self.served.start_ns + OPEN_NS


def rank(view: Lookup) -> int:
    return RANK_OF_SIDE.get(view.side or "", 3)


def server_of(lookup: Lookup) -> str:
    """Who answers: the pod behind an address where it is known."""
    server = lookup.server
    if not server:
        return ""
    backend = server.backend
    if backend:
        return backend.pod or backend.ip or server.pod or server.ip or ""
    return server.pod or server.ip or ""


def same(leg: Leg, lookup: Lookup, span: Span) -> bool:
    """Whether it is one more sighting of this lookup: by another place or another backend."""
    id_ = lookup.dns.id if lookup.dns else UNSET
    for view in leg.views:
        if view.side == lookup.side and view.backend == lookup.backend:
            return False
        known = view.dns.id if view.dns else UNSET
        if known is not UNSET and id_ is not UNSET and known != id_:
            return False
    starts, ends = leg.asked.start_ns - span.start_ns, leg.asked.end_ns - span.end_ns
    return abs(starts) <= TOUCH_NS or abs(ends) <= TOUCH_NS


def fits(child: Leg, parent: Leg) -> bool:
    """Whether the server can have asked `child` for `parent`."""
    asked, served = child.asked, parent.served
    slack_ns = asked.slack_ns(served)
    if not served.start_ns - slack_ns <= asked.start_ns <= parent.open_until_ns() + slack_ns:
        return False
    if not parent.is_answered:
        return True
    if not child.is_answered:
        # The server waited for it as long as it waits.
        return asked.start_ns + RETRY_NS <= served.end_ns + slack_ns
    if asked.end_ns > served.end_ns + slack_ns:
        return False
    if child.rcode in FINAL:
        return child.rcode == parent.rcode and served.end_ns - asked.end_ns <= ANSWER_NS + slack_ns
    return True


def is_busy(parent: Leg, child: Leg) -> bool:
    """A server asks one upstream at a time for one lookup."""
    for other in parent.children:
        if other.asked.start_ns < _waited_until_ns(child) and child.asked.start_ns < _waited_until_ns(other):
            return True
    return False


def _waited_until_ns(child: Leg) -> int:
    return child.asked.end_ns if child.is_answered else child.asked.start_ns + RETRY_NS


def is_on_time(child: Leg, parent: Leg) -> bool:
    """Whether `child` comes when one of the parent's questions is due."""
    after_ns = child.asked.start_ns - parent.served.start_ns
    slack_ns = child.asked.slack_ns(parent.served)
    return any(first_ns - slack_ns <= after_ns <= last_ns + slack_ns for first_ns, last_ns in TURNS_NS)
