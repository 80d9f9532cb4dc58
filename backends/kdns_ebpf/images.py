"""Which images pods run on a node that does not tell of pause: those are there, whatever else is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

from msgspec import Struct, field

from kdns_ebpf.nodes import Node, has_pause
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.objects import Meta

SYSTEM = "/api/v1/namespaces/kube-system/pods"
MAX_ASKED_ONE_BY_ONE = 50


class _Container(Struct):
    image: str = ""


class _Spec(Struct, rename="camel"):
    node_name: str = ""
    containers: list[_Container] | None = None
    image_pull_secrets: list[dict[str, str]] | None = None


class _Pod(Struct):
    metadata: Meta = field(default_factory=Meta)
    spec: _Spec = field(default_factory=_Spec)


def images_in_use(cluster: Cluster, nodes: Sequence[Node]) -> Mapping[str, Sequence[str]]:
    """By node; nothing for nodes that have pause, and where pods may not be listed."""
    missing = {node.metadata.name for node in nodes if not has_pause(node)}
    found: dict[str, list[str]] = {}
    if missing:
        # kube-proxy, the network's agent and the like run on every node, and are few pods to list.
        _add(found, _running(cluster, SYSTEM), missing)
    for node in sorted(missing - found.keys())[:MAX_ASKED_ONE_BY_ONE]:
        _add(found, _running(cluster, "/api/v1/pods", f",spec.nodeName={node}"), missing)
    return found


def _running(cluster: Cluster, path: str, more: str = "") -> list[_Pod]:
    pods: list[_Pod] = []
    with suppress(KdnsError):  # then the smallest image that the node tells of has to do
        for page in cluster.pages(path, _Pod, fieldSelector=f"status.phase=Running{more}"):
            pods += page.items or ()
    return pods


def _add(found: dict[str, list[str]], pods: Iterable[_Pod], nodes: set[str]) -> None:
    for pod in pods:
        # An image that was pulled with a secret is not for pods without it (kubelet 1.35).
        if pod.spec.node_name in nodes and not pod.spec.image_pull_secrets:
            images = [container.image for container in pod.spec.containers or () if container.image]
            found.setdefault(pod.spec.node_name, []).extend(images)
