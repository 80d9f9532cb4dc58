"""What the directory keeps of pods, Services and nodes, and what it says of an address."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, Struct

from kubectl_kdns.filter.selector import Selector
from kubectl_kdns.model import Maybe, Workload

_COREDNS_LABELS = {("k8s-app", "kube-dns"), ("k8s-app", "coredns"), ("app.kubernetes.io/name", "coredns")}
_NODELOCAL_LABELS = {
    ("k8s-app", "node-local-dns"),
    ("k8s-app", "nodelocaldns"),
    ("app.kubernetes.io/name", "node-local-dns"),
}


class Labels:
    """One set of labels, shared by all pods that have it. `kind` is what it makes of a pod (model)."""

    __slots__ = ("__weakref__", "_answers", "kind", "mapping")

    def __init__(self, mapping: Mapping[str, str]) -> None:
        self.mapping = mapping
        pairs = mapping.items()
        if not _NODELOCAL_LABELS.isdisjoint(pairs):
            self.kind = "nodelocal"
        else:
            self.kind = "pod" if _COREDNS_LABELS.isdisjoint(pairs) else "coredns"
        self._answers: dict[Selector, bool] = {}

    def match(self, selector: Selector) -> bool:
        answer = self._answers.get(selector)
        if answer is None:
            answer = self._answers[selector] = selector.matches(self.mapping)
        return answer

    def include(self, wanted: Mapping[str, str]) -> bool:
        """Whether the selector of a Service chooses them; an empty one chooses nothing."""
        return bool(wanted) and wanted.items() <= self.mapping.items()


class Pod(Struct, gc=False, frozen=True):
    """`ips` is empty on the host network. Times are nanoseconds; `start_ns` 0 and `end_ns` None: unknown."""

    namespace: str
    name: str
    uid: str
    labels: Labels
    node: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET
    ips: tuple[str, ...] = ()
    start_ns: int = 0
    end_ns: int | None = None


class Service(Struct, frozen=True):
    """`ips` are all its addresses: cluster, external, load balancer. `dns` marks the cluster's DNS."""

    namespace: str
    name: str
    ips: tuple[str, ...] = ()
    selector: dict[str, str] = {}
    dns: bool = False


class Endpoints(Struct, frozen=True):
    """Addresses behind a Service that are listed by hand, not chosen by a selector."""

    namespace: str
    name: str
    service: str
    ips: tuple[str, ...]


class Node(Struct, frozen=True):
    """`ips` are all addresses that its packets may carry: its own, and of its tunnels and bridges."""

    name: str
    ips: tuple[str, ...] = ()
    pod_networks: tuple[str, ...] = ()


class Who(Struct, frozen=True, gc=False):
    """Who is behind an address; `kind` is one of ENDPOINT_KINDS. `inferred`: it was concluded, not seen."""

    kind: str
    namespace: Maybe[str] = UNSET
    pod: Maybe[str] = UNSET
    pod_uid: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET
    node: Maybe[str] = UNSET
    service: Maybe[str] = UNSET
    inferred: bool = False
