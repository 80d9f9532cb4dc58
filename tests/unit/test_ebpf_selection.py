"""What of a filter agents do: whatever the filter accepts, they send; and what they take of the flags."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

from kdns_ebpf import wire
from kdns_ebpf.selection import Selection, select
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.compile import compile_filter
from kubectl_kdns.filter.flags import FilterFlags, flags_expression
from kubectl_kdns.filter.nodes import Expr, to_text
from kubectl_kdns.model import Dns, Lookup
from support.ebpf_agent_model import agent_keeps
from support.filter_strategies import expressions, random_record

NO_ANSWER = wire.OUTCOME_NO_ANSWER
RCODES = ("NOERROR", "SERVFAIL", "NXDOMAIN", "REFUSED", "BADVERS", "RCODE4000")


def selected(**flags: object) -> Selection:
    return select(parse_filter(flags_expression(FilterFlags(**flags))))  # type: ignore[arg-type]


def as_seen(random: Random) -> Lookup:
    """A random lookup as an agent can see one: only what was answered has a code and a latency."""
    record = random_record(random)
    while not isinstance(record, Lookup):
        record = random_record(random)
    dns = record.dns or Dns()
    if random.random() < 0.7:
        return replace(record, status="answered", dns=replace(dns, rcode=random.choice(RCODES)))
    dns = replace(dns, rcode=UNSET, response_class=UNSET, response_bytes=UNSET)
    return replace(record, status=random.choice(("unanswered", "pending")), dns=dns, latency_ms=UNSET)


@settings(max_examples=400, deadline=None)
@given(expressions, st.integers(0, 1 << 32))
def test_what_the_filter_accepts_is_sent(expr: Expr, seed: int) -> None:
    random = Random(seed)
    selection, accept = select(parse_filter(to_text(expr))), compile_filter(expr)
    for lookup in [as_seen(random) for _ in range(12)]:
        assert agent_keeps(selection, lookup) or not accept(lookup), lookup


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, {}),
        ({"rcode": ("SERVFAIL",)}, {"outcomes": 1 << 2}),
        ({"rcode": ("!NXDOMAIN",)}, {"outcomes": wire.ALL_OUTCOMES & ~(1 << 3)}),
        ({"failed": True}, {"outcomes": wire.ALL_OUTCOMES & ~1}),
        ({"unanswered": True}, {"outcomes": NO_ANSWER}),
        (
            {"slower_than": "100ms"},
            {"outcomes": wire.ALL_OUTCOMES & ~NO_ANSWER, "slower_than_ns": 100_000_000},
        ),
        ({"type": ("A,AAAA",)}, {"types_mode": wire.TYPES_ONLY, "types": {1, 28}}),
        ({"type": ("!AAAA",)}, {"types_mode": wire.TYPES_NOT, "types": {28}}),
        ({"name": ("*.example.com",)}, {"names": {(wire.NAME_SUFFIX, b".example.com")}}),
        ({"name": ("example.com",)}, {"names": {(wire.NAME_EXACT, b"example.com")}}),
        ({"name": (r"a\.b.com",)}, {}),  # escapes are for the client
        ({"filter": ('dns.type == "A" || dns.rcode == "SERVFAIL"',)}, {}),
        ({"filter": ('dns.type.startsWith("A")',)}, {}),
        ({"filter": ('dns.type == "A" || dns.type.startsWith("M")',)}, {}),
        ({"filter": ("latency_ms >= 1.5",)}, {"slower_than_ns": 1_500_000}),
        ({"rcode": ("BADVERS",)}, {"outcomes": 0}),  # an agent sends what has an extended code in any case
    ],
)
def test_flags_in_the_terms_of_agents(flags: dict[str, object], expected: dict[str, object]) -> None:
    found = selected(**flags)
    got = {
        "outcomes": found.outcomes,
        "types_mode": found.types_mode,
        "types": set(found.types),
        "names": set(found.names),
        "slower_than_ns": found.slower_than_ns,
    }
    default = {
        "outcomes": wire.ALL_OUTCOMES,
        "types_mode": 0,
        "types": set(),
        "names": set(),
        "slower_than_ns": 0,
    }
    if "latency_ms" in str(flags):
        default["outcomes"] = wire.ALL_OUTCOMES & ~NO_ANSWER
    assert got == default | expected
    assert bool(found.takes) is (got != default or "latency_ms" in str(flags))


def test_of_a_message_one_does_not_know_how_its_lookup_ends() -> None:
    selection = selected(rcode=("SERVFAIL",), slower_than="1s", type=("A",))
    plain, messages = (
        wire.CONFIG_HEAD.unpack_from(
            selection.config(bytes(16), messages=wanted, max_rate=5), wire.FRAME.size
        )
        for wanted in (False, True)
    )
    assert (plain[4], plain[5], plain[6]) == (1_000_000_000, 1 << 2, 5)
    assert (messages[4], messages[5]) == (0, wire.ALL_OUTCOMES)
    assert messages[7] == plain[7] == wire.TYPES_ONLY
