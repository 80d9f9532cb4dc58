"""Paths of --columns and custom-columns: what they name, what they print, what is told when they do not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.errors import UsageError
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.model import Answer, Client, Dns, Lookup, Message, Process
from kubectl_kdns.output.cells import decimal, make_cell, parse_path
from kubectl_kdns.output.custom_columns import parse_file, parse_spec
from support import records as make

RECORD = Lookup(
    late=False,
    latency_ms=0.000041,
    tries=2,
    client=Client(port=53, process=Process(name="x y")),
    dns=Dns(
        name="a",
        class_="IN",
        flags=[],
        resolved_ips=["10.0.0.1", "10.0.0.2"],
        answers=[Answer("a", "CNAME", 5, "b"), Answer("b", "A", data="10.0.0.1")],
    ),
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("dns.name", "a"),
        (".dns.name", "a"),
        ("{.dns.name}", "a"),
        (" dns.name ", "a"),
        ("dns.class", "IN"),
        ("dns.rcode", "-"),
        ("late", "false"),
        ("tries", "2"),
        ("latency_ms", "0.000041"),
        ("client.port", "53"),
        ("client.process.name", "x y"),
        ("client.process.pid", "-"),
        ("client.workload.name", "-"),
        ("server.backend.pod", "-"),
        ("direction", "-"),
        ("dns.flags", "[]"),
        ("dns.flags[0]", "-"),
        ("dns.resolved_ips", "10.0.0.1,10.0.0.2"),
        ("dns.resolved_ips[*]", "10.0.0.1,10.0.0.2"),
        ("dns.resolved_ips[1]", "10.0.0.2"),
        ("dns.resolved_ips[2]", "-"),
        ("dns.answers", "CNAME b,A 10.0.0.1"),
        ("dns.answers[0]", "CNAME b"),
        ("dns.answers[*].data", "b,10.0.0.1"),
        ("{.dns.answers[1].type}", "A"),
        ("dns.answers[*].ttl", "5,"),
        ("dns.answers[0].ttl", "5"),
    ],
)
def test_the_text_of_a_path(path: str, expected: str) -> None:
    assert make_cell(parse_path(path), "-")(RECORD) == expected


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("dns.nmae", "there is no field 'dns.nmae'\ndid you mean \"dns.name\"?"),
        ("", "there is no field ''\nTry: kubectl kdns fields"),
        (".", "there is no field '.'\nTry: kubectl kdns fields"),
        ("qqqqqq", "there is no field 'qqqqqq'\nTry: kubectl kdns fields"),
        ("dns.name[", "there is no field 'dns.name['\ndid you mean \"dns.name\"?"),
        ("client.process", "there is no field 'client.process'\n"
         "Try: one of client.process.pid, client.process.name, client.process.exe"),
        ("dns.name[0]", "dns.name is no list, 'dns.name[0]' takes an element of it\nTry: dns.name"),
        ("dns.answers[0].x", "an element of dns.answers has no 'x'\nTry: one of name, type, ttl, data"),
        ("dns.flags[0].name", "an element of dns.flags has no 'name'"),
    ],
)  # fmt: skip
def test_a_path_that_names_nothing_is_told(path: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_path(path)
    assert str(caught.value) == message


@given(
    st.text(max_size=20)
    | st.sampled_from(sorted(BY_PATH)).flatmap(lambda p: st.text(max_size=5).map(p.__add__))
)
def test_any_path_is_taken_or_told(path: str) -> None:
    try:
        parsed = parse_path(path)
    except UsageError:
        return
    assert parsed.field.path in BY_PATH


@given(make.lookups() | make.any_messages(), st.sampled_from(sorted(BY_PATH)))
def test_every_field_of_any_record_is_a_text(record: Lookup | Message, path: str) -> None:
    text = make_cell(parse_path(path), "absent")(record)
    value: object = record
    for part in path.split("."):
        value = getattr(value, "class_" if part == "class" else part, None)
    if isinstance(value, str):
        assert text == value
    assert isinstance(text, str)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, "0"), (1e-6, "0.000001"), (1.5, "1.5"), (100.0, "100"), (12345678.123456, "12345678.123456")],
)
def test_a_duration_is_never_written_with_an_exponent(value: float, expected: str) -> None:
    assert decimal(value) == expected


@given(st.integers(0, 10**13))
def test_a_duration_keeps_every_nanosecond(nanoseconds: int) -> None:
    assert round(float(decimal(nanoseconds / 1e6)) * 1e6) == nanoseconds


def test_a_spec_of_custom_columns() -> None:
    columns = parse_spec("NAME:.dns.name, CLIENT IP :{.client.ip}")
    assert [(column.title, column.cell(RECORD)) for column in columns] == [
        ("NAME", "a"),
        ("CLIENT IP", "<none>"),
    ]


@pytest.mark.parametrize("spec", ["", "NAME", "NAME:", ":.dns.name", "A:.time,,B:.time", "A:.time,B"])
def test_a_spec_that_is_none_is_told(spec: str) -> None:
    with pytest.raises(UsageError, match=r"is not TITLE:PATH\nTry: -o custom-columns=NAME:.dns.name,RCODE:"):
        parse_spec(spec)


def test_a_file_of_custom_columns() -> None:
    columns = parse_file("\nA   B\n\n .dns.name {.tries}\n")
    assert [(column.title, column.cell(RECORD)) for column in columns] == [("A", "a"), ("B", "2")]


@pytest.mark.parametrize("text", ["", "A B\n", "A B\n.time\n", "A\n.time\n.time\n"])
def test_a_file_that_is_none_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="expected one line of titles"):
        parse_file(text)
