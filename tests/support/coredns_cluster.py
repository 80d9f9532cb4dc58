"""A cluster of objects in memory, and the CoreDNS pods of distributions, for tests without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kdns_coredns.discover import ConfigSource, Discovered, discover
from kubectl_kdns.errors import ForbiddenError, NotFoundError
from kubectl_kdns.kube.cluster import Page
from support.api_store import RESOURCES, Store, selector


class FakeCluster:
    """Lists and gets from a Store. `forbidden` are paths that nobody may read; `asked` what was read."""

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.store = Store()
        for obj in objects:
            self.store.put(obj)
        self.forbidden: dict[str, int] = {}
        self.asked: list[str] = []

    def _check(self, path: str) -> None:
        self.asked.append(path)
        if path in self.forbidden:
            raise ForbiddenError(f"not allowed to get {path}", status=self.forbidden[path], cause="RBAC")

    def pages(self, path: str, of: Any, **query: str) -> Iterator[Page[Any]]:
        self._check(path)
        namespace = path.split("/")[4] if "/namespaces/" in path else ""
        entries = self.store.select("Pod", selector(namespace, query))
        yield Page(items=[msgspec.json.decode(entry.raw, type=of) for entry in entries])

    def get(self, path: str) -> Any:
        self._check(path)
        _, _, _, _, namespace, plural, name = path.split("/")
        kind = next(kind for kind, (_, p, _) in RESOURCES.items() if p == plural)
        entry = self.store.get(kind, name, namespace)
        if not entry:
            raise NotFoundError(f"no {path}", status=404)
        return entry.object


def find(cluster: FakeCluster, **options: str) -> Discovered:
    return discover(cluster, options)  # type: ignore[arg-type]


def pod(
    name: str = "coredns-5d78c9869d-abcde",
    namespace: str = "kube-system",
    labels: dict[str, str] | None = None,
    containers: list[dict[str, Any]] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """A pod as kubeadm makes it, but for what is given."""
    kubeadm = {
        "name": "coredns",
        "image": "registry.example/coredns/coredns:v1.12.1",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "volumeMounts": [{"name": "config-volume", "mountPath": "/etc/coredns", "readOnly": True}],
    }
    volume = {"name": "config-volume", "configMap": {"name": "coredns", "items": [ITEM]}}
    spec = {"nodeName": "n1", "containers": containers or [kubeadm], "volumes": more.pop("volumes", [volume])}
    status = {
        "phase": "Running",
        "podIP": "10.244.0.2",
        "containerStatuses": [
            {"name": c["name"], "ready": True, "restartCount": 1, "state": {"running": {}}}
            for c in spec["containers"]
        ],
    }
    labels = {"k8s-app": "kube-dns"} if labels is None else labels
    metadata = {"name": name, "namespace": namespace, "labels": labels, **more.pop("metadata", {})}
    return {"kind": "Pod", "metadata": metadata, "spec": spec, "status": more.pop("status", status), **more}


ITEM = {"key": "Corefile", "path": "Corefile"}
CONFIG = ConfigSource("kube-system", "coredns", "Corefile")
SIMPLE = [{"name": "coredns", "image": "coredns/coredns:1.11.1"}]
