"""Lines that are no queries: errors, reloads, the kubelet's words, JSON logs."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kdns_coredns.notes import (
    LoggedError,
    classic_line,
    consolidated,
    is_like_a_query,
    kubelet_message,
    logged_error,
    reload_event,
)
from kubectl_kdns.model import Error, Maybe, Upstream


@pytest.mark.parametrize(
    ("cause", "kind", "upstream"),
    [
        ("read udp 127.0.0.1:33180->127.0.0.1:5999: i/o timeout", "timeout", Upstream("127.0.0.1", 5999)),
        ("read udp [::1]:5->[2001:DB8::1]:53: i/o timeout", "timeout", Upstream("2001:db8::1", 53)),
        ("read tcp 10.0.0.1:5->10.0.0.2:853: read: connection reset", "network", Upstream("10.0.0.2", 853)),
        ("dial udp 10.0.0.53:53: connect: network is unreachable", "network", Upstream("10.0.0.53", 53)),
        ("dial tcp [fd00::53]:53: connect: connection refused", "refused", Upstream("fd00::53", 53)),
        ("dial udp 10.0.0.53:53: socket: too many open files", "other", Upstream("10.0.0.53", 53)),
        ("context deadline exceeded", "timeout", UNSET),
        ("dns: overflow unpacking uint16", "malformed", UNSET),
        ("plugin/forward: no healthy proxies", "other", UNSET),
        ("unreachable backend: EOF", "network", UNSET),
        ("write udp 10.0.0.1:5->10.0.0.2:53: operation not permitted", "network", Upstream("10.0.0.2", 53)),
    ],
)  # fmt: skip
def test_causes(cause: str, kind: str, upstream: Maybe[Upstream]) -> None:
    found = logged_error(f"plugin/errors: 2 cart.shop. A: {cause}")
    assert found == LoggedError(2, "cart.shop", "A", Error(kind, cause), upstream)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (r"plugin/errors: 2 my\ host\..x. TYPE65: e", (2, r"my\032host\..x", "HTTPS")),
        ("plugin/errors: 2 . NS: e", (2, ".", "NS")),
        ("plugin/errors: -1 a. A: e", (-1, "a", "A")),
        ("plugin/errors: 2 a. A: ", (2, "a", "A")),
    ],
)
def test_names_of_errors(text: str, found: tuple[int, str, str]) -> None:
    error = logged_error(text)
    assert error
    assert (error.rcode, error.name, error.type) == found


def test_causes_are_made_safe() -> None:
    error = logged_error("plugin/errors: 2 a. A: \x1b[2J")
    assert error
    assert error.error.message == r"\027[2J"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plugin/errors: 2 a b A: e",
        "plugin/errors: x a. A: e",
        "plugin/errors: 13 errors like '^read: i/o timeout$' occurred in last 30s",
        "plugin/forward: 2 a. A: e",
    ],
)
def test_what_is_no_error_of_a_lookup(text: str) -> None:
    assert logged_error(text) is None


def test_consolidated_errors() -> None:
    assert consolidated("plugin/errors: 13 errors like '^read: \x1b i/o$' occurred in last 30s") == (
        13,
        r"13 errors like '^read: \027 i/o$' in 30s: the Corefile consolidates them, so their lookups"
        " cannot be told",
    )
    assert consolidated("plugin/errors: 2 a. A: e") is None


@pytest.mark.parametrize(
    ("line", "event"),
    [
        (b"2026-11-23T10:00:00Z [INFO] Reloading complete", "corefile_reloaded"),
        (b"[ERROR] plugin/reload: Corefile changed but reload failed: Corefile:4 - x", "corefile_rejected"),
        (b"[WARNING] plugin/reload: Corefile parse failed: x", "corefile_rejected"),
        (b"[INFO] Reloading", None),
        (b"[INFO] plugin/reload: Running configuration SHA512 = 1b22", None),
        (b"", None),
    ],
)
def test_reloads(line: bytes, event: str | None) -> None:
    assert reload_event(line) == event


@pytest.mark.parametrize(
    ("line", "is_message"),
    [
        ("unable to retrieve container logs for containerd://0f1e", True),
        ('failed to watch file "/var/log/pods/x/0.log": no such file or directory', True),
        ('failed to try resolving symlinks in path "/var/log/pods/x": lstat', True),
        ("rpc error: code = NotFound desc = an error occurred", True),
        ("2026-11-23T10:00:00Z [INFO] rpc error: code = ", False),
        (".:53", False),
    ],
)
def test_words_of_the_kubelet(line: str, is_message: bool) -> None:
    assert kubelet_message(line) == (line if is_message else None)


@pytest.mark.parametrize(
    ("text", "is_query"),
    [
        ("10.0.0.1 asked for a. in 0.001s", True),
        ("a. udp", True),
        ("qr,rd", True),
        ("plugin/health: took 1.5s", False),
        ("SIGTERM: Shutting down servers then terminating", False),
        ("", False),
    ],
)
def test_lines_that_look_like_queries(text: str, is_query: bool) -> None:
    assert is_like_a_query(text) is is_query


@pytest.mark.parametrize(
    ("line", "classic"),
    [
        ("[INFO] x", "[INFO] x"),
        ('T {"level":"INFO","msg":"a \\"b\\""}', 'T [INFO] a "b"'),
        ('{"time":"T0","level":"ERROR","msg":"x","plugin":"errors"}', "T0 [ERROR] plugin/errors: x"),
        ('{"level":"ERROR","msg":"x","plugin":"plugin/errors"}', " [ERROR] plugin/errors: x"),
        ('T {"msg":"a\\nb"}', r"T [INFO] a\010b"),
        ('T {"msg":7}', 'T {"msg":7}'),
        ('T {"msg":', 'T {"msg":'),
        ('T {"qname":"x"}', 'T {"qname":"x"}'),
    ],
)  # fmt: skip
def test_json_lines(line: str, classic: str) -> None:
    assert classic_line(line) == classic


@given(st.text(), st.text(), st.text())
def test_any_json_line_stays_one_line(message: str, level: str, time: str) -> None:
    line = json.dumps(
        {"time": time, "level": level, "msg": message, "plugin": [None, message][len(message) % 2]}
    )
    assert "\n" not in classic_line(line)


@given(st.text())
def test_fuzz(text: str) -> None:
    for error in (logged_error(text), logged_error(f"plugin/errors: 2 {text} A: {text}")):
        if error:
            assert error.name.isprintable()
            assert error.error.message
            assert error.error.message.isprintable()
    consolidated(text)
    reload_event(text.encode("utf-8", "replace"))
    classic_line(text)
