"""When a stream is to be opened again: nodes that started again, rings that were empty, silence."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from kdns_hubble.observer import NodeUptime
from kdns_hubble.uptimes import UptimeWatch, WatchEnd
from kubectl_kdns.errors import KdnsError

S = 1_000_000_000


class Times:
    """A watch whose clock a test sets; `check` at a second, of uptimes in seconds."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.watch = UptimeWatch(lambda: round(self.now_s * S))

    def check(self, at_s: float, *, took_s: float = 0, **uptimes_s: float) -> WatchEnd | None:
        self.now_s = at_s + took_s
        return self.watch.check([NodeUptime(n, round(s * S)) for n, s in uptimes_s.items()], round(at_s * S))


def test_nodes_that_go_on() -> None:
    times = Times()
    assert times.check(100, n1=50, n2=3000) is None
    assert times.check(105, n1=55.1, n2=3004.9) is None


def test_a_node_that_started_again() -> None:
    times = Times()
    times.check(100, n1=50, n2=3000)
    assert times.check(105, n1=2, n2=3005) == WatchEnd({"n1": 2 * S})
    assert times.check(110, n1=7, n2=3010) is None
    # It is young: when its ring has filled a little, once more.
    assert times.check(121, n1=18, n2=3021) == WatchEnd()
    assert times.check(126, n1=23, n2=3026) is None


def test_a_node_that_was_younger_than_the_time_between_two_looks() -> None:
    times = Times()
    times.check(100, n1=1)
    assert times.check(105, n1=3) == WatchEnd({"n1": 3 * S})


def test_an_answer_that_took_its_time_is_no_restart() -> None:
    """A relay gives uptimes of then, when the slowest node has answered."""
    times = Times()
    times.check(100, n1=50)
    assert times.check(105, took_s=8, n1=55) is None
    assert times.check(118, n1=68) is None
    assert times.check(123, n1=1) == WatchEnd({"n1": 1 * S})


def test_clocks_that_drift_are_no_restart() -> None:
    times = Times()
    uptime_s = 50.0
    for step in range(1000):
        assert times.check(5.0 * step, n1=uptime_s) is None
        uptime_s += 4.99


def test_nodes_that_join_and_come_back() -> None:
    times = Times()
    times.check(100, n1=50)
    assert times.check(105, n1=55, n2=4) is None
    assert times.check(110, n2=9) is None
    assert times.check(115, n1=65, n2=14) is None
    assert times.check(120, n1=70, n2=19) == WatchEnd()


class Stream:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Observer(Stream):
    """Gives these answers to `uptimes` in turn, the last for ever."""

    def __init__(self, *answers: Sequence[NodeUptime] | KdnsError, check: KdnsError | None = None) -> None:
        super().__init__()
        self._answers, self._check = list(answers), check
        self.asked = threading.Semaphore(0)
        self.answering = threading.Event()
        self.answering.set()

    def uptimes(self) -> Sequence[NodeUptime]:
        self.asked.release()
        self.answering.wait(10)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, KdnsError):
            raise answer
        return answer

    def check(self) -> None:
        if self._check:
            raise self._check


def start(observer: Any, stream: Any) -> UptimeWatch:
    watch = UptimeWatch(every_s=0.001)
    watch.start(observer, stream)
    return watch


def test_the_stream_is_closed_and_why_is_said_once() -> None:
    stream = Stream()
    observer = Observer([NodeUptime("n1", 3600 * S)], [NodeUptime("n1", 1)])
    watch = start(observer, stream)
    assert stream.closed.wait(10)
    assert watch.take_end() == WatchEnd({"n1": 1})
    assert watch.take_end() is None
    assert not observer.closed.is_set()


def test_where_nobody_answers_the_connection_is_closed() -> None:
    stream, failure = Stream(), KdnsError("nobody")
    observer = Observer(KdnsError("slow"), check=failure)
    watch = start(observer, stream)
    assert observer.closed.wait(10)
    end = watch.take_end()
    assert end is not None
    assert end.failure is failure


@pytest.mark.parametrize("answer", [KdnsError("one agent hangs"), ()])
def test_what_cannot_be_told_ends_nothing(answer: Any) -> None:
    stream = Stream()
    observer = Observer(answer)
    watch = start(observer, stream)
    for _ in range(3):
        assert observer.asked.acquire(timeout=10)
    watch.stop()
    assert watch.take_end() is None
    assert not stream.closed.is_set()


def test_what_is_learned_after_its_end_is_left_to_the_next_watch() -> None:
    stream, again = Stream(), Stream()
    observer = Observer([NodeUptime("n1", 3600 * S)], [NodeUptime("n1", 1)])
    watch = UptimeWatch(every_s=0.001)
    watch.check([NodeUptime("n1", 3600 * S)], 0)
    observer.answering.clear()
    watch.start(observer, stream)  # type: ignore[arg-type]
    assert observer.asked.acquire(timeout=10)
    watch.stop()
    observer.answering.set()
    watch.start(observer, again)  # type: ignore[arg-type]
    assert again.closed.wait(10)
    assert not stream.closed.is_set()
    assert watch.take_end() is not None
