"""What the directory keeps of pods, Services and nodes, and what it says of an address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import UNSET, Struct

from kubectl_kdns.filter.selector import Selector
from kubectl_kdns.model import Maybe, Workload

_COREDNS_LABELS = {("k8s-app", "kube-dns"), ("k8s-app", "coredns"), ("app.kubernetes.io/name", "coredns")}
_NODELOCAL_LABELS = {
    ("k8s-app", "node-local-dns"),
    ("k8s-app", "nodelocaldns"),
    ("app.kubernetes.io/name", "node-local-dns"),
}

_ID_DIGITS = 12


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
    """`ips` is empty on the host network. Times are nanoseconds; `start_ns` 0 and `end_ns` None: unknown.

    `containers` is what `pack_containers` made of them. `static_uid` is the UID by which a node knows a pod
    of its own, which has another one in the API (annotation kubernetes.io/config.hash); else "".
    """

    namespace: str
    name: str
    uid: str
    labels: Labels
    node: Maybe[str] = UNSET
    workload: Maybe[Workload] = UNSET
    ips: tuple[str, ...] = ()
    start_ns: int = 0
    end_ns: int | None = None
    containers: str = ""
    static_uid: str = ""

    def container_name(self, container_id: str) -> Maybe[str]:
        """The name of the container with that id; absent when it is not one of these (any more)."""
        _, found, rest = self.containers.partition(f";{container_id[:_ID_DIGITS]}=")
        return rest.partition(";")[0] if found and container_id else UNSET


def pack_containers(containers: Iterable[tuple[str, str]]) -> str:
    """Ids and names as one text: of 50,000 pods, tuples would take more memory than all the rest of a pod."""
    text = "".join(f";{id_[:_ID_DIGITS]}={name}" for id_, name in containers if id_)
    return text and text + ";"


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
