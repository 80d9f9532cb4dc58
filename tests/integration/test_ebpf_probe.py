"""Agents before and after: could they run, what would be created, and what did earlier ones leave?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kdns_ebpf.deployment import Deployment
from kdns_ebpf.dry_run import would_create
from kdns_ebpf.leftovers import LeftSession, left_agents
from kdns_ebpf.manifest import OWNER_ANNOTATION
from kdns_ebpf.options import AgentOptions
from kdns_ebpf.probe import probe
from kdns_ebpf.start import choose_nodes
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import BackendError, ClusterError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from support.agent_nodes import NAMESPACE, AgentNodes, node
from support.api_server import ApiServer, Reply, Request, failure

OPTIONS = AgentOptions()
REVIEWS = "^POST .*/selfsubjectaccessreviews"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        for name in ("n1", "n2"):
            server.put(node(name))
        server.put({"kind": "Namespace", "metadata": {"name": NAMESPACE}})
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    kubeconfig = server.kubeconfig(tmp_path / "config")
    cluster = connect(ConnectionFlags(kubeconfig=str(kubeconfig)), sleep=lambda _: None)
    yield cluster
    cluster.close()


def allow(server: ApiServer, *denied: str) -> None:
    """Grants everything but what of these `RESOURCE` and `RESOURCE/SUBRESOURCE` are."""

    def is_denied(request: Request) -> bool:
        if not request.path.endswith("selfsubjectaccessreviews"):
            return False
        asked = json.loads(request.body)["spec"]["resourceAttributes"]
        return f"{asked['resource']}/{asked['subresource']}".rstrip("/") in denied

    server.script(is_denied, Reply(201, b'{"status":{"allowed":false}}'), forever=True)
    server.script(REVIEWS, Reply(201, b'{"status":{"allowed":true}}'), forever=True)


def test_it_could_work_and_says_what_that_takes(server: ApiServer, cluster: Cluster) -> None:
    allow(server)
    answer = probe(cluster, {})
    assert (answer.usable, answer.creates) == (False, True)
    assert "2 Jobs and a ConfigMap in namespace kube-system" in answer.evidence
    assert answer.fix.startswith("kubectl kdns trace --backend ebpf")
    assert {request.method for request in server.requests} == {"GET", "POST"}
    assert all(r.method == "GET" or r.path.endswith("reviews") for r in server.requests)


def test_a_right_is_missing(server: ApiServer, cluster: Cluster) -> None:
    allow(server, "pods/exec", "jobs")
    answer = probe(cluster, {})
    assert not answer.creates
    assert answer.evidence == "not allowed to create jobs, create pods/exec in namespace kube-system"
    assert "--rbac" in answer.fix


@pytest.mark.parametrize(
    ("level", "works"), [("privileged", True), ("baseline", False), ("restricted", False)]
)
def test_pod_security(server: ApiServer, cluster: Cluster, level: str, *, works: bool) -> None:
    allow(server)
    labels = {"pod-security.kubernetes.io/enforce": level}
    server.put({"kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}})
    answer = probe(cluster, {})
    assert answer.creates is works
    assert works or f"Pod Security of namespace kube-system is {level}" in answer.evidence


def test_no_such_namespace(server: ApiServer, cluster: Cluster) -> None:
    allow(server)
    assert probe(cluster, {"agent_namespace": "nosuch"}).evidence == "there is no namespace nosuch"


def test_no_node_fits(server: ApiServer, cluster: Cluster) -> None:
    allow(server)
    answer = probe(cluster, {"agent_node": ("x*",)})
    assert not answer.creates
    assert "no node fits" in answer.evidence


def test_not_logged_in_is_no_answer(server: ApiServer, cluster: Cluster) -> None:
    server.script("", failure(401, "Unauthorized"), forever=True)
    with pytest.raises(ClusterError):
        probe(cluster, {})


def scope(cluster: Cluster) -> Scope:
    return Scope(cluster=cluster)


def test_what_would_be_created(server: ApiServer, cluster: Cluster) -> None:
    objects = would_create(scope(cluster), OPTIONS, parse_filter(""), server=False)
    assert [each["kind"] for each in objects] == ["Job", "Job", "ConfigMap"]
    assert len(objects[2]["binaryData"]["agent-amd64"]) > 50_000
    assert {request.method for request in server.requests} == {"GET"}


def test_what_the_api_server_would_take(server: ApiServer, cluster: Cluster) -> None:
    server.script("^POST .*dryRun=All", *[Reply(201, b'{"kind":"Taken"}')] * 4)
    objects = would_create(scope(cluster), OPTIONS, parse_filter(""), server=True)
    assert objects == [{"kind": "Taken"}] * 3
    posts = [r.path.rpartition("/")[2] for r in server.requests if r.method == "POST"]
    assert posts == ["pods", "jobs", "jobs", "configmaps"]


def test_what_is_refused_to_the_pods_is_told_by_a_dry_run(server: ApiServer, cluster: Cluster) -> None:
    server.script("^POST .*/pods", failure(403, "Forbidden", 'pods "x" is forbidden: violates PodSecurity'))
    with pytest.raises(BackendError, match="by Pod Security"):
        would_create(scope(cluster), OPTIONS, parse_filter(""), server=True)


def test_without_the_right_to_create_pods_a_dry_run_goes_on(server: ApiServer, cluster: Cluster) -> None:
    server.script("^POST .*/pods", failure(403, "Forbidden", 'User "x" cannot create resource "pods"'))
    server.script("^POST .*dryRun=All", *[Reply(201, b"{}")] * 3)
    assert len(would_create(scope(cluster), OPTIONS, parse_filter(""), server=True)) == 3


def leave(cluster: Cluster, **owner: Any) -> None:
    """What a kdns leaves that was killed; `owner` says who that was."""
    deployment = Deployment(cluster, OPTIONS, [])
    if owner:
        deployment.owner = msgspec.structs.replace(deployment.owner, **owner)
    deployment.start(choose_nodes(cluster, OPTIONS, None).placements)
    deployment._closed.set()
    for reflector in deployment._reflectors:
        reflector.close()


def left(cluster: Cluster) -> LeftSession:
    (found,) = left_agents(cluster)
    return found


def test_our_own_are_not_left_behind(cluster: Cluster) -> None:
    leave(cluster)
    assert left_agents(cluster) == []


def test_those_of_a_kdns_that_was_killed_are_taken_away(server: ApiServer, cluster: Cluster) -> None:
    with AgentNodes(server) as nodes:
        leave(cluster, pid=99_999_999, process_start="1")
        found = left(cluster)
        assert found.description.startswith("2 agents in namespace kube-system (session ")
        assert found.in_use == ""
        assert found.heal().endswith(": taken away")
        server.wait_for(lambda _: nodes.left() == [])
        assert left_agents(cluster) == []
        assert found.heal()  # what is gone is no error


def test_those_of_somebody_else_are_in_use_while_one_runs(server: ApiServer, cluster: Cluster) -> None:
    leave(cluster, host="elsewhere", user="bob", pid=1)
    assert left(cluster).in_use.startswith("in use by bob@elsewhere until ")
    for job in server.store.select("Job", lambda _: True):
        server.put({**job.object, "status": {"conditions": [{"type": "Failed", "status": "True"}]}})
    assert left(cluster).in_use == ""


def test_without_an_annotation_a_running_one_counts(server: ApiServer, cluster: Cluster) -> None:
    leave(cluster, host="elsewhere")
    for job in server.store.select("Job", lambda _: True):
        made = job.object
        made["metadata"]["annotations"][OWNER_ANNOTATION] = "{"
        server.put(made)
    assert left(cluster).in_use == "an agent runs"


def test_without_the_right_to_list_all_namespaces(server: ApiServer, cluster: Cluster) -> None:
    leave(cluster, host="elsewhere")
    server.script("^GET /apis/batch/v1/jobs", failure(403, "Forbidden", "no"), forever=True)
    assert len(left_agents(cluster)) == 1
    server.script("^GET /apis/batch/v1/namespaces/kube-system", failure(403, "Forbidden", "no"), forever=True)
    assert left_agents(cluster) == []
