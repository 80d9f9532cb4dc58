"""`kubectl kdns schema`: prints the JSON Schema of the records."""

from __future__ import annotations

import sys

from kubectl_kdns.cli.options import Options, command

DESCRIPTION = "JSON Schema 2020-12 of everything that `-o json` prints, one definition a kind of record."
EXAMPLES = """
kubectl kdns schema > kdns-v1.schema.json
"""
GROUPS: list[type[Options]] = []


def run() -> None:
    """Prints the schema, indented."""
    import json

    from kubectl_kdns.schema import json_schema

    json.dump(json_schema(), sys.stdout, indent=2)
    sys.stdout.write("\n")


COMMAND = command(GROUPS, run)
