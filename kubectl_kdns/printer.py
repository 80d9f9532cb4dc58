"""Prints a run: records through the chosen format, status lines on stderr, figures at the end."""

from __future__ import annotations

import gzip
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, TextIO, cast

from msgspec import Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import InputError, UsageError, did_you_mean
from kubectl_kdns.model import Record, UpstreamHealth
from kubectl_kdns.output import make_output, split_format
from kubectl_kdns.output.clock import WallClock
from kubectl_kdns.output.options import OutputOptions, TimeStyle, use_color
from kubectl_kdns.output.rows import RowOutput
from kubectl_kdns.output.summary_text import summary_text
from kubectl_kdns.summary import Summarizer
from kubectl_kdns.times import NS_PER_S, format_time, ms

if TYPE_CHECKING:
    from kubectl_kdns.detect import Detector

TIME_FORMS = ("local", "utc", "relative", "none")
SUMMARY_FORMS = ("text", "json", "none")
COLOR_CHOICES = ("auto", "always", "never")
PROGRESS_NS = NS_PER_S // 2


class PrinterOptions(Struct, frozen=True):
    """The output flags as given; `record_to` is the file of `record`, "" for stdout."""

    output: str = "table"
    columns: str = ""
    headers: bool = True
    color: str = "auto"
    time: str = "local"
    summary: str = "text"
    record_to: str = ""
    insights: bool = False


def _one_of(flag: str, value: str, allowed: Sequence[str]) -> str:
    if value not in allowed:
        hint = did_you_mean(value, allowed) or f"one of {', '.join(allowed)}"
        raise UsageError(f"{flag} {value}: not known", hint=hint)
    return value


class Printer:
    """A sink for the pipeline. Raises UsageError for flags that do not fit, when it is made."""

    def __init__(self, options: PrinterOptions, out: TextIO, err: TextIO) -> None:
        name, argument = split_format(options.output)
        self.summary_form = _one_of("--summary", options.summary, SUMMARY_FORMS)
        _one_of("--color", options.color, COLOR_CHOICES)
        self._err = err
        self._terminal = out.isatty() and not options.record_to
        # The data goes out as bytes: json is UTF-8 whatever the terminal's encoding is.
        out.flush()
        self._out: IO[bytes] = out.buffer
        self._file: IO[bytes] | None = None
        if options.record_to:
            self._file = self._out = _create(options.record_to)
        width = shutil.get_terminal_size().columns if self._terminal else None
        self._form = form = OutputOptions(
            width=width,
            color=use_color(options.color, terminal=self._terminal, environ=os.environ),
            err_color=use_color(options.color, terminal=err.isatty(), environ=os.environ),
            headers=options.headers,
            columns=tuple(part.strip() for part in options.columns.split(",") if part.strip()),
            template=argument,
            time=cast(TimeStyle, _one_of("--time", options.time, TIME_FORMS)),
            zone=None,
            now_ns=time.time_ns(),
            summary="json" if self.summary_form == "json" else "text",
            encoding=(out.encoding or "ascii") if self._terminal else "utf-8",
        )
        self._output = make_output(name, self._out, err, form)
        self._summarizer = Summarizer()
        # In a stream for programs only where it is asked for.
        for_people = isinstance(self._output, RowOutput) and self.summary_form == "text"
        self._detector = make_detector() if options.insights or for_people else None
        self._progress = err.isatty() and not self._terminal
        self._telling = False
        self._started_ns = self._told_ns = time.monotonic_ns()
        self._output.begin()

    def write(self, records: Sequence[Record]) -> None:
        """Prints them and adds them up."""
        self._clear_progress()
        self._output.write(records)
        if self.summary_form != "none":
            self._summarizer.add(records)
        if self._detector:
            self._detector.add(records)

    def print_upstreams(self, records: Sequence[UpstreamHealth]) -> None:
        """As records where the format has them, else as one table."""
        if isinstance(self._output, RowOutput):
            from kubectl_kdns.output.upstreams_text import upstreams_text

            self._output.print_text(upstreams_text(records, self._form, WallClock(self._form)))
        else:
            self._output.write(records)
        self.flush()

    def flush(self) -> None:
        """Called when nothing else is waiting, so that a lone event shows at once."""
        self._out.flush()

    def status(self, text: str) -> None:
        """Lines for people, on stderr; whatever a network said in them is made safe."""
        self._clear_progress()
        for line in text.split("\n"):
            print(safe_text(line), file=self._err)
        self._err.flush()

    def progress(self, text: str) -> None:
        """One line that the next one overwrites; only when stderr is a terminal and stdout is not."""
        now_ns = time.monotonic_ns()
        if self._progress and now_ns - self._told_ns >= PROGRESS_NS:
            self._told_ns, self._telling = now_ns, True
            self._err.write(f"\r\x1b[K{safe_text(text)}")
            self._err.flush()

    def _clear_progress(self) -> None:
        if self._telling:
            self._telling = False
            self._err.write("\r\x1b[K")

    def finish(self, *, seen: int, filtered: int, counters: Mapping[str, int]) -> None:
        """The summary, and the end of the output. A summary goes on stdout only as a record of its kind."""
        self._clear_progress()
        if self.summary_form != "none":
            summary = self._summarizer.summary(
                time=format_time(time.time_ns()),
                duration_ms=ms(time.monotonic_ns() - self._started_ns),
                seen=seen,
                filtered=filtered,
                counters=counters,
            )
            if self._file:
                # A recording holds what was seen, not what one run made of it.
                self._err.write(f"{summary_text(summary, self._form, WallClock(self._form))}")
            else:
                self._output.write([summary])
        if self._detector and not self._file:
            self._output.write(self._detector.insights(format_time(time.time_ns())))
        self._output.end()
        self._out.flush()

    def close(self) -> None:
        """Closes what was opened here."""
        if self._file:
            self._file.close()


def make_detector() -> Detector:
    from kubectl_kdns.detect import Detector

    return Detector()


def _create(path: str) -> IO[bytes]:
    try:
        if path.endswith(".gz"):
            return cast(IO[bytes], gzip.open(path, "wb", compresslevel=6))
        return open(path, "wb")
    except OSError as error:
        raise InputError(f"cannot write {path}", cause=error.strerror or str(error)) from None
