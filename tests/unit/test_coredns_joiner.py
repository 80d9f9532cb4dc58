"""Which [ERROR] line belongs to which lookup."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kdns_coredns import joiner as joiner_module
from kdns_coredns.joiner import LONGEST_NS, WINDOW_LINES, WINDOW_NS, Joiner
from kdns_coredns.notes import LoggedError
from kubectl_kdns.model import Dns, Error, Lookup, Maybe, Server, Upstream

T0 = 1_000_000_000_000


def unwritten(name: str = "a", *, port: int = 1, pod: str = "p", latency_ms: float = 2000.0) -> Lookup:
    """A lookup without an answer; `port` (as dns.id) tells it from others."""
    return Lookup(
        status="unwritten",
        latency_ms=latency_ms,
        server=Server(pod=pod),
        dns=Dns(id=port, name=name, type="A", response_class="error"),
    )


def servfail(name: str = "a") -> Lookup:
    return Lookup(
        status="answered",
        latency_ms=2000.0,
        server=Server(pod="p"),
        dns=Dns(name=name, type="A", rcode="SERVFAIL"),
    )


def error(name: str = "a", rcode: int = 2, kind: str = "timeout", cause: str = "why") -> LoggedError:
    return LoggedError(rcode, name, "A", Error(kind, cause), Upstream("10.0.0.1", 53))


def ids(lookups: list[Lookup]) -> list[Maybe[int]]:
    return [lookup.dns.id for lookup in lookups if lookup.dns]


def test_a_silent_failure_gets_its_code_and_cause() -> None:
    joiner, lookup = Joiner(), unwritten()
    assert joiner.lookup(lookup, T0, 1) == []
    assert joiner.error(error(), "p", T0 + 1000, 2) == [lookup]
    assert lookup == Lookup(
        status="answered",
        latency_ms=2000.0,
        inferred=["status", "dns.rcode"],
        server=Server(pod="p"),
        dns=Dns(id=1, name="a", type="A", rcode="SERVFAIL", response_class="error"),
        upstream=Upstream("10.0.0.1", 53),
        error=Error("timeout", "why"),
    )
    assert (joiner.joined, joiner.alone, joiner.idle) == (1, 0, True)


def test_a_logged_failure_gets_its_cause_only() -> None:
    joiner, lookup = Joiner(), servfail()
    joiner.lookup(lookup, T0, 1)
    [joined] = joiner.error(error(), "p", T0, 2)
    assert (joined.status, joined.inferred, joined.error) == ("answered", UNSET, Error("timeout", "why"))


@pytest.mark.parametrize(
    ("rcode", "status", "name"),
    [
        (1, "answered", "FORMERR"),
        (2, "answered", "SERVFAIL"),
        (4, "answered", "NOTIMP"),
        (5, "answered", "REFUSED"),
        (0, "unwritten", UNSET),
        (3, "unwritten", UNSET),
        (-1, "unwritten", UNSET),
    ],
)
def test_codes_that_the_server_answers_with(rcode: int, status: str, name: Maybe[str]) -> None:
    joiner = Joiner()
    joiner.lookup(unwritten(), T0, 1)
    [joined] = joiner.error(error(rcode=rcode), "p", T0, 2)
    assert joined.dns
    assert (joined.status, joined.dns.rcode, bool(joined.error)) == (status, name, True)


def test_the_error_may_come_first() -> None:
    joiner, lookup = Joiner(), unwritten()
    assert joiner.error(error(), "p", T0, 1) == []
    assert joiner.lookup(lookup, T0 + 1000, 2) == [lookup]
    assert lookup.status == "answered"


def test_lookups_at_the_same_time_get_one_error_each_in_order() -> None:
    joiner = Joiner()
    for number in (1, 2, 3):
        joiner.lookup(unwritten(port=number), T0 + number, number)
    released = [joiner.error(error(cause=f"e{n}"), "p", T0 + 10, 3 + n) for n in (1, 2, 3)]
    assert [(ids(batch), batch[0].error.message) for batch in released if batch[0].error] == [
        ([1], "e1"),
        ([2], "e2"),
        ([3], "e3"),
    ]
    assert joiner.error(error(), "p", T0 + 10, 9) == []


@pytest.mark.parametrize("other", [error("b"), msgspec.structs.replace(error(), type="AAAA")])
def test_errors_of_other_names_and_types(other: LoggedError) -> None:
    joiner = Joiner()
    joiner.lookup(unwritten(), T0, 1)
    assert joiner.error(other, "p", T0, 2) == []
    assert joiner.error(error(), "q", T0, 3) == []
    assert ids(joiner.drain()) == [1]
    assert (joiner.joined, joiner.alone) == (0, 2)


def test_nothing_times_out_at_once() -> None:
    """A query that was dropped, then one of the same name that timed out: the error is the second one's."""
    joiner = Joiner()
    joiner.lookup(unwritten(port=1, latency_ms=0.02), T0, 1)
    joiner.lookup(unwritten(port=2, latency_ms=4001.8), T0, 2)
    assert ids(joiner.error(error(), "p", T0, 3)) == [2]
    assert ids(joiner.error(error(kind="refused"), "p", T0, 4)) == [1]


@pytest.mark.parametrize(
    ("passed_ns", "lines", "expired"),
    [
        (WINDOW_NS, 1000, False),
        (WINDOW_NS + 1, WINDOW_LINES, False),
        (WINDOW_NS + 1, WINDOW_LINES + 1, True),
        (LONGEST_NS + 1, 1, True),
        (None, WINDOW_LINES, False),
        (None, WINDOW_LINES + 1, True),
        (-LONGEST_NS, 1000, False),
    ],
)
def test_how_long_a_lookup_waits(passed_ns: int | None, lines: int, expired: bool) -> None:
    joiner = Joiner()
    joiner.lookup(unwritten(), T0, 1)
    joiner.error(error("b"), "p", T0, 1)
    assert bool(joiner.expire(None if passed_ns is None else T0 + passed_ns, 1 + lines)) is expired
    assert joiner.alone == expired


def test_no_more_wait_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joiner_module, "MAX_WAITING", 3)
    joiner = Joiner()
    released = [joiner.lookup(unwritten(str(number), port=number), T0, number) for number in range(5)]
    assert list(map(ids, released)) == [[], [], [], [0], [1]]
    for number in range(5):
        joiner.error(error(f"x{number}"), "p", T0, 5)
    assert joiner.alone == 2


events = st.tuples(
    st.sampled_from(["lookup", "servfail", "error", "expire"]),
    st.sampled_from(["a", "b"]),
    st.sampled_from([0, 1000, WINDOW_NS, LONGEST_NS]),
)


@given(st.lists(events, max_size=40))
def test_every_lookup_leaves_once(script: list[tuple[str, str, int]]) -> None:
    """Whatever the order: every lookup comes out once, every error is joined or alone, nothing is left."""
    joiner, time_ns = Joiner(), T0
    came: list[Lookup] = []
    left: list[Lookup] = []
    errors = 0
    for line, (kind, name, wait_ns) in enumerate(script):
        time_ns += wait_ns
        if kind == "error":
            errors += 1
            left += joiner.error(error(name), "p", time_ns, line)
        elif kind == "expire":
            left += joiner.expire(time_ns, line)
        else:
            came.append(unwritten(name) if kind == "lookup" else servfail(name))
            left += joiner.lookup(came[-1], time_ns, line)
    left += joiner.drain()
    assert sorted(map(id, left)) == sorted(map(id, came))
    assert joiner.idle
    assert joiner.joined + joiner.alone == errors
    assert sum(bool(lookup.error) for lookup in left) == joiner.joined
    assert all(msgspec.json.encode(lookup) for lookup in left)
