"""What a relay holds back is fetched while flows come slowly, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from kdns_hubble import nudge as module
from kdns_hubble.flows import Response, Unread
from kdns_hubble.nudge import Nudge
from kdns_hubble.wire_flows import read_response
from kubectl_kdns.errors import KdnsError
from support.hubble_flows import START_NS, enveloped, lost, node_status, request


class Observer:
    """Gives these responses to each `history`, or raises; `nudge_s` is so short that nobody waits for it."""

    read: Callable[[bytes], Response] = staticmethod(read_response)

    def __init__(self, *messages: Any, nudge_s: float = 0.001, failure: KdnsError | None = None) -> None:
        self.nudge_s = nudge_s
        self._raws = [message.SerializeToString() for message in messages]
        self._failure = failure
        self.asked: list[tuple[int | None, int | None]] = []
        self.fetched = threading.Semaphore(0)

    def history(self, since_ns: int | None, last: int | None) -> Iterator[Sequence[bytes]]:
        self.asked.append((since_ns, last))
        if self._failure:
            self.fetched.release()
            raise self._failure
        yield from ([raw] for raw in self._raws)
        self.fetched.release()


@pytest.fixture
def made() -> Iterator[Callable[..., tuple[Nudge, list[Response]]]]:
    nudges: list[Nudge] = []

    def make(observer: Any) -> tuple[Nudge, list[Response]]:
        put: list[Response] = []
        nudge = Nudge(observer, lambda batch: put.extend(map(read_response, batch)))
        nudges.append(nudge)
        return nudge, put

    yield make
    for nudge in nudges:
        nudge.stop()


Made = Callable[[Any], tuple[Nudge, list[Response]]]


def test_the_last_seconds_are_fetched_again_while_flows_come_slowly(made: Made) -> None:
    observer = Observer(enveloped(request("held.test.")))
    nudge, put = made(observer)
    nudge.seen(1, START_NS)
    for _ in range(3):
        assert observer.fetched.acquire(timeout=10)
    assert observer.asked[0] == (START_NS - module.OVERLAP_NS, None)
    assert put


def test_only_flows_are_of_interest(made: Made) -> None:
    observer = Observer(node_status("NODE_CONNECTED", "n1"), lost("HUBBLE_RING_BUFFER"))
    nudge, put = made(observer)
    nudge.seen(1, START_NS)
    assert observer.fetched.acquire(timeout=10)
    assert not [response for response in put if not isinstance(response, Unread)]


class Turns:
    """Stands for the event that stops it: in each turn so many flows are seen; then it stops."""

    def __init__(self, nudge: Nudge, flows: Sequence[int]) -> None:
        self._nudge, self._flows = nudge, list(flows)

    def wait(self, _timeout_s: float) -> bool:
        if not self._flows:
            return True
        if flows := self._flows.pop(0):
            self._nudge.seen(flows, START_NS)
        return False

    def set(self) -> None:
        self._flows = []


@pytest.mark.parametrize(
    ("flows", "asked"),
    [([], 0), ([1], 1), ([24], 1), ([25], 0), ([10_000] * 5, 0), ([10_000, 0, 0], 2), ([1, 30, 1], 2)],
)
def test_only_when_they_come_slowly(made: Made, flows: list[int], asked: int) -> None:
    """A quarter of a second, in which 25 flows are many."""
    nudge, _ = made(Observer(nudge_s=0.0))
    observer = Observer(nudge_s=0.25)
    nudge._observer, nudge._stopped = observer, Turns(nudge, flows)  # type: ignore[assignment]
    nudge._wanted.set()
    nudge._until_s = float("inf")
    nudge._run()
    assert len(observer.asked) == asked


def test_it_rests_when_no_flow_comes_any_more(made: Made) -> None:
    """The relay lets go of what is a second old by itself."""
    nudge, _ = made(Observer(nudge_s=0.0))
    observer = Observer(nudge_s=0.25)
    waits: list[bool] = []

    class Wanted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(self.is_set())
            return self.is_set() and super().wait(timeout)

    nudge._observer, nudge._stopped = observer, Turns(nudge, [0] * 5)  # type: ignore[assignment]
    nudge._wanted = Wanted()
    nudge._wanted.set()
    nudge._run()
    assert waits == [True, False]
    assert observer.asked == []


def test_a_failure_is_left_to_the_stream(made: Made) -> None:
    observer = Observer(failure=KdnsError("gone"))
    nudge, put = made(observer)
    nudge.seen(1, START_NS)
    for _ in range(2):
        assert observer.fetched.acquire(timeout=10)
    assert put == []


def test_who_holds_back_nothing_is_not_asked(made: Made) -> None:
    before = threading.active_count()
    nudge, _ = made(Observer(nudge_s=0.0))
    nudge.seen(1, START_NS)
    assert threading.active_count() == before
