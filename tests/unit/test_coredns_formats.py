"""Formats of the log plugin: what CoreDNS sees in a template, and the regexes that read it back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_coredns.corefile import COMBINED, COMMON
from kdns_coredns.formats import LEGACY, Stretch, Template, template_of
from support.coredns_log import Query, body, queries

JSON = r'{"name":"{name}","type":"{type}","rcode":"{rcode}","d":"{duration}","bad":"{nope}"}'


def read(template: Template, line: str, *, strict: bool) -> dict[str, str] | None:
    """The values of a line by placeholder; None when the template does not fit."""
    match = re.fullmatch(template.pattern(strict=strict), line, re.ASCII)
    if not match:
        return None
    values = dict(zip(template.columns, match.groups(), strict=True))
    stretches = [text for name, text in zip(template.columns, match.groups(), strict=True) if not name]
    pattern, names = template.stretches
    facts = pattern.fullmatch("\n".join(stretches))
    if not facts:
        return None
    values.pop("", None)
    return values | dict(zip(names, facts.groups(), strict=True))


@pytest.mark.parametrize(
    ("text", "nodes"),
    [
        ("{name} {type}", ("{name}", " ", "{type}")),
        ("{nope} {name}{", ("{nope} ", "{name}", "{")),
        ("{ {name} } {/a/b}", ("{ ", "{name}", " } ", "{/a/b}")),
        ("{name}{type}", ("{name}", "{type}")),
        ("{{name}}", ("{", "{name}", "}")),
        ("{>ID} {name}", ("{>ID} ", "{name}")),
        ("", ()),
    ],
)
def test_nodes(text: str, nodes: tuple[str, ...]) -> None:
    assert Template(text).nodes == nodes


def test_what_changes_from_line_to_line_is_apart() -> None:
    template = template_of("{common}")
    assert template.columns == ("{remote}", "{port}", "{>id}", "", "{duration}")
    [stretch] = [part for part in template.segments if isinstance(part, Stretch)]
    assert stretch.nodes[0] == "{type}"
    assert stretch.nodes[-1] == "{rsize}"


def test_shorthands_stand_for_their_formats() -> None:
    assert template_of("{common}").text == COMMON
    assert template_of("{combined} {/forward/upstream}").text == COMBINED + " {/forward/upstream}"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (COMMON, ""),
        (JSON, ""),
        ("{rcode}", "the format has no {name} and no {type}"),
        ("{name} {rcode}", "the format has no {type}"),
        ("{name}\n{type}", "the format has several lines"),
    ],
)
def test_what_cannot_be_read_is_told(text: str, problem: str) -> None:
    assert template_of(text).problem == problem


@pytest.mark.parametrize(
    ("text", "ambiguous"), [(COMMON, False), ("{name}{type}", True), ("{name}{nope}{type}", False)]
)
def test_values_that_touch(text: str, ambiguous: bool) -> None:
    assert template_of(text).ambiguous is ambiguous


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("text", "line", "values"),
    [
        (
            COMMON,
            r'[fe80::1%eth0]:53 - 7 "A IN my\ host\".example. udp 33 false 512" - - 0 4.001845088s',
            ("[fe80::1%eth0]", r"my\ host\".example.", "-", "4.001845088"),
        ),
        (
            COMBINED + " {/forward/upstream} {/geoip/city/name} {/x}",
            '10.0.0.1:5 - 7 "A IN . udp 17 false 512" NOERROR  55 5s "0" 10.0.0.2:53 New York -',
            ("10.0.0.1", ".", "NOERROR", "5"),
        ),
        (
            LEGACY,
            '10.0.0.1:5 - [11/Jan/2019:19:59:01 +0000] 14 "A IN a. udp 36 false 512" NXDOMAIN qr 112 0.0015s',
            ("10.0.0.1", "a.", "NXDOMAIN", "0.0015"),
        ),
        (
            JSON,
            r'{"name":"a\"b.example.","type":"A","rcode":"NOERROR","d":"0.0000898s","bad":"{nope}"}',
            (None, r"a\"b.example.", "NOERROR", "0.0000898"),
        ),
        (
            "{duration} {name} {remote} {type}",
            "0s a.b. 10.0.0.1 TYPE65280",
            ("10.0.0.1", "a.b.", None, "0"),
        ),
    ],
)
def test_lines(text: str, line: str, values: tuple[str | None, ...], strict: bool) -> None:
    found = read(template_of(text), line, strict=strict)
    assert found is not None
    assert tuple(map(found.get, ("{remote}", "{name}", "{rcode}", "{duration}"))) == values


@pytest.mark.parametrize(
    "line",
    [
        "",
        "plugin/reload: Running configuration SHA512 = 591cf328",
        '10.0.0.1:5 - 7 "A IN a. udp 33 false 512" NOERROR qr 100 0.1s "0"',
        '10.0.0.1:5 - 7 "A IN a b. udp 33 false 512" NOERROR qr 100 0.1s',
        '10.0.0.1:5 - 70000000 "A IN a. udp 33 false 512" NOERROR qr 100 0.1s',
        '10.0.0.1:5 - 7 "A IN a. udp 33 false 512" NOERROR qr 100 1.5ms',
    ],
)
def test_other_lines_do_not_fit(line: str) -> None:
    assert read(template_of(COMMON), line, strict=True) is None
    assert read(template_of(COMMON), line, strict=False) is None


PLACEHOLDERS = [
    "{type}", "{class}", "{proto}", "{remote}", "{local}", "{port}", "{size}", "{>id}", "{>opcode}",
    "{>do}", "{>bufsize}", "{rcode}", "{>rflags}", "{rsize}", "{duration}", "{/forward/upstream}",
    "{/log/class}", "{nope}",
]  # fmt: skip


@given(
    st.lists(st.sampled_from(PLACEHOLDERS), max_size=8),
    st.sampled_from([" ", " | ", '","x":"', "; "]),
    queries(),
    st.booleans(),
)
def test_what_was_written_is_read(placeholders: list[str], between: str, query: Query, strict: bool) -> None:
    """Any template with something between its values gives back the values that CoreDNS put in."""
    text = between.join(["{name}", *placeholders, "{type}"])
    found = read(template_of(text), body(text, query), strict=strict)
    if found is None:
        # The coarse split may go wrong, where the same text stands elsewhere: then the strict one is asked.
        assert not strict
        return
    for placeholder, value in found.items():
        expected = query.value(placeholder)
        assert expected is not None
        assert value == (expected.removesuffix("s") if placeholder == "{duration}" else expected)


@given(st.text(alphabet='{}>/namety :"', max_size=30), st.text(alphabet='a .:5"{}', max_size=60))
def test_fuzz(text: str, line: str) -> None:
    """Any text is a template, and any line can be held against it."""
    template = template_of(text)
    assert "".join(template.nodes) == text
    for strict in (True, False):
        read(template, line, strict=strict)
