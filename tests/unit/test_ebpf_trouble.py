"""Why an agent does not run, from what the API server and the kubelet say of it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kdns_ebpf.manifest import Placement
from kdns_ebpf.options import AgentOptions
from kdns_ebpf.trouble import AgentPod, no_pod, no_room, not_starting, refused, trouble
from kubectl_kdns.errors import ClusterError, ForbiddenError, KdnsError, NotFoundError

OPTIONS = AgentOptions()
PSA = 'pods "a" is forbidden: violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)'


def pod(state: dict[str, Any] | None = None, **status: Any) -> AgentPod:
    containers = [{"state": state}] if state else None
    return msgspec.convert(
        {
            "metadata": {"name": "kdns-1-x", "namespace": "kube-system"},
            "spec": {"nodeName": "n1"},
            "status": {"containerStatuses": containers, **status},
        },
        AgentPod,
    )


def waiting(reason: str, message: str = "") -> AgentPod:
    return pod({"waiting": {"reason": reason, "message": message}})


def ended(exit_code: int, reason: str = "Error", message: str = "") -> AgentPod:
    state = {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}
    return pod(state)


def text_of(error: KdnsError | None) -> str:
    assert error is not None
    return str(error)


@pytest.mark.parametrize(
    "quiet",
    [
        pod(),
        waiting("ContainerCreating"),
        waiting("PodInitializing"),
        pod({"running": {}}),
        pod(phase="Pending"),
    ],
)
def test_what_may_still_come(quiet: AgentPod) -> None:
    assert trouble(quiet, OPTIONS) is None


@pytest.mark.parametrize(
    ("found", "what", "hint"),
    [
        (waiting("ErrImageNeverPull", "not present"), "node n1 has no image", "--image IMAGE"),
        (waiting("ImagePullBackOff", "denied"), "ImagePullBackOff: denied", "--image-pull-secret NAME"),
        (waiting("InvalidImageName"), "InvalidImageName", "--image"),
        (
            waiting("CreateContainerConfigError", "no such user"),
            "no such user",
            "kubectl -n kube-system describe",
        ),
        (
            waiting("CreateContainerError", "exec /kdns/agent-amd64: exec format error"),
            "it is for another architecture",
            "nodeInfo.architecture",
        ),
        (
            ended(128, "StartError", 'exec: "/kdns/agent-amd64": permission denied: unknown'),
            "may be mounted noexec",
            "",
        ),
        (ended(128, "StartError", "failed to mount cgroup"), "cannot start the agent: failed to mount", ""),
        (ended(137, "OOMKilled"), "had too little memory", "--agent-memory 256Mi"),
        (
            ended(3, message="warning\nkdns-agent: bpf() is not allowed: EPERM\n"),
            "does not allow the agent to watch: bpf() is not allowed: EPERM",
            "--privileged",
        ),
        (
            ended(4, message="kdns-agent: no cgroup v2"),
            "has no cgroup v2 that the agent can watch",
            "kubectl debug",
        ),
        (
            ended(139, message="kdns-agent: signal 11"),
            "ended with status 139: signal 11",
            "kubectl -n kube-system logs",
        ),
        (ended(1), "ended with status 1: Error", "logs kdns-1-x"),
        (
            pod(
                {"terminated": {"exitCode": 137}}, phase="Failed", reason="Evicted", message="low on memory."
            ),
            "failed: Evicted: low on memory.",
            "--priority-class",
        ),
        (pod(phase="Failed", reason="DeadlineExceeded"), "failed: DeadlineExceeded", "--agent-lifetime"),
        (
            pod(phase="Failed", reason="OutOfpods", message="no room"),
            "OutOfpods: no room",
            "kubectl describe node n1",
        ),
        (pod(phase="Failed", reason="NodeLost"), "failed: NodeLost", "kubectl get node n1"),
        (pod(phase="Failed"), "failed: it does not say why", "describe pod kdns-1-x"),
    ],
)
def test_each_has_its_own_words_and_way_out(found: AgentPod, what: str, hint: str) -> None:
    text = text_of(trouble(found, OPTIONS))
    assert what in text
    assert hint in text
    assert "n1" in text


@pytest.mark.parametrize(
    ("cause", "what", "hint"),
    [
        (
            PSA,
            "refused by Pod Security in namespace kube-system",
            "pod-security.kubernetes.io/enforce=privileged",
        ),
        ("exceeded quota: q, requested: pods=1, used: pods=1", "by a quota of namespace", "describe quota"),
        (
            'admission webhook "validate.kyverno.svc-fail" denied the request: no host\nnetwork',
            "by the admission webhook validate.kyverno.svc-fail: no host network",
            "--agent-namespace",
        ),
        ('admission webhook "w" denied the request without explanation', "by the admission webhook w", ""),
        ("no PriorityClass with name high was found", "no PriorityClass with name high", "get priorityclass"),
        (
            "maximum memory usage per Container is 64Mi, but limit is 128Mi",
            "by a LimitRange",
            "--agent-memory",
        ),
    ],
)
def test_refused_as_a_request_or_as_the_pod_of_a_job(cause: str, what: str, hint: str) -> None:
    by_request = text_of(refused(ForbiddenError("POST failed", status=403, cause=cause), OPTIONS, "n1"))
    by_event = text_of(no_pod(["older", f"Error creating: {cause}"], OPTIONS, "n1", "kdns-1"))
    for text in (by_request, by_event):
        assert what in text
        assert hint in text
        assert "node n1" in text


def test_a_right_that_is_missing_is_named() -> None:
    error = ForbiddenError(
        "not allowed to create jobs in namespace 'kube-system'", status=403, cause="forbidden"
    )
    text = text_of(refused(error, OPTIONS, "n1"))
    assert "not allowed to create jobs in namespace 'kube-system'" in text
    assert "kubectl kdns backends ebpf --rbac" in text


def test_a_namespace_that_does_not_exist() -> None:
    error = NotFoundError("POST failed", status=404, cause='namespaces "kdns" not found')
    assert text_of(refused(error, AgentOptions(namespace="kdns"), "n1")).startswith(
        "there is no namespace kdns"
    )


def test_what_is_not_known_stays_as_it_is() -> None:
    error = ClusterError("POST failed with status 500", status=500, cause="etcd")
    assert refused(error, OPTIONS, "n1") is error


def test_no_pod_and_no_word_why() -> None:
    text = text_of(no_pod([], OPTIONS, "n1", "kdns-1"))
    assert text == "no pod was made for the agent on node n1\nTry: kubectl -n kube-system describe job kdns-1"


def test_a_pod_that_does_not_start() -> None:
    warning = 'MountVolume.SetUp failed for volume "agent" : configmap "kdns-1" not found'
    assert warning in text_of(not_starting([warning], OPTIONS, "n1", "p"))
    assert "the kubelet does not say why" in text_of(not_starting([], OPTIONS, "n1", "p"))


def test_nodes_that_join_have_room_or_are_told() -> None:
    place = Placement("n9", "arm64", "pause")
    assert no_room(place, OPTIONS, 3, {"arm64"}) is None
    assert "--max-nodes 100" in text_of(no_room(place, OPTIONS, 50, {"arm64"}))
    assert "no node was arm64" in text_of(no_room(place, OPTIONS, 3, {"amd64"}))


def test_text_from_the_cluster_is_made_safe_and_short() -> None:
    text = text_of(trouble(ended(1, message="\x1b[31mred " + "x" * 5000), OPTIONS))
    assert "\x1b" not in text
    assert len(text) < 1000
