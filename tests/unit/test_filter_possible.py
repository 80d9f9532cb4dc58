"""Whether a filter can be true of a record that is known in part, against the compiled filter."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from kubectl_kdns.errors import UsageError
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.compile import attribute_of, compile_filter
from kubectl_kdns.filter.nodes import Expr, Not
from kubectl_kdns.filter.possible import fields_of, may_hold
from kubectl_kdns.model import (
    Client,
    Dns,
    Edns,
    Error,
    Lookup,
    Policy,
    Process,
    Server,
    ServerBackend,
    Socket,
    Upstream,
    Workload,
)
from support.filter_strategies import expressions, random_record

ALL = frozenset(BY_PATH)
NOTHING: Any = UNSET
PARTS_OF_RECORDS: dict[str, Any] = {
    "client": Client(),
    "client.workload": Workload(NOTHING, NOTHING),
    "client.process": Process(),
    "server": Server(),
    "server.workload": Workload(NOTHING, NOTHING),
    "server.backend": ServerBackend(),
    "dns": Dns(),
    "dns.edns": Edns(NOTHING, NOTHING),
    "upstream": Upstream(),
    "error": Error(NOTHING),
    "policy": Policy(),
    "socket": Socket(),
}
"""What a record may lack, with nothing in it."""


@pytest.mark.parametrize(
    ("source", "known", "expected"),
    [
        ("", (), True),
        ('dns.rcode == "SERVFAIL"', (), True),
        ('dns.rcode == "SERVFAIL"', ("dns.rcode",), False),
        ('dns.rcode != "SERVFAIL"', ("dns.rcode",), True),
        ('!(dns.rcode == "NOERROR")', ("dns.rcode",), False),
        ("latency_ms != 5", ("latency_ms",), False),  # known to be absent
        ("!(latency_ms != 5)", ("latency_ms",), True),
        ("has(latency_ms)", ("latency_ms",), False),
        ("has(latency_ms) || late", ("latency_ms",), True),
        ('latency_ms > 5 && dns.name == "a"', ("latency_ms",), False),
        ("latency_ms > tries", ("latency_ms",), True),  # a comparison with something unknown
        ('(dns.rcode == "NOERROR") == late', ("dns.rcode",), True),
        ('dns.rcode in ["SERVFAIL", "REFUSED"]', ("dns.rcode",), False),
        ('dns.rcode.startsWith("NO") && size(dns.rcode) == 7', ("dns.rcode",), True),
        ('dns.rcode.matches("^S")', ("dns.rcode",), False),
        ("true", (), True),
        ("false || false && late", (), False),
        ("!true", (), False),
        ('client.hasLabels("app=web")', (), True),
        ('client.hasLabels("app=web")', ("client.pod",), True),
        ('client.hasLabels("app=web") && latency_ms > 1', ("latency_ms",), False),
    ],
)
def test_what_is_not_known_may_be_anything(source: str, known: tuple[str, ...], expected: bool) -> None:
    record = Lookup(dns=Dns(rcode="NOERROR"))
    assert may_hold(parse_filter(source).expr, record, frozenset(known)) is expected


class OnlyWeb:
    """An Environment that knows one pod."""

    def labels_match(self, selector: str, client: Client) -> bool:
        return selector == "app=web" and client.pod == "web"

    def backs_service(self, service: str, client: Client) -> bool:
        return service == "web" and client.pod == "web"


@pytest.mark.parametrize(
    ("call", "asks"), [('hasLabels("app=web")', "labels"), ('backs("web")', "a Service")]
)
def test_labels_and_services_are_asked_for_where_the_client_is_known(call: str, asks: str) -> None:
    expr = parse_filter(f"client.{call}").expr
    known = frozenset({"client"})
    assert may_hold(expr, Lookup(client=Client(pod="web")), known, OnlyWeb()), asks
    assert not may_hold(expr, Lookup(client=Client(pod="db")), known, OnlyWeb())
    assert may_hold(expr, Lookup(client=Client(pod="db")), frozenset(), OnlyWeb())
    with pytest.raises(UsageError):
        may_hold(expr, Lookup(client=Client(pod="web")), known)


def test_what_an_expression_looks_at() -> None:
    expr = parse_filter('has(late) || !(dns.id in [1]) && size(dns.name) > 1 && client.backs("web")').expr
    assert expr is not None
    assert fields_of(expr) == {"late", "dns.id", "dns.name", "client"}


def field_value(record: Any, path: str) -> Any:
    for part in path.split("."):
        record = getattr(record, attribute_of(part), UNSET)
    return record


def with_field(record: Any, path: str, value: Any, prefix: str = "") -> Any:
    """The record with that value there; UNSET takes it away."""
    first, _, rest = path.partition(".")
    attribute = attribute_of(first)
    if attribute not in record.__struct_fields__:  # a lookup has no direction, a message no latency
        return record
    if rest:
        part = getattr(record, attribute)
        if part is UNSET and value is UNSET:
            return record
        if part is UNSET:
            part = PARTS_OF_RECORDS[prefix + first]
        value = with_field(part, rest, value, f"{prefix}{first}.")
    return replace(record, **{attribute: value})


def in_part(record: Any, known: frozenset[str], random: Random) -> Any:
    """A record of the same kind that agrees with it on those fields, and has anything in all others."""
    other = random_record(random)
    while type(other) is not type(record):
        other = random_record(random)
    for path in known:
        other = with_field(other, path, field_value(record, path))
    return other


@settings(max_examples=300, deadline=None)
@given(expressions, st.integers(0, 1 << 32))
def test_it_is_never_false_where_the_filter_may_be_true(expr: Expr, seed: int) -> None:
    random = Random(seed)
    mentioned = sorted(fields_of(expr))
    accept = compile_filter(expr)
    for record in [random_record(random) for _ in range(8)]:
        known = frozenset(random.sample(mentioned, random.randint(0, len(mentioned))))
        part = in_part(record, known, random)
        holds = accept(record)
        assert may_hold(expr, part, known) or not holds
        assert may_hold(Not(expr), part, known) or holds


@settings(max_examples=200, deadline=None)
@given(expressions, st.integers(0, 1 << 32))
def test_with_all_fields_known_it_is_the_filter(expr: Expr, seed: int) -> None:
    random = Random(seed)
    accept = compile_filter(expr)
    for record in [random_record(random) for _ in range(8)]:
        mentioned = fields_of(expr)
        part = in_part(record, mentioned, random)
        assert may_hold(expr, part, mentioned) == may_hold(expr, record, ALL) == accept(record)
