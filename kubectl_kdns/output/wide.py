"""`-o wide`: the table with all that the default leaves out, and nothing cut, also on a terminal."""

from __future__ import annotations

from msgspec import UNSET

from kubectl_kdns.output import phrases
from kubectl_kdns.output.cells import Row
from kubectl_kdns.output.columns import Column
from kubectl_kdns.output.table import Table

# Where each extra column stands: before the default column of that title.
_EXTRA = (
    ("CLIENT", Column("BACKEND", lambda row: row.backend or phrases.ABSENT, 7)),
    ("CLIENT", Column("NODE", lambda row: row.node or phrases.ABSENT, 16)),
    ("CLIENT", Column("HOP/SIDE", lambda row: _place(row), 16)),
    ("NAME", Column("WORKLOAD", lambda row: phrases.workload_name(row.client), 28)),
    ("NAME", Column("PROCESS", lambda row: phrases.process_name(row.client), 18)),
    ("STATUS", Column("PROTO", lambda row: row.transport or phrases.ABSENT, 5)),
    ("DETAIL", Column("ADDRESS", lambda row: _server_address(row), 15)),
)


class Wide(Table):
    fitted = False

    def columns(self) -> list[Column]:
        columns: list[Column] = []
        for column in super().columns():
            columns += [extra for before, extra in _EXTRA if before == column.title]
            columns.append(column)
        return columns


def _place(row: Row) -> str:
    return f"{row.hop or phrases.ABSENT}/{row.side or phrases.ABSENT}"


def _server_address(row: Row) -> str:
    return phrases.ABSENT if row.server is UNSET else phrases.address(row.server.ip, row.server.port)
