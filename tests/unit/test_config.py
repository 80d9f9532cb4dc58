"""Defaults of flags: what a file and variables may set, what counts more, and what is wrong with the rest."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.cli.options import Flag
from kubectl_kdns.cli.settings import REFUSED, settable_flags
from kubectl_kdns.config import Setting, defaults_of, parse_config, parse_variables
from kubectl_kdns.errors import ConfigError

COMMANDS = {
    "trace": {
        "output": Flag(("-o", "--output"), "", "table"),
        "backend": Flag(("--backend",), "", ()),
        "max-rate": Flag(("--max-rate",), "", 50),
        "insights": Flag(("--insights",), "", False),
    },
    "doctor": {"context": Flag(("--context",), "", "")},
}


def parsed(text: str) -> list[Setting]:
    return parse_config(text, "F", COMMANDS, {"yes": "no"})


def values(text: str, environment: dict[str, str], command: str = "trace") -> dict[str, Any]:
    settings = [*parsed(text), *parse_variables(environment, COMMANDS)]
    return {name: each.value for name, each in defaults_of(command, COMMANDS[command], settings).items()}


def test_what_is_nearer_counts() -> None:
    text = "trace: {output: json}\noutput: wide\nmax-rate: 5\ncontext: prod\n"
    assert values(text, {}) == {"output": "json", "max-rate": 5}
    assert values(text, {"KDNS_OUTPUT": "csv", "KDNS_MAX_RATE": "7"}) == {"output": "csv", "max-rate": 7}
    assert values(text, {}, "doctor") == {"context": "prod"}


def test_each_type() -> None:
    text = "backend: ebpf\ninsights: true\n"
    assert values(text, {}) == {"backend": ["ebpf"], "insights": True}
    environment = {"KDNS_BACKEND": "ebpf, hubble", "KDNS_INSIGHTS": "No"}
    assert values("", environment) == {"backend": ["ebpf", "hubble"], "insights": False}


def test_variables_of_others_are_passed_over() -> None:
    others = {
        "KDNS_SERVICE_HOST": "10.0.0.1",
        "KDNS_OUTPUT": "tcp://10.0.0.1:53",
        "OUTPUT": "x",
        "KDNS_BACKEND": "",
    }
    assert values("", others) == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ouput: wide", 'F: ouput: there is no such setting\ndid you mean "output"?'),
        ("trace: {context: x}", "F: trace.context: there is no such setting"),
        ("trace: 5", "F: trace: a mapping of its flags is needed"),
        ("'yes': true", "F: yes cannot be set here: no"),
        ("yes: true", "names of flags with their values are needed: YAML takes yes"),
        ("max-rate: fast", "F: max-rate: a whole number is needed"),
        ("max-rate: true", "F: max-rate: a whole number is needed"),
        ("insights: 1", "F: insights: true or false is needed"),
        ("output: on", "F: output: a text is needed"),
        ("output: [wide]", "F: output: a text is needed"),
        ("backend: [{a: b}]", "F: backend: a text is needed"),
        ("a: b: c", "F is no YAML: mapping values are not allowed here"),
        ("- output", "F: names of flags with their values are needed"),
    ],
)
def test_what_is_wrong_is_said(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parsed(text)
    assert words in str(raised.value)


@pytest.mark.parametrize("variable", ["KDNS_MAX_RATE", "KDNS_INSIGHTS"])
def test_a_variable_that_is_wrong_is_named(variable: str) -> None:
    with pytest.raises(ConfigError, match=f"{variable}=x"):
        parse_variables({variable: "x"}, COMMANDS)


TREE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text() | st.sampled_from([*COMMANDS["trace"], "trace"]), inner)
    ),
)


@given(TREE.map(yaml.safe_dump) | st.text())
def test_whatever_a_file_holds_it_is_settings_or_one_error(text: str) -> None:
    settings: list[Setting] = []
    with suppress(ConfigError):
        settings = parsed(text)
    assert all(each.command in ("", "trace", "doctor") for each in settings)


def test_nothing_that_hides_lookups_or_changes_a_cluster_may_be_set() -> None:
    names = {name for flags in settable_flags().values() for name in flags}
    assert names.isdisjoint({"filter", "failed", "rcode", "name", "limit", "enable", "apply", "force", "for"})
    assert names.isdisjoint(name for name in REFUSED if "password" not in name and name != "token")
    assert {"output", "color", "backend", "agent-namespace", "context", "coredns-selector"} <= names
