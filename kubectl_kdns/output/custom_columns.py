"""`-o custom-columns=NAME:.dns.name,...` and `custom-columns-file`: kubectl's way to choose."""

from __future__ import annotations

from pathlib import Path

from kubectl_kdns.errors import InputError, UsageError
from kubectl_kdns.output.cells import parse_path
from kubectl_kdns.output.columns import Column
from kubectl_kdns.output.table import Table, field_column

ABSENT = "<none>"  # as kubectl prints it
_EXAMPLE = "custom-columns=NAME:.dns.name,RCODE:.dns.rcode"


class CustomColumns(Table):
    """Never cut and always as the record has it, also on a terminal: who names columns wants all of them."""

    fitted = False

    def columns(self) -> list[Column]:
        return parse_spec(self.options.template)


class CustomColumnsFile(CustomColumns):
    """Reads the file when it is made. Raises InputError when it cannot."""

    def columns(self) -> list[Column]:
        path = Path(self.options.template)
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            cause = getattr(error, "strerror", None) or str(error)
            raise InputError(f"cannot read the columns in {path}", cause=cause) from None
        return parse_file(text)


def parse_spec(spec: str) -> list[Column]:
    """`TITLE:PATH,TITLE:PATH`. Raises UsageError."""
    columns = []
    for part in spec.split(","):
        title, colon, path = part.partition(":")
        if not (title.strip() and colon and path.strip()):
            raise UsageError(f"custom-columns: {part!r} is not TITLE:PATH", hint=f"-o {_EXAMPLE}")
        columns.append(_column(title.strip(), path))
    return columns


def parse_file(text: str) -> list[Column]:
    """kubectl's form: a line of titles and, below, a line of as many paths. Raises UsageError."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    if len(lines) != 2 or len(lines[0]) != len(lines[1]):
        raise UsageError(
            "custom-columns-file: expected one line of titles and one line of as many paths",
            hint='printf "NAME RCODE\\n.dns.name .dns.rcode\\n" > columns.txt',
        )
    return [_column(title, path) for title, path in zip(*lines, strict=True)]


def _column(title: str, path: str) -> Column:
    return field_column(parse_path(path), title, ABSENT)
