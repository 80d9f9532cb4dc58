"""How far a log has been read, so that the next connection goes on there: nothing twice, no gap unsaid.

A kubelet stamps every line with nanoseconds, but `sinceTime` has whole seconds: the next connection begins
with lines that were read already. They are told by what they are: the last lines read, byte for byte. When
those are served again, everything behind them is new, and nothing is missing in between. A log file has one
writer, so its times do not go back; where they do, only the proof may fail, and a gap is said too much.
"""

from __future__ import annotations

from collections import Counter

from kubectl_kdns.times import format_time, parse_time

STAMP_BYTES = 40
"""No RFC 3339 time with nanoseconds and a zone is longer."""


def stamp_of(line: bytes, start: int = 0) -> int | None:
    """The time at the beginning of a line, in nanoseconds since the epoch; None when there is none."""
    end = line.find(b" ", start, start + STAMP_BYTES)
    try:
        return parse_time(line[start:end].decode("ascii")) if end > start else None
    except ValueError:
        return None


def whole_second(time_ns: int) -> str:
    """A time as `sinceTime`, which has whole seconds, rounded down: 2026-11-23T10:00:00Z."""
    return format_time(time_ns)[:19] + "Z"


class Position:
    """Where the last line was that has been passed on; `last_ns` is its time, None before the first."""

    def __init__(self) -> None:
        self.last_ns: int | None = None
        self._run = b""  # the lines at the end of what was passed on that have this time

    def passed(self, block: bytes) -> None:
        """Takes note of whole lines that were passed on; looks at the last of them only."""
        start, last_ns = len(block), None
        while start and last_ns is None:
            end, start = start, block.rfind(b"\n", 0, start - 1) + 1
            last_ns = stamp_of(block, start)
        if last_ns is None:
            return
        stamp = block[start : block.index(b" ", start) + 1]
        while start:
            before = block.rfind(b"\n", 0, start - 1) + 1
            if not block.startswith(stamp, before):
                break
            start = before
        run = block[start:end]
        self._run = self._run + run if start == 0 and last_ns == self.last_ns else run
        self.last_ns = last_ns

    def since_time(self) -> str | None:
        """What to ask a kubelet for (`sinceTime`), so that the last lines passed on are served again."""
        if self.last_ns is None:
            return None
        return whole_second(self.last_ns)

    def rejoin(self) -> Rejoin | None:
        """For a new connection; None when nothing was passed on, so that all it gives is new."""
        return None if self.last_ns is None else Rejoin(self.last_ns, self._run)


class Rejoin:
    """Takes out of a log that is read again what was passed on already.

    `joined` is None as long as nothing new has come; True: the last line was served again, so nothing is
    missing before the first new one; False: it was not, and there may be a gap from `last_ns` to `first_ns`.
    """

    def __init__(self, last_ns: int, run: bytes) -> None:
        self.last_ns = last_ns
        self.first_ns: int | None = None
        self.joined: bool | None = None
        self._run = run
        self._held = b""  # the beginning of the run, where a block ended within it

    def skip(self, block: bytes) -> bytes:
        """What is new in the next whole lines of the log. Not to be called once `joined` is known."""
        block, self._held = self._held + block, b""
        at = _find_line(block, self._run)
        if at >= 0:
            self.joined = True
            return block[at + len(self._run) :]
        if _is_before(block, self.last_ns):
            return b""
        start = 0
        while start < len(block) and _is_before(_line(block, start), self.last_ns):
            start = block.index(b"\n", start) + 1
        if self._run.startswith(block[start:]):
            self._held = block[start:]
            return b""
        return self._after_gap(block, start)

    def _after_gap(self, block: bytes, start: int) -> bytes:
        seen = Counter(line + b"\n" for line in self._run.split(b"\n"))
        while start < len(block):
            line = _line(block, start)
            if seen[line] <= 0:
                self.joined, self.first_ns = False, stamp_of(line)
                break
            seen[line] -= 1
            start += len(line)
        return block[start:]


def _line(block: bytes, start: int) -> bytes:
    return block[start : block.index(b"\n", start) + 1]


def _is_before(lines: bytes, time_ns: int) -> bool:
    """Whether the last of these lines is older; a line without a time belongs to the one before it."""
    start = len(lines)
    while start:
        start = lines.rfind(b"\n", 0, start - 1) + 1
        last_ns = stamp_of(lines, start)
        if last_ns is not None:
            return last_ns < time_ns
    return True


def _find_line(block: bytes, lines: bytes) -> int:
    """Where `lines` stand in `block`, from the beginning of a line; -1 if they do not."""
    at = block.find(lines)
    while at > 0 and block[at - 1 : at] != b"\n":
        at = block.find(lines, at + 1)
    return at
