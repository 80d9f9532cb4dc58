"""`-o json`: JSON lines, one record a line, all kinds, keys in the schema's order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, TextIO

import msgspec

from kubectl_kdns.model import Record
from kubectl_kdns.output.options import OutputOptions


class JsonLines:
    """UTF-8 whatever the terminal's encoding is (RFC 8259 section 8.1)."""

    def __init__(self, out: IO[bytes], _err: TextIO, _options: OutputOptions) -> None:
        self._out = out
        self._encode_lines = msgspec.json.Encoder().encode_lines

    def begin(self) -> None:
        """JSON lines have no head."""

    def write(self, records: Sequence[Record]) -> None:
        if records:
            self._out.write(self._encode_lines(records))

    def end(self) -> None:
        """JSON lines have no tail."""
