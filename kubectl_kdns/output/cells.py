"""Cells by path: from `dns.name` or `.dns.answers[0].data` to a function that gives a record's text.

Used by --columns and custom-columns, for every format the same; paths are checked against the field
dictionary before anything is opened.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET, structs

from kubectl_kdns.errors import UsageError, did_you_mean
from kubectl_kdns.fields import BY_PATH, Field
from kubectl_kdns.model import Answer, Lookup, Maybe, Message

Row = Lookup | Message
Cell = Callable[[Row], str]
Value = Callable[[Any], Any]

EMPTY_LIST = "[]"
_PATH = re.compile(r"(?P<path>[^\[\]]+?)(?:\[(?P<index>\*|\d{1,6})\](?:\.(?P<part>\w+))?)?")
_ANSWER_PARTS = tuple(item.name for item in structs.fields(Answer))


@dataclass(frozen=True, slots=True)
class Path:
    """A field; of a list perhaps one element (`index`), of an answer perhaps one part (`part`)."""

    field: Field
    index: int | None = None
    part: str = ""


def parse_path(text: str) -> Path:
    """`dns.name`, also in kubectl's forms `.dns.name` and `{.dns.name}`; lists take `[*]` and `[0]`.

    Raises UsageError, with the nearest field, for what names none.
    """
    bare = text.strip().removeprefix("{").removesuffix("}").removeprefix(".")
    match = _PATH.fullmatch(bare)
    field = BY_PATH.get(match["path"]) if match else None
    if match is None or field is None:
        path = match["path"] if match else bare
        below = [known for known in BY_PATH if known.startswith(f"{path}.")]
        hint = f"one of {', '.join(below)}" if below else did_you_mean(path, list(BY_PATH))
        raise UsageError(
            f"there is no field {text.strip()!r}",
            hint=hint or "kubectl kdns fields",
        )
    index, part = match["index"], match["part"] or ""
    if index and not field.type.startswith("list<"):
        raise UsageError(f"{field.path} is no list, {text.strip()!r} takes an element of it", hint=field.path)
    if part and (field.type != "list<answer>" or part not in _ANSWER_PARTS):
        raise UsageError(
            f"an element of {field.path} has no {part!r}",
            hint=f"one of {', '.join(_ANSWER_PARTS)}" if field.type == "list<answer>" else "",
        )
    return Path(field, None if index in (None, "*") else int(index), part)


def make_cell(path: Path, absent: str) -> Cell:
    """The function from a record to the text of that field; `absent` where the record does not have it."""
    value = _getter(path.field.path.split("."))
    text = _text_function(path)

    def string(record: Row) -> str:
        found: Maybe[str] = value(record)
        return absent if found is UNSET else found

    def cell(record: Row) -> str:
        found = value(record)
        return absent if found is UNSET else text(found)

    if path.index is None:
        return string if path.field.type == "string" else cell
    index = path.index

    def element(record: Row) -> str:
        found = value(record)
        return absent if found is UNSET or len(found) <= index else text([found[index]])

    return element


def _getter(names: list[str]) -> Value:
    name = names[-1] + ("_" if keyword.iskeyword(names[-1]) else "")
    if len(names) == 1:
        return lambda record: getattr(record, name, UNSET)  # a lookup has no direction, a message no status
    above = _getter(names[:-1])

    def value(record: Any) -> Any:
        parent = above(record)
        return UNSET if parent is UNSET else getattr(parent, name)

    return value


def _text_function(path: Path) -> Callable[[Any], str]:
    kind = path.field.type
    if kind == "bool":
        return lambda value: "true" if value else "false"
    if kind == "double":
        return decimal
    if kind == "list<string>":
        return _joined
    if path.part:
        part = path.part
        return lambda answers: _joined([getattr(answer, part) for answer in answers])
    if kind == "list<answer>":
        return lambda answers: _joined([f"{answer.type} {answer.data}" for answer in answers])
    return str


def _joined(values: list[Any]) -> str:
    return ",".join(["" if value is UNSET else str(value) for value in values]) or EMPTY_LIST


def decimal(value: float) -> str:
    """At most six decimals and never an exponent: 0.000001, 1.5, 3."""
    return f"{value:.6f}".rstrip("0").rstrip(".")
