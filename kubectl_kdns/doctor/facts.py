"""The facts that the general checks judge: plain values, or why they could not be read."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from kubectl_kdns.backend import Probe
from kubectl_kdns.doctor.finding import NOT_ASKED, Target, Unread
from kubectl_kdns.doctor.policy import Policy
from kubectl_kdns.kube.objects import DNS_SERVICE_NAMES

SYSTEM_NAMESPACES = ("kube-system", "openshift-dns")
NODELOCAL_LABELS = ("node-local-dns", "nodelocaldns")
DNS_SERVER_LABELS = ("kube-dns", "coredns", *NODELOCAL_LABELS)
"""Values of `k8s-app`."""


class NodeFacts(Struct, frozen=True):
    name: str
    ready: bool
    zone: str = ""


class PodFacts(Struct, frozen=True):
    """`owner` is the workload, the pod itself when it is bare; `ports` are (name, protocol, number)."""

    namespace: str
    name: str
    owner: Target
    labels: Mapping[str, str]
    ips: tuple[str, ...] = ()
    ready: bool = True
    static: bool = False
    host_network: bool = False
    dns_policy: str = "ClusterFirst"
    ndots: int | None = None
    searches: int = 0
    nameservers: tuple[str, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()


class ServiceFacts(Struct, frozen=True):
    """`ports` are (protocol, number)."""

    namespace: str
    name: str
    ips: tuple[str, ...]
    selector: Mapping[str, str]
    ports: tuple[tuple[str, int], ...]

    @property
    def target(self) -> Target:
        return Target("service", self.name, self.namespace)

    def selects(self, pod: PodFacts) -> bool:
        return (
            bool(self.selector)
            and pod.namespace == self.namespace
            and (self.selector.items() <= pod.labels.items())
        )


class EndpointFacts(Struct, frozen=True):
    """What EndpointSlices say of one Service; `dns_ports` are the (protocol, number) named for DNS."""

    namespace: str
    service: str
    ready: frozenset[str]
    not_ready: frozenset[str] = frozenset()
    dns_ports: frozenset[tuple[str, int]] = frozenset()


class KubeletFacts(Struct, frozen=True):
    """What a kubelet writes into the resolv.conf of pods."""

    node: str
    servers: tuple[str, ...]
    domain: str


class ClusterFacts(Struct, frozen=True):
    """All of them; each is `Unread` where nobody asked, or where it could not be read.

    `rights` are, by backend, what its RBAC rules ask for and this user may not do.
    """

    nodes: tuple[NodeFacts, ...] | Unread = NOT_ASKED
    pods: tuple[PodFacts, ...] | Unread = NOT_ASKED
    services: tuple[ServiceFacts, ...] | Unread = NOT_ASKED
    endpoints: tuple[EndpointFacts, ...] | Unread = NOT_ASKED
    namespaces: Mapping[str, Mapping[str, str]] | Unread = NOT_ASKED
    policies: tuple[Policy, ...] | Unread = NOT_ASKED
    kubelets: tuple[KubeletFacts, ...] | Unread = NOT_ASKED
    probes: Mapping[str, Probe] | Unread = NOT_ASKED
    rights: Mapping[str, tuple[str, ...]] | Unread = NOT_ASKED

    @property
    def dns_servers(self) -> frozenset[str]:
        """The name servers that kubelets hand out, as far as they could be asked."""
        kubelets = () if isinstance(self.kubelets, Unread) else self.kubelets
        return frozenset(server for kubelet in kubelets for server in kubelet.servers)


def dns_service(facts: ClusterFacts, services: tuple[ServiceFacts, ...]) -> ServiceFacts | None:
    """The Service by which pods reach the cluster's DNS; others with such names or labels may exist."""

    def rank(service: ServiceFacts) -> tuple[bool, bool, bool, str, str]:
        return (
            facts.dns_servers.isdisjoint(service.ips),
            service.namespace not in SYSTEM_NAMESPACES,
            service.name not in DNS_SERVICE_NAMES,
            service.namespace,
            service.name,
        )

    best = min(services, key=rank, default=None)
    # Tools bring DNS servers of their own; one that nobody hands out and that is not in the usual place is no
    # cluster DNS.
    if best and facts.dns_servers.isdisjoint(best.ips) and best.namespace not in SYSTEM_NAMESPACES:
        return None
    return best
