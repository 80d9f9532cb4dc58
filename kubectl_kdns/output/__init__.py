"""The registry of output formats: what `-o` takes, and the objects that print records so.

A format is a class in a file of its own, called with (out, err, options): `out` takes bytes, `err` text.
json and yaml print records of all kinds on `out`; the others lookups and messages there and the rest as
text on `err`. `write` makes one write on `out` (one more for each record that goes to `err`) and leaves
flushing to whoever knows that nothing else is waiting.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import IO, Protocol, TextIO

from kubectl_kdns.errors import UsageError, did_you_mean
from kubectl_kdns.model import Record
from kubectl_kdns.output.options import OutputOptions

# Modules are named, not imported: a format costs start-up time only where it is used.
FORMATS = {
    "table": "kubectl_kdns.output.table:Table",
    "wide": "kubectl_kdns.output.wide:Wide",
    "json": "kubectl_kdns.output.json_lines:JsonLines",
    "yaml": "kubectl_kdns.output.yaml_documents:YamlDocuments",
    "csv": "kubectl_kdns.output.csv_rows:CsvRows",
    "custom-columns": "kubectl_kdns.output.custom_columns:CustomColumns",
    "custom-columns-file": "kubectl_kdns.output.custom_columns:CustomColumnsFile",
}
_WITH_COLUMNS = ("table", "csv")
_WITH_ARGUMENT = {"custom-columns": "TITLE:PATH,...", "custom-columns-file": "FILE"}


class Output(Protocol):
    """One run's output: `begin` once, `write` for each batch, `end` once."""

    def begin(self) -> None: ...
    def write(self, records: Sequence[Record]) -> None: ...
    def end(self) -> None: ...


def split_format(text: str) -> tuple[str, str]:
    """The argument of `-o` as the format's name and its own argument (`custom-columns=SPEC`), "" for none.

    Raises UsageError for what is no format, lacks its argument, or has one that it does not take.
    """
    name, equals, argument = text.partition("=")
    if name not in FORMATS:
        hint = did_you_mean(name, list(FORMATS)) or f"one of {', '.join(FORMATS)}"
        raise UsageError(f"there is no output format {name!r}", hint=hint)
    if name in _WITH_ARGUMENT and not argument:
        raise UsageError(f"-o {name} needs an argument", hint=f"-o {name}={_WITH_ARGUMENT[name]}")
    if name not in _WITH_ARGUMENT and equals:
        raise UsageError(f"-o {name} takes no argument", hint=f"-o {name}")
    return name, argument


def make_output(name: str, out: IO[bytes], err: TextIO, options: OutputOptions) -> Output:
    """The output of that name (see `split_format`). Raises UsageError for columns that do not exist."""
    if options.columns and name not in _WITH_COLUMNS:
        raise UsageError(f"--columns does not go with -o {name}", hint="-o table or -o csv")
    module, _, class_name = FORMATS[name].partition(":")
    output: Output = getattr(import_module(module), class_name)(out, err, options)
    return output
