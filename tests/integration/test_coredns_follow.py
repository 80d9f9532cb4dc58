"""Logs are followed through everything that happens to them: no line twice, none missing without a loss."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdns_coredns import follow, pod_log
from kdns_coredns.discover import CorednsPod, discover
from kdns_coredns.log_reader import LogReader
from kubectl_kdns.errors import BackendError, ClusterError, ForbiddenError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from kubectl_kdns.model import Record
from kubectl_kdns.times import NS_PER_S, format_time, parse_time
from support.api_server import ApiServer, PodLog, Reply, Request, failure
from support.following import START_NS, Following, LineDecoder, coredns_object

LOG = r"GET /api/v1/namespaces/kube-system/pods/.*/log"
NOW = "2026-11-23T10:00:02Z"


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_log, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(pod_log, "LONGEST_WAIT_S", 0.05)


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith(("log ", "reflector "))]
    assert left == []


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(coredns_object("coredns-a"))
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig"))))
    yield cluster
    cluster.close()


@pytest.fixture
def log(server: ApiServer) -> PodLog:
    return server.log("coredns-a", namespace="kube-system")


def log_of(server: ApiServer, pod: str) -> PodLog:
    return server.log(pod, namespace="kube-system")


def is_log(request: Request) -> bool:
    return request.path.endswith("/log")


def is_covered(run: Following, time_ns: int) -> bool:
    time = format_time(time_ns)
    return any((loss.from_ or "") <= time <= (loss.until or "~") for loss in run.losses())


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


# What happens to connections


@pytest.mark.parametrize("seed", range(4))
def test_cuts_at_random_points(server: ApiServer, log: PodLog, cluster: Cluster, seed: int) -> None:
    chance = random.Random(seed)
    server.chunk_bytes = chance.choice([0, 1, 11])
    log.write("first")
    with Following(cluster, history=True) as run:
        run.wait_for_line("first")
        expected = ["first"]
        for step in range(25):
            texts = [f"{step} {i} same" if i % 2 else "same" for i in range(chance.randrange(5))]
            at = None if chance.randrange(3) else log.now_ns  # also several lines at one time
            log.write(*texts, at=at)
            if chance.randrange(4) == 0:
                log.write(at=log.now_ns + NS_PER_S)
            expected += texts
            chance.choice([log.cut, log.end, server.cut_connections, lambda: None])()
            if chance.randrange(2):
                run.wait_for_lines(len(expected))
        log.write("last")
        run.wait_for_line("last")
    assert run.lines() == [*expected, "last"]
    assert run.losses() == []


@pytest.mark.parametrize("status", [429, 500, 503, 0])
def test_errors_of_the_server_are_tried_again(
    server: ApiServer, log: PodLog, cluster: Cluster, status: int
) -> None:
    reply = failure(status, "Broken") if status else Reply(0)
    server.script(LOG, reply)
    log.write("a", at=NOW)
    with Following(cluster) as run:
        run.wait_for_line("a")
    assert (run.lines(), run.losses()) == (["a"], [])


def test_a_log_that_stays_unreadable_is_said_once(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    server.script(LOG, *[failure(500, "InternalError", "dial tcp 10.0.0.1:10250: i/o timeout")] * 6)
    with Following(cluster) as run:
        server.wait_for(lambda server: server.count(LOG) == 7)
        log.write("a", at=NOW)
        run.wait_for_line("a")
    [(code, message)] = run.notices()
    assert code == "log_unreachable"
    assert message.startswith("coredns-a: the log cannot be read, still trying: ")
    assert message.endswith("dial tcp 10.0.0.1:10250: i/o timeout")


@pytest.mark.parametrize(
    "text",
    [
        b"unable to retrieve container logs for containerd://0123",
        b'failed to watch file "/var/log/pods/x/0.log": no space left on device',
        b"rpc error: code = NotFound desc = an error occurred\n",
    ],
)
@pytest.mark.parametrize("is_followed", [True, False])
def test_words_of_the_kubelet_are_no_lines(
    server: ApiServer, log: PodLog, cluster: Cluster, text: bytes, is_followed: bool
) -> None:
    server.script(LOG, Reply(body=b"2026-11-23T10:00:02.000000000Z a\n" + text))
    log.write("a", at=NOW)
    log.write("b")
    with Following(cluster, history=True, follow=is_followed) as run:
        run.wait_for_line("b")
    assert (run.lines(), run.losses()) == (["a", "b"], [])


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("is_followed", [True, False])
def test_missing_rights_end_the_run(
    server: ApiServer, cluster: Cluster, status: int, is_followed: bool
) -> None:
    server.put(coredns_object("coredns-b"))
    server.script(LOG, failure(status, "Forbidden", "pods is forbidden"), forever=True)
    with Following(cluster, follow=is_followed) as run:
        run.wait_for_end()
    assert isinstance(run.failure, ForbiddenError)
    assert run.failure.status == status


# What happens to logs


def while_disconnected(server: ApiServer, log: PodLog) -> threading.Event:
    """Cuts the connection; the server refuses new ones until the event is set."""
    again = threading.Event()
    server.script(lambda r: is_log(r) and not again.is_set(), failure(500, "InternalError"), forever=True)
    requests = server.count(LOG)
    log.cut()
    server.wait_for(lambda server: server.count(LOG) > requests)
    return again


def test_rotation_while_connected(log: PodLog, cluster: Cluster) -> None:
    log.write("a")
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        log.wait_for_readers()
        log.rotate()
        log.write("b")
        run.wait_for_line("b")
    assert (run.lines(), run.losses()) == (["a", "b"], [])


def test_rotation_while_disconnected_is_a_loss_with_its_span(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    log.write("a", at=NOW)
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        again = while_disconnected(server, log)
        log.write("b")
        lost_ns = log.now_ns
        log.rotate()
        log.write("c")
        again.set()
        run.wait_for_line("c")
    assert run.lines() == ["a", "c"]
    [loss] = run.losses()
    assert (loss.reason, loss.unit, loss.node) == ("log_rotated", "lines", "n1")
    assert (loss.from_, loss.until) == ("2026-11-23T10:00:02.000000000Z", "2026-11-23T10:00:02.002000000Z")
    assert is_covered(run, lost_ns)


def test_a_restart_loses_nothing(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("a")
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        log.restart()
        log.write("b")
        run.wait_for_line("b")
        again = while_disconnected(server, log)
        log.write("last words")
        log.restart()
        log.write("hello")
        again.set()
        run.wait_for_line("hello")
    assert run.lines() == ["a", "b", "last words", "hello"]
    assert [code for code, _ in run.notices() if code != "log_unreachable"] == ["log_restarted"] * 2
    assert run.losses() == []


def test_two_restarts_while_disconnected_are_a_loss(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("a", at=NOW)
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        again = while_disconnected(server, log)
        log.write("b")
        lost_ns = log.now_ns
        log.restart()
        log.write("c")
        log.restart()
        log.write("d")
        again.set()
        run.wait_for_line("d")
    assert run.lines() == ["a", "c", "d"]
    [loss] = run.losses()
    assert (loss.reason, loss.message) == ("disconnected", "coredns-a: restarted more than once meanwhile")
    assert is_covered(run, lost_ns)


@pytest.mark.parametrize("seed", range(4))
def test_everything_at_random(server: ApiServer, log: PodLog, cluster: Cluster, seed: int) -> None:
    """Whatever happens in whatever order: no double, and what is missing lies within a loss."""
    chance = random.Random(seed)
    log.write("first", at=NOW)
    times = {"first": log.now_ns}
    again = threading.Event()
    again.set()
    server.script(lambda r: is_log(r) and not again.is_set(), failure(500, "InternalError"), forever=True)
    with Following(cluster, history=True) as run:
        run.wait_for_line("first")
        for step in range(40):
            for i in range(chance.randrange(4)):
                log.write(f"{step} {i}", at=log.now_ns + chance.choice([0, 1, NS_PER_S // 3]))
                times[f"{step} {i}"] = log.now_ns
            last = list(times)[-1]
            match chance.randrange(8):
                case 0:
                    log.cut()
                case 1:
                    log.end()
                case 2:
                    # It takes some time to fill a file.
                    log.write(f"r{step}", at=log.now_ns + 10 * NS_PER_S)
                    times[f"r{step}"] = log.now_ns
                    log.rotate(follow_ends=chance.random() < 0.5)
                    log.now_ns += 1
                case 3:
                    log.restart()
                    log.write(f"hello {step}", at=log.now_ns + NS_PER_S)
                    times[f"hello {step}"] = log.now_ns
                    started = {"startedAt": format_time(log.now_ns)[:19] + "Z"}
                    server.put(coredns_object("coredns-a", state={"running": started}))
                case 4:
                    again.clear()
                    server.cut_connections()
                case 5:
                    again.set()
                    run.wait_for_line(last) if last in run.lines() else None
                case _:
                    pass
        again.set()
        log.write("last", at=log.now_ns + NS_PER_S)
        run.wait_for_line("last")
    got = run.lines()
    assert len(got) == len(set(got))
    order = list(times)
    assert [t for t in order if t in set(got)] == [t for t in got if t != "last"]
    missing = [text for text in order if text not in set(got)]
    assert [text for text in missing if not is_covered(run, times[text])] == []


def test_a_connection_that_has_died_is_replaced(
    log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_log, "FIRST_LOOK_S", 0.01)
    log.write("a")
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        log.wait_for_readers()
        log.stall()
        log.write("b")
        run.wait_for_line("b")
    assert (run.lines(), run.losses()) == (["a", "b"], [])


def test_a_silent_connection_is_left_alone(
    server: ApiServer, log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_log, "FIRST_LOOK_S", 0.01)
    log.write("a")
    server.script(lambda r: is_log(r) and r.query.get("tailLines") == "1", failure(500, "InternalError"))
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        server.wait_for(lambda server: server.count(LOG) > 2)
        log.write("b")
        run.wait_for_line("b")
        assert run.follower.counters["log_reconnects"] == 0


@pytest.mark.parametrize("is_looked_at", [True, False])
def test_the_log_of_a_pod_whose_node_died_ends(
    server: ApiServer, log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, is_looked_at: bool
) -> None:
    """The watch tells, or else, the watch having missed it, the question what is new in the log."""
    monkeypatch.setattr(pod_log, "GONE_WAIT_S", 0.01)
    monkeypatch.setattr(pod_log, "FIRST_LOOK_S", 0.01 if is_looked_at else 100.0)
    log.write("a", at=NOW)
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        if not is_looked_at:
            # A new pod is seen, so the old one was listed.
            log_of(server, "coredns-b").write("b")
            server.put(coredns_object("coredns-b"))
            run.wait_for_line("b")
        server.store.delete("Pod", "coredns-a", "kube-system")  # but its log stays open
        run.wait_for(lambda run: run.losses())
    [loss] = run.losses()
    assert (loss.reason, loss.from_) == ("disconnected", "2026-11-23T10:00:02.000000000Z")


def test_a_previous_log_of_long_ago_is_no_restart(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("long ago", at=NOW)
    log.restart()
    log.write("a")
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        again = while_disconnected(server, log)
        log.write("b")
        log.rotate()
        log.write("c")
        # Its last line has no newline, and is not ours to print.
        server.script(
            lambda r: "previous" in r.query, Reply(body=b"2026-11-23T10:00:01Z x\n2026-11-23T10:00:01Z y")
        )
        again.set()
        run.wait_for_line("c")
        server.delete("Pod", "coredns-a", "kube-system")
        run.wait_for(
            lambda _: "log kube-system/coredns-a (n1)" not in [t.name for t in threading.enumerate()]
        )
    assert run.lines() == ["a", "c"]
    assert [code for code, _ in run.notices()] in ([], ["log_unreachable"])
    assert [loss.reason for loss in run.losses()] == ["log_rotated"]


def test_a_container_that_has_been_restarted_while_its_log_is_read(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    """The previous log is then the one that is read already, and what was before it is lost."""
    log.write("a", at=NOW)
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        again = while_disconnected(server, log)
        log.write("b")
        log.restart()
        log.write("c")
        body = b"2026-11-23T10:00:02.002000000Z c\n2026-11-23T10:00:02.009000000Z of the next\n"
        server.script(lambda r: "previous" in r.query, Reply(body=body))
        again.set()
        run.wait_for_line("c")
    assert run.lines() == ["a", "c"]
    [loss] = run.losses()
    assert (loss.reason, loss.from_, loss.until) == (
        "log_rotated",
        "2026-11-23T10:00:02.000000000Z",
        "2026-11-23T10:00:02.002000000Z",
    )


# What happens to pods


def test_a_pod_that_goes_before_its_log_was_read(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    server.put(coredns_object("coredns-b", "n2"))
    server.script(r"coredns-b/log", failure(404, "NotFound"), forever=True)
    log.write("old")
    with Following(cluster) as run:
        run.wait_for(lambda run: run.losses())
        log.write("a", at=NOW)
        run.wait_for_line("a")
    [loss] = run.losses()
    assert (loss.reason, loss.node, loss.from_) == ("disconnected", "n2", "2026-11-23T10:00:01.000000000Z")


def test_a_pod_without_a_log_yet_is_read_from_its_beginning(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    server.put(coredns_object("coredns-b", state={"waiting": {"reason": "ContainerCreating"}}))
    log.write("old")
    with Following(cluster) as run:
        log.wait_for_readers()
        log_of(server, "coredns-b").write("b")
        server.put(coredns_object("coredns-b"))
        run.wait_for_line("b")
    assert run.lines() == ["b"]
    assert server.count("coredns-b/log") == 1


def test_what_discovery_has_to_say_comes_first(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    server.script("GET /api/v1/pods", failure(403, "Forbidden"))
    log.write("a")
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert [code for code, _ in run.notices()] == ["discovery"]
    assert run.records[0] not in run.records[1:]
    assert run.lines() == ["a"]


def test_a_new_pod_is_read_from_its_beginning(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("old")
    with Following(cluster) as run:
        log.wait_for_readers()
        server.put(coredns_object("coredns-b", state={"waiting": {"reason": "ContainerCreating"}}))
        log_of(server, "coredns-b").write("b1", "b2")
        server.put(coredns_object("coredns-b"))
        run.wait_for_line("b2")
        server.put(coredns_object("coredns-b", ready=False))
        log_of(server, "coredns-b").write("b3")
        run.wait_for_line("b3")
    assert run.lines() == ["b1", "b2", "b3"]
    assert server.count(r"coredns-b/log") == 1


def test_a_new_pod_that_crashed_is_read_with_its_previous_log(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    crashing = log_of(server, "coredns-b")
    crashing.write("listen tcp :53: bind: address already in use")
    crashing.restart()
    crashing.write("again")
    with Following(cluster) as run:
        log.write("a", at=NOW)
        run.wait_for_line("a")
        server.put(coredns_object("coredns-b", restartCount=1))
        run.wait_for_line("again")
    assert run.lines("coredns-b") == ["listen tcp :53: bind: address already in use", "again"]


def test_a_deleted_pod_is_read_to_its_end(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    server.put(coredns_object("coredns-b"))
    b = log_of(server, "coredns-b")
    with Following(cluster) as run:
        b.wait_for_readers()
        b.write("b1", "b2", at=NOW)
        server.delete("Pod", "coredns-b", "kube-system")
        run.wait_for_line("b2")
        log.write("a", at=NOW)
        run.wait_for_line("a")
    assert (run.lines("coredns-b"), run.losses()) == (["b1", "b2"], [])


def test_a_log_that_broke_off_with_its_pod_is_a_loss(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    log.write("a", at=NOW)
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        while_disconnected(server, log)
        server.delete("Pod", "coredns-a", "kube-system")
        run.wait_for(lambda run: run.losses())
    [loss] = run.losses()
    assert (loss.reason, loss.unit, loss.node, loss.from_) == (
        "disconnected",
        "lines",
        "n1",
        "2026-11-23T10:00:02.000000000Z",
    )
    assert loss.message == "coredns-a: the pod is gone, and its log with it"
    assert run.lines() == ["a"]


def test_an_evicted_pod_is_not_tried_again(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("a")
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        server.put({**coredns_object("coredns-a"), "status": {"phase": "Failed"}})
        log_of(server, "coredns-b").write("b")
        server.put(coredns_object("coredns-b"))
        run.wait_for_line("b")
        log.end()
        log.write("of nobody")
        # Heartbeats go on, so this is looked at again and again.
        run.wait_for(
            lambda _: "log kube-system/coredns-a (n1)" not in [t.name for t in threading.enumerate()]
        )
    assert run.lines() == ["a", "b"]


def test_a_pod_that_is_told_twice_is_read_once(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    """Its label was taken away and given back: it is neither read twice nor given up."""
    with Following(cluster, history=True) as run:
        log.write("a")
        run.wait_for_line("a")
        server.store.delete("Pod", "coredns-a", "kube-system")
        server.put(coredns_object("coredns-a"))
        log_of(server, "coredns-b").write("b")
        server.put(coredns_object("coredns-b"))
        run.wait_for_line("b")
        log.end()
        log.write("c")
        run.wait_for_line("c")
    assert run.lines("coredns-a") == ["a", "c"]
    assert run.losses() == []


def test_the_watch_may_break_and_expire(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("old")
    with Following(cluster) as run:
        log.wait_for_readers()
        server.end_watches(cut=True)
        server.store.compact()
        server.end_watches()
        server.put(coredns_object("coredns-b"))
        log_of(server, "coredns-b").write("b")
        run.wait_for_line("b")
        log.write("a", at=NOW)
        run.wait_for_line("a")
    assert sorted(run.lines()) == ["a", "b"]


def test_without_the_right_to_watch_it_goes_on(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    server.script(lambda r: "watch" in r.query, failure(403, "Forbidden"), forever=True)
    with Following(cluster) as run:
        log.wait_for_readers()
        log.write("a", at=NOW)
        run.wait_for_line("a")
        run.wait_for(lambda run: run.notices())
        server.wait_for(lambda server: server.count("GET /api/v1/pods$") > 6)
    [(code, message)] = run.notices()
    assert code == "no_watch"
    assert message.startswith("new CoreDNS pods will not be noticed: not allowed to watch pods")


def test_more_pods_than_log_requests(server: ApiServer, cluster: Cluster) -> None:
    server.put(coredns_object("coredns-b"))
    with pytest.raises(BackendError, match="--max-log-requests 2"):
        Following(cluster, options={"max_log_requests": 1})


def test_a_pod_for_which_there_is_no_room_waits(server: ApiServer, log: PodLog, cluster: Cluster) -> None:
    log.write("old")
    with Following(cluster, options={"max_log_requests": 1}) as run:
        log.wait_for_readers()
        log_of(server, "coredns-b").write("b")
        server.put(coredns_object("coredns-b", "n2"))
        run.wait_for(lambda run: run.notices())
        server.delete("Pod", "coredns-a", "kube-system")
        run.wait_for_line("b")
    assert run.notices() == [
        (
            "too_many_logs",
            "kube-system/coredns-b (n2): not followed while 1 others are; --max-log-requests allows more",
        )
    ]


def test_one_log_of_two_that_cannot_be_read_is_a_loss(
    server: ApiServer, log: PodLog, cluster: Cluster
) -> None:
    server.put(coredns_object("coredns-b", "n2"))
    server.script(r"coredns-b/log", failure(500, "InternalError", "no route to host"), forever=True)
    log.write("a")
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert (run.lines(), run.failure) == (["a"], None)
    [loss] = run.losses()
    assert (loss.reason, loss.node) == ("disconnected", "n2")
    assert str(loss.message).endswith("no route to host")


def test_no_log_at_all_is_an_error(server: ApiServer, cluster: Cluster) -> None:
    server.script(LOG, failure(500, "InternalError", "no route to host"), forever=True)
    with Following(cluster, follow=False) as run:
        run.wait_for_end()
    assert isinstance(run.failure, ClusterError)
    assert run.failure.cause == "no route to host"


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
