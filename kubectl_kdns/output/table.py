"""`-o table`, the default: a line a lookup, who asked what, what came back, how long it took, why it failed.

Rows are printed as they come, so the columns are fitted once, to the terminal's width. Without a terminal
nothing is cut and columns are padded to usual widths: grep and `awk -F '  +'` work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TextIO

from msgspec import UNSET

from kubectl_kdns.fields import Field
from kubectl_kdns.output import phrases
from kubectl_kdns.output.cells import Path, Row, make_cell, parse_path
from kubectl_kdns.output.clock import Clock, make_clock
from kubectl_kdns.output.columns import (
    Column,
    cut_end,
    cut_middle,
    display_width,
    fit,
    shorten_name,
    shorten_pod,
)
from kubectl_kdns.output.options import BOLD, RED, YELLOW, OutputOptions, paint
from kubectl_kdns.output.rows import RowOutput
from kubectl_kdns.times import parse_duration

NARROW = 100  # below so many columns a terminal gets no milliseconds
REMEMBERED = 4096  # texts a column
SLOW_MS, VERY_SLOW_MS = 100.0, 1000.0

_NO_TROUBLE = frozenset(("NOERROR", "answered", "pending", "query", "response", phrases.ABSENT))
_FIELD_WIDTHS = {"bool": 5, "int": 7, "double": 12, "string": 16, "list<string>": 30, "list<answer>": 40}
_PATH_WIDTHS = {
    "dns.name": 45,
    "client.pod": 30,
    "server.pod": 30,
    "error.message": 60,
    "time": len("2026-11-23T10:00:00.000000001Z"),
}


def result_color(text: str) -> str:
    """Red for what failed, yellow for a name that does not exist."""
    word = text.removesuffix(phrases.INFERRED)
    if word in _NO_TROUBLE:
        return ""
    return YELLOW if word == "NXDOMAIN" else RED


def latency_color(text: str) -> str:
    """Of the text of a duration (`123ms`)."""
    if text == phrases.ABSENT:
        return ""
    try:
        return _slowness(parse_duration(text.removesuffix(phrases.INFERRED)) / 1_000_000)
    except ValueError:
        return RED  # cut to the width of its column: only hours are so long


def _milliseconds_color(text: str) -> str:
    return "" if text == phrases.ABSENT else _slowness(float(text))


def _slowness(latency_ms: float) -> str:
    if latency_ms < SLOW_MS:
        return ""
    return YELLOW if latency_ms < VERY_SLOW_MS else RED


_FIELD_SHORTENING = {"dns.name": shorten_name, "client.pod": shorten_pod, "server.pod": shorten_pod}
_FIELD_COLORS = {"dns.rcode": result_color, "status": result_color, "latency_ms": _milliseconds_color}


def time_column(clock: Clock) -> Column:
    text = clock.text
    return Column("TIME", lambda row: text(row.time), clock.width, rank=8)


def field_column(path: Path, title: str, absent: str) -> Column:
    """A column for one field, as --columns and custom-columns have them."""
    field: Field = path.field
    width = max(len(title), _PATH_WIDTHS.get(field.path, _FIELD_WIDTHS[field.type]))
    least = min(width, 10) if field.type in ("string", "list<string>", "list<answer>") else 0
    return Column(
        title,
        make_cell(path, absent),
        width,
        least,
        shorten=_FIELD_SHORTENING.get(field.path),
        color=_FIELD_COLORS.get(field.path),
    )


class Table(RowOutput):
    fitted = True  # to the terminal, where there is one

    def __init__(self, out: IO[bytes], err: TextIO, options: OutputOptions) -> None:
        super().__init__(out, err, options)
        self._width = options.width if self.fitted else None
        narrow = self._width is not None and self._width < NARROW
        self._clock = make_clock(options, short=narrow)
        self._gap = " " if self._width is not None else "  "
        self._header_due = options.headers
        self._lay_out()

    def columns(self) -> list[Column]:
        """The columns from left to right; asked for again when the clock's text grows."""
        clock = self._clock
        if self.options.columns:
            return [
                time_column(clock)
                if text == "time" and clock is not None
                else field_column(parse_path(text), text.upper(), phrases.ABSENT)
                for text in self.options.columns
            ]
        return [
            *([] if clock is None else [time_column(clock)]),
            Column("CLIENT", lambda row: phrases.client_name(row.client), 32, 10, 3, shorten_pod),
            Column("NAME", _question_name, 48, 14, 1, shorten_name),
            Column("TYPE", _question_type, 5, rank=6),
            Column("STATUS", phrases.result, 10, color=result_color),
            Column("LATENCY", phrases.latency, 7, rank=5, color=latency_color),
            Column("SERVER", lambda row: phrases.server_name(row.server), 26, 13, 9, shorten_pod),
            Column("DETAIL", phrases.detail, 48, 12, 4),
        ]

    def rows_text(self, rows: list[Row]) -> str:
        lines = self._lines(rows)
        if self._clock is not None and self._clock.dated is not self._dated:
            self._lay_out()  # a time of another day came: from here on with dates
            lines = self._lines(rows)
        if self._header_due:
            self._header_due = False
            lines.insert(0, self._header())
        lines.append("")
        return "\n".join(lines)

    def _lines(self, rows: list[Row]) -> list[str]:
        join, cells = self._gap.join, self._cells
        return [join([finished[cell(row)] for cell, finished in cells]).rstrip() for row in rows]

    def _lay_out(self) -> None:
        self._dated = self._clock is not None and self._clock.dated
        columns = self.columns()
        fitted = None if self._width is None else fit(columns, self._width, len(self._gap))
        chosen = fitted or [(column, column.width) for column in columns]
        self._cut = fitted is not None
        self._chosen = chosen
        self._cells = [
            (column.cell, self._finished(column, width, last=column is chosen[-1][0]))
            for column, width in chosen
        ]

    def _header(self) -> str:
        titles = [
            (cut_end(column.title, width, "") if self._cut else column.title).ljust(width)
            for column, width in self._chosen
        ]
        return paint(self._gap.join(titles).rstrip(), BOLD if self.options.color else "")

    def _finished(self, column: Column, width: int, *, last: bool) -> Finished:
        """What turns the text of a cell into what stands in its row: cut, padded and coloured."""
        shorten, color = column.shorten, column.color if self.options.color else None
        ellipsis = "…" if self.options.unicode else "..."
        cut = self._cut

        def finish(text: str) -> str:
            if cut and display_width(text) > width:
                cut_text = cut_middle if text.isascii() and not last else cut_end
                if shorten is not None:
                    text = shorten(text, ellipsis)
                if display_width(text) > width:
                    text = cut_text(text, width, ellipsis)
            padding = "" if last else " " * (width - display_width(text))
            return paint(text, color(text) if color else "") + padding

        return Finished(finish)


class Finished(dict[str, str]):
    """Finished cells by their text: the more lookups a second, the more texts come again and again."""

    def __init__(self, finish: Callable[[str], str]) -> None:
        super().__init__()
        self._finish = finish

    def __missing__(self, text: str) -> str:
        if len(self) >= REMEMBERED:
            self.clear()
        finished = self[text] = self._finish(text)
        return finished


def _question_name(row: Row) -> str:
    return phrases.ABSENT if row.dns is UNSET else row.dns.name or phrases.ABSENT


def _question_type(row: Row) -> str:
    return phrases.ABSENT if row.dns is UNSET else row.dns.type or phrases.ABSENT
