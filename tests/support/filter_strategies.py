"""Hypothesis strategies for filters: records, and expressions that fit the field dictionary.

Values come from small pools, the same for records and literals, so that filters are often true.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import Any

from hypothesis import strategies as st

from kubectl_kdns import model
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter.nodes import (
    And,
    Call,
    Compare,
    Expr,
    Field,
    Has,
    In,
    ListOf,
    Literal,
    Not,
    Or,
    Size,
)

IPS = ("10.0.0.1", "10.0.0.12", "fd00::1")
WORDS = ("a", "web", "web-1", "cart-5d8f-x2x9z", "")
POOLS: dict[str, tuple[str, ...]] = {
    "dns.name": (".", "example.com", "a.example.com", "cart.shop.svc.cluster.local", r"a\.b.example.com"),
    "dns.rcode": ("NOERROR", "NXDOMAIN", "SERVFAIL", "RCODE24"),
    "dns.type": ("A", "AAAA", "TYPE65280"),
    "dns.class": ("IN", "CH"),
    "dns.opcode": ("QUERY", "NOTIFY"),
    "dns.flags": ("qr", "tc", "rd"),
    "dns.resolved_ips": IPS,
    "client.ip": IPS,
    "server.ip": IPS,
    "server.backend.ip": IPS,
    "upstream.ip": IPS,
    "time": ("2026-01-31T09:00:00.000000000Z", "2026-01-31T09:00:00.000000001Z"),
    "client.workload.kind": ("Deployment", "Job"),
    "server.workload.kind": ("Deployment", "Job"),
    "inferred": ("dns.rcode", "status"),
}
INTS = (0, 1, 2, 53, 1232)
DOUBLES = (0.0, 1.0, 2.5, 53.0, 100.25)
_PARTS: dict[str, type[Any]] = {
    "client": model.Client,
    "client.workload": model.Workload,
    "client.process": model.Process,
    "server": model.Server,
    "server.workload": model.Workload,
    "server.backend": model.ServerBackend,
    "dns": model.Dns,
    "dns.edns": model.Edns,
    "upstream": model.Upstream,
    "error": model.Error,
    "policy": model.Policy,
    "socket": model.Socket,
}
_ALL_REQUIRED = (model.Workload, model.Edns)
PARTS = ("a", "e", "example", ".com", "web", "1", "", ".")
PATTERNS = ("^a", "com$", "a.*c", "^[a-w]+$", "(?i)WEB|10", r"^a\.example\.com$", r"\.", "", "5d.f", "e+x?")


def pool(path: str) -> tuple[str, ...]:
    return BY_PATH[path].values or POOLS.get(path, WORDS)


def value(path: str, random: Random) -> Any:
    """Something that a record may hold there."""
    kind = BY_PATH[path].type
    if kind == "string":
        return random.choice(pool(path))
    if kind == "list<string>":
        return random.choices(pool(path), k=random.randrange(3))
    if kind == "list<answer>":
        return [model.Answer("a", "A", 5, "10.0.0.1")] * random.randrange(3)
    return random.choice({"int": INTS, "double": DOUBLES, "bool": (False, True)}[kind])


def random_record(random: Random) -> model.Lookup | model.Message:
    """A record of any kind and fullness; each field and each part of it is absent now and then."""
    record_type = random.choice((model.Lookup, model.Lookup, model.Message))
    return _filled(record_type, "", random)


def _filled(type_: type[Any], prefix: str, random: Random) -> Any:
    parts: dict[str, Any] = {}
    for attribute in type_.__struct_fields__:
        path = prefix + attribute.rstrip("_")
        needed = type_ in _ALL_REQUIRED or (type_, attribute) == (model.Error, "type")
        if not needed and random.random() < 0.3:
            continue
        if path in BY_PATH:
            parts[attribute] = value(path, random)
        elif path in _PARTS:
            parts[attribute] = _filled(_PARTS[path], path + ".", random)
    return type_(**parts)


records = st.integers(0, 1 << 32).map(lambda seed: random_record(Random(seed)))
"""One draw a record: drawn field by field, records take all the time that the tests have."""

# A few fields, so that two terms of an expression often meet in one.
STRINGS = ("dns.name", "dns.rcode", "status", "client.workload.name", "server.ip", "direction", "client.pod")
LISTS = ("dns.flags", "dns.resolved_ips", "inferred")
NUMBERS = ("latency_ms", "dns.id", "tries", "server.port")
BOOLS = ("late", "dns.edns.do")
EQUALITIES = ("==", "!=")
OPERATORS = (*EQUALITIES, "<", "<=", ">", ">=")

Pick = Callable[[Sequence[Any]], Any]
_index = lru_cache(None)(lambda size: st.integers(0, size - 1))


@st.composite
def terms(draw: st.DrawFn) -> Expr:
    """A condition without &&, || or !. Choices are drawn as indices: strategies made on the fly are slow."""

    def pick(options: Sequence[Any]) -> Any:
        return options[draw(_index(len(options)))]

    return pick((_string_term, _string_term, _list_term, _number_term, _number_term, _bool_term))(pick)


def _literals(pick: Pick, options: Sequence[Any], least: int) -> tuple[Literal, ...]:
    return tuple(Literal(pick(options)) for _ in range(pick((least, 1, 2, 3))))


def _either_way(pick: Pick, op: str, left: Expr, right: Expr) -> Expr:
    return pick((Compare(op, left, right), Compare(op, right, left)))


def _number(pick: Pick) -> Literal:
    return Literal(pick((*INTS, *DOUBLES, -1, -0.5)))


def _string_term(pick: Pick) -> Expr:
    path = pick(STRINGS)
    field = Field(path)
    match pick(range(9)):
        case 0 | 1:
            return _either_way(pick, pick(EQUALITIES), field, Literal(pick(pool(path))))
        case 2:
            return In(field, ListOf(_literals(pick, pool(path), 1)))
        case 3 | 4:
            parts = ("N", "FAIL", "") if path == "dns.rcode" else PARTS
            return Call(pick(("startsWith", "endsWith", "contains")), field, Literal(pick(parts)))
        case 5:
            return Call("matches", field, Literal(pick(PATTERNS)))
        case 6:
            return Call("contains", field, Field("dns.name"))
        case 7:
            return Compare(pick(OPERATORS), field, Field(pick(STRINGS)))
        case _:
            return Compare(pick(OPERATORS), Size(field), _number(pick))


def _list_term(pick: Pick) -> Expr:
    path = pick(LISTS)
    field = Field(path)
    match pick(range(5)):
        case 0:
            return In(Literal(pick(pool(path))), field)
        case 1:
            return In(Field("server.ip"), Field("dns.resolved_ips"))
        case 2:
            return Compare(pick(OPERATORS), Size(Field(pick((path, "dns.answers")))), _number(pick))
        case 3:
            return _either_way(pick, pick(EQUALITIES), field, ListOf(_literals(pick, pool(path), 0)))
        case _:
            return Compare(pick(EQUALITIES), field, Field(pick(LISTS)))


def _number_term(pick: Pick) -> Expr:
    field = Field(pick(NUMBERS))
    match pick(range(4)):
        case 0 | 1:
            return _either_way(pick, pick(OPERATORS), field, _number(pick))
        case 2:
            return Compare(pick(OPERATORS), field, Field(pick(NUMBERS)))
        case _:
            return In(field, ListOf(_literals(pick, (*INTS, *DOUBLES), 1)))


def _bool_term(pick: Pick) -> Expr:
    field = Field(pick(BOOLS))
    match pick(range(4)):
        case 0:
            return field
        case 1:
            return _either_way(pick, pick(EQUALITIES), field, Literal(pick((True, False))))
        case 2:
            return Literal(pick((True, False)))
        case _:
            return Has(Field(pick(tuple(BY_PATH))))


def _extend(inner: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    several = st.lists(inner, min_size=2, max_size=4).map(tuple)
    return st.one_of(
        st.builds(And, several),
        st.builds(Or, several),
        st.builds(Not, inner),
        st.builds(Compare, st.sampled_from(EQUALITIES), inner, inner),
    )


expressions: st.SearchStrategy[Expr] = st.recursive(terms(), _extend, max_leaves=6)
"""Checked expressions without the directory's methods."""
