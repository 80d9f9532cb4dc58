"""The JSON Schema (2020-12) of kdns/v1, made from the classes in model.py and the field dictionary.

It is additive, as kdns/v1 is: unknown keys are allowed, and a closed set of values is written as
`anyOf [enum, string]`, which editors complete and a validator of an older version still accepts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args, get_type_hints

from msgspec import UnsetType, inspect

from kubectl_kdns import model
from kubectl_kdns.doctor.finding import SEVERITIES, Finding
from kubectl_kdns.fields import BY_PATH, Field
from kubectl_kdns.journey_fields import JOURNEY_FIELDS

SCHEMA_ID = "https://github.com/kubectl-kdns/kubectl-kdns/schema/kdns-v1.json"

_TIME = "RFC 3339 UTC, nanoseconds"

_ANSWER = (
    Field("dns.answers.name", "string", "owner name of the record"),
    Field("dns.answers.type", "string", "type of the record"),
    Field("dns.answers.ttl", "int", "time to live", unit="s"),
    Field("dns.answers.data", "string", "data in presentation form (RFC 1035, 3597, 9460)"),
)
_NOTICE = (
    Field("time", "string", "when it was noticed", unit=_TIME),
    Field("backend", "string", "the backend that says so"),
    Field("node", "string", "the node that it is about"),
    Field("code", "string", "what it is about, stable, for programs"),
    Field("message", "string", "what it says, for people"),
    Field("ports", "list<int>", "of code watching: those seen; of forwards: where DNS servers forward to"),
)
_LOSS = (
    Field("time", "string", "when it was noticed", unit=_TIME),
    Field("backend", "string", "the backend that lost them"),
    Field("node", "string", "the node where they were lost"),
    Field("reason", "string", "why they are missing", values=model.LOSS_REASONS),
    Field("unit", "string", "what is counted", values=model.LOSS_UNITS),
    Field("count", "int", "how many are missing; absent when nobody can know"),
    Field("from", "string", "beginning of the span in which they are missing", unit=_TIME),
    Field("until", "string", "end of the span in which they are missing", unit=_TIME),
    Field("message", "string", "what else is known, for people"),
)
_SUMMARY = (
    Field("time", "string", "end of the run", unit=_TIME),
    Field("duration_ms", "double", "length of the run", unit="ms"),
    Field("seen", "int", "lookups that arrived: shown + filtered"),
    Field("shown", "int", "lookups that matched the filter"),
    Field("filtered", "int", "lookups that did not match the filter"),
    Field("pending", "int", "lookups too young at the end to be called unanswered"),
    Field("groups", "list", "figures of what was shown, by backend, hop and side"),
    Field("groups.backend", "string", "the backend that saw them"),
    Field("groups.hop", "string", "who asked", values=model.HOPS),
    Field("groups.side", "string", "at which end they were seen", values=model.SIDES),
    Field("groups.lookups", "int", "how many"),
    Field("groups.statuses", "map", "lookups by status"),
    Field("groups.rcodes", "map", "lookups by response code"),
    Field("groups.latency_ms", "map", "p50, p95 and p99 (within 1 %), and max", unit="ms"),
    Field("groups.top_names", "list", "the most frequent names"),
    Field("groups.top_names.name", "string", "a name"),
    Field("groups.top_names.count", "int", "its lookups; a little too low after very many names"),
    Field("groups.top_clients", "list", "the most frequent clients"),
    Field("groups.top_clients.name", "string", "namespace/pod, node/NAME, or an address"),
    Field("groups.top_clients.count", "int", "its lookups"),
    Field("groups.slowest", "list", "the slowest lookups"),
    Field("groups.slowest.name", "string", "name asked for"),
    Field("groups.slowest.type", "string", "type asked for"),
    Field("groups.slowest.latency_ms", "double", "how long it took", unit="ms"),
    Field("groups.slowest.client", "string", "who asked: namespace/pod, node/NAME, or an address"),
    Field("groups.slowest.time", "string", "when the query was seen", unit=_TIME),
    Field("groups.distinct_names", "int", "how many names; absent when there were too many to remember"),
    Field("loss", "list", "what is missing, added up by backend, reason and unit"),
    *[replace(field, path=f"loss.{field.path}") for field in _LOSS],
    Field("counters", "map", "of backends (lines that were no queries); `older_than_last`: by --last"),
)
_UPSTREAM = (
    Field("time", "string", "end of the time that was watched", unit=_TIME),
    Field("duration_ms", "double", "length of that time", unit="ms"),
    Field("server", "string", "the DNS server's pod that asked"),
    Field("hop", "string", "what it is", values=("coredns", "nodelocal")),
    Field("upstream.ip", "string", "whom it asked"),
    Field("upstream.port", "int", "port of whom it asked"),
    Field("configured", "string", "where that is configured"),
    Field("queries", "int", "lookups that were sent there"),
    Field("tries", "int", "transmissions of them", unit="messages"),
    Field("unanswered", "int", "lookups without an answer"),
    Field("tcp", "int", "lookups over TCP"),
    Field("checks", "int", "health checks of plugin/forward, which begin when an upstream has failed"),
    Field("rcodes", "map", "answers by response code"),
    Field("latency_ms", "map", "p50, p95, p99 and max of what was answered", unit="ms"),
    Field("last_error.time", "string", "when the last failed lookup was asked", unit=_TIME),
    Field("last_error.message", "string", "what became of it"),
)
_INSIGHT = (
    Field("time", "string", "end of the time that was looked at", unit=_TIME),
    Field("code", "string", "which pattern, stable, for programs"),
    Field("message", "string", "what was found, for people"),
    Field("count", "int", "lookups that have it"),
    Field("total", "int", "lookups that were looked at for it"),
    Field("example", "string", "one of them"),
    Field("fix", "string", "what to change, or to look at"),
)
_FINDING = (
    Field("check", "string", "the check that says so (`kubectl kdns doctor --list`)"),
    Field("topic", "string", "what the check is about, for people"),
    Field("severity", "string", "how bad it is", values=SEVERITIES),
    Field("on.kind", "string", "kind of the object that it is about, in lower case"),
    Field("on.name", "string", "its name"),
    Field("on.namespace", "string", "its namespace"),
    Field("evidence", "string", "what was seen, with numbers, for people"),
    Field("fix", "string", "the smallest change that would help, a command where there is one"),
)
_LOOKUP = (*BY_PATH.values(), *_ANSWER)

# Every field of every kind of record by its path; filters and columns know only BY_PATH.
FIELDS_OF_KIND: dict[str, dict[str, Field]] = {
    kind: {field.path: field for field in fields}
    for kind, fields in {
        "lookup": _LOOKUP,
        "message": _LOOKUP,
        "loss": _LOSS,
        "notice": _NOTICE,
        "journey": JOURNEY_FIELDS,
        "upstream": _UPSTREAM,
        "insight": _INSIGHT,
        "summary": _SUMMARY,
        "finding": _FINDING,
    }.items()
}

DOCUMENT_TYPES: dict[str, type] = {**model.RECORD_TYPES, "finding": Finding}
"""By kind: what streams print, and what `doctor` prints."""

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema of one line of `-o json`: one definition a kind, told apart by `kind`."""
    kinds = DOCUMENT_TYPES
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": SCHEMA_ID,
        "title": model.API_VERSION,
        "description": "One record. Absent means unknown. Readers ignore keys and values they do not know.",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in kinds],
        "$defs": {
            kind: _schema_of(inspect.type_info(record), "", FIELDS_OF_KIND[kind])
            for kind, record in kinds.items()
        },
    }


def _schema_of(type_: inspect.Type, path: str, fields: dict[str, Field]) -> Schema:
    match type_:
        case inspect.StructType() as struct:
            return _object(struct, path, fields)
        case inspect.ListType() as items:
            return {"type": "array", "items": _schema_of(items.item_type, path, fields)}
        case inspect.DictType() as entries:
            return {"type": "object", "additionalProperties": _schema_of(entries.value_type, path, fields)}
        case inspect.LiteralType() as literal:
            return {"const": literal.values[0]}
        case inspect.BoolType():
            return {"type": "boolean"}
        case inspect.IntType():
            return {"type": "integer"}
        case inspect.FloatType():
            return {"type": "number"}
        case inspect.StrType():
            return _text(path, fields)
        case other:
            raise TypeError(f"{path}: the schema has no word for {other}")


def _object(struct: inspect.StructType, path: str, fields: dict[str, Field]) -> Schema:
    """Required is what is always written: all that cannot be UNSET."""
    properties: Schema = {}
    for item in struct.fields:
        below = f"{path}.{item.encode_name}" if path else item.encode_name
        properties[item.encode_name] = _annotations(fields.get(below)) | _schema_of(item.type, below, fields)
    hints = get_type_hints(struct.cls)
    required = [item.encode_name for item in struct.fields if UnsetType not in get_args(hints[item.name])]
    description = {"description": struct.cls.__doc__.split("\n", 1)[0]} if struct.cls.__doc__ else {}
    return {**description, "type": "object", "properties": properties, "required": required}


def _text(path: str, fields: dict[str, Field]) -> Schema:
    if path.split(".")[-1] == "apiVersion":
        return {"const": model.API_VERSION}
    field = fields.get(path)
    if field is None:
        return {"type": "string"}
    if field.unit == _TIME:
        return {"type": "string", "format": "date-time"}
    if field.values:
        return {"anyOf": [{"enum": list(field.values)}, {"type": "string"}]}
    return {"type": "string"}


def _annotations(field: Field | None) -> Schema:
    """What the dictionary knows besides the type; `x-` keywords are annotations that validators skip."""
    if field is None:
        return {}
    entries = {
        "description": field.meaning,
        "x-unit": field.unit,
        "x-ecs": field.ecs,
        "x-otel": field.otel,
    }
    return {key: value for key, value in entries.items() if value}
