"""The pipeline: every lookup is shown or filtered, sources are closed, history is held back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pytest

from kubectl_kdns.errors import BackendError
from kubectl_kdns.model import Dns, Lookup, Loss, Notice, Record
from kubectl_kdns.pipeline import Counts, Pipeline, Stop


def lookup(name: str, time: str = "2026-01-01T00:00:00.000000000Z") -> Lookup:
    return Lookup(time=time, dns=Dns(name=name))


@dataclass
class Batches:
    """A source of given batches; with `endless` it then waits for its close, giving heartbeats."""

    batches: list[list[Record]]
    endless: bool = False
    failure: Exception | None = None
    counters: Mapping[str, int] = field(default_factory=lambda: {"lines_read": 1})
    description: str = "batches"
    in_history: bool = False
    at_close: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[list[Record]]:
        yield from self.batches
        if self.failure:
            raise self.failure
        while self.endless and not self.closed.wait(0.01):
            yield []
        if self.at_close:
            yield self.at_close

    def close(self) -> None:
        self.closed.set()


@dataclass
class Sink:
    records: list[Record] = field(default_factory=list)
    fail_after: int | None = None
    flushes: int = 0

    def write(self, records: Sequence[Record]) -> None:
        if self.fail_after is not None and len(self.records) >= self.fail_after:
            raise BrokenPipeError
        self.records += records

    def flush(self) -> None:
        self.flushes += 1

    def names(self) -> list[str]:
        return [str(r.dns.name) for r in self.records if isinstance(r, Lookup) and isinstance(r.dns, Dns)]


def test_all_that_is_seen_is_shown_or_filtered() -> None:
    sources = [Batches([[lookup(f"{s}{i}") for i in range(10)] for _ in range(5)]) for s in "ab"]
    sink = Sink()
    pipeline = Pipeline(sources, sink, accept=lambda r: int(r.dns.name[1:]) % 2 == 0)
    pipeline.run()
    assert pipeline.counts == Counts(seen=100, shown=50, filtered=50)
    assert sorted(set(sink.names())) == [f"{s}{i}" for s in "ab" for i in (0, 2, 4, 6, 8)]
    assert all(source.closed.is_set() for source in sources)
    assert pipeline.counters() == {"lines_read": 2}
    assert sink.flushes >= 1


def test_names_are_given_before_the_filter_decides() -> None:
    sink = Sink()

    def name(record: Lookup) -> None:
        record.node = "n1"

    Pipeline([Batches([[lookup("a")]])], sink, accept=lambda r: r.node == "n1", name=name).run()
    assert sink.names() == ["a"]


def test_other_kinds_pass_the_filter_and_are_observed() -> None:
    sink, observed = Sink(), []
    records: list[Record] = [Loss(reason="queue"), lookup("a"), Notice(code="x")]
    Pipeline([Batches([records])], sink, accept=lambda _: False, on_record=observed.append).run()
    assert [type(r) for r in sink.records] == [Loss, Notice]
    assert observed == sink.records


def test_limit_counts_lookups_and_ends_an_endless_source() -> None:
    sink = Sink()
    source = Batches([[lookup("a"), Notice(code="n"), lookup("b"), lookup("c")]], endless=True)
    pipeline = Pipeline([source], sink, limit=2)
    pipeline.run()
    assert sink.names() == ["a", "b"]
    assert pipeline.counts == Counts(seen=2, shown=2, filtered=0)
    assert source.closed.is_set()


def test_last_shows_the_newest_of_history_in_order_then_goes_on() -> None:
    old = [lookup(f"old{i}", f"2026-01-01T00:00:0{i}.000000000Z") for i in (3, 1, 2, 0)]
    new = lookup("new", "2026-01-02T00:00:00.000000000Z")
    sink = Sink()
    source = Batches([old[:2], [new], old[2:], [], [lookup("newer", "2026-01-02T00:00:01.000000000Z")]])
    pipeline = Pipeline([source], sink, last=3, live_from="2026-01-02")
    pipeline.run()
    assert sink.names() == ["old0", "old1", "old2", "new", "newer"]
    assert pipeline.counts == Counts(seen=6, shown=5, filtered=1, older=1)
    assert pipeline.counters()["older_than_last"] == 1


def test_the_heartbeat_of_one_source_does_not_end_the_history_of_another() -> None:
    class Slow(Batches):
        def __iter__(self) -> Iterator[list[Record]]:
            yield [lookup("old0", "2026-01-01T00:00:00.000000000Z")]
            beating.passed.wait(5)
            yield [lookup("old1", "2026-01-01T00:00:01.000000000Z")]
            self.in_history = False

    class Beating(Batches):
        passed = threading.Event()

        def __iter__(self) -> Iterator[list[Record]]:
            for _ in range(20):  # more than the queue holds: the first have been seen
                yield []
            self.passed.set()

    sink = Sink()
    beating = Beating([])
    Pipeline([Slow([], in_history=True), beating], sink, last=1, live_from="2026-01-02").run()
    assert sink.names() == ["old1"]


def test_since_and_until_bound_what_is_shown() -> None:
    records = [lookup(str(i), f"2026-01-01T00:00:0{i}.000000000Z") for i in range(5)]
    sink = Sink()
    pipeline = Pipeline(
        [Batches([records])], sink, since="2026-01-01T00:00:01", until="2026-01-01T00:00:03.5"
    )
    pipeline.run()
    assert sink.names() == ["1", "2", "3"]
    assert pipeline.counts == Counts(seen=5, shown=3, filtered=2)


def test_the_error_of_a_source_is_raised_after_its_records() -> None:
    sink = Sink()
    good = Batches([[lookup("b")]])
    with pytest.raises(BackendError, match="gone"):
        Pipeline([Batches([[lookup("a")]], failure=BackendError("gone")), good], sink).run()
    assert sorted(sink.names()) == ["a", "b"]
    assert good.closed.is_set()


def test_a_closed_pipe_closes_the_sources() -> None:
    source = Batches([[lookup("a")], [lookup("b")]], endless=True)
    with pytest.raises(BrokenPipeError):
        Pipeline([source], Sink(fail_after=0)).run()
    assert source.closed.is_set()


def test_a_stop_lets_sources_hand_over_what_they_hold() -> None:
    sink, stop = Sink(), Stop()
    source = Batches([[lookup("a")]], endless=True, at_close=[lookup("pending")])

    def stop_at_first(_record: Lookup) -> bool:
        stop.handle(2, None)
        return True

    pipeline = Pipeline([source], sink, accept=stop_at_first, stop=stop)
    with pytest.raises(KeyboardInterrupt):
        pipeline.run()  # the second record of this filter is a second signal
    stop = Stop()
    source = Batches([[lookup("a")]], endless=True, at_close=[lookup("pending")])
    sink = Sink()
    Pipeline([source], sink, stop=stop, on_tick=lambda: bool(sink.records)).run()
    assert sink.names() == ["a", "pending"]


def test_a_second_signal_interrupts() -> None:
    stop = Stop()
    stop.handle(15, None)
    assert (stop.requested, stop.signal) == (True, 15)
    with pytest.raises(KeyboardInterrupt):
        stop.handle(2, None)


def test_for_ends_the_run() -> None:
    source = Batches([[lookup("a")]], endless=True)
    sink = Sink()
    Pipeline([source], sink, for_s=0.0).run()
    assert source.closed.is_set()


def test_a_slow_sink_makes_readers_wait_and_loses_nothing() -> None:
    release = threading.Event()

    class Slow(Sink):
        def write(self, records: Sequence[Record]) -> None:
            release.wait(5)
            super().write(records)

    sink = Slow()
    source = Batches([[lookup(str(i))] for i in range(200)])
    threading.Timer(0.3, release.set).start()
    Pipeline([source], sink).run()
    assert sink.names() == [str(i) for i in range(200)]
