"""The JSON Schema, the field dictionary and the classes say the same, and what is printed fits them."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from msgspec import UNSET, inspect

from kubectl_kdns import model
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.output.fields_view import fields_json, fields_table
from kubectl_kdns.schema import DOCUMENT_TYPES, FIELDS_OF_KIND, json_schema
from kubectl_kdns.summary import Summarizer
from support import records as make

ROOT = Path(__file__).resolve().parents[2]
VALIDATOR = jsonschema.Draft202012Validator(json_schema())
TYPES = {
    inspect.StrType: "string",
    inspect.IntType: "int",
    inspect.FloatType: "double",
    inspect.BoolType: "bool",
    inspect.DictType: "map",
}


def leaves(type_: inspect.Type, path: str = "") -> dict[str, str]:
    """Path -> type, in the dictionary's words, of all that a class can hold, lists and maps too."""
    match type_:
        case inspect.StructType():
            found: dict[str, str] = {}
            for item in type_.fields:
                if item.name != "apiVersion" and not isinstance(item.type, inspect.LiteralType):
                    found |= leaves(item.type, f"{path}.{item.encode_name}" if path else item.encode_name)
            return found
        case inspect.ListType(item_type=inspect.StructType() as element):
            return {path: "list"} | leaves(element, path)
        case inspect.ListType():
            return {path: f"list<{TYPES[type(type_.item_type)]}>"}
    return {path: TYPES[type(type_)]}


@pytest.mark.parametrize("kind", list(DOCUMENT_TYPES))
def test_the_dictionary_has_every_field_of_the_classes_and_no_other(kind: str) -> None:
    classes = leaves(inspect.type_info(DOCUMENT_TYPES[kind]))
    dictionary = {path: field.type for path, field in FIELDS_OF_KIND[kind].items()}
    if kind in ("lookup", "message"):
        # The two share one dictionary: what only the other has does not count.
        other = leaves(inspect.type_info(model.RECORD_TYPES["message" if kind == "lookup" else "lookup"]))
        for path in set(other) - set(classes):
            del dictionary[path]
        classes["dns.answers"] = "list<answer>"
    assert dictionary == classes


def test_filters_and_columns_know_no_field_that_a_record_cannot_have() -> None:
    of_answers = {f"dns.answers.{part}" for part in ("name", "type", "ttl", "data")}
    assert set(BY_PATH) == set(FIELDS_OF_KIND["lookup"]) - of_answers


def test_every_field_is_explained_once() -> None:
    for fields in FIELDS_OF_KIND.values():
        assert all(field.meaning and field.meaning[-1] != "." for field in fields.values())


def test_the_schema_is_a_schema_and_describes_every_leaf() -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def undescribed(node: Any, path: str) -> list[str]:
        if "properties" in node:
            return [
                p for name, below in node["properties"].items() for p in undescribed(below, f"{path}.{name}")
            ]
        if "properties" in node.get("items", {}):
            return undescribed(node["items"], path)
        return [] if "description" in node or "const" in node else [path]

    assert [p for kind, node in schema["$defs"].items() for p in undescribed(node, kind)] == []


def test_one_definition_as_a_whole() -> None:
    assert json_schema()["$defs"]["notice"] == {
        "description": model.Notice.__doc__,
        "type": "object",
        "properties": {
            "apiVersion": {"const": "kdns/v1"},
            "kind": {"const": "notice"},
            "time": {
                "description": "when it was noticed",
                "x-unit": "RFC 3339 UTC, nanoseconds",
                "type": "string",
                "format": "date-time",
            },
            "backend": {"description": "the backend that says so", "type": "string"},
            "node": {"description": "the node that it is about", "type": "string"},
            "code": {"description": "what it is about, stable, for programs", "type": "string"},
            "message": {"description": "what it says, for people", "type": "string"},
            "ports": {
                "description": "of code watching: those seen; of forwards: where DNS servers forward to",
                "type": "array",
                "items": {"type": "integer"},
            },
        },
        "required": ["apiVersion", "kind"],
    }


def test_the_records_of_the_goldens_fit() -> None:
    summarizer = Summarizer()
    summarizer.add(make.all_records())
    summary = summarizer.summary(time=make.at(0), duration_ms=1.5, seen=1, filtered=0, counters={"lines": 1})
    for record in [*make.all_records(), summary]:
        VALIDATOR.validate(json.loads(msgspec.json.encode(record)))


@settings(deadline=None, max_examples=60)
@given(make.records())
def test_any_record_fits(record: model.Record) -> None:
    VALIDATOR.validate(json.loads(msgspec.json.encode(record)))


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"apiVersion": "kdns/v1", "kind": "other"},
        {"apiVersion": "kdns/v2", "kind": "lookup"},
        {"apiVersion": "kdns/v1", "kind": "lookup", "latency_ms": "1"},
        {"apiVersion": "kdns/v1", "kind": "lookup", "dns": {"answers": [{"name": "a", "type": "A"}]}},
        {"apiVersion": "kdns/v1", "kind": "lookup", "dns": {"flags": "qr"}},
    ],
)
def test_what_is_no_record_does_not_fit(data: Any) -> None:
    assert not VALIDATOR.is_valid(data)


def test_the_schema_is_additive() -> None:
    data = {"apiVersion": "kdns/v1", "kind": "lookup", "status": "brand-new", "new": 1, "dns": {"new": {}}}
    assert VALIDATOR.is_valid(data)


def test_what_is_absent_can_be_read_back() -> None:
    for kind in (model.Answer("a", "A", UNSET, "d"), model.SlowLookup(latency_ms=1.0)):
        assert msgspec.json.decode(msgspec.json.encode(kind), type=type(kind)) == kind


def test_fields_as_table_and_json() -> None:
    lines = fields_table().splitlines()
    assert lines[0].split() == ["FIELD", "TYPE", "BACKENDS", "MEANING"]
    assert [line.split()[0] for line in lines[1:]] == list(BY_PATH)
    rows = json.loads(fields_json())
    assert [row["path"] for row in rows] == list(BY_PATH)
    assert rows[list(BY_PATH).index("hop")]["values"] == ["client", "nodelocal", "coredns"]


@pytest.fixture
def gen_docs(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("gen_docs")


def test_generated_docs_are_current(gen_docs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert (gen_docs.main(["--check"]), capsys.readouterr().err) == (0, "")


def test_generated_docs_are_written_and_what_is_old_is_told(
    gen_docs: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gen_docs, "ROOT", tmp_path)
    monkeypatch.setattr(gen_docs, "PAGES", {"page.md": lambda: "text\n"})
    assert gen_docs.main(["--check"]) == 1
    assert capsys.readouterr().err == "not current: page.md. Try: python tools/gen_docs.py\n"
    assert gen_docs.main([]) == 0
    assert (tmp_path / "page.md").read_text() == "text\n"
    assert gen_docs.main(["--check"]) == 0
