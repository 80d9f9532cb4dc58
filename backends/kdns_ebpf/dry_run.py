"""What a run would create in a cluster, for --dry-run: as we send it, or as the API server takes it."""

from __future__ import annotations

from typing import Any

from kdns_ebpf.agent_objects import path_of
from kdns_ebpf.deployment import Deployment
from kdns_ebpf.options import AgentOptions
from kdns_ebpf.start import choose_nodes, clients_in
from kdns_ebpf.trouble import not_admitted, refused
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.filter import Filter
from kubectl_kdns.kube import Cluster


def would_create(scope: Scope, options: AgentOptions, filter_: Filter, *, server: bool) -> list[Any]:
    """The Jobs and the ConfigMap. Raises KdnsError where there is no node for them, and, with `server`, when
    the API server refuses one of them or the pods that the Jobs would have."""
    cluster = scope.cluster
    assert cluster is not None
    placements = choose_nodes(cluster, options, clients_in(scope, filter_).nodes).placements
    deployment = Deployment(cluster, options, options.arguments(scope.timeout_ns))
    objects = deployment.manifests(placements)
    if not server:
        return objects
    _rehearse_pod(cluster, options, objects[0], placements[0].node)
    return [_rehearse(cluster, options, each, placements[0].node) for each in objects]


def _rehearse(cluster: Cluster, options: AgentOptions, body: Any, node: str) -> Any:
    try:
        return cluster.request("POST", path_of(body), query={"dryRun": "All"}, body=body)
    except KdnsError as error:
        raise refused(error, options, node) from None


def _rehearse_pod(cluster: Cluster, options: AgentOptions, job: Any, node: str) -> None:
    """Pod Security, quotas and most webhooks look at pods only."""
    template = job["spec"]["template"]
    metadata = {**template["metadata"], "name": job["metadata"]["name"], "namespace": options.namespace}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    try:
        cluster.request("POST", path_of(body), query={"dryRun": "All"}, body=body)
    except KdnsError as error:
        # That we may not create pods is no matter: the Job controller does.
        if found := not_admitted(error.cause, options, node):
            raise found from None
