"""`kubectl kdns fields`: lists the fields of a record."""

from __future__ import annotations

import sys

from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.errors import UsageError

DESCRIPTION = "Every field of a record: its path, type and meaning, and which backends fill it. The same paths serve --filter, --columns and custom-columns."
EXAMPLES = """
kubectl kdns fields
kubectl kdns fields -o json
"""


class FieldsOptions(Options):
    """How to print."""

    output: str = flag("-o", "--output", metavar="FORMAT", help="table (default) or json", default="table")


GROUPS: list[type[Options]] = [FieldsOptions]


def run(options: FieldsOptions) -> None:
    """Prints the dictionary."""
    from kubectl_kdns.output.fields_view import fields_json, fields_table

    if options.output not in ("table", "json"):
        raise UsageError(f"-o {options.output}: fields are printed as table or json")
    sys.stdout.write(fields_json() if options.output == "json" else fields_table())


COMMAND = command(GROUPS, run)
