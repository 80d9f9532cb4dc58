"""Live flows: first the history that was asked for, then what comes, without a gap and without doubles.

Whatever breaks is opened again, from a little before the last flow of each node on. What had been seen is
known by its uuid; a node whose last flow does not come again has lost some in between, and that is a `loss`.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from msgspec import UNSET

from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.flow_records import NAME
from kdns_hubble.history import TimeOrder
from kdns_hubble.losses import Phase
from kdns_hubble.nudge import Nudge
from kdns_hubble.observer import FlowStream, Observer
from kdns_hubble.pump import Pump
from kdns_hubble.uptimes import UptimeWatch
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.model import Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time

GRACE_NS = 3 * NS_PER_S
"""The relay sorts: a response may come a second after others of its time, and two when little comes."""
OVERLAP_NS = 2 * NS_PER_S
START_NS = NS_PER_S // 2
QUIET_S = 10.0
CATCH_UP_S = 2.0
HEARTBEAT_S = 0.2
RETRY_S = (0.2, 0.5, 1.0, 2.0, 5.0)
FLOWS_PER_LOOKUP = 4
FLOWS_CUT = 256
"""For the last N lookups, ask each node for so many flows: a request and its response, room for
retransmissions, and for those lookups at the far end of which only the response is among them."""


class LiveFlows:
    """A Source. `dial` opens a connection and is called again when it breaks. The last N lookups are asked
    for by number only when the server selects `exact`ly them. `advise` says why no flow is seen; it may take
    its time."""

    def __init__(
        self,
        dial: Callable[[], Observer],
        scope: Scope,
        *,
        exact: bool,
        advise: Callable[[], str],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._dial, self._scope, self._clock_ns = dial, scope, clock_ns
        self._last = scope.last * FLOWS_PER_LOOKUP + FLOWS_CUT if scope.last and exact else None
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._stream: FlowStream | None = None
        self._advise = advise
        self._told: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._reconnects = 0
        self._observer = dial()
        since_ns = scope.since_ns if scope.history else self._observer.now_ns
        self._decoder = FlowDecoder(
            timeout_ns=scope.timeout_ns,
            grace_ns=GRACE_NS,
            messages=scope.messages,
            raw=scope.raw,
            since_ns=since_ns or 0,
        )
        self._watch = UptimeWatch()

    @property
    def description(self) -> str:
        return self._observer.description

    @property
    def counters(self) -> Mapping[str, int]:
        return {**self._decoder.counters, "reconnects": self._reconnects}

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            if self._stream:
                self._stream.close()

    def __iter__(self) -> Iterator[list[Record]]:
        try:
            since_ns = self._observer.now_ns - START_NS
            if self._scope.history:
                since_ns = self._observer.now_ns - OVERLAP_NS
                yield from self._history()
                yield []
            if self._scope.follow:
                advisor = threading.Timer(QUIET_S, self._tell_why_nothing)
                advisor.daemon = True
                advisor.start()
                # From the last flows of the history on, which tells the time where nobody else does.
                yield from self._follow(self._decoder.reopen(max(since_ns, 0)))
            elif not self._closed.is_set():
                self._tell_why_nothing()
            yield [*self._take_told(), *self._decoder.finish()]
        finally:
            self._observer.close()

    def _tell_why_nothing(self) -> None:
        if not self._decoder.new_flows:
            text = self._advise()
            if not self._decoder.new_flows:
                self._told.put(self._notice("nothing_seen", text))

    def _history(self) -> Iterator[list[Record]]:
        order = TimeOrder()
        since_ns, last = self._scope.since_ns, self._last
        self._decoder.begin(Phase.HISTORY)
        while not self._closed.is_set():
            try:
                for records in self._read(partial(self._observer.history, since_ns, last), live=False):
                    # An empty batch would say that the history is over.
                    if ready := order.add(records):
                        yield ready
                break
            except KdnsError as error:
                yield from self._reconnect(error)
                since_ns, last = self._decoder.reopen(since_ns or 0), None
        yield order.rest()

    def _follow(self, since_ns: int) -> Iterator[list[Record]]:
        while not self._closed.is_set():
            cause: KdnsError | None = None
            try:
                yield from self._read(partial(self._observer.follow, since_ns or None), live=True)
            except KdnsError as error:
                cause = error
            if self._closed.is_set():
                return
            end = self._watch.take_end()
            restarted = end.restarted if end else {}
            if end is None or end.failure:
                yield from self._reconnect(end.failure if end else cause)
            elif restarted:
                yield self._decoder.restarted(restarted, self._clock_ns())
            since_ns = self._decoder.reopen(since_ns, restarted)

    def _read(self, open_stream: Callable[[], FlowStream], *, live: bool) -> Iterator[list[Record]]:
        """The records of one stream, to its end."""
        observer, decoder = self._observer, self._decoder
        with self._lock:
            if self._closed.is_set():
                return
            stream = self._stream = open_stream()
        pump = Pump(stream, observer.read)
        try:
            if live:
                yield from self._live(pump, observer, stream)
                return
            while (responses := pump.take(HEARTBEAT_S)) is not None:
                yield decoder.feed(responses)
        finally:
            pump.close()

    def _live(self, pump: Pump, observer: Observer, stream: FlowStream) -> Iterator[list[Record]]:
        """The records of what comes, and of what becomes due while nothing does."""
        decoder = self._decoder
        nudge = Nudge(observer, pump.put)
        self._watch.start(observer, stream)
        decoder.begin(Phase.CATCHING_UP)
        live_from_s = time.monotonic() + CATCH_UP_S
        try:
            while (responses := pump.take(HEARTBEAT_S)) is not None:
                now_ns = self._clock_ns()
                if live_from_s and time.monotonic() > live_from_s:
                    decoder.begin(Phase.LIVE)
                    live_from_s = 0.0
                if responses:
                    known = decoder.new_flows
                    records = decoder.feed(responses, now_ns)
                    if decoder.new_flows > known:
                        nudge.seen(decoder.new_flows - known, decoder.high_ns)
                else:
                    records = decoder.advance(now_ns)
                yield [*self._take_told(), *records]
        finally:
            self._watch.stop()
            nudge.stop()

    def _reconnect(self, cause: KdnsError | None) -> Iterator[list[Record]]:
        """Dials until it is answered; says so at first, and when the cause changes."""
        told = ""
        attempt = 0
        self._observer.close()
        while not self._closed.is_set():
            text = cause.what + (f": {cause.cause}" if cause.cause else "") if cause else "the stream ended"
            if text != told:
                told = text
                yield [self._notice("reconnecting", f"{text}; connecting again")]
            try:
                self._observer = self._dial()
            except KdnsError as error:
                cause = error
            else:
                self._reconnects += 1
                yield [self._notice("reconnected", f"connected again: {self._observer.description}")]
                return
            deadline_s = time.monotonic() + RETRY_S[min(attempt, len(RETRY_S) - 1)]
            attempt += 1
            while time.monotonic() < deadline_s and not self._closed.wait(HEARTBEAT_S):
                yield [*self._take_told(), *self._decoder.advance(self._clock_ns())]

    def _take_told(self) -> list[Record]:
        told: list[Record] = []
        with suppress(queue.Empty):
            while True:
                told.append(self._told.get_nowait())
        return told

    def _notice(self, code: str, message: str) -> Notice:
        return Notice(
            time=format_time(self._clock_ns()), backend=NAME, node=UNSET, code=code, message=message
        )
