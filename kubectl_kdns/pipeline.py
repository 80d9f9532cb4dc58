"""Runs sources to a sink: one thread a source reads, this thread names, filters, counts and prints.

Queues are bounded and carry batches: when the sink is slow the readers wait, and so does the server behind
them; nothing is dropped here. Every lookup is either shown or filtered, so seen = shown + filtered.
"""

from __future__ import annotations

import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any, Protocol

from msgspec import Struct

from kubectl_kdns.backend import Source
from kubectl_kdns.model import OLDER, Journey, Lookup, Message, Record

QUEUE_BATCHES = 8
TICK_S = 0.1
DRAIN_S = 3.0
HISTORY_WAIT_S = 2.0

Accept = Callable[[Any], bool]
Name = Callable[[Any], None]


class Sink(Protocol):
    """Where records go. `write` gets those that passed; BrokenPipeError means that nobody reads any more."""

    def write(self, records: Sequence[Record]) -> None: ...
    def flush(self) -> None:
        """Called when no further batch is waiting."""


class Stage(Protocol):
    """What joins lookups before they are shown: it may hold them for others that belong to them."""

    def add(self, records: Iterable[Record]) -> list[Record]:
        """The records that are ready now."""

    def rest(self, *, at_end: bool = False) -> list[Record]:
        """Those that need not be held any more, as nothing comes just now; at the end all of them."""

    filtered: int
    """Lookups that it left out because they did not match."""

    @property
    def counters(self) -> Mapping[str, int]: ...


class Stop:
    """Why and when to stop; set by signals. A second signal interrupts at once."""

    def __init__(self) -> None:
        self.signal = 0
        self.requested = False

    def handle(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and self.signal:
            raise KeyboardInterrupt
        self.signal, self.requested = number, True

    def install(self) -> Callable[[], None]:
        """Takes SIGINT, SIGTERM and SIGHUP; returns what gives them back."""
        return take_signals(self.handle)


class Interrupted(KeyboardInterrupt):
    """One of them came where nobody looks at a Stop yet; its number is the argument."""


def interrupt(number: int, _frame: FrameType | None) -> None:
    raise Interrupted(number)


def take_signals(handle: Callable[[int, FrameType | None], None]) -> Callable[[], None]:
    """Lets `handle` have the signals that end a program; returns what gives them back."""
    numbers = (signal.SIGINT, signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM))
    old = {number: signal.signal(number, handle) for number in numbers}

    def restore() -> None:
        for number, handler in old.items():
            signal.signal(number, handler)

    return restore


class Counts(Struct):
    """Lookups only: seen = shown + filtered + other sightings of shown ones. `older`: filtered, as more than
    `last` came after them."""

    seen: int = 0
    shown: int = 0
    filtered: int = 0
    older: int = 0


class Pipeline:
    """One run. `accept` and `name` are called for lookups and messages; other records always pass.

    `limit` ends the run after so many shown lookups; `last` holds back history (records older than
    `live_from`) and shows only its newest `last`; `until` and `since` bound the time of what is shown
    (RFC 3339 text); `for_s` bounds the run by the monotonic clock.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        sink: Sink,
        *,
        accept: Accept | None = None,
        name: Name | None = None,
        stop: Stop | None = None,
        limit: int | None = None,
        last: int | None = None,
        live_from: str = "",
        since: str = "",
        until: str = "",
        for_s: float | None = None,
        joins: Stage | None = None,
        on_tick: Callable[[], bool] | None = None,
        on_record: Callable[[Record], None] | None = None,
    ) -> None:
        self.sources, self.sink, self.accept, self.name = sources, sink, accept, name
        self.stop = stop or Stop()
        self.limit, self.live_from, self.since, self.until = limit, live_from, since, until
        self.for_s, self.joins = for_s, joins
        self.on_tick, self.on_record = on_tick, on_record
        self.counts = Counts()
        self._queue: queue.Queue[list[Record] | _Past | _End] = queue.Queue(QUEUE_BATCHES)
        self._closing = threading.Event()
        self._history: deque[Record] | None = deque(maxlen=last) if last is not None else None
        self._held_live: list[Record] = []
        # How many sources have more of the past to come; counted down in the order of their batches.
        self._histories = sum(source.in_history for source in sources)
        # When something of the history came last: when no more comes for a while, that was all.
        self._historic_s = 0.0

    def run(self) -> None:
        """Returns when all sources have ended, the limit is reached, the time is over, or `stop` was set.

        Raises the first error that ended a source, BrokenPipeError from the sink, and KeyboardInterrupt
        at a second signal; the sources are closed in any case.
        """
        threads = [
            threading.Thread(target=self._read, args=(source,), name=f"read-{i}", daemon=True)
            for i, source in enumerate(self.sources)
        ]
        for thread in threads:
            thread.start()
        try:
            failure = self._consume(len(threads))
        finally:
            self._closing.set()
            for source in self.sources:
                source.close()
        if failure:
            raise failure

    def _read(self, source: Source) -> None:
        failure: BaseException | None = None
        in_history = source.in_history
        try:
            for batch in source:
                if in_history and not source.in_history:
                    in_history = False
                    self._put(_PAST)
                self._put(batch)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the main thread must hear of it
            failure = error
        if in_history:
            self._put(_PAST)
        self._put(_End(failure))

    def _put(self, item: list[Record] | _Past | _End) -> None:
        """Waits for room; gives up only when the run is over and nobody takes from the queue any more."""
        while True:
            with suppress(queue.Full):
                return self._queue.put(item, timeout=TICK_S)
            if self._closing.is_set():
                return None

    def _consume(self, active: int) -> BaseException | None:
        started_s = self._historic_s = time.monotonic()
        deadline_s = None if self.for_s is None else started_s + self.for_s
        drain_until_s: float | None = None
        failure: BaseException | None = None
        while active:
            now_s = time.monotonic()
            if drain_until_s is None and (
                self.stop.requested
                or (deadline_s is not None and now_s >= deadline_s)
                or (self.on_tick is not None and self.on_tick())
            ):
                # An orderly end: the sources stop, what they still hold (pending lookups) is printed.
                drain_until_s = now_s + DRAIN_S
                for source in self.sources:
                    source.close()
            if drain_until_s is not None and now_s >= drain_until_s:
                break
            if now_s - self._historic_s > HISTORY_WAIT_S:
                self._release_history()
            try:
                item = self._queue.get(timeout=TICK_S)
            except queue.Empty:
                continue
            if isinstance(item, _Past):
                self._histories -= 1
            elif isinstance(item, _End):
                active -= 1
                failure = failure or item.failure
            elif item:
                self._pass(item)
                if self._queue.empty():
                    self.sink.flush()
            else:
                self._release_history()
                self._show_held()
            if self.limit is not None and self.counts.shown >= self.limit:
                return failure
        self._release_history(at_end=True)
        self._show_held(at_end=True)
        return failure

    def _pass(self, batch: list[Record]) -> None:
        name, accept = self.name, self.accept
        passed: list[Record] = []
        lookups = 0
        for record in batch:
            if type(record) is Lookup:
                lookups += 1
            elif type(record) is not Message:
                if self.on_record is not None:
                    self.on_record(record)
                passed.append(record)
                continue
            if name is not None:
                name(record)
            if accept is None or accept(record):
                passed.append(record)
        if self.since or self.until:
            passed = self._within(passed)
        self.counts.seen += lookups
        self.counts.filtered += lookups - _lookups_in(passed)
        if self._history is None:
            self._show(passed)
        else:
            self._hold(self._history, passed)

    def _within(self, records: Iterable[Record]) -> list[Record]:
        since, until = self.since, self.until or "~"
        return [
            r for r in records if not isinstance(r, Lookup | Message) or since <= (r.time or since) <= until
        ]

    def _hold(self, history: deque[Record], records: Iterable[Record]) -> None:
        rest: list[Record] = []
        for record in records:
            if not isinstance(record, Lookup | Message):
                rest.append(record)
            elif (record.time or "") < self.live_from:
                if len(history) == history.maxlen:
                    is_lookup = type(history[0] if history else record) is Lookup
                    self.counts.filtered += is_lookup
                    self.counts.older += is_lookup
                history.append(record)
                self._historic_s = time.monotonic()
            else:
                self._held_live.append(record)
        self._show(rest)

    def _release_history(self, *, at_end: bool = False) -> None:
        """Shows the newest of the past: when a source pauses, unless one says that more of it will come."""
        if self._history is None or (self._histories and not at_end):
            return
        held = sorted(self._history, key=_time_of) + self._held_live
        self._history, self._held_live = None, []
        self._show(held)

    def _show_held(self, *, at_end: bool = False) -> None:
        """Those that were held for others, which have not come."""
        if self.joins is not None:
            self._print(self.joins.rest(at_end=at_end))
            self.sink.flush()

    def _show(self, records: list[Record]) -> None:
        self._print(records if self.joins is None else self.joins.add(records))

    def _print(self, records: list[Record]) -> None:
        shown = _lookups_in(records)
        if self.limit is not None and self.counts.shown + shown > self.limit:
            records = _first(records, self.limit - self.counts.shown)
            # What came in the same batch behind the last wanted one counts as never read.
            self.counts.seen -= shown - _lookups_in(records)
            shown = _lookups_in(records)
        if records:
            self.counts.shown += shown
            self.sink.write(records)

    def counters(self) -> dict[str, int]:
        """The figures of all sources, added up by name."""
        total = {OLDER: self.counts.older} if self.counts.older else {}
        for source in self.sources:
            total = added(total, source.counters)
        return added(total, self.joins.counters) if self.joins is not None else total


class _Past(Struct, frozen=True):
    """All that this source had of the past is before this."""


_PAST = _Past()


class _End(Struct, frozen=True):
    failure: BaseException | None


_COUNTED = (Lookup, Journey)


def added(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    """Two sets of figures as one, added up by name."""
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}


def _lookups_in(records: Iterable[Record]) -> int:
    """A journey is what one lookup of an application became."""
    return sum(type(record) in _COUNTED for record in records)


def _first(records: list[Record], lookups: int) -> list[Record]:
    """The records before the lookup that would be one too many."""
    for index, record in enumerate(records):
        if type(record) in _COUNTED:
            if lookups == 0:
                return records[:index]
            lookups -= 1
    return records


def _time_of(record: Record) -> str:
    return record.time if isinstance(record.time, str) else ""
