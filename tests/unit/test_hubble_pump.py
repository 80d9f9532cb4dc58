"""The thread that reads a stream: what comes, in order; the end, and why; and that it waits for who reads."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest

from kdns_hubble import pump as module
from kdns_hubble.flows import Response, Unread
from kdns_hubble.pump import Pump
from kubectl_kdns.errors import KdnsError


class Script:
    """A stream of these batches; it stops before an Event until that is set, and raises an exception."""

    def __init__(self, *items: Sequence[bytes] | threading.Event | Exception) -> None:
        self._items = items
        self.given = 0
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        for item in self._items:
            if isinstance(item, Exception):
                raise item
            if isinstance(item, threading.Event):
                item.wait(10)
                continue
            self.given += 1
            yield item

    def close(self) -> None:
        self.closed.set()
        for item in self._items:
            if isinstance(item, threading.Event):
                item.set()


def read(raw: bytes) -> Response:
    return Unread(raw.decode())


def taken(pump: Pump) -> list[str]:
    """All, to the end."""
    texts = []
    while (responses := pump.take(10)) is not None:
        texts += [response.reason for response in responses if isinstance(response, Unread)]
    return texts


def test_all_in_order_and_the_end() -> None:
    pump = Pump(Script([b"1", b"2"], [], [b"3"]), read)
    assert taken(pump) == ["1", "2", "3"]
    assert pump.take(10) is None
    pump.close()


def test_what_ended_it_comes_after_all_before_it_and_again() -> None:
    pump = Pump(Script([b"1"], [b"2"], KdnsError("broken")), read)
    texts: list[Response] = []
    while len(texts) < 2:
        texts += pump.take(10) or []
    assert texts == [Unread("1"), Unread("2")]
    for _ in range(2):
        with pytest.raises(KdnsError, match="broken"):
            pump.take(10)
    pump.close()


def test_nothing_for_a_while_is_an_empty_list() -> None:
    go_on = threading.Event()
    pump = Pump(Script(go_on, [b"1"]), read)
    assert pump.take(0.01) == []
    go_on.set()
    assert taken(pump) == ["1"]
    pump.close()


def test_from_elsewhere() -> None:
    never = threading.Event()
    pump = Pump(Script(never), read)
    pump.put([b"9"])
    assert pump.take(10) == [Unread("9")]
    pump.close()
    assert taken(pump) == []


def test_not_too_much_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TAKEN", 3)
    pump = Pump(Script(*[[b"%d" % number] for number in range(10)]), read)
    sizes = []
    while responses := pump.take(10):
        sizes.append(len(responses))
    assert max(sizes) <= 3
    assert sum(sizes) == 10


@pytest.mark.parametrize(("size", "most"), [(10, 6), (module.LARGE_BYTES, 1)])
def test_a_reader_that_is_slow_holds_the_stream(
    monkeypatch: pytest.MonkeyPatch, size: int, most: int
) -> None:
    """Of large responses only one waits: they would fill the memory."""
    waits: list[int] = []
    held = threading.Event()
    script = Script(*[[b"x" * size]] * 20)

    def sleep(_seconds: float) -> None:
        waits.append(script.given)
        held.set()
        released.wait(10)

    released = threading.Event()
    monkeypatch.setattr(module, "MAX_WAITING", 5)
    monkeypatch.setattr(module.time, "sleep", sleep)
    pump = Pump(script, read)
    assert held.wait(10)
    assert waits == [most]
    released.set()
    assert len(taken(pump)) == 20
    pump.close()


def test_close_ends_the_thread_though_nobody_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 0)
    script = Script(*[[b"x"]] * 5)
    pump = Pump(script, read)
    pump.close()
    assert script.closed.is_set()
    assert len(taken(pump)) == 5
