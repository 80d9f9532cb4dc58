"""Pods come and go, and their logs with them."""

from __future__ import annotations

import threading

import pytest

from kubectl_kdns.errors import BackendError, ClusterError
from kubectl_kdns.kube import Cluster
from support.api_server import ApiServer, PodLog, failure
from support.following import LOG, NOW, Following, coredns_object, is_log_thread, log_of, while_disconnected

pytest_plugins = ["support.coredns_fixtures"]
pytestmark = pytest.mark.usefixtures("short_waits", "no_thread_stays")


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
        run.wait_for(lambda _: not any(is_log_thread(t.name) for t in threading.enumerate()))
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
