"""What a Corefile says about logging, what is wrong with it, and the smallest fix."""

from __future__ import annotations

from pathlib import Path

import pytest

from kdns_coredns.corefile import COMBINED, COMMON, parse_corefile
from kdns_coredns.log_settings import LogSettings, Problem, log_settings
from kubectl_kdns.times import NS_PER_S

GOLDEN = Path(__file__).parent.parent / "golden" / "coredns" / "1.14.7.Corefile"
ENABLE = "kubectl kdns coredns-logs --enable --for 10m"


def settings(*lines: str, zones: str = ".:53") -> LogSettings:
    """Of one server block with these lines."""
    return log_settings(parse_corefile(f"{zones} {{\n" + "\n".join(lines) + "\n}\n"))


@pytest.mark.parametrize(
    "line", ["log", "log .", "log . {combined}", "log . {\n class all\n}", "log cluster.local"]
)
def test_nothing_to_say(line: str) -> None:
    zones = "cluster.local:53" if "cluster" in line else ".:53"
    assert settings(line, zones=zones).problems == ()
    assert not settings(line).is_off


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        (["errors"], [Problem("log_off", "CoreDNS's log is off: no lookup is logged", ENABLE)]),
        (
            ["log {combined}"],
            [
                Problem("log_off", "CoreDNS's log is off: no lookup is logged", ENABLE),
                Problem(
                    "log_misconfigured",
                    "line 2: CoreDNS takes {combined} for the name of a zone, and logs nothing",
                    "log . {combined}",
                    2,
                ),
            ],
        ),
        (
            ["log . {combined} {/forward/upstream}"],
            [
                Problem(
                    "log_misconfigured",
                    "line 2: CoreDNS takes {combined} for the name of a zone",
                    'log . "{combined} {/forward/upstream}"',
                    2,
                )
            ],
        ),
        (
            ['log . "{rcode}"'],
            [
                Problem(
                    "log_misconfigured",
                    "line 2: the format has no {name} and no {type}: its lines cannot be read",
                    "log . {combined}",
                    2,
                )
            ],
        ),
        (
            ['log . "{name}{type}"'],
            [
                Problem(
                    "log_misconfigured",
                    "line 2: values touch in the format, so where one ends is guessed",
                    "a blank between the placeholders",
                    2,
                )
            ],
        ),
        (
            ['log . "{common} {/forward/upstream}"'],
            [
                Problem(
                    "log_misconfigured",
                    "line 2: the format has metadata, but the server block has no `metadata`: it logs only -",
                    "metadata, as a line of the server block",
                    2,
                )
            ],
        ),
        (["metadata", 'log . "{common} {/forward/upstream}"'], []),
        (
            ["log {", " class error denial", "}"],
            [
                Problem(
                    "log_class_limited",
                    "line 2: only lookups of class error, denial are logged",
                    f"{ENABLE} --class all",
                    2,
                )
            ],
        ),
        (
            ["log example.org"],
            [
                Problem(
                    "log_class_limited",
                    "line 2: of . only names below example.org are logged",
                    f"{ENABLE} --class all",
                    2,
                )
            ],
        ),
        (["log {", " class error denial success", "}"], []),
    ],
)
def test_problems(lines: list[str], problems: list[Problem]) -> None:
    assert list(settings(*lines).problems) == problems


def test_one_server_block_of_several_does_not_log() -> None:
    corefile = parse_corefile("cluster.local:53 {\n log\n}\nin-addr.arpa:53 ip6.arpa:53 {\n errors\n}\n")
    [problem] = log_settings(corefile).problems
    assert str(problem) == f"the log is off for in-addr.arpa, ip6.arpa (line 4). Try: {ENABLE}"


def test_what_is_imported_from_nowhere_may_be_the_log() -> None:
    found = log_settings(parse_corefile(".:53 {\n import custom/*.override\n errors\n}\n"))
    assert not found.is_off
    [problem] = found.problems
    assert problem.code == "log_misconfigured"
    assert "custom/*.override is not known here" in problem.message


def test_formats_are_those_that_can_be_read_and_the_common_one() -> None:
    found = log_settings(parse_corefile(GOLDEN.read_text()))
    assert found.formats == (
        COMMON,
        COMBINED,
        COMBINED + " {/forward/upstream} {/log/class} {/log/type} {/nope/x}",
    )
    assert settings('log . "{name} {type}"').formats == ("{name} {type}", COMMON)
    assert settings("errors").formats == (COMMON,)


@pytest.mark.parametrize(
    ("lines", "reload_ns"),
    [
        ([], None),
        (["reload"], 30 * NS_PER_S),
        (["reload 10s"], 10 * NS_PER_S),
        (["reload 2s 1s"], 2 * NS_PER_S),
        (["reload off"], 30 * NS_PER_S),
    ],
)
def test_reload(lines: list[str], reload_ns: int | None) -> None:
    assert settings(*lines).reload_ns == reload_ns


def test_errors() -> None:
    assert not settings("log").has_errors
    assert settings("errors").has_errors
    assert not settings("errors").consolidates_errors
    assert settings("errors {", ' consolidate 30s ".* i/o timeout$" warning', "}").consolidates_errors


@pytest.mark.parametrize(
    ("zones", "port"),
    [(".:53", 53), ("a b", 53), (".:5353", 5353), (".:53 a:54", None), ("tls://.", None), (". tls://.", 53)],
)
def test_port(zones: str, port: int | None) -> None:
    assert settings("log", zones=zones).port == port
