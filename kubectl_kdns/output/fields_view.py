"""`kubectl kdns fields`: the field dictionary as a table for people and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict

from kubectl_kdns.fields import ALL, BY_PATH, Field


def fields_table() -> str:
    """One line a field; the meaning comes last, because it is long."""
    from tabulate import tabulate

    rows = [(field.path, field.type, backends_text(field), meaning_text(field)) for field in BY_PATH.values()]
    return tabulate(rows, headers=("FIELD", "TYPE", "BACKENDS", "MEANING"), tablefmt="plain") + "\n"


def fields_json() -> str:
    """A JSON array of objects with the columns of the dictionary (fields.py says what each is)."""
    return json.dumps([asdict(field) for field in BY_PATH.values()], indent=2) + "\n"


def backends_text(field: Field) -> str:
    return "all" if field.backends == ALL else ",".join(field.backends)


def meaning_text(field: Field) -> str:
    """The meaning with its unit and, of a closed set, its values."""
    unit = f" [{field.unit}]" if field.unit else ""
    values = f" ({', '.join(field.values)})" if field.values else ""
    return f"{field.meaning}{unit}{values}"
