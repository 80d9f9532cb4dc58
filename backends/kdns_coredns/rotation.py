"""Tells that a followed log was rotated under its reader, which the stream itself does not say.

A kubelet that follows a log goes over to the new file as soon as there is one, without reading the old one
to its end (k8s.io/cri-client v0.34 `pkg/logs/logs.go`, ReadLogs): what was written in between is not served
to anybody. The first line of the newest file shows that it was rotated, and everything that is missing lies
between the line before that and it.
"""

from __future__ import annotations

import threading
import time
from collections import deque

from kdns_coredns.resume import stamp_of

ASK_AFTER_BYTES = 64 * 1024
"""Less than any sensible `containerLogMaxSize` (10 MiB by default)."""
ASK_EVERY_S = 2.0
"""Kubelets rotate at most once in `containerLogMonitorInterval`: 10 s by default, 3 s at least."""
_REMEMBERED = 8192


class RotationWatch:
    """Takes note of the lines of one log; one thread reads, another may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known_ns: int | None = None  # no file that is known of begins later
        self._stamps: deque[int] = deque(maxlen=_REMEMBERED)
        self._bytes = 0
        self._asked_s = time.monotonic()

    def passed(self, block: bytes, last_ns: int | None) -> None:
        """Takes whole lines that were passed on, and the time of the last of them."""
        with self._lock:
            if self._known_ns is None:
                self._known_ns = stamp_of(block)
            self._bytes += len(block)
            if last_ns is not None:
                self._stamps.append(last_ns)

    def begins_at(self, first_ns: int | None) -> None:
        """A file that begins there has been accounted for."""
        with self._lock:
            self._known_ns = first_ns

    def is_due(self) -> bool:
        """Whether to ask for the first line of the newest file now; if so, not again for a while."""
        with self._lock:
            now_s = time.monotonic()
            if self._bytes < ASK_AFTER_BYTES or now_s - self._asked_s < ASK_EVERY_S:
                return False
            self._asked_s = now_s
            return True

    def gap(self, first_ns: int) -> tuple[int, int] | None:
        """From when until when lines may be missing, if the newest file begins at `first_ns`, and lines of it
        have been passed on: each rotation is told once."""
        with self._lock:
            if self._known_ns is None or (self._stamps and first_ns > self._stamps[-1]):
                return None  # asked again soon: what was passed on does not reach into that file yet
            self._bytes = 0
            if first_ns <= self._known_ns:
                return None
            from_ns = max((ns for ns in self._stamps if ns < first_ns), default=self._known_ns)
            self._known_ns = first_ns
            return from_ns, first_ns
