"""History in the order of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble.history import TimeOrder
from kubectl_kdns.model import Lookup, Loss, Message, Notice, Record


def lookup(second: int) -> Lookup:
    return Lookup(time=f"2026-11-23T10:00:{second:02}.000000000Z")


def test_in_order_of_time_and_stable() -> None:
    order = TimeOrder()
    first, second = lookup(5), lookup(5)
    assert order.add([lookup(9), first, second]) == []
    assert order.add([lookup(1)]) == []
    rest = order.rest()
    assert [record.time[-13:-11] for record in rest if isinstance(record.time, str)] == [
        "01",
        "05",
        "05",
        "09",
    ]
    assert rest[1] is first
    assert rest[2] is second
    assert order.rest() == []


def test_what_is_no_lookup_passes_at_once() -> None:
    order = TimeOrder()
    told: list[Record] = [Notice(code="x"), Loss(reason="queue")]
    assert order.add([lookup(1), *told, Message(time=lookup(0).time)]) == told
    assert [record.kind for record in order.rest()] == ["message", "lookup"]


def test_a_lookup_without_time_goes_first() -> None:
    order = TimeOrder()
    order.add([lookup(1), Lookup()])
    assert [bool(record.time) for record in order.rest()] == [False, True]


@given(st.lists(st.integers(0, 59)), st.integers(1, 10))
def test_no_more_are_held_and_none_is_lost(seconds: list[int], held: int) -> None:
    order = TimeOrder(held)
    out: list[Record] = []
    for second in seconds:
        out += order.add([lookup(second)])
    assert len(out) == max(0, len(seconds) - held)
    out += order.rest()
    assert sorted(str(record.time) for record in out) == sorted(str(lookup(s).time) for s in seconds)
    if held >= len(seconds):
        assert [str(record.time) for record in out] == sorted(str(record.time) for record in out)
