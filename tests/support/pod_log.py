"""The log of one container as a kubelet serves it: newest file only, whole seconds, previous, follow."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from kubectl_kdns.times import NS_PER_S, format_time, parse_time

Line = tuple[int, bytes]


class Cut(Exception):
    """The connection breaks here, in the middle of a chunk."""


class PodLog:
    """What a test writes here, readers of the log get; every change wakes those who follow.

    `write` stamps a line with the time given, else one millisecond after the last; the clock never runs by
    itself. `rotate`, `restart`, `cut` and `end` are what happens to real logs.
    """

    def __init__(self, start: str = "2026-11-23T10:00:00Z") -> None:
        self.changed = threading.Condition()
        self.now_ns = parse_time(start)
        self.readers = 0
        self._lines: list[Line] = []
        self._file_start = 0
        self._previous: list[Line] | None = None
        self._breaks: list[tuple[int, bool]] = []  # (lines before it, whether it is a cut)
        self._closed = False
        self._stalls = 0

    def write(self, *lines: str | bytes, at: str | int | None = None) -> None:
        """Appends lines; `at` is the time of all of them (RFC 3339 or ns), and the clock goes on from it."""
        with self.changed:
            for line in lines:
                if at is None:
                    self.now_ns += 1_000_000
                else:
                    self.now_ns = parse_time(at) if isinstance(at, str) else at
                text = line.encode() if isinstance(line, str) else line
                self._lines.append((self.now_ns, text))
            self.changed.notify_all()

    def rotate(self, *, follow_ends: bool = False) -> None:
        """The lines so far are in an older file, that nobody serves; followers go on, or end."""
        with self.changed:
            self._file_start = len(self._lines)
            if follow_ends:
                self._break(cut=False)

    def restart(self) -> None:
        """The container starts again: `previous` has the lines so far, followers end orderly."""
        with self.changed:
            self._previous = self._lines[self._file_start :]
            self._file_start = len(self._lines)
            self._break(cut=False)

    def cut(self) -> None:
        """The connections of all followers break, after what was written before."""
        with self.changed:
            self._break(cut=True)

    def stall(self) -> None:
        """Followers get nothing any more, and no end (old kubelets after a rotation, dead connections)."""
        with self.changed:
            self._stalls += 1

    def end(self) -> None:
        """All followers come to an orderly end (load balancers, kubelet restarts, old rotation bugs)."""
        with self.changed:
            self._break(cut=False)

    def close(self) -> None:
        """The pod is gone, or the server stops."""
        with self.changed:
            self._closed = True
            self.changed.notify_all()

    def wait_for_readers(self, count: int = 1, timeout_s: float = 10) -> None:
        """Until so many followers have read all there is."""
        with self.changed:
            if not self.changed.wait_for(lambda: self.readers >= count, timeout_s):
                raise AssertionError(f"{self.readers} followers of the log, {count} expected")

    def read(self, query: dict[str, str]) -> Iterator[bytes]:
        """The lines for a request, with their newlines. KeyError: there is no previous container."""
        previous = query.get("previous") == "true"
        with self.changed:
            if previous and self._previous is None:
                raise KeyError("previous")
            lines = self._previous or [] if previous else self._lines[self._file_start :]
            position, breaks, stalls = len(self._lines), len(self._breaks), self._stalls
        follow = query.get("follow") == "true" and not previous
        stamped = query.get("timestamps") == "true"
        rows = self._read(_choose(lines, query), stamped, follow, position, breaks, stalls)
        return _cut(rows, int(query["limitBytes"])) if "limitBytes" in query else rows

    def _read(
        self, lines: list[Line], stamped: bool, follow: bool, position: int, breaks: int, stalls: int
    ) -> Iterator[bytes]:
        def render(line: Line) -> bytes:
            return (format_time(line[0]).encode() + b" " if stamped else b"") + line[1] + b"\n"

        yield from map(render, lines)
        while follow:
            with self.changed:
                last, cut = self._breaks[breaks] if len(self._breaks) > breaks else (len(self._lines), None)
                fresh = self._lines[position:last] if stalls == self._stalls else []
                if not fresh:
                    if cut:
                        raise Cut
                    if cut is False or self._closed:
                        return
                    self.readers += 1
                    self.changed.notify_all()
                    self.changed.wait()
                    self.readers -= 1
                position = last if fresh else position
            yield from map(render, fresh)

    def _break(self, *, cut: bool) -> None:
        self._breaks.append((len(self._lines), cut))
        self.changed.notify_all()


def _cut(rows: Iterator[bytes], limit_bytes: int) -> Iterator[bytes]:
    for row in rows:
        yield row[:limit_bytes]
        limit_bytes -= len(row)
        if limit_bytes <= 0:
            return


def _choose(lines: list[Line], query: dict[str, str]) -> list[Line]:
    # As in the kubelet: the tail is found first, then sinceTime (which lost its fraction on the way).
    if "tailLines" in query:
        count = int(query["tailLines"])
        lines = lines[-count:] if count else []
    if "sinceTime" in query:
        since = parse_time(query["sinceTime"]) // NS_PER_S * NS_PER_S
        lines = [line for line in lines if line[0] >= since]
    if "sinceSeconds" in query:
        since = time.time_ns() - int(query["sinceSeconds"]) * NS_PER_S
        lines = [line for line in lines if line[0] >= since]
    return lines
