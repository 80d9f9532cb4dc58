"""Fetches what a relay still holds back: when few flows come, its queue lets one go only for the next.

A request without `follow` empties its queue at its end. So while flows come slowly, the last seconds are
asked for again and again; what was seen already is known by its uuid. (Measured on Cilium 1.17.4, 4 flows/s,
two nodes: the stream alone is p50 0.5 s late, p95 1.0 s.)
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from kdns_hubble.flows import Flow
from kdns_hubble.node_flows import OVERLAP_NS
from kdns_hubble.observer import Observer
from kubectl_kdns.errors import KdnsError

BUSY_FLOWS_PER_S = 100
"""From here on the next flow comes soon enough by itself."""
QUIET_S = 1.5
"""The relay lets go of all that is a second old when nothing comes."""


class Nudge:
    """Works in a thread of its own until `stop`; `put` takes the responses, from that thread."""

    def __init__(self, observer: Observer, put: Callable[[Sequence[bytes]], None]) -> None:
        self._observer, self._put = observer, put
        self._wanted = threading.Event()
        self._stopped = threading.Event()
        self._until_s = 0.0
        self._newest_ns = 0
        self._flows = 0
        if observer.nudge_s:
            threading.Thread(target=self._run, name="hubble-nudge", daemon=True).start()

    def seen(self, flows: int, newest_ns: int) -> None:
        """So many flows that were not known have come; the newest of all is of this time."""
        self._newest_ns = newest_ns
        self._flows += flows
        self._until_s = time.monotonic() + QUIET_S
        self._wanted.set()

    def stop(self) -> None:
        self._stopped.set()
        self._wanted.set()

    def _run(self) -> None:
        every_s = self._observer.nudge_s
        while self._wanted.wait() and not self._stopped.wait(every_s):
            flows, self._flows = self._flows, 0
            if time.monotonic() > self._until_s:
                self._wanted.clear()
            elif flows < BUSY_FLOWS_PER_S * every_s:
                self._fetch()

    def _fetch(self) -> None:
        try:
            read = self._observer.read
            for batch in self._observer.history(self._newest_ns - OVERLAP_NS, None):
                # What else it says (nodes, a ring that does not reach back) the followed stream has said.
                self._put([raw for raw in batch if isinstance(read(raw), Flow)])
        except KdnsError:
            return  # the stream that is followed will meet it as well
