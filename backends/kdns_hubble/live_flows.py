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

from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.flow_records import NAME
from kdns_hubble.gaps import missing_flows, out_of_reach
from kdns_hubble.history import TimeOrder
from kdns_hubble.losses import Phase
from kdns_hubble.node_flows import OVERLAP_NS
from kdns_hubble.nudge import Nudge
from kdns_hubble.observer import Dial, FlowStream, Observer
from kdns_hubble.pump import Pump
from kdns_hubble.seen import REMEMBERED
from kdns_hubble.uptimes import UptimeWatch
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import BackendError, ForbiddenError, KdnsError
from kubectl_kdns.model import Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time

GRACE_NS = 3 * NS_PER_S
"""The relay sorts: a response may come a second after others of its time, and two when little comes."""
SKEW_NS = 60 * NS_PER_S
"""How far nodes' clocks may be behind this machine's, where only it tells the time."""
START_NS = NS_PER_S // 2
QUIET_S = 10.0
CATCH_UP_S = 2.0
HEARTBEAT_S = 0.2
PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
"""Before each connection after one that broke, or did not come about."""
STEADY_S = 10.0
"""A connection that lasted so long was a good one."""
GIVE_UP_S = 30.0
"""For a history that nothing is to follow: then its end is an error."""
FLOWS_PER_LOOKUP = 4
FLOWS_CUT = 256
"""For the last N lookups, ask each node for so many flows: a request and its response, room for
retransmissions, and for those lookups at the far end of which only the response is among them."""


class _Stalled(Exception):
    """The rest of a history does not come, of whichever node."""


class LiveFlows:
    """A Source. `dial` opens a connection and is called again when it breaks. The last N lookups are asked
    for by number only when the server selects `exact`ly them. `advise` says why no flow is seen; it may take
    its time."""

    def __init__(
        self,
        dial: Dial,
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
        self._advise = advise
        self._advised = threading.Lock()
        self._advisor = threading.Timer(QUIET_S, self._tell_why_nothing)
        self._advisor.daemon, self._advisor.name = True, "hubble-advice"
        self._told: queue.SimpleQueue[Record] = queue.SimpleQueue()
        self._reconnects = 0
        # How often in a row it was connected, or tried, and since when it is.
        self._attempt = 0
        self.in_history = scope.history
        self._observer = dial()
        self._connected_s = time.monotonic()
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
        self._advisor.cancel()
        self._dial.close()
        with self._lock:
            # Not the stream: gRPC never closes a connection of which a call was cancelled (grpc#42125).
            self._observer.close()

    def __iter__(self) -> Iterator[list[Record]]:
        try:
            now_ns = self._observer.now_ns
            since_ns = max(now_ns - START_NS, 0)
            if self._scope.history:
                since_ns = now_ns - OVERLAP_NS if now_ns else self._clock_ns() - SKEW_NS
                yield from self._history()
                self.in_history = False
            if self._closed.is_set():
                pass
            elif self._scope.follow:
                yield []
                self._advisor.start()
                since_ns, missing = self._again(since_ns)
                yield missing
                yield from self._follow(since_ns)
            self._tell_why_nothing()
            yield [*self._take_told(), *self._decoder.finish()]
        finally:
            self.close()

    def _tell_why_nothing(self) -> None:
        """Once: when nothing has come for a while, or at the end."""
        if self._decoder.new_flows or not self._advised.acquire(blocking=False):
            return
        text = self._advise()
        if not self._decoder.new_flows:
            self._told.put(self._notice("nothing_seen", text))

    def _history(self) -> Iterator[list[Record]]:
        """In order of time; never an empty batch, which would say that the history is over."""
        order = TimeOrder()
        self._decoder.begin(Phase.LOOKING_BACK)
        try:
            for records in self._remembered():
                if ready := order.add(records):
                    yield ready
        except KdnsError:
            yield order.rest()
            raise
        if missing := out_of_reach(self._observer, self._scope.since_ns or 0):
            yield missing
        yield order.rest()

    def _remembered(self) -> Iterator[list[Record]]:
        since_ns, last = self._scope.since_ns, self._last
        while not self._closed.is_set():
            try:
                yield from self._read(partial(self._observer.history, since_ns, last))
                return
            except _Stalled:
                cause = "the rest of the history did not come (one node may hang), and was given up"
                yield [missing_flows(since_ns, self._clock_ns(), cause)]
                return
            except KdnsError as error:
                self._raise_if_hopeless(error)
                yield from self._reconnect(error)
            # All of it: of some nodes perhaps nothing has come.
            again_ns, missing = self._again(since_ns or 0)
            yield missing
            if again_ns != (since_ns or 0):
                since_ns, last = again_ns, None

    def _again(self, since_ns: int) -> tuple[int, list[Record]]:
        """From when on to ask for what may not have come of every node: from `since_ns`, but not for so much
        that flows which came before are no longer known; that is then a loss."""
        known_ns = self._decoder.reopen(since_ns)
        if self._decoder.new_flows <= REMEMBERED or known_ns <= since_ns:
            return since_ns, []
        cause = "more flows came than are remembered, so those of some nodes may be missing"
        return known_ns, [missing_flows(since_ns, known_ns, cause)]

    def _follow(self, since_ns: int) -> Iterator[list[Record]]:
        again = False
        while not self._closed.is_set():
            cause: KdnsError | None = None
            try:
                follow = partial(self._observer.follow, since_ns or None)
                yield from self._read(follow, live=True, again=again)
            except KdnsError as error:
                self._raise_if_hopeless(error)
                cause = error
            if self._closed.is_set():
                return
            end = self._watch.take_end()
            restarted = end.restarted if end else {}
            if end is None or end.failure:
                yield from self._reconnect(end.failure if end else cause)
            elif restarted:
                yield self._decoder.restarted(restarted, self._clock_ns())
            since_ns, again = self._decoder.reopen(since_ns, restarted), True

    def _raise_if_hopeless(self, error: KdnsError) -> None:
        """What is refused at the very first is not tried again: it is not allowed, or not possible."""
        is_first = not self._reconnects and time.monotonic() - self._connected_s < STEADY_S
        is_refused = isinstance(error, BackendError | ForbiddenError) and not getattr(error, "lost", False)
        if is_first and is_refused and not self._decoder.new_flows:
            raise error

    def _read(
        self, open_stream: Callable[[], FlowStream], *, live: bool = False, again: bool = False
    ) -> Iterator[list[Record]]:
        """The records of one stream, to its end."""
        observer = self._observer
        with self._lock:
            if self._closed.is_set():
                return
            stream = open_stream()
        pump = Pump(stream, observer.read)
        try:
            if live:
                yield from self._live(pump, observer, stream, again=again)
            else:
                yield from self._past(pump, observer)
        finally:
            pump.close()

    def _past(self, pump: Pump, observer: Observer) -> Iterator[list[Record]]:
        heard_s = time.monotonic()
        while (responses := pump.take(HEARTBEAT_S)) is not None:
            yield self._decoder.feed(responses)
            if responses:
                heard_s = time.monotonic()
            elif time.monotonic() - heard_s > observer.patience_s:
                observer.check()  # or is it the connection?
                raise _Stalled

    def _live(
        self, pump: Pump, observer: Observer, stream: FlowStream, *, again: bool
    ) -> Iterator[list[Record]]:
        """The records of what comes, and of what becomes due while nothing does."""
        decoder = self._decoder
        nudge = Nudge(observer, pump.put)
        self._watch.start(observer, stream)
        decoder.begin(Phase.LOOKING_BACK)
        live_from_s = time.monotonic() + CATCH_UP_S
        heard = False
        try:
            while (responses := pump.take(HEARTBEAT_S)) is not None:
                now_ns = self._clock_ns()
                if responses and not heard and live_from_s:
                    live_from_s, heard = time.monotonic() + CATCH_UP_S, True
                if live_from_s and time.monotonic() > live_from_s:
                    decoder.begin(Phase.LIVE)
                    live_from_s = 0.0
                if again and live_from_s:
                    # What comes now happened while nobody listened: nothing is due before it has come.
                    records = decoder.feed(responses)
                elif responses:
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
        """Dials until it is answered; says so at first, and when the cause changes. Meanwhile time stands
        still: what a node has seen is in its ring. Raises the cause where there is nothing to wait for."""
        told = ""
        if time.monotonic() - self._connected_s > STEADY_S:
            self._attempt = 0
        give_up_s = time.monotonic() + GIVE_UP_S
        self._observer.close()
        while not self._closed.is_set():
            text = cause.what + (f": {cause.cause}" if cause.cause else "") if cause else "the stream ended"
            if text != told:
                told = text
                yield [self._notice("reconnecting", f"{text}; connecting again")]
            yield from self._pause(PAUSES_S[min(self._attempt, len(PAUSES_S) - 1)])
            self._attempt += 1
            opened: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
            threading.Thread(target=self._open, args=(opened,), name="hubble-dial", daemon=True).start()
            while not self._closed.is_set():
                try:
                    failure = opened.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield self._take_told()
                    continue
                if failure is None:
                    self._reconnects += 1
                    self._connected_s = time.monotonic()
                    yield [self._notice("reconnected", f"connected again: {self._observer.description}")]
                    return
                if not isinstance(failure, KdnsError):
                    raise failure
                cause = failure
                break
            if cause and not self._scope.follow and time.monotonic() > give_up_s:
                raise cause

    def _open(self, opened: queue.SimpleQueue[BaseException | None]) -> None:
        """In a thread of its own: whoever is asked may take its time."""
        try:
            observer = self._dial()
        except BaseException as error:  # noqa: BLE001 - the reader must hear of it, whatever it is
            opened.put(error)
            return
        with self._lock:
            self._observer = observer
            if self._closed.is_set():
                observer.close()
        opened.put(None)

    def _pause(self, pause_s: float) -> Iterator[list[Record]]:
        until_s = time.monotonic() + pause_s
        while (left_s := until_s - time.monotonic()) > 0:
            if self._closed.wait(min(HEARTBEAT_S, left_s)):
                return
            yield self._take_told()

    def _take_told(self) -> list[Record]:
        told: list[Record] = []
        with suppress(queue.Empty):
            while True:
                told.append(self._told.get_nowait())
        return told

    def _notice(self, code: str, message: str) -> Notice:
        return Notice(time=format_time(self._clock_ns()), backend=NAME, code=code, message=message)
