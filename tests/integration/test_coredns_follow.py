"""What of the logs is read, and how it comes to whoever reads it."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kdns_coredns import follow
from kdns_coredns.discover import CorednsPod, discover
from kdns_coredns.log_reader import LogReader
from kubectl_kdns.kube import Cluster
from kubectl_kdns.model import Record
from kubectl_kdns.times import parse_time
from support.api_server import ApiServer, PodLog, Reply, failure
from support.following import LOG, NOW, START_NS, Following, LineDecoder, coredns_object, is_log

pytest_plugins = ["support.coredns_fixtures"]
pytestmark = pytest.mark.usefixtures("short_waits", "no_thread_stays")


# What is read


def test_from_now_on_is_what_comes_after_the_last_line(log: PodLog, cluster: Cluster) -> None:
    log.write("old 1", "old 2")
    with Following(cluster) as run:
        log.wait_for_readers()
        log.write("new 1", at=NOW)
        log.write("new 2")
        run.wait_for_line("new 2")
    assert run.lines() == ["new 1", "new 2"]
    assert run.losses() == []
    assert run.follower.counters == {"lines_read": 2, "lines_too_long": 0, "log_reconnects": 0}


def test_from_now_on_needs_no_clock_like_the_nodes(log: PodLog, cluster: Cluster) -> None:
    """Our clock is a second ahead of the node's: its new lines look old."""
    log.write("old")
    with Following(cluster) as run:
        log.wait_for_readers()
        log.write("new 1", "new 2")
        run.wait_for_line("new 2")
    assert run.lines() == ["new 1", "new 2"]


def test_a_line_between_the_start_and_the_connection_is_shown(log: PodLog, cluster: Cluster) -> None:
    log.write("old")
    log.write("just now", at=START_NS)
    with Following(cluster) as run:
        run.wait_for_line("just now")
    assert run.lines() == ["just now"]
    assert run.follower.counters["log_reconnects"] == 0


@pytest.mark.parametrize("chunk_bytes", [0, 1, 7, 100])
def test_history_is_the_whole_log(server: ApiServer, log: PodLog, cluster: Cluster, chunk_bytes: int) -> None:
    server.chunk_bytes = chunk_bytes
    lines = [f"line {i} {'x' * (i % 50)}" for i in range(100)]
    log.write(*lines)
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert (run.lines(), run.losses(), run.failure) == (lines, [], None)


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"tail": 2}, ["c", "d"]),
        ({"since_ns": parse_time("2026-11-23T10:00:05.9Z")}, ["b", "c", "d"]),
        ({"since_ns": parse_time("2026-11-23T10:00:06Z")}, ["c", "d"]),
        ({"since_ns": parse_time("2026-11-23T10:00:06Z"), "tail": 1}, ["d"]),
        ({"previous": True}, ["p", "q"]),
        ({"previous": True, "tail": 1}, ["q"]),
    ],
)
def test_bounds(log: PodLog, cluster: Cluster, scope: dict[str, Any], expected: list[str]) -> None:
    log.write("p", "q")
    log.restart()
    for second, text in ((1, "a"), (5, "b"), (6, "c"), (7, "d")):
        log.write(text, at=f"2026-11-23T10:00:0{second}Z")
    with Following(cluster, follow=False, **scope) as run:
        run.wait_for_end()
    assert (run.lines(), run.losses()) == (expected, [])


def test_history_then_what_comes(log: PodLog, cluster: Cluster) -> None:
    log.write("a", "b", "c")
    with Following(cluster, history=True, tail=2) as run:
        run.wait_for_line("c")
        log.write("d")
        run.wait_for_line("d")
    assert run.lines() == ["b", "c", "d"]


def test_previous_then_what_comes(log: PodLog, cluster: Cluster) -> None:
    log.write("a", "b")
    log.restart()
    log.write("c")
    with Following(cluster, history=True, previous=True) as run:
        run.wait_for_line("c")
        log.write("d")
        run.wait_for_line("d")
    assert (run.lines(), run.notices(), run.losses()) == (["a", "b", "c", "d"], [], [])


def test_no_previous_log_is_said(log: PodLog, cluster: Cluster) -> None:
    log.write("a")
    with Following(cluster, follow=False, previous=True) as run:
        run.wait_for_end()
    [(code, message)] = run.notices()
    assert code == "log_unavailable"
    assert message.startswith("coredns-a: no log to read: ")
    assert "previous terminated container" in message


def test_bytes_are_passed_on_as_they_are(log: PodLog, cluster: Cluster) -> None:
    log.write(b"\xff\xfe\x00\r", "")
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert run.lines() == ["\xff\xfe\x00\r", ""]


def test_the_last_line_may_have_no_newline(server: ApiServer, cluster: Cluster) -> None:
    server.script(LOG, Reply(body=b"2026-11-23T10:00:00Z a\n2026-11-23T10:00:01Z b"))
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert run.lines() == ["a", "b"]


def test_a_line_too_long_is_counted(log: PodLog, cluster: Cluster) -> None:
    log.write("a", "b" * 1_200_000, "c", "d" * 700_000)
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert [line[:1] for line in run.lines()] == ["a", "c", "d"]
    assert run.follower.counters["lines_too_long"] == 1
    assert [(loss.reason, loss.count) for loss in run.losses()] == [("truncated", 1)]


# The consumer


class CountingDecoder(LineDecoder):
    """Counts blocks and tells `fed` when there are `wanted` of them."""

    def __init__(self, pod: CorednsPod, container: str) -> None:
        super().__init__(pod, container)
        self.blocks, self.fed = 0, threading.Event()

    def feed(self, block: bytes) -> list[Record]:
        self.blocks += 1
        if self.blocks == 10:
            self.fed.set()
        return super().feed(block)


def test_a_slow_reader_slows_the_log_down(log: PodLog, cluster: Cluster) -> None:
    decoders: list[CountingDecoder] = []

    def make(pod: CorednsPod, container: str) -> CountingDecoder:
        decoders.append(CountingDecoder(pod, container))
        return decoders[-1]

    lines = [f"{i} {'x' * 1000}" for i in range(20_000)]
    log.write(*lines)
    with Following(cluster, make, follow=False) as run:
        run.go_on.clear()
        run.wait_for(lambda run: run.records)
        assert decoders[0].fed.wait(10)
        # Eight batches in the queue, one or two with the consumer, one waits for room.
        assert decoders[0].blocks <= 11
        run.go_on.set()
        run.wait_for_end()
    assert run.lines() == lines


@pytest.mark.parametrize("state", ["reading", "waiting to try again", "connecting", "full queue"])
def test_close_ends_everything_soon(server: ApiServer, log: PodLog, cluster: Cluster, state: str) -> None:
    if state == "waiting to try again":
        server.script(LOG, failure(503, "Unavailable", Retry_After="30"), forever=True)
    elif state == "full queue":
        log.write(*["x" * 1000] * 20_000, at=NOW)
    elif state == "connecting":
        log.rotate()  # an empty log: a kubelet sends not even a status
    with Following(cluster, history=state == "full queue") as run:
        server.wait_for(lambda server: server.count(LOG) > 0)
        if state == "full queue":
            run.go_on.clear()
            run.wait_for(lambda run: run.records)
        elif state == "reading":
            log.write("a", at=NOW)
            run.wait_for_line("a")
        closer = threading.Thread(target=run.follower.close)
        closer.start()
        closer.join(5)
        assert not closer.is_alive()
        run.follower.close()
        run.go_on.set()
        run.wait_for_end()
    assert run.failure is None


def test_close_does_not_wait_for_what_hangs(
    log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "CLOSE_WAIT_S", 0.01)
    hanging, go_on = threading.Event(), threading.Event()

    class Hanging(LineDecoder):
        def feed(self, block: bytes) -> list[Record]:
            hanging.set()
            assert go_on.wait(10)
            return super().feed(block)

    log.write("a")
    with Following(cluster, Hanging, history=True) as run:
        assert hanging.wait(10)
        run.follower.close()
        run.wait_for_end()
        go_on.set()
    for thread in threading.enumerate():
        if thread.name.startswith("log "):
            thread.join(10)


def test_a_reader_that_goes_away_leaves_nothing_behind(log: PodLog, cluster: Cluster) -> None:
    log.write(*["x" * 1000] * 20_000)
    batches = iter(Following(cluster, history=True).follower)
    assert next(batches)
    batches.close()  # type: ignore[attr-defined]


def test_a_closed_reader_asks_nobody(server: ApiServer, cluster: Cluster) -> None:
    reader = LogReader(cluster, discover(cluster, {}).pods[0])
    reader.close()
    assert list(reader.blocks({}, follow=True)) == []
    assert server.count(LOG) == 0


def test_a_follower_that_was_never_read_can_be_closed(server: ApiServer, cluster: Cluster) -> None:
    run = Following(cluster)
    run.follower.close()
    assert list(run.follower) == []
    assert server.count(LOG) == 0


def test_heartbeats_while_nothing_comes(log: PodLog, cluster: Cluster) -> None:
    log.write("old")
    with Following(cluster) as run:
        run.wait_for(lambda run: run.beats >= 2)
    assert run.records == []


def test_no_heartbeat_before_every_log_has_answered(
    server: ApiServer, log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heartbeat says that the history is complete."""
    monkeypatch.setattr(follow, "ANSWER_WAIT_S", 60)
    monkeypatch.setattr(follow, "HEARTBEAT_S", 0.01)
    answer = threading.Event()
    server.script(lambda r: is_log(r) and not answer.wait(10), Reply())
    log.write("a")
    timer = threading.Timer(0.1, answer.set)
    with Following(cluster, history=True) as run:
        timer.start()
        run.wait_for(lambda run: run.beats)
    timer.join()
    assert run.first_batch == run.records[:1] != []


def test_what_waits_in_a_decoder_comes_with_heartbeats_and_at_the_end(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    class Holding(LineDecoder):
        held: list[Record]

        def feed(self, block: bytes) -> list[Record]:
            self.held = super().feed(block)
            return []

        def flush(self, idle: bool = False) -> list[Record]:
            held = getattr(self, "held", [])
            is_due = not idle or (bool(held) and held[0].message != "at the end")  # type: ignore[union-attr]
            if not is_due:
                return []
            self.held = []
            return held

    log.write("old")
    with Following(cluster, Holding) as run:
        log.wait_for_readers()
        log.write("idle", at=NOW)
        run.wait_for_line("idle")
        log.write("at the end")
        run.wait_for(lambda run: run.beats >= 1)
        server.wait_for(lambda _: run.follower.counters["lines_read"] == 2)
    assert run.lines()[-1] == "at the end"


def test_description(server: ApiServer, cluster: Cluster) -> None:
    server.put(coredns_object("coredns-b", "n2"))
    with Following(cluster, follow=False) as run:
        assert run.follower.description == (
            "the logs of 2 CoreDNS pods: kube-system/coredns-a (n1), kube-system/coredns-b (n2)"
        )
        run.wait_for_end()


def test_a_decoder_that_fails_ends_the_run(log: PodLog, cluster: Cluster) -> None:
    class Failing(LineDecoder):
        def feed(self, block: bytes) -> list[Record]:
            raise RuntimeError(block)

    log.write("a")
    with Following(cluster, Failing, follow=False) as run:
        run.wait_for_end()
    assert isinstance(run.failure, RuntimeError)
