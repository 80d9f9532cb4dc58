"""`-o table`, the default: a line a lookup, who asked what, what came back, how long it took, why it failed.

Rows are printed as they come, so the columns are fitted once, to the terminal's width. Without a terminal
nothing is cut and columns are padded to usual widths: grep and `awk -F '  +'` work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, TextIO

from msgspec import UNSET

from kubectl_kdns.fields import Field
from kubectl_kdns.model import Lookup
from kubectl_kdns.output import phrases
from kubectl_kdns.output.cells import Path, make_cell, parse_path
from kubectl_kdns.output.clock import Clock, make_clock
from kubectl_kdns.output.columns import Column, cut_end, cut_middle, display_width, fit
from kubectl_kdns.output.options import BOLD, RED, YELLOW, OutputOptions, paint
from kubectl_kdns.output.rows import Row, RowOutput

NARROW = 100  # below so many columns a terminal gets no milliseconds and single spaces between columns
SLOW_MS, VERY_SLOW_MS = 100.0, 1000.0

_NO_TROUBLE = frozenset(("NOERROR", "answered", "pending", "query", "response", phrases.ABSENT))
_FIELD_WIDTHS = {"bool": 5, "int": 7, "double": 9, "string": 16, "list<string>": 30, "list<answer>": 40}
_PATH_WIDTHS = {
    "dns.name": 45,
    "client.pod": 30,
    "server.pod": 30,
    "error.message": 60,
    "time": len("2026-11-23T10:00:00.000000001Z"),
}


def result_color(_row: Row, text: str) -> str:
    """Red for what failed, yellow for a name that does not exist."""
    word = text.removesuffix(phrases.INFERRED)
    if word in _NO_TROUBLE:
        return ""
    return YELLOW if word == "NXDOMAIN" else RED


def latency_color(row: Row, _text: str) -> str:
    if not isinstance(row, Lookup) or row.latency_ms is UNSET or row.latency_ms < SLOW_MS:
        return ""
    return YELLOW if row.latency_ms < VERY_SLOW_MS else RED


_FIELD_COLORS = {"dns.rcode": result_color, "status": result_color, "latency_ms": latency_color}


def time_column(clock: Clock) -> Column:
    return Column("TIME", lambda row: clock(row.time), clock.width, rank=8)


def field_column(path: Path, title: str, absent: str) -> Column:
    """A column for one field, as --columns and custom-columns have them."""
    field: Field = path.field
    width = max(len(title), _PATH_WIDTHS.get(field.path, _FIELD_WIDTHS[field.type]))
    least = min(width, 10) if field.type in ("string", "list<string>", "list<answer>") else 0
    return Column(title, make_cell(path, absent), width, least, color=_FIELD_COLORS.get(field.path))


class Table(RowOutput):
    fitted = True  # to the terminal, where there is one

    def __init__(self, out: IO[bytes], err: TextIO, options: OutputOptions) -> None:
        super().__init__(out, err, options)
        self._width = options.width if self.fitted else None
        narrow = self._width is not None and self._width < NARROW
        self._clock = make_clock(options, short=narrow)
        self._gap = " " if narrow else "  "
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
            Column("CLIENT", lambda row: phrases.client_name(row.client), 36, least=12, rank=3),
            Column("NAME", _question_name, 48, least=16, rank=1),
            Column("TYPE", _question_type, 5, rank=6),
            Column("STATUS", phrases.result, 10, color=result_color),
            Column("LATENCY", phrases.latency, 7, rank=5, color=latency_color),
            Column("SERVER", lambda row: phrases.server_name(row.server), 28, least=14, rank=9),
            Column("DETAIL", phrases.detail, 48, least=15, rank=4),
        ]

    def rows_text(self, rows: list[Row]) -> str:
        lines = []
        if self._header_due:
            self._header_due = False
            first = self._line(rows[0])  # the first row may bring dates, which change the layout
            lines = [self._header(), first]
            rows = rows[1:]
        lines += [self._line(row) for row in rows]
        lines.append("")
        return "\n".join(lines)

    def _line(self, row: Row) -> str:
        line = self._gap.join([text(row) for text in self._texts]).rstrip()
        if self._clock is not None and self._clock.dated is not self._dated:
            self._lay_out()
            return self._line(row)
        return line

    def _lay_out(self) -> None:
        self._dated = self._clock is not None and self._clock.dated
        columns = self.columns()
        if self._width is None:
            chosen = [(column, column.width) for column in columns]
        else:
            chosen = fit(columns, self._width, len(self._gap))
        self._chosen = chosen
        self._texts = [
            self._text_function(column, width, last=column is chosen[-1][0]) for column, width in chosen
        ]

    def _header(self) -> str:
        cut = self._width is not None
        titles = [
            (cut_end(column.title, width, "") if cut else column.title).ljust(width)
            for column, width in self._chosen
        ]
        return paint(self._gap.join(titles).rstrip(), BOLD if self.options.color else "")

    def _text_function(self, column: Column, width: int, *, last: bool) -> Callable[[Row], str]:
        """The function from a record to what stands in its row: cut, padded and coloured."""
        cell = column.cell
        color = column.color if self.options.color else None
        ellipsis = "…" if self.options.unicode else "..."
        cut = self._width is not None

        def padded(row: Row) -> str:
            text = cell(row)
            if not text.isascii():
                if cut:
                    text = cut_end(text, width, ellipsis)
                return text + " " * (width - display_width(text))
            if cut and len(text) > width:
                text = (cut_end if last else cut_middle)(text, width, ellipsis)
            return text if last else text.ljust(width)

        if color is None:
            return padded

        def colored(row: Row) -> str:
            text = padded(row)
            code = color(row, text.rstrip())
            return paint(text, code) if code else text

        return colored


def _question_name(row: Row) -> str:
    return phrases.ABSENT if row.dns is UNSET else row.dns.name or phrases.ABSENT


def _question_type(row: Row) -> str:
    return phrases.ABSENT if row.dns is UNSET else row.dns.type or phrases.ABSENT
