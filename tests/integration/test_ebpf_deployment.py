"""Agents brought to the nodes of a scripted cluster and taken away: whatever happens, nothing stays."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdns_ebpf import deployment as module
from kdns_ebpf.deployment import AgentFailed, AgentGone, AgentUp, Deployment, Event
from kdns_ebpf.nodes import Choice, choose
from kdns_ebpf.options import AgentOptions
from kdns_ebpf.start import choose_nodes
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from support.agent_nodes import NAMESPACE, NO_IMAGE, RUNNING, AgentNodes, node
from support.api_server import ApiServer, Reply, failure

OPTIONS = AgentOptions()


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        for name in ("n1", "n2", "n3"):
            server.put(node(name))
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    kubeconfig = server.kubeconfig(tmp_path / "config")
    cluster = connect(ConnectionFlags(kubeconfig=str(kubeconfig)), sleep=lambda _: None)
    yield cluster
    cluster.close()


def make(cluster: Cluster, options: AgentOptions = OPTIONS) -> Deployment:
    return Deployment(cluster, options, options.arguments(5_000_000_000))


def start(cluster: Cluster, options: AgentOptions = OPTIONS) -> Deployment:
    deployment = make(cluster, options)
    deployment.start(choose_nodes(cluster, options, None).placements)
    return deployment


def events(deployment: Deployment, count: int) -> dict[str, Event]:
    """The next `count` events, by node."""
    found = [event for _ in range(count) if (event := deployment.next_event(10))]
    assert len(found) == count
    return {event.node: event for event in found}


def error_of(event: Event) -> str:
    assert isinstance(event, AgentFailed)
    return str(event.error)


def test_three_nodes(server: ApiServer, cluster: Cluster) -> None:
    with AgentNodes(server) as nodes:
        deployment = start(cluster)
        up = events(deployment, 3)
        pods = nodes.pods()
        assert up == {name: AgentUp(name, pods[name], "amd64") for name in ("n1", "n2", "n3")}
        assert deployment.nodes == ["n1", "n2", "n3"]
        assert set(nodes.images.values()) == {"registry.k8s.io/pause:3.10"}
        assert server.count("POST .*/configmaps") == 1
        began = time.monotonic()
        deployment.close()
        assert time.monotonic() - began < 1
        assert nodes.left() == []
        deployment.close()
        assert server.count("DELETE .*/jobs/") == server.count("DELETE .*/pods/") == 3


def test_the_first_job_owns_the_binaries(server: ApiServer, cluster: Cluster) -> None:
    with AgentNodes(server):
        deployment = start(cluster)
        job = next(r for r in server.requests if r.method == "POST")
        assert job.path.endswith("/jobs")
        (config_map,) = server.store.select("ConfigMap", lambda _: True)
        (owner,) = config_map.object["metadata"]["ownerReferences"]
        stored = server.store.get("Job", owner["name"], NAMESPACE)
        assert stored
        assert stored.object["metadata"]["uid"] == owner["uid"]
        assert stored.object["spec"]["template"]["spec"]["nodeName"] == "n1"
        assert list(config_map.object["binaryData"]) == ["agent-amd64"]
        deployment.close()


def test_one_denied_and_one_without_its_image(server: ApiServer, cluster: Cluster) -> None:
    with AgentNodes(server, n2="denied", n3=NO_IMAGE) as nodes:
        deployment = start(cluster)
        seen = events(deployment, 3)
        assert isinstance(seen["n1"], AgentUp)
        assert "refused by Pod Security in namespace kube-system" in error_of(seen["n2"])
        assert "node n3 has no image for the agent: ErrImageNeverPull" in error_of(seen["n3"])
        deployment.close()
        assert nodes.left() == []


def test_no_right_to_look_at_events(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kdns_ebpf.late.NO_POD_LIMIT_S", 2.0)
    server.script("^GET .*/events", failure(403, "Forbidden", "events is forbidden"), forever=True)
    with AgentNodes(server, n1="denied", n2="denied", n3="denied"):
        deployment = start(cluster)
        text = error_of(events(deployment, 3)["n1"])
        assert "no pod was made for the agent on node n1\nTry: kubectl -n kube-system describe job" in text
        deployment.close()


def test_a_pod_that_never_runs(server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdns_ebpf.late.NOT_RUNNING_S", 0.2)
    monkeypatch.setattr("kdns_ebpf.late.NOT_RUNNING_LIMIT_S", 0.4)
    waiting = {"waiting": {"reason": "ContainerCreating"}}
    with AgentNodes(server, n1=waiting) as nodes:
        deployment = start(cluster)
        events(deployment, 3)
        assert "the agent on node n1 does not start" in error_of(events(deployment, 1)["n1"])
        assert nodes.left()
        deployment.close()


def test_a_node_joins_and_another_one_goes(server: ApiServer, cluster: Cluster) -> None:
    def wanted(nodes: Any) -> Choice:
        return choose(nodes, OPTIONS)

    with AgentNodes(server) as nodes:
        deployment = start(cluster)
        deployment.follow_nodes(wanted)
        events(deployment, 3)
        server.put(node("n4", ready=False))
        assert deployment.next_event(0.3) is None
        server.put(node("n4"))
        assert isinstance(events(deployment, 1)["n4"], AgentUp)
        server.delete("Node", "n2")
        assert events(deployment, 1)["n2"] == AgentGone("n2", "the node has left the cluster")
        assert deployment.nodes == ["n1", "n3", "n4"]
        # The garbage collector takes the pod, when it comes to it.
        server.wait_for(lambda _: "n2" not in nodes.pods())
        server.put(node("n2"))
        assert isinstance(events(deployment, 1)["n2"], AgentUp)
        deployment.close()
        assert nodes.left() == []


def test_more_nodes_than_wanted_and_another_architecture_join(server: ApiServer, cluster: Cluster) -> None:
    options = AgentOptions(max_nodes=4)
    with AgentNodes(server):
        deployment = start(cluster, options)
        deployment.follow_nodes(lambda nodes: choose(nodes, options))
        events(deployment, 3)
        server.put(node("n4", node_info={"architecture": "arm64"}))
        assert "no node was arm64 when this began" in error_of(events(deployment, 1)["n4"])
        server.put(node("n5"))
        assert "--max-nodes 8" in error_of(events(deployment, 1)["n5"])
        deployment.close()


def test_the_binaries_are_made_anew_when_their_job_is_gone(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their owner's end takes them along, and an agent that has not started yet needs them."""
    monkeypatch.setattr(module, "MEND_S", 0.1)
    with AgentNodes(server, n2={"waiting": {"reason": "ContainerCreating"}}) as nodes:
        deployment = start(cluster)
        events(deployment, 3)
        server.delete("Job", nodes.pods()["n1"].removesuffix("-x"), NAMESPACE)
        assert events(deployment, 1)["n1"] == AgentGone("n1")

        def owned_by_n2(server: ApiServer) -> bool:
            maps = server.store.select("ConfigMap", lambda _: True)
            owners = [entry.object["metadata"]["ownerReferences"][0]["name"] for entry in maps]
            return owners == [nodes.pods()["n2"].removesuffix("-x")]

        server.wait_for(owned_by_n2)
        deployment.close()
        assert nodes.left() == []


@pytest.mark.parametrize("sent_late", [False, True])
def test_closed_while_it_starts(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *, sent_late: bool
) -> None:
    """Jobs are on their way when it is closed: created before, or only after it has looked what there is."""
    deployment = make(cluster)
    placements = choose_nodes(cluster, OPTIONS, None).placements
    send, on_their_way, closing = cluster.request, threading.Semaphore(0), deployment._closed

    def request(method: str, path: str, **more: Any) -> Any:
        held = method == "POST" and path.endswith("/jobs") and "'n1'" not in str(more["body"])
        if held and sent_late:
            on_their_way.release()
            closing.wait(5)
        answer = send(method, path, **more)
        if held and not sent_late:
            on_their_way.release()
            closing.wait(5)
        return answer

    monkeypatch.setattr(cluster, "request", request)
    with AgentNodes(server) as nodes:
        starting = threading.Thread(target=deployment.start, args=(placements,))
        starting.start()
        assert on_their_way.acquire(timeout=5)
        assert on_their_way.acquire(timeout=5)
        deployment.close()
        assert nodes.left() == []
        starting.join(5)
        assert nodes.left() == []
        assert server.count("POST .*/jobs") == 3


def test_two_threads_close_and_each_returns_when_all_is_gone(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, go_on, deleting = cluster.request, threading.Event(), threading.Event()

    def request(method: str, path: str, **more: Any) -> Any:
        if method == "DELETE":
            deleting.set()
            go_on.wait(5)
        return send(method, path, **more)

    with AgentNodes(server) as nodes:
        deployment = start(cluster)
        monkeypatch.setattr(cluster, "request", request)
        threads = [threading.Thread(target=deployment.close) for _ in range(2)]
        threads[0].start()
        assert deleting.wait(5)
        threads[1].start()
        threads[1].join(0.1)
        assert threads[1].is_alive()
        go_on.set()
        threads[1].join(5)
        assert nodes.left() == []
        threads[0].join(5)


@pytest.mark.parametrize("kind", ["configmaps", "jobs"])
def test_an_error_in_the_middle(server: ApiServer, cluster: Cluster, kind: str) -> None:
    replies = [failure(500, "InternalError", "etcdserver: leader changed")] * 20
    server.script(lambda r: r.method == "POST" and r.path.endswith(kind) and b'"n1"' not in r.body, *replies)
    with AgentNodes(server) as nodes:
        deployment = make(cluster)
        placements = choose_nodes(cluster, OPTIONS, None).placements
        if kind == "configmaps":
            with pytest.raises(KdnsError, match="status 500"):
                deployment.start(placements)
        else:
            deployment.start(placements)
            seen = events(deployment, 3)
            assert isinstance(seen["n1"], AgentUp)
            assert "leader changed" in error_of(seen["n2"])
            deployment.close()
        assert nodes.left() == []


def test_a_lost_answer_is_asked_for_again(server: ApiServer, cluster: Cluster) -> None:
    """The Job was created, the answer did not come: the second try meets our own first one."""
    lost = [Reply(status=0)]

    def create_and_lose(request: Any) -> bool:
        if request.method != "POST" or not request.path.endswith("/jobs") or not lost:
            return False
        server.put({**json.loads(request.body), "kind": "Job"})
        lost.clear()
        return True

    server.script(create_and_lose, Reply(status=0))
    with AgentNodes(server) as nodes:
        deployment = start(cluster)
        assert all(isinstance(event, AgentUp) for event in events(deployment, 3).values())
        deployment.close()
        assert nodes.left() == []


@pytest.mark.parametrize(
    ("status", "reason", "message", "expected"),
    [
        (
            403,
            "Forbidden",
            'jobs is forbidden: User "x" cannot create resource "jobs"',
            "backends ebpf --rbac",
        ),
        (404, "NotFound", 'namespaces "kube-system" not found', "there is no namespace kube-system"),
        (
            403,
            "Forbidden",
            'admission webhook "policy.example.com" denied the request: no hostPID here',
            "by the admission webhook policy.example.com: no hostPID here",
        ),
    ],
)
def test_what_is_refused_to_all_ends_it_at_once(
    server: ApiServer, cluster: Cluster, status: int, reason: str, message: str, expected: str
) -> None:
    server.script("^POST", failure(status, reason, message), forever=True)
    with AgentNodes(server) as nodes:
        with pytest.raises(KdnsError) as caught:
            start(cluster)
        assert expected in str(caught.value)
        assert server.count("POST") == 1
        assert nodes.left() == []


def test_no_right_to_watch_pods(server: ApiServer, cluster: Cluster) -> None:
    server.script("^GET .*/pods", failure(403, "Forbidden", "pods is forbidden"), forever=True)
    with AgentNodes(server):
        deployment = start(cluster)
        seen = events(deployment, 3)
        assert "not allowed to" in error_of(seen["n1"])
        deployment.close()


def test_what_cannot_be_deleted_is_told(server: ApiServer, cluster: Cluster) -> None:
    with AgentNodes(server):
        deployment = start(cluster)
        server.script("^DELETE .*/jobs/", failure(403, "Forbidden", "no"), forever=True)
        with pytest.raises(KdnsError, match="3 objects of agents are still in namespace kube-system"):
            deployment.close()
        deployment.close()  # told once


def test_an_api_server_that_does_not_answer_does_not_hold_up_the_end(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CLOSE_WAIT_S", 0.3)
    never = threading.Event()
    with AgentNodes(server):
        deployment = start(cluster)
        server.script("^DELETE", Reply(200, b"{}", after=never), forever=True)
        began = time.monotonic()
        with pytest.raises(KdnsError, match=r"no answer within|agents are still"):
            deployment.close()
        assert time.monotonic() - began < 2
        never.set()


def test_no_node_at_all(server: ApiServer, cluster: Cluster) -> None:
    for name in ("n1", "n2", "n3"):
        server.put(node(name, ready=False))
    with pytest.raises(BackendError, match="n1: it is not ready; n2: it is not ready"):
        start(cluster)


def test_an_image_that_runs_there_where_pause_is_not_listed(server: ApiServer, cluster: Cluster) -> None:
    for name in ("n1", "n2", "n3"):
        server.put(node(name, images=[]))
        server.put(
            {
                "kind": "Pod",
                "metadata": {"name": f"proxy-{name}", "namespace": NAMESPACE},
                "spec": {"nodeName": name, "containers": [{"name": "p", "image": "kube-proxy:1"}]},
                "status": {"phase": "Running"},
            }
        )
    with AgentNodes(server) as nodes:
        deployment = start(cluster)
        events(deployment, 3)
        assert set(nodes.images.values()) == {"kube-proxy:1"}
        deployment.close()


def test_a_pod_that_is_running_again_after_it_was_given_up(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "NOT_RUNNING_S", 0.0)
    with AgentNodes(server, n1={"waiting": {"reason": "ContainerCreating"}}) as nodes:
        deployment = start(cluster)
        events(deployment, 3)
        while deployment.next_event(0.3):
            pass
        entry = server.store.get("Pod", nodes.pods()["n1"], NAMESPACE)
        assert entry
        server.put({**entry.object, "status": {"containerStatuses": [{"state": RUNNING}]}})
        assert isinstance(events(deployment, 1)["n1"], AgentUp)
        deployment.close()
