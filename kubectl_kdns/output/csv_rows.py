"""`-o csv`: a header and one row a lookup, quoted as RFC 4180 says, absent fields empty.

Cells are what was seen, unchanged: a text that a spreadsheet takes for a formula (`=`, `+`, `-`, `@` at its
beginning; a DNS name may begin so) is not disarmed, because every other reader would get a false name.
Lines end in `\\n`, not `\\r\\n`: all readers take it, and awk and grep see no stray character.
"""

from __future__ import annotations

import csv
import io
from typing import IO, TextIO

from kubectl_kdns.output.cells import Row, make_cell, parse_path
from kubectl_kdns.output.options import OutputOptions
from kubectl_kdns.output.rows import RowOutput

DEFAULT_COLUMNS = (
    "time", "backend", "node", "hop", "side", "status", "direction", "latency_ms", "tries", "transport",
    "client.ip", "client.kind", "client.namespace", "client.pod", "client.workload.kind",
    "client.workload.name", "server.ip", "server.kind", "server.pod", "server.service",
    "dns.name", "dns.type", "dns.rcode", "dns.response_class", "dns.resolved_ips",
    "upstream.ip", "error.type", "error.message",
)  # fmt: skip


class CsvRows(RowOutput):
    def __init__(self, out: IO[bytes], err: TextIO, options: OutputOptions) -> None:
        super().__init__(out, err, options)
        paths = options.columns or DEFAULT_COLUMNS
        self._titles = list(paths)
        self._cells = [make_cell(parse_path(path), "") for path in paths]

    def begin(self) -> None:
        """The header comes even when no row follows: a reader of CSV takes no empty file."""
        if self.options.headers:
            self.print_text(_lines([self._titles]))

    def rows_text(self, rows: list[Row]) -> str:
        cells = self._cells
        return _lines([[cell(row) for cell in cells] for row in rows])


def _lines(rows: list[list[str]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()
