"""What all formats with one row a lookup share: rows on stdout, everything else as text on stderr."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TextIO

import msgspec

from kubectl_kdns.model import (
    FORWARDS,
    WATCHING,
    Insight,
    Journey,
    Lookup,
    Loss,
    Message,
    Notice,
    Record,
    Summary,
    UpstreamHealth,
)
from kubectl_kdns.output.cells import Row
from kubectl_kdns.output.clock import WallClock, make_clock
from kubectl_kdns.output.options import YELLOW, OutputOptions, paint
from kubectl_kdns.output.phrases import insight_text, loss_line, notice_line
from kubectl_kdns.output.summary_text import summary_text


class RowOutput:
    """One write a batch; stdout is flushed before text goes to stderr, so that a terminal keeps the order."""

    def __init__(self, out: IO[bytes], err: TextIO, options: OutputOptions) -> None:
        self.options = options
        self._out = out
        self._err = err
        # A span of time is part of what a loss says, also where rows show no time.
        self._err_clock = make_clock(options) or WallClock(options)

    def rows_text(self, rows: list[Row]) -> str:
        raise NotImplementedError

    def begin(self) -> None:
        """Called before the first write."""

    def write(self, records: Sequence[Record]) -> None:
        rows: list[Row] = []
        for record in records:
            if isinstance(record, (Lookup, Message)):
                rows.append(record)
                continue
            if isinstance(record, Notice) and record.code in (WATCHING, FORWARDS):
                continue  # for programs
            if isinstance(record, Journey):
                from kubectl_kdns.output.journey_text import journey_text

                self.print_text(journey_text(record, self.options, self._err_clock))
                continue
            self._print(rows)
            rows = []
            self._out.flush()
            if not isinstance(record, UpstreamHealth):  # those are a table, not rows of lookups
                self._say(record)
        self._print(rows)

    def end(self) -> None:
        """Called after the last write."""

    def print_text(self, text: str) -> None:
        self._out.write(self._encoded(text))

    def _encoded(self, text: str) -> bytes:
        """safe_text leaves letters of any script alone; where the encoding lacks one, its code is shown."""
        if not self.options.unicode:
            text = text.replace("µs", "us")
        return text.encode(self.options.encoding, "backslashreplace")

    def _print(self, rows: list[Row]) -> None:
        if rows:
            self.print_text(self.rows_text(rows))

    def _say(self, record: Loss | Notice | Insight | Summary) -> None:
        color = YELLOW if self.options.err_color else ""
        if isinstance(record, Summary):
            text = self._summary(record)
        elif isinstance(record, Insight):
            text = paint(insight_text(record), color) + "\n"
        elif isinstance(record, Loss):
            text = paint(loss_line(record, self._err_clock), color) + "\n"
        else:
            text = paint(notice_line(record), color) + "\n"
        self._err.write(self._encoded(text).decode(self.options.encoding))
        self._err.flush()

    def _summary(self, summary: Summary) -> str:
        if self.options.summary == "json":
            return msgspec.json.encode(summary).decode() + "\n"
        return summary_text(summary, self.options, self._err_clock)
