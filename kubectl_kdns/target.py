"""Whom `explain` asks from: POD, KIND/NAME or node/NAME as one pod or node; and where the DNS servers are."""

from __future__ import annotations

from copy import copy

from msgspec import UNSET, Struct

from kubectl_kdns.directory import Directory, Pod
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import UsageError, did_you_mean
from kubectl_kdns.filter.targets import kind_and_name
from kubectl_kdns.model import SERVERS, Client, Maybe


class Target(Struct, frozen=True):
    """A pod, or a node (`uid` and `pod` are "" then)."""

    node: str
    namespace: str = ""
    pod: str = ""
    uid: str = ""
    of: Pod | None = None

    @property
    def text(self) -> str:
        return f"pod {self.namespace}/{self.pod}" if self.pod else f"node {self.node}"

    def client(self, seen: Maybe[Client]) -> Client:
        """`seen`, as whose it really is."""
        client = copy(seen) if seen else Client()
        client.process = client.container = client.container_id = UNSET
        client.node = self.node
        if self.of is None:
            client.kind = "node"
            client.namespace = client.pod = client.pod_uid = UNSET
            client.workload = UNSET
        else:
            client.kind, client.namespace, client.pod = self.of.labels.kind, self.namespace, self.pod
            client.pod_uid, client.workload = self.uid, self.of.workload
        return client


def find_target(directory: Directory, where: str, namespace: str) -> Target:
    """A running pod of what `where` names. Raises UsageError when there is none."""
    kind, name = kind_and_name(where) if "/" in where else ("Pod", where)
    if kind == "Node":
        if name not in directory.node_names():
            hint = did_you_mean(name, directory.node_names()) or "kubectl get nodes"
            raise UsageError(f"--in {where}: there is no node {name}", hint=hint)
        return Target(node=name)
    pods = [pod for pod in directory.pods(namespace) if pod.node]
    if kind == "Pod":
        found = [pod for pod in pods if pod.name == name]
    else:
        found = [
            pod for pod in pods if pod.workload and (pod.workload.kind, pod.workload.name) == (kind, name)
        ]
    if not found:
        near = did_you_mean(name, sorted({pod.name for pod in pods})) if kind == "Pod" else ""
        raise UsageError(
            f"--in {where}: no such pod runs in namespace {namespace}",
            hint=near or f"kubectl get pods -n {namespace} (another namespace: -n)",
        )
    pod = min(found, key=lambda each: each.name)
    return Target(
        node=str(pod.node),
        namespace=pod.namespace,
        pod=safe_text(pod.name),
        uid=pod.static_uid or pod.uid,
        of=pod,
    )


def dns_nodes(directory: Directory, own: str = "") -> set[str]:
    """Where the DNS servers are: all, or those that a pod on node `own` may reach."""
    kinds_elsewhere = SERVERS if not own else {"coredns"}
    return {
        str(pod.node)
        for pod in directory.pods()
        if pod.node and pod.labels.kind in (SERVERS if pod.node == own else kinds_elsewhere)
    }
