"""Notices that a Cilium agent started again: the relay may not, and then sends nothing more of that node."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from kdns_hubble.observer import FlowStream, NodeUptime, Observer
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.times import NS_PER_S

EVERY_S = 5.0
NODES_A_SECOND = 20
"""The relay asks each node: for many of them, less often."""
SLACK_NS = NS_PER_S


class UptimeWatch:
    """Asks for the nodes' uptimes now and then while a stream is read, and closes it when one began anew."""

    def __init__(self, clock_ns: Callable[[], int] = time.monotonic_ns, every_s: float = EVERY_S) -> None:
        self._clock_ns, self._every_s = clock_ns, every_s
        self._started: dict[str, int] = {}
        self._restarted: dict[str, int] = {}
        self._stop = threading.Event()

    def start(self, observer: Observer, stream: FlowStream) -> None:
        """Watches until `stop`, or until a node has started again."""
        self._stop = threading.Event()
        threading.Thread(
            target=self._run, args=(observer, stream, self._stop), name="hubble-uptimes", daemon=True
        ).start()

    def stop(self) -> None:
        self._stop.set()

    def take_restarted(self) -> dict[str, int]:
        """The nodes that started again since the last call, and how long that is ago, in nanoseconds."""
        restarted, self._restarted = self._restarted, {}
        return restarted

    def check(self, uptimes: Sequence[NodeUptime]) -> dict[str, int]:
        """Which of them started later than was known: their uptimes."""
        now_ns = self._clock_ns()
        restarted = {}
        for node in uptimes:
            started_ns = now_ns - node.uptime_ns
            known_ns = self._started.get(node.name)
            if known_ns is not None and started_ns > known_ns + SLACK_NS:
                restarted[node.name] = node.uptime_ns
            if known_ns is None or started_ns > known_ns + SLACK_NS:
                self._started[node.name] = started_ns
        return restarted

    def _run(self, observer: Observer, stream: FlowStream, stop: threading.Event) -> None:
        wait_s = 0.0
        while not stop.wait(wait_s):
            try:
                uptimes = [node for node in observer.uptimes() if node.uptime_ns]
            except KdnsError:
                uptimes = []  # whatever it is, the stream will meet it as well
            wait_s = max(self._every_s, len(uptimes) / NODES_A_SECOND)
            if (restarted := self.check(uptimes)) and not stop.is_set():
                self._restarted.update(restarted)
                stream.close()
                return
