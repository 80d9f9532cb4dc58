"""The directory, fed from a scripted API server: first lists, changes, breaks, missing rights."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.directory import Directory
from kubectl_kdns.kube import ConnectionFlags, connect
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.feed import DirectoryFeed
from kubectl_kdns.model import Workload
from support.api_server import ApiServer, Reply, failure

Start = Callable[..., DirectoryFeed]


def pod(name: str, ip: str, namespace: str = "default", **meta: Any) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, **meta},
        "spec": {"nodeName": "n1"},
        "status": {"phase": "Running", "podIP": ip, "startTime": "2026-11-23T10:00:00Z"},
    }


@pytest.fixture(params=[True, False], ids=["watch-list", "pages"])
def server(request: pytest.FixtureRequest) -> Iterator[ApiServer]:
    with ApiServer(watch_list=request.param) as server:
        server.put({"kind": "Node", "metadata": {"name": "n1"}, "spec": {"podCIDR": "10.1.0.0/24"}})
        service = {"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}}
        server.put({**service, "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 53}]}})
        owner = {"kind": "ReplicaSet", "name": "web-5d9c", "controller": True}
        labels = {"app": "web", "pod-template-hash": "5d9c"}
        server.put(pod("web-1", "10.1.0.7", labels=labels, ownerReferences=[owner]))
        yield server


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def start(server: ApiServer, tmp_path: Path, said: list[str]) -> Iterator[Start]:
    feeds: list[DirectoryFeed] = []

    def make(**options: Any) -> DirectoryFeed:
        kubeconfig = server.kubeconfig(tmp_path / "config", namespace="shop")
        cluster = connect(ConnectionFlags(kubeconfig=str(kubeconfig)), sleep=lambda _: None)
        feed = DirectoryFeed(cluster, say=said.append, backoff=lambda: Backoff(0.001), **options)
        feeds.append(feed)
        feeds[-1].start()
        return feeds[-1]

    yield make
    for feed in feeds:
        feed.close()
        feed._cluster.close()
        for reflector in feed._reflectors:
            reflector.join(10)
            assert not reflector.is_alive()


def until(directory: Directory, ip: str, expected: str | None) -> None:
    """Until the address is that pod's; the change comes from another thread."""
    deadline = time.monotonic() + 10
    while (found := (who.pod or who.kind) if (who := directory.who(ip)) else None) != expected:
        assert time.monotonic() < deadline, f"{ip} is {found}, not {expected}"
        time.sleep(0.001)


def until_said(said: list[str], count: int) -> None:
    deadline = time.monotonic() + 60
    while len(said) < count:
        assert time.monotonic() < deadline, said
        time.sleep(0.001)


def test_everything_is_listed(start: Start) -> None:
    feed = start()
    assert feed.wait(10)
    assert feed.trouble == ""
    who = feed.directory.who("10.1.0.7")
    assert who
    assert (who.kind, who.namespace, who.pod, who.node) == ("pod", "default", "web-1", "n1")
    assert who.workload == Workload("Deployment", "web")
    for ip, kind in (("10.96.0.10", "service"), ("10.1.0.1", "node"), ("8.8.8.8", "external")):
        assert (other := feed.directory.who(ip))
        assert other.kind == kind


def test_changes_arrive(server: ApiServer, start: Start) -> None:
    feed = start()
    feed.wait(10)
    server.put(pod("web-2", "10.1.0.8"))
    until(feed.directory, "10.1.0.8", "web-2")
    server.delete("Pod", "web-2")
    until(feed.directory, "10.1.0.8", None)
    node = {"kind": "Node", "metadata": {"name": "n2"}}
    server.put({**node, "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}]}})
    until(feed.directory, "192.168.0.2", "node")
    server.delete("Node", "n2")
    until(feed.directory, "192.168.0.2", None)
    service = {"kind": "Service", "metadata": {"name": "web"}, "spec": {"clusterIP": "10.96.0.20"}}
    server.put(service)
    until(feed.directory, "10.96.0.20", "service")
    server.delete("Service", "web")
    until(feed.directory, "10.96.0.20", None)
    slice_ = {
        "kind": "EndpointSlice",
        "metadata": {"name": "db-1"},
        "endpoints": [{"addresses": ["10.1.0.99"]}],
    }
    server.put(slice_)
    until(feed.directory, "10.1.0.99", "external")
    server.delete("EndpointSlice", "db-1")
    until(feed.directory, "10.1.0.99", None)


def test_slices_of_the_controller_are_not_asked_for(server: ApiServer, start: Start) -> None:
    start().wait(10)
    slices = [request for request in server.requests if "endpointslices" in request.path]
    expected = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"
    assert slices
    assert {request.query["labelSelector"] for request in slices} == {expected}


@pytest.mark.parametrize("cut", [True, False])
def test_a_watch_that_ends_goes_on_where_it_was(server: ApiServer, start: Start, cut: bool) -> None:
    feed = start()
    feed.wait(10)
    server.put(pod("web-2", "10.1.0.8"))
    until(feed.directory, "10.1.0.8", "web-2")
    before = server.count("GET /api/v1/pods")
    version = str(server.store.version)
    server.end_watches(cut=cut)
    server.wait_for(lambda server: server.count("GET /api/v1/pods") > before)
    server.put(pod("web-3", "10.1.0.9"))
    until(feed.directory, "10.1.0.9", "web-3")
    last = [request.query for request in server.requests if request.path == "/api/v1/pods"][-1]
    assert (last["watch"], last["resourceVersion"], "sendInitialEvents" in last) == ("true", version, False)


def test_bookmarks_move_the_start_of_the_next_watch(server: ApiServer, start: Start) -> None:
    feed = start()
    feed.wait(10)
    server.put(pod("web-2", "10.1.0.8"))
    until(feed.directory, "10.1.0.8", "web-2")
    server.put({"kind": "ConfigMap", "metadata": {"name": "c"}})  # a newer version, of no pod
    version = str(server.store.version)
    server.send_bookmarks()
    server.end_watches()

    def goes_on_from_there(server: ApiServer) -> bool:
        watches = [request.query for request in server.requests if request.path == "/api/v1/pods"]
        return watches[-1].get("resourceVersion") == version

    server.wait_for(goes_on_from_there)
    assert feed.trouble == ""


def test_history_that_is_gone_means_a_new_list(server: ApiServer, start: Start) -> None:
    feed = start()
    feed.wait(10)
    server.script(r"GET /api/v1/pods\?.*resourceVersion=\d", failure(410, "Expired", "too old"))
    server.store.delete("Pod", "web-1", "default")
    server.put(pod("web-2", "10.1.0.8"))
    server.end_watches()
    until(feed.directory, "10.1.0.8", "web-2")
    until(feed.directory, "10.1.0.7", None)


def test_a_pod_that_was_deleted_between_lists_is_dropped(server: ApiServer, start: Start) -> None:
    feed = start()
    feed.wait(10)
    server.store.compact()
    with server.store.changed:
        server.store._entries.pop(("Pod", "default", "web-1"))
    server.end_watches()
    until(feed.directory, "10.1.0.7", None)


def test_pages_that_expire_begin_again(server: ApiServer, start: Start) -> None:
    for number in range(600):
        server.put(pod(f"p{number}", f"10.1.{1 + number // 250}.{number % 250}"))
    server.script("continue=", failure(410, "Expired"))
    feed = start()
    assert feed.wait(10)
    assert len(feed.directory.pods()) == 601


def test_a_server_that_is_not_ready_yet_is_asked_again(server: ApiServer, start: Start) -> None:
    server.script("GET /api/v1/pods", Reply(0), failure(500, "InternalError", "etcd"), Reply(200, b"<html>"))
    feed = start()
    assert feed.wait(10)
    assert feed.trouble == ""
    until(feed.directory, "10.1.0.7", "web-1")


def test_trouble_is_told_while_it_lasts(server: ApiServer, start: Start) -> None:
    server.script("/pods", failure(500, "InternalError", "etcd is gone"), forever=True)
    feed = start()
    server.wait_for(lambda server: server.count("/pods") >= 2)
    assert not feed.wait(0.01)
    assert "etcd is gone" in feed.trouble


def test_an_outage_is_told_and_its_end_too(server: ApiServer, start: Start, said: list[str]) -> None:
    feed = start()
    feed.wait(10)
    server.script(r"/pods\?.*watch=true", *[failure(500, "InternalError", "etcd is gone")] * 6)
    server.end_watches()
    until_said(said, 1)
    server.put(pod("web-2", "10.1.0.8"))
    until(feed.directory, "10.1.0.8", "web-2")
    until_said(said, 2)
    assert "out of date: GET /api/v1/pods failed with status 500" in said[0]
    assert said[1] == "notice: names of pods are current again"
    assert feed.trouble == ""


def test_a_hiccup_is_not_told(server: ApiServer, start: Start, said: list[str]) -> None:
    feed = start()
    feed.wait(10)
    server.script(r"/pods\?.*watch=true", *[failure(500, "InternalError")] * 4)
    server.end_watches()
    server.put(pod("web-2", "10.1.0.8"))
    until(feed.directory, "10.1.0.8", "web-2")
    assert said == []


def test_without_rights_for_all_namespaces(server: ApiServer, start: Start, said: list[str]) -> None:
    for path in (
        "/api/v1/pods",
        "/api/v1/services",
        "/api/v1/nodes",
        "/apis/discovery.k8s.io/v1/endpointslices",
    ):
        server.script(rf"GET {path}\?", failure(403, "Forbidden", "no"), forever=True)
    server.put(pod("cart-1", "10.1.0.50", "shop"))
    feed = start()
    assert feed.wait(10)
    until(feed.directory, "10.1.0.50", "cart-1")
    assert feed.directory.who("10.1.0.7") is None
    assert said == [
        "notice: no right to list pods of all namespaces (kubectl auth can-i list pods -A): "
        "naming those of 'shop'"
    ]


def test_without_any_rights(server: ApiServer, start: Start) -> None:
    server.script("/pods", failure(403, "Forbidden", "pods is forbidden"), forever=True)
    feed = start()
    assert not feed.wait(10)
    assert "not allowed to list pods in namespace 'shop'" in feed.trouble


def test_only_the_namespaces_that_are_needed(server: ApiServer, start: Start) -> None:
    server.put(pod("cart-1", "10.1.0.50", "shop"))
    feed = start(namespaces=["shop", "kube-system", "shop"])
    assert feed.wait(10)
    assert [found.name for found in feed.directory.pods()] == ["cart-1"]
    assert server.count("GET /api/v1/pods") == 0
    assert (dns := feed.directory.who("10.96.0.10"))
    assert dns.service == "kube-dns"


def test_close_while_the_first_list_is_under_way(server: ApiServer, start: Start) -> None:
    held = threading.Event()
    server.script("/pods", Reply(after=held))
    feed = start()
    server.wait_for(lambda server: server.count("/pods") == 1)
    feed._cluster.close()
    feed.close()
    feed.close()
    held.set()
    assert not feed.wait(0)
