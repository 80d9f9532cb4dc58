"""Messages to lookups: joins each query with its response, by event time, in bounded memory.

One `Pairing` is one vantage point. A query and its response have the same ends, transport, id and question
(compared without case); a response that repeats no question (a bare FORMERR) is joined by the rest if only
one query can be meant. What the messages of one lookup can do, and what becomes of it:

- The query comes again before the response: a *try*. Time and latency count from the first. But the same
  query within DUPLICATE_NS is one packet seen twice (`tcpdump -i any` sees it at the veth, the bridge and
  the uplink): no resolver retransmits with the same id that soon (c-ares 250 ms, musl 2.5 s, glibc 5 s).
- No response within the time-out after the last try: *unanswered*, told `grace_ns` later, because the
  retransmission of a resolver that waits 5 s comes just after 5 s. A response within the grace is *late*.
  One after it is counted and told in a notice, not made a second record: one lookup is one record.
- A response before its query: what several CPUs capture is not in order, so it is held REORDER_NS for its
  query; then it is a lookup without latency, whose `time` is the response's (and `inferred` says so).
- A second response, or the query again with a time before the response: a duplicate, counted.
- The query again after the response: a new lookup. The same id with another question: another lookup.
- Where messages have no id (`has_ids=False`: Hubble), nothing is seen twice, and the same query within
  TOGETHER_NS is another lookup: responses are then taken to come in the order of the queries.
- More than `max_waiting` queries wait: the oldest is given up and counted in a `loss` (pairing_evicted).

So queries = lookups with a query (answered, unanswered, pending) + retries + duplicate_queries + evicted, and
responses = answered lookups + duplicate_responses + late_responses.
Event time is the greatest seen; when it steps back by more than the time-out (a clock was set), it goes on
from there. A time of 0 is unknown: such a message gives no time and no latency.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable

from msgspec import UNSET

from kubectl_kdns.late import LateResponses
from kubectl_kdns.messages import (
    NO_ID,
    Asked,
    Exchange,
    PayloadRecords,
    RecordMaker,
    Sighting,
    Vantage,
)
from kubectl_kdns.model import Loss, Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time
from kubectl_kdns.told import Key, Told, fits, same_question, with_question

__all__ = ["GRACE_NS", "NO_ID", "Exchange", "Pairing", "Sighting", "Vantage"]

DUPLICATE_NS = 100_000_000
TOGETHER_NS = 200_000_000
REORDER_NS = NS_PER_S
GRACE_NS = NS_PER_S
CHECK_NS = 10_000_000
MAX_WAITING = 65536
MAX_EARLY = 8192

_NEVER = 1 << 80


class Pairing:
    """Feed it sightings, about in the order of time; it gives back records in the order of completion.

    `messages`: also a `message` record of each sighting that is no duplicate. `records` makes the records,
    those of payloads unless it is given. Not for several threads.
    """

    def __init__(
        self,
        vantage: Vantage,
        *,
        records: RecordMaker | None = None,
        has_ids: bool = True,
        timeout_ns: int = 5 * NS_PER_S,
        grace_ns: int = GRACE_NS,
        max_waiting: int = MAX_WAITING,
        messages: bool = False,
    ) -> None:
        self.counters = {
            "queries": 0,
            "retries": 0,
            "duplicate_queries": 0,
            "evicted": 0,
            "responses": 0,
            "responses_without_query": 0,
            "duplicate_responses": 0,
            "late_responses": 0,
        }
        self._vantage = vantage
        self._make = records or PayloadRecords(vantage)
        self._has_ids = has_ids
        self._timeout_ns = timeout_ns
        self._grace_ns = grace_ns
        self._max_waiting = max_waiting
        self._messages = messages
        self._out: list[Record] = []
        # The greatest event time; with the shift it is a clock that begins near 0 and never steps back.
        self._high_ns = 0
        self._shift_ns = 0
        self._check_ns = 0
        # Both in the order of their deadlines.
        self._waiting: OrderedDict[Key, Asked] = OrderedDict()
        self._early: OrderedDict[Key, tuple[Sighting, int]] = OrderedDict()
        # How many wait behind another one.
        self._behind = 0
        # How many wait with their question in the key, by exchange.
        self._rivals: dict[Key, int] = {}
        self._answered = Told(2 * timeout_ns)
        self._given_up = Told(12 * timeout_ns)
        # What no record tells yet: (first time, last time, number) of the evicted.
        self._evicted = (_NEVER, 0, 0)
        self._late = LateResponses(timeout_ns)

    def feed(self, sightings: Iterable[Sighting]) -> list[Record]:
        """The records that these sightings complete.

        What nearly all are, a new query or the response to the one that waits, is done here.
        """
        waiting, out, make_lookup, timeout_ns = self._waiting, self._out, self._make.lookup, self._timeout_ns
        hold_ns, max_waiting, plain = timeout_ns + self._grace_ns, self._max_waiting, not self._messages
        queries = responses = 0
        for sighting in sightings:
            time_ns, exchange, message, size, origin = sighting
            in_order = time_ns >= self._high_ns
            if in_order:
                if time_ns >= self._check_ns:
                    self._go_on(time_ns)
                self._high_ns = time_ns
            elif 0 < time_ns < self._high_ns - timeout_ns:
                self._step_back(time_ns)
            asked = waiting.get(exchange)
            if message.is_response:
                responses += 1
                if (
                    asked is None
                    or not plain
                    or asked.behind
                    or time_ns < asked.time_ns
                    or not same_question(asked.message, message)
                ):
                    self._respond(sighting, asked)
                    continue
                del waiting[exchange]
                asked.answered_ns = time_ns
                asked.told = self._high_ns + self._shift_ns
                self._answered.add(exchange, asked)
                late = time_ns - asked.last_ns > timeout_ns and asked.last_ns > 0
                out.append(make_lookup(asked, "answered", sighting, late))
            else:
                queries += 1
                if asked is not None or not plain or not in_order or self._early or self._rivals:
                    self._ask(sighting, asked)
                    continue
                deadline = time_ns + self._shift_ns + hold_ns
                waiting[exchange] = Asked(time_ns, exchange, message, size, origin, time_ns, deadline)
                if len(waiting) + self._behind > max_waiting:
                    self._evict()
        self.counters["queries"] += queries
        self.counters["responses"] += responses
        return self._take()

    def advance(self, time_ns: int) -> list[Record]:
        """The records that are due at `time_ns` though nothing more came (live, at a heartbeat)."""
        if time_ns > self._high_ns > 0:
            self._go_on(time_ns)
            self._high_ns = time_ns
        return self._take()

    def finish(self) -> list[Record]:
        """The rest at the end of the run: queries younger than the time-out are `pending`."""
        for response, due in self._early.values():
            self._tell_alone(response, due)
        for head in self._waiting.values():
            for asked in (head, *(head.behind or ())):
                overdue = self._clock() >= asked.deadline - self._grace_ns
                self._out.append(self._make.lookup(asked, "unanswered" if overdue else "pending", None))
        self._early.clear()
        self._waiting.clear()
        self._rivals.clear()
        self._behind = 0
        if notice := self._late.rest(self._clock()):
            self._note(notice)
        return self._take()

    def _ask(self, query: Sighting, asked: Asked | None) -> None:
        """A query; `asked` is what waits by its exchange."""
        time_ns, exchange, message, size, origin = query
        key: Key = exchange
        if asked is not None and not same_question(asked.message, message):
            key = with_question(exchange, message)
            asked = self._waiting.get(key)
        elif asked is None and exchange in self._rivals:
            rival = with_question(exchange, message)
            asked = self._waiting.get(rival)
            key = exchange if asked is None else rival
        if asked is not None:
            self._ask_again(key, asked, query)
            return
        if time_ns < self._high_ns and self._has_ids:
            told = self._answered.find(exchange, message, self._clock())
            if told is not None and time_ns < told.answered_ns:
                self.counters["duplicate_queries"] += 1
                return
        if self._messages:
            self._out.append(self._make.message(query))
        deadline = self._clock() + self._timeout_ns + self._grace_ns
        asked = Asked(time_ns, exchange, message, size, origin, time_ns, deadline)
        response = self._take_early(query)
        if response is not None:
            self._answer(key, asked, response)
            return
        self._waiting[key] = asked
        if key is not exchange:
            self._rivals[exchange] = self._rivals.get(exchange, 0) + 1
        if len(self._waiting) + self._behind > self._max_waiting:
            self._evict()

    def _ask_again(self, key: Key, asked: Asked, query: Sighting) -> None:
        time_ns, exchange, message, size, origin = query
        if self._has_ids and abs(time_ns - asked.last_ns) < DUPLICATE_NS and message == asked.message:
            self.counters["duplicate_queries"] += 1
            return
        if self._messages:
            self._out.append(self._make.message(query))
        deadline = self._clock() + self._timeout_ns + self._grace_ns
        last = asked.behind[-1] if asked.behind else asked
        if not self._has_ids and abs(time_ns - last.last_ns) < TOGETHER_NS:
            behind = Asked(time_ns, exchange, message, size, origin, time_ns, deadline)
            asked.behind = asked.behind or deque()
            asked.behind.append(behind)
            self._behind += 1
            if len(self._waiting) + self._behind > self._max_waiting:
                self._evict()
            return
        self.counters["retries"] += 1
        last.tries += 1
        last.last_ns = max(last.last_ns, time_ns)
        last.deadline = deadline
        if last is asked:
            self._waiting.move_to_end(key)

    def _respond(self, response: Sighting, asked: Asked | None) -> None:
        """A response; `asked` is what waits by its exchange."""
        time_ns, exchange, message, _, _ = response
        key: Key = exchange
        rivals = exchange in self._rivals
        if asked is not None and not same_question(asked.message, message):
            # Where the question is not said twice, the exchange must do, if only one question waits by it.
            asked = asked if fits(asked.message, message) and not rivals else None
        if asked is None and rivals:
            key = with_question(exchange, message)
            asked = self._waiting.get(key)
        no_answer = asked is None or time_ns < asked.time_ns
        if no_answer and self._answered.find(exchange, message, self._clock()) is not None:
            self.counters["duplicate_responses"] += 1
            return
        if asked is not None:
            if self._messages:
                self._out.append(self._make.message(response))
            self._forget(key, asked)
            self._answer(key, asked, response)
            return
        told = self._given_up.find(exchange, message, self._clock())
        if told is None:
            self._hold(response)
        elif told.answered_ns:
            self.counters["duplicate_responses"] += 1
        else:
            self._answer_too_late(told, response)

    def _answer(self, key: Key, asked: Asked, response: Sighting) -> None:
        asked.answered_ns = time_ns = response[0]
        asked.told = self._clock()
        self._answered.add(key, asked)
        late = time_ns - asked.last_ns > self._timeout_ns and asked.last_ns > 0
        self._out.append(self._make.lookup(asked, "answered", response, late))

    def _answer_too_late(self, told: Asked, response: Sighting) -> None:
        self.counters["late_responses"] += 1
        if self._messages:
            self._out.append(self._make.message(response))
        told.answered_ns = response[0]
        if notice := self._late.add(response[0] - told.time_ns, response, self._clock()):
            self._note(notice)

    def _hold(self, response: Sighting) -> None:
        """Keeps a response for the query that may come just behind it."""
        key = with_question(response[1], response[2])
        if key in self._early:
            self.counters["duplicate_responses"] += 1
            return
        if self._messages:
            self._out.append(self._make.message(response))
        self._early[key] = (response, self._clock() + REORDER_NS)
        if len(self._early) > MAX_EARLY:
            _, (oldest, _) = self._early.popitem(last=False)
            self._tell_alone(oldest, self._clock())

    def _take_early(self, query: Sighting) -> Sighting | None:
        """The response that came before this query, if one did."""
        key = with_question(query[1], query[2])
        response, _ = self._early.get(key, (None, 0))
        if response is None or query[0] - response[0] > DUPLICATE_NS:
            return None
        del self._early[key]
        return response

    def _go_on(self, time_ns: int) -> None:
        """Tells what is due at `time_ns`."""
        if not self._high_ns:
            self._shift_ns = -time_ns
        self._check_ns = time_ns + CHECK_NS
        clock = time_ns + self._shift_ns
        while self._early and next(iter(self._early.values()))[1] <= clock:
            _, (response, due) = self._early.popitem(last=False)
            self._tell_alone(response, due)
        while self._waiting:
            key, asked = next(iter(self._waiting.items()))
            if asked.deadline > clock:
                break
            self._forget(key, asked)
            asked.told = asked.deadline
            self._given_up.add(key, asked)
            self._out.append(self._make.lookup(asked, "unanswered", None))

    def _step_back(self, time_ns: int) -> None:
        """Goes on from a clock that was set back: what waits goes on waiting as long as it was to."""
        self._shift_ns += self._high_ns - time_ns
        self._high_ns = time_ns
        self._check_ns = time_ns + CHECK_NS

    def _evict(self) -> None:
        key, asked = next(iter(self._waiting.items()))
        self._forget(key, asked)
        self.counters["evicted"] += 1
        first_ns, last_ns, count = self._evicted
        self._evicted = (min(first_ns, asked.time_ns), max(last_ns, asked.time_ns), count + 1)

    def _forget(self, key: Key, asked: Asked) -> None:
        """Takes it from what waits; the one behind it takes its place."""
        if asked.behind:
            following = asked.behind.popleft()
            following.behind, asked.behind = asked.behind, None
            self._behind -= 1
            # Behind younger ones from here on: at most it is told a little late.
            del self._waiting[key]
            self._waiting[key] = following
            return
        del self._waiting[key]
        if len(key) > len(asked.exchange):
            self._rivals[asked.exchange] -= 1
            if not self._rivals[asked.exchange]:
                del self._rivals[asked.exchange]

    def _tell_alone(self, response: Sighting, told: int) -> None:
        """A response whose query never came; what else comes of it is a duplicate."""
        self.counters["responses_without_query"] += 1
        time_ns, exchange, message, size, origin = response
        self._answered.add(
            exchange,
            Asked(time_ns, exchange, message, size, origin, time_ns, 0, answered_ns=time_ns, told=told),
        )
        self._out.append(self._make.response(response))

    def _clock(self) -> int:
        return self._high_ns + self._shift_ns

    def _take(self) -> list[Record]:
        first_ns, last_ns, count = self._evicted
        if count:
            loss = Loss(reason="pairing_evicted", unit="messages", count=count)
            loss.from_, loss.until = format_time(first_ns), format_time(last_ns)
            self._note(loss)
            self._evicted = (_NEVER, 0, 0)
        out = self._out[:]
        self._out.clear()
        return out

    def _note(self, record: Loss | Notice) -> None:
        record.time = format_time(self._high_ns) if self._high_ns else UNSET
        record.backend, record.node = self._vantage.backend, self._vantage.node
        self._out.append(record)
