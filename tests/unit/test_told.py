"""What is remembered of lookups that were told, and for how long."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from kubectl_kdns import told
from kubectl_kdns.dns.message import DecodedMessage
from kubectl_kdns.messages import NO_ID, Asked, Exchange
from kubectl_kdns.told import Told

MESSAGE = DecodedMessage(0, name="a.b", type="A")
SPAN_NS = 1000


def exchange(number: int) -> Exchange:
    return "10.0.0.1", number, UNSET, UNSET, "udp", NO_ID


def add(memory: Told, number: int, told_ns: int) -> None:
    key = exchange(number)
    memory.add(key, Asked(0, key, MESSAGE, 0, None, 0, 0, told=told_ns))


def known(memory: Told, number: int, clock: int) -> bool:
    return memory.find(exchange(number), MESSAGE, clock) is not None


def size(memory: Told) -> int:
    return len(memory._recent) + len(memory._older)


@pytest.mark.parametrize("step_ns", [1, 10, 400, 999, 1000, 1001, 5000])
def test_what_was_told_within_the_span_is_known_and_the_rest_is_forgotten(step_ns: int) -> None:
    """A source of many nodes has a memory for each: it must not keep what nobody can ask for."""
    memory = Told(SPAN_NS)
    for number in range(3000):
        clock = number * step_ns
        add(memory, number, clock)
        oldest = max(0, number - SPAN_NS // step_ns)
        assert known(memory, oldest, clock)
        assert not known(memory, oldest - 1, clock)
        assert size(memory) <= 2 * (SPAN_NS // step_ns + 2)


def test_at_most_so_many_are_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "MAX_REMEMBERED", 100)
    memory = Told(SPAN_NS)
    for number in range(1000):
        add(memory, number, 0)
        assert all(known(memory, one, 0) for one in range(max(0, number - 99), number + 1))
        assert size(memory) <= 200
