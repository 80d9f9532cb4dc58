"""Whether agents could run here: only asks, creates nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdns_ebpf.options import AgentOptions
from kdns_ebpf.start import choose_nodes
from kubectl_kdns.backend import Probe
from kubectl_kdns.errors import ClusterError, KdnsError, NotFoundError
from kubectl_kdns.kube import Cluster

_COMMAND = "kubectl kdns trace --backend ebpf"
_RIGHTS = (
    ("batch", "jobs", "", "create"),
    ("", "configmaps", "", "create"),
    ("", "pods", "exec", "create"),
)
_LEVEL = "pod-security.kubernetes.io/enforce"


def probe(cluster: Cluster, options: Mapping[str, Any]) -> Probe:
    """Never "usable": agents change the cluster, if only for a while, so they must be asked for by name."""
    chosen = AgentOptions.of(options)
    try:
        missing = [
            f"{verb} {resource}" + (f"/{sub}" if sub else "")
            for group, resource, sub, verb in _RIGHTS
            if not _may(cluster, chosen.namespace, group, resource, sub, verb)
        ]
        if missing:
            return Probe(
                usable=False,
                evidence=f"not allowed to {', '.join(missing)} in namespace {chosen.namespace}",
                fix="kubectl kdns backends ebpf --rbac (what it needs, for kubectl apply)",
            )
        level = _pod_security(cluster, chosen.namespace)
        if level in ("baseline", "restricted"):
            return Probe(
                usable=False,
                evidence=f"Pod Security of namespace {chosen.namespace} is {level}, not privileged",
                fix=f"{_COMMAND} --agent-namespace NS (kubectl label namespace NS {_LEVEL}=privileged)",
            )
        placements = choose_nodes(cluster, chosen, None).placements
    except NotFoundError:
        return Probe(
            usable=False,
            evidence=f"there is no namespace {chosen.namespace}",
            fix=f"{_COMMAND} --agent-namespace NS",
        )
    except KdnsError as error:
        if isinstance(error, ClusterError) and error.status in (0, 401):
            raise
        return Probe(usable=False, evidence=f"{error.what}: {error.cause}", fix=error.hint)
    jobs = f"{len(placements)} Job" + ("s" if len(placements) != 1 else "")
    return Probe(
        usable=False,
        evidence=f"would create {jobs} and a ConfigMap in namespace {chosen.namespace} while it runs",
        fix=f"{_COMMAND} (--dry-run=client -o yaml shows them)",
        creates=True,
    )


def _may(cluster: Cluster, namespace: str, group: str, resource: str, subresource: str, verb: str) -> bool:
    attributes = {
        "namespace": namespace,
        "group": group,
        "resource": resource,
        "subresource": subresource,
        "verb": verb,
    }
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    answer = cluster.request("POST", path, body=body)
    return bool(answer.get("status", {}).get("allowed"))


def _pod_security(cluster: Cluster, namespace: str) -> str:
    labels = cluster.get(f"/api/v1/namespaces/{namespace}")["metadata"].get("labels") or {}
    return str(labels.get(_LEVEL, ""))
