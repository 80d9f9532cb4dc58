"""Notices when a stream of flows has to be opened again, though it seems to go on: a restart, a stall."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from kdns_hubble.observer import FlowStream, NodeUptime, Observer
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.times import NS_PER_S

EVERY_S = 5.0
NODES_A_SECOND = 20
"""The relay asks each node: for many of them, less often."""
SLACK_NS = NS_PER_S
YOUNG_NS = 15 * NS_PER_S


class WatchEnd(Struct, frozen=True):
    """`restarted`: nodes that started again, and how long ago in nanoseconds; `failure`: nobody answers."""

    restarted: Mapping[str, int] = {}
    failure: KdnsError | None = None


class UptimeWatch:
    """Asks for the nodes' uptimes now and then while a stream is read, and closes it when it is to be opened
    again: because a node started again; because one is YOUNG_NS old by now (a stream that was opened when its
    ring was empty hears nothing until the ring is full: cilium 1.17 to 1.20, pkg/hubble/container/ring.go);
    because nobody answers any more."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns, every_s: float = EVERY_S) -> None:
        self._clock_ns, self._every_s = clock_ns, every_s
        self._lock = threading.Lock()
        # When each node started, at the latest.
        self._started: dict[str, int] = {}
        self._young: set[str] = set()
        self._end: WatchEnd | None = None
        self._stop = threading.Event()

    def start(self, observer: Observer, stream: FlowStream) -> None:
        """Watches until `stop`, or until the stream is to be opened again."""
        self._stop = threading.Event()
        threading.Thread(
            target=self._run, args=(observer, stream, self._stop), name="hubble-uptimes", daemon=True
        ).start()

    def stop(self) -> None:
        with self._lock:
            self._stop.set()

    def take_end(self) -> WatchEnd | None:
        """Why the stream was closed, if that was done here; once."""
        end, self._end = self._end, None
        return end

    def check(self, uptimes: Sequence[NodeUptime], asked_ns: int) -> WatchEnd | None:
        """Why the stream is to be opened again, if it is. A node may have said its uptime at any time since
        `asked_ns`: a relay waits for the slowest of them."""
        now_ns = self._clock_ns()
        restarted: dict[str, int] = {}
        grown = False
        for node in uptimes:
            known_ns = self._started.get(node.name)
            if known_ns is not None and asked_ns - node.uptime_ns > known_ns + SLACK_NS:
                restarted[node.name] = node.uptime_ns
            # Each time anew: over hours, clocks drift by more than the slack.
            self._started[node.name] = now_ns - node.uptime_ns
            if node.uptime_ns < YOUNG_NS:
                self._young.add(node.name)
            elif node.name in self._young:
                self._young.discard(node.name)
                grown = True
        return WatchEnd(restarted) if restarted or grown else None

    def _run(self, observer: Observer, stream: FlowStream, stop: threading.Event) -> None:
        wait_s = 0.0
        while not stop.wait(wait_s):
            uptimes: Sequence[NodeUptime] = ()
            asked_ns = self._clock_ns()
            failure: WatchEnd | None = None
            try:
                uptimes = [node for node in observer.uptimes() if node.uptime_ns]
            except KdnsError:
                failure = _unanswered(observer)  # one agent that hangs would hold up the uptimes of all
            wait_s = max(self._every_s, len(uptimes) / NODES_A_SECOND)
            with self._lock:
                # What is learned after `stop` is left for the next stream's watch to learn.
                end = None if stop.is_set() else failure or self.check(uptimes, asked_ns)
                if end:
                    self._end = end
            if end:
                # A connection where nobody answers is of no use any more.
                (observer if end.failure else stream).close()
                return


def _unanswered(observer: Observer) -> WatchEnd | None:
    try:
        observer.check()
    except KdnsError as error:
        return WatchEnd(failure=error)
    return None
