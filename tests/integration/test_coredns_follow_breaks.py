"""Logs are followed through all that happens to them: no line twice, none missing without a loss."""

from __future__ import annotations

import random
import threading

import pytest

from kdns_coredns import pod_log, rotation
from kubectl_kdns.errors import ForbiddenError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import NS_PER_S, format_time
from support.api_server import ApiServer, PodLog, Reply, failure
from support.following import (
    LOG,
    NOW,
    Following,
    coredns_object,
    is_log,
    is_log_thread,
    log_of,
    while_disconnected,
)

pytest_plugins = ["support.coredns_fixtures"]
pytestmark = pytest.mark.usefixtures("short_waits", "no_thread_stays")


def is_covered(run: Following, time_ns: int) -> bool:
    time = format_time(time_ns)
    return any((loss.from_ or "") <= time <= (loss.until or "~") for loss in run.losses())


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


def test_connections_that_break_now_and_then_are_not_worth_a_word(
    log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pod_log, "LIVED_S", 0.0)
    log.write("a")
    with Following(cluster, history=True) as run:
        run.wait_for_line("a")
        for _ in range(5):
            reconnects = run.follower.counters["log_reconnects"]
            log.wait_for_readers()
            log.cut()
            run.wait_for(lambda run, old=reconnects: run.follower.counters["log_reconnects"] > old)  # type: ignore[misc]
        log.write("b")
        run.wait_for_line("b")
    assert (run.notices(), run.losses()) == ([], [])


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
        run.wait_for(lambda _: not any(is_log_thread(t.name) for t in threading.enumerate()))
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


def test_a_rotation_under_a_stream_that_goes_on(
    server: ApiServer, log: PodLog, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kubelet's follower goes on with the new file, and may have left out the end of the old one."""
    monkeypatch.setattr(rotation, "ASK_AFTER_BYTES", 1)
    monkeypatch.setattr(rotation, "ASK_EVERY_S", 0.0)
    log.write("old")
    with Following(cluster, history=True) as run:
        run.wait_for_line("old")
        old_ns = log.now_ns
        log.rotate()
        log.write("new", at=old_ns + NS_PER_S)
        new_ns = log.now_ns
        run.wait_for(lambda run: run.losses())
        log.write("newer")
        run.wait_for_line("newer")
        asked = len(server.requests)
        run.wait_for(lambda _: [r for r in server.requests[asked:] if "limitBytes" in r.query])
    assert run.lines() == ["old", "new", "newer"]
    [loss] = run.losses()
    assert (loss.reason, loss.unit, loss.node) == ("log_rotated", "lines", "n1")
    assert (loss.from_, loss.until) == (format_time(old_ns), format_time(new_ns))
