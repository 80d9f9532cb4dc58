"""Lookups of all hops and places to journeys: which of them belong to one request, and how sure that is.

Three joins, each only where it cannot be wrong by what was seen:
- Sightings of one lookup: same addresses and ports of the asker, transport, message id and question, and
  spans of time that touch (`exact`). Where an address was translated on the way: id, question and server.
- What a server asked in turn: its own pod asks the same question while it has the lookup open, and no other
  lookup fits (`unique`; `likely` when the times of two nodes had to be compared).
- Lookups of one application request: A beside AAAA, and a search list, name after name, by one process.
What fits several lookups stays apart and is counted in `apart`. Pure: the clock is that of the records.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from itertools import count
from typing import TypeVar

from kubectl_kdns.legs import (
    FINAL,
    HOLD_NS,
    OPEN_NS,
    SKEW_NS,
    TURNS_NS,
    WIRE,
    Leg,
    Question,
    SeenAs,
    Socket,
    Span,
    fits,
    is_busy,
    is_on_time,
    rank,
    same,
    server_of,
)
from kubectl_kdns.model import SERVERS, Lookup, Record
from kubectl_kdns.timeline import Timelines
from kubectl_kdns.times import NS_PER_S, parse_time

MAX_LEGS = 50_000
MAX_CHILDREN = 30
"""Of more not each is compared with each: what is asked again and again while an upstream is dead."""

Key = TypeVar("Key")
Place = tuple[str, Question]
"""Who asks, or who answers, and what."""


class Joiner:
    """Takes lookups in about the order of their completion; gives requests with all that belongs to them.

    `now_ns` is until when all lookups are taken to be known, and for its owner to set; `latest_ns` is the
    last end that was seen. `timeout_ns` is how long a lookup is waited for: so much later an unanswered one
    is told.
    """

    def __init__(self, timeout_ns: int) -> None:
        self.now_ns = self.latest_ns = 0
        self.unjoined = self.late = 0
        """Lookups that stand in no journey, and sightings that came when their journey was made."""
        self._timeout_ns = timeout_ns
        self._at_end = False
        self.pending: Timelines[Leg] = Timelines()
        """Requests that are not ready yet, by bucket and start."""
        self._numbers = count()
        # By socket and question, and there by message id: a server asks all its upstreams from one socket.
        self._by_socket: dict[Socket, dict[int | None, list[Leg]]] = {}
        self._seen_as: dict[SeenAs, list[Leg]] = {}  # what was seen at the server first
        self._asked: Timelines[Leg] = Timelines()
        # Those that the server itself was seen to have, by the clock of what it asks in turn; and others.
        self._served: Timelines[Leg] = Timelines()
        self._unserved: Timelines[Leg] = Timelines()
        self._due: list[tuple[int, int, Leg]] = []
        # In the order in which they came, which is about that of their ends.
        self._all: deque[tuple[int, Leg]] = deque()

    def add(self, records: Iterable[Record]) -> None:
        """Other kinds than lookups, and those without a time, a client or a question, are passed over."""
        for record in records:
            if isinstance(record, Lookup) and record.time and record.client and record.dns:
                self._add(record)

    def ready(self, *, everything: bool = False) -> Iterator[Leg]:
        """The requests that are over, joined; `everything` is for the end."""
        self._at_end = everything
        while self._due and (everything or self._due[0][0] <= self.now_ns or len(self._due) > MAX_LEGS):
            due_ns, _, leg = heappop(self._due)
            if leg.is_alone and leg.seen_as and not leg.has_waited:
                # Its client's end may be there by another address, and looks for this one when it is over.
                leg.has_waited = True
                heappush(self._due, (due_ns + HOLD_NS, leg.number, leg))
                continue
            self.pending.drop(leg)
            if leg.is_request and not leg.is_taken:
                self._resolve(leg)
                leg.is_taken = True
                yield leg
        horizon_ns = self.now_ns - 2 * (self._timeout_ns + OPEN_NS)
        while self._all and (everything or self._all[0][0] < horizon_ns or len(self._all) > 4 * MAX_LEGS):
            self._forget(self._all.popleft()[1])

    def _add(self, lookup: Lookup) -> None:
        client, dns = lookup.client, lookup.dns
        assert client
        assert dns
        start_ns = parse_time(str(lookup.time))
        span = Span(start_ns, start_ns + round((lookup.latency_ms or 0) * 1e6), lookup.node, lookup.backend)
        if span.end_ns > self.latest_ns:
            self.latest_ns = span.end_ns
        question = dns.name, dns.type
        socket = client.ip, client.port, lookup.transport, question
        id_ = dns.id if isinstance(dns.id, int) else None
        by_id = self._by_socket.get(socket)
        if by_id is None:
            by_id = self._by_socket[socket] = {}
        else:
            ids = (id_, None) if id_ is not None else tuple(by_id)
            for leg in [leg for each in ids if each in by_id for leg in by_id[each]]:
                if same(leg, lookup, span):
                    self._join_view(leg.whole or leg, lookup, span)
                    return
        leg = Leg(
            number=next(self._numbers),
            nearest=lookup,
            question=question,
            asked=span,
            served=span,
            asker=client.pod or client.ip or "",
            server=server_of(lookup),
            is_request=lookup.hop not in SERVERS,
            bucket=(client.ip, str(dns.name or "").partition(".")[0]),
            socket=socket,
            id=id_,
        )
        leg.see(lookup)
        by_id.setdefault(id_, []).append(leg)
        if lookup.side == "server" and id_ is not None:
            leg.seen_as = leg.server, question, id_
            self._seen_as.setdefault(leg.seen_as, []).append(leg)
        self._put_served(leg)
        if leg.is_request:
            self._wait_for(leg)
        else:
            self._put_asked(leg)
        self._all.append((span.end_ns, leg))

    def _wait_for(self, leg: Leg) -> None:
        """A failure may have causes that are told only when the time of an upstream's answer is over."""
        due_ns = leg.asked.end_ns + HOLD_NS + SKEW_NS
        slow = leg.asked.end_ns - leg.asked.start_ns > NS_PER_S
        if slow or not leg.is_answered or leg.rcode not in FINAL:
            due_ns += self._timeout_ns + NS_PER_S + (0 if leg.is_answered else OPEN_NS)
        heappush(self._due, (due_ns, leg.number, leg))
        self._put_pending(leg)

    def _put_pending(self, leg: Leg) -> None:
        self.pending.put(leg.bucket, leg, leg.asked.start_ns, leg.asked.start_ns)

    def _join_view(self, leg: Leg, lookup: Lookup, span: Span) -> None:
        self.late += leg.is_told
        was_open_until_ns = leg.open_until_ns()
        if rank(lookup) < rank(leg.nearest):
            leg.asked = span
            if leg in self.pending:
                self._put_pending(leg)
        leg.see(lookup)
        if lookup.side == "client" and lookup.hop in SERVERS:
            leg.is_request = False
        client = lookup.client
        if client and client.pod and client.ip == leg.socket[0]:
            leg.asker = client.pod
        if not leg.is_request:
            self._put_asked(leg)
        if lookup.side == "server":
            leg.server = server_of(lookup)
            # What the server asks in turn is seen by the same clock; a log's times are not the wire's.
            if leg.at_server is lookup or lookup.backend == WIRE:
                leg.served = span
        elif leg.open_until_ns() == was_open_until_ns:
            return
        self._drop_served(leg)
        self._put_served(leg)

    def _put_asked(self, leg: Leg) -> None:
        self._asked.put((leg.asker, leg.question), leg, leg.asked.start_ns, leg.asked.start_ns)

    def _put_served(self, leg: Leg) -> None:
        if leg.server:
            index = self._served if leg.has_own_clock else self._unserved
            index.put((leg.server, leg.question), leg, leg.served.start_ns, leg.open_until_ns())

    def _resolve(self, leg: Leg, depth: int = 0) -> None:
        """Finds what was asked for this lookup, and for that in turn."""
        if leg.at_server is None:
            self._join_other_end(leg)
        self._match(leg)
        if len(leg.children) > 1:
            leg.children = tuple(sorted(leg.children, key=lambda child: child.asked.start_ns))
        if depth < 4:
            for child in leg.children:
                self._resolve(child, depth + 1)

    def _join_other_end(self, leg: Leg) -> None:
        """The server's view of a lookup whose client's address or port was translated on the way; what else
        comes of the socket that the server saw belongs to `leg` as well."""
        if leg.id is None:
            return
        start_ns = leg.asked.start_ns
        found = [
            other
            for other in self._seen_as.get((leg.server, leg.question, leg.id), ())
            if other.is_alone and abs(other.asked.start_ns - start_ns) <= SKEW_NS
        ]
        if len(found) != 1:
            return
        (at_server,) = found
        around = at_server.asked.start_ns - SKEW_NS, at_server.asked.start_ns + SKEW_NS
        for other in self._unserved.begun((leg.server, leg.question), *around):
            if other is not leg and other.id == leg.id and other.at_server is None:
                return  # it may be that one's
        at_server.is_taken, at_server.whole = True, leg
        self.pending.drop(at_server)
        self._asked.drop(at_server)
        self._drop_served(at_server)
        leg.sure = "unique"
        leg.children += at_server.children
        for view in at_server.views:
            self._join_view(leg, view, at_server.served)

    def _match(self, leg: Leg) -> None:
        """Gives what its server asked meanwhile to the one lookup that each can belong to: mostly this."""
        place = leg.server, leg.question
        slack_ns = 0 if leg.has_own_clock else SKEW_NS
        begun = self._asked.begun(place, leg.served.start_ns - slack_ns, leg.open_until_ns() + slack_ns)
        children = [child for child in begun if not child.is_taken]
        if not children:
            return
        if len(children) > MAX_CHILDREN:
            self._match_in_crowd(leg)
            return
        options: dict[int, list[Leg]] = {}
        for child in children:
            if self._is_settled(child):
                options[child.number] = self._parents(child, place)
        waiting = [child for child in children if options.get(child.number)]
        while taken := self._adopt_one(waiting, options):
            waiting.remove(taken)
        left = [child for child in children if not child.is_taken]
        leg.apart = sum(leg in options.get(child.number, ()) for child in left)
        leg.may_have_more = bool(left)

    def _parents(self, child: Leg, place: Place) -> list[Leg]:
        """All that it can belong to."""
        start_ns = child.asked.start_ns
        slack_ns = 0 if child.asked.backend == WIRE else SKEW_NS
        parents = self._served.open_at(place, start_ns, slack_ns)
        parents += self._unserved.open_at(place, start_ns, SKEW_NS)
        return [parent for parent in parents if fits(child, parent)]

    def _match_in_crowd(self, leg: Leg) -> None:
        """What came just when this one's turn was, and no other's; the rest stays apart."""
        place, start_ns = (leg.server, leg.question), leg.served.start_ns
        slack_ns = 0 if leg.has_own_clock else SKEW_NS
        for first_ns, last_ns in TURNS_NS:
            due = self._asked.begun(place, start_ns + first_ns - slack_ns, start_ns + last_ns + slack_ns)
            for child in due:
                if child.is_taken or child.is_answered or not self._is_settled(child):
                    continue
                parents = self._parents_on_time(child, place)
                if parents == [leg]:
                    self._adopt(child, leg, "likely")
                else:
                    leg.apart += leg in parents
        leg.may_have_more = True

    def _parents_on_time(self, child: Leg, place: Place) -> list[Leg]:
        found: list[Leg] = []
        start_ns = child.asked.start_ns
        slack_ns = 0 if child.asked.backend == WIRE else SKEW_NS
        for first_ns, last_ns in TURNS_NS:
            from_ns, until_ns = start_ns - last_ns, start_ns - first_ns
            found += self._served.begun(place, from_ns - slack_ns, until_ns + slack_ns)
            found += self._unserved.begun(place, from_ns - SKEW_NS, until_ns + SKEW_NS)
        return [p for p in found if is_on_time(child, p) and fits(child, p) and not is_busy(p, child)]

    def _adopt(self, child: Leg, parent: Leg, sure: str) -> None:
        child.sure = "likely" if child.asked.slack_ns(parent.served) else sure
        child.is_taken = True
        parent.children = (*parent.children, child)
        if parent.is_told:
            self.unjoined += child.lookups()

    def _adopt_one(self, waiting: list[Leg], options: dict[int, list[Leg]]) -> Leg | None:
        """The first that only one lookup can have asked for; each makes others clear."""
        for child in waiting:
            left = [p for p in options[child.number] if not is_busy(p, child)]
            sure = "unique"
            if len(left) > 1 and not child.is_answered:
                left, sure = [p for p in left if is_on_time(child, p)], "likely"
            if len(left) == 1:
                self._adopt(child, left[0], sure)
                return child
        return None

    def _is_settled(self, child: Leg) -> bool:
        """Whether all lookups that it can belong to are known."""
        known_ns = child.asked.end_ns + HOLD_NS
        if not child.is_answered or child.rcode not in FINAL:
            known_ns += self._timeout_ns + NS_PER_S
        return self._at_end or known_ns <= self.now_ns

    def _forget(self, leg: Leg) -> None:
        if not leg.is_taken and leg.question[0] != ".":  # whom CoreDNS checks for health is asked that
            self.unjoined += leg.lookups()
        by_id = self._by_socket[leg.socket]
        _remove(by_id, leg.id, leg)
        if not by_id:
            del self._by_socket[leg.socket]
        if leg.seen_as is not None:
            _remove(self._seen_as, leg.seen_as, leg)
        self._asked.drop(leg)
        self._drop_served(leg)

    def _drop_served(self, leg: Leg) -> None:
        self._served.drop(leg)
        self._unserved.drop(leg)


def _remove(legs_by: dict[Key, list[Leg]], key: Key, leg: Leg) -> None:
    legs = legs_by[key]
    legs.remove(leg)
    if not legs:
        del legs_by[key]
