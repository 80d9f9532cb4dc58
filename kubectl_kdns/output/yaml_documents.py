"""`-o yaml`: one YAML document a record, all kinds, keys in the schema's order."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import IO, Any, TextIO

import msgspec
import yaml

from kubectl_kdns.model import Record
from kubectl_kdns.output.options import OutputOptions

_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)

# PyYAML quotes what YAML 1.1 would take for something else; readers of YAML 1.2 and of Go take more for
# numbers (a pod called 1e3) and y, n for booleans.
_NEEDS_QUOTES = re.compile(r"[-+.0-9].*|[yYnN]", re.DOTALL)


class _RecordDumper(_Dumper):  # type: ignore[misc]
    pass


def _represent_text(dumper: Any, text: str) -> Any:
    style = "'" if _NEEDS_QUOTES.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_RecordDumper.add_representer(str, _represent_text)


class YamlDocuments:
    """Each document begins with `---`, so that a reader of a live stream knows where one ends."""

    def __init__(self, out: IO[bytes], _err: TextIO, _options: OutputOptions) -> None:
        self._out = out

    def begin(self) -> None:
        """A YAML stream has no head."""

    def write(self, records: Sequence[Record]) -> None:
        if records:
            text: bytes = yaml.dump_all(
                msgspec.to_builtins(records),
                Dumper=_RecordDumper,
                explicit_start=True,
                sort_keys=False,
                default_flow_style=False,
                allow_unicode=True,
                width=1 << 30,
                encoding="utf-8",
            )
            self._out.write(text)

    def end(self) -> None:
        """A YAML stream has no tail."""
