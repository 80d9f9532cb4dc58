"""API objects as far as the general checks need them, and the facts that they say."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from kubectl_kdns.doctor.facts import EndpointFacts, KubeletFacts, NodeFacts, PodFacts, ServiceFacts
from kubectl_kdns.doctor.finding import Target
from kubectl_kdns.doctor.policy import Peer, Policy, PolicyPort, Rule
from kubectl_kdns.filter.selector import Requirement, Selector
from kubectl_kdns.kube.objects import Meta, workload_of

DNS_PORT_NAMES = ("dns", "dns-tcp", "dns-udp", "udp-53", "tcp-53")
_ZONE = "topology.kubernetes.io/zone"


class Condition(Struct):
    type: str = ""
    status: str = ""


class _Status(Struct, rename="camel"):
    phase: str = ""
    conditions: list[Condition] | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[dict[str, str]] | None = msgspec.field(name="podIPs", default=None)

    @property
    def is_ready(self) -> bool:
        return any(each.type == "Ready" and each.status == "True" for each in self.conditions or ())


class NodeObject(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    status: _Status = msgspec.field(default_factory=_Status)


class _Option(Struct):
    name: str = ""
    value: str | None = None


class _DnsConfig(Struct):
    nameservers: list[str] | None = None
    searches: list[str] | None = None
    options: list[_Option] | None = None


class _ContainerPort(Struct, rename="camel"):
    name: str = ""
    protocol: str = "TCP"
    container_port: int = 0


class _Container(Struct):
    ports: list[_ContainerPort] | None = None


class _PodSpec(Struct, rename="camel"):
    host_network: bool = False
    dns_policy: str = "ClusterFirst"
    dns_config: _DnsConfig | None = None
    containers: list[_Container] = []


class PodObject(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Port(Struct):
    name: str | None = None
    protocol: str = "TCP"
    port: int | None = None


class _ServiceSpec(Struct, rename="camel"):
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    selector: dict[str, str] | None = None
    ports: list[_Port] | None = None


class ServiceObject(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)


class _Ready(Struct):
    ready: bool | None = None


class _Endpoint(Struct):
    addresses: list[str] | None = None
    conditions: _Ready = msgspec.field(default_factory=_Ready)


class SliceObject(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None


class _Expression(Struct):
    key: str = ""
    operator: str = ""
    values: list[str] | None = None


class LabelSelector(Struct, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None

    @property
    def selector(self) -> Selector:
        exact = [
            Requirement(key, frozenset([value]), True) for key, value in (self.match_labels or {}).items()
        ]
        others = [
            Requirement(
                each.key,
                frozenset(each.values or ()) if each.operator in ("In", "NotIn") else None,
                each.operator in ("In", "Exists"),
            )
            for each in self.match_expressions or ()
        ]
        return Selector((*exact, *others))


class _IpBlock(Struct):
    cidr: str = ""
    excepts: list[str] | None = msgspec.field(name="except", default=None)


class _Peer(Struct, rename="camel"):
    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: _IpBlock | None = None

    @property
    def peer(self) -> Peer:
        return Peer(
            self.pod_selector.selector if self.pod_selector else None,
            self.namespace_selector.selector if self.namespace_selector else None,
            self.ip_block.cidr if self.ip_block else "",
            tuple(self.ip_block.excepts or ()) if self.ip_block else (),
        )


class _PolicyPort(Struct, rename="camel"):
    protocol: str = "TCP"
    port: int | str | None = None
    end_port: int | None = None


class _Rule(Struct):
    from_: list[_Peer] | None = msgspec.field(name="from", default=None)
    to: list[_Peer] | None = None
    ports: list[_PolicyPort] | None = None

    @property
    def rule(self) -> Rule:
        peers = (*(self.from_ or ()), *(self.to or ()))
        ports = tuple(PolicyPort(each.protocol, each.port, each.end_port) for each in self.ports or ())
        return Rule(tuple(peer.peer for peer in peers), ports)


class _PolicySpec(Struct, rename="camel"):
    pod_selector: LabelSelector = msgspec.field(default_factory=LabelSelector)
    policy_types: list[str] | None = None
    ingress: list[_Rule] | None = None
    egress: list[_Rule] | None = None


class PolicyObject(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _PolicySpec = msgspec.field(default_factory=_PolicySpec)


def node_facts(node: NodeObject) -> NodeFacts:
    return NodeFacts(node.metadata.name, node.status.is_ready, (node.metadata.labels or {}).get(_ZONE, ""))


def pod_facts(pod: PodObject) -> PodFacts:
    meta, spec, status = pod.metadata, pod.spec, pod.status
    config = spec.dns_config or _DnsConfig()
    ndots = [each.value or "" for each in config.options or () if each.name == "ndots"]
    ips = [entry.get("ip", "") for entry in status.pod_ips or ()] or [status.pod_ip]
    return PodFacts(
        namespace=meta.namespace,
        name=meta.name,
        owner=owner_of(meta),
        labels=meta.labels or {},
        ips=tuple(ip for ip in ips if ip),
        # One that is being deleted is ready to its end, but gets no lookups any more.
        ready=status.is_ready and not meta.deletion_timestamp,
        static=any(owner.kind == "Node" for owner in meta.owner_references or ()),
        host_network=spec.host_network,
        dns_policy=spec.dns_policy,
        ndots=int(ndots[-1]) if ndots and ndots[-1].isdecimal() else None,
        searches=len(config.searches or ()),
        nameservers=tuple(config.nameservers or ()),
        ports=tuple(
            (port.name, port.protocol, port.container_port)
            for container in spec.containers
            for port in container.ports or ()
        ),
    )


def owner_of(meta: Meta) -> Target:
    """The workload, as a person would name it; the pod itself when it is bare."""
    # A Job's own name will do: when it was made only matters for the name of its CronJob.
    workload = workload_of(meta, 0)
    if not workload:
        return Target("pod", meta.name, meta.namespace)
    return Target(workload.kind.lower(), workload.name, meta.namespace)


def service_facts(service: ServiceObject) -> ServiceFacts:
    spec = service.spec
    return ServiceFacts(
        service.metadata.namespace,
        service.metadata.name,
        tuple(ip for ip in spec.cluster_ips or [spec.cluster_ip] if ip and ip != "None"),
        spec.selector or {},
        tuple((port.protocol, port.port) for port in spec.ports or () if port.port is not None),
    )


def endpoint_facts(slice_: SliceObject) -> EndpointFacts:
    ready: set[str] = set()
    others: set[str] = set()
    for endpoint in slice_.endpoints or ():
        # Absent means ready, says the API.
        (others if endpoint.conditions.ready is False else ready).update(endpoint.addresses or ())
    labels = slice_.metadata.labels or {}
    ports = {
        (port.protocol, port.port)
        for port in slice_.ports or ()
        if port.port is not None and (port.name in DNS_PORT_NAMES or port.port == 53)
    }
    return EndpointFacts(
        slice_.metadata.namespace,
        labels.get("kubernetes.io/service-name", ""),
        frozenset(ready),
        frozenset(others),
        frozenset(ports),
    )


def policy_facts(policy: PolicyObject) -> Policy:
    spec = policy.spec
    # The API's default: ingress always, egress where there are egress rules.
    types = spec.policy_types or ["Ingress", *(["Egress"] if spec.egress else [])]
    selector = spec.pod_selector
    return Policy(
        policy.metadata.namespace,
        policy.metadata.name,
        selector.selector,
        msgspec.json.encode({key: value for key, value in _plain(selector).items() if value}).decode(),
        tuple(rule.rule for rule in spec.egress or ()) if "Egress" in types else None,
        tuple(rule.rule for rule in spec.ingress or ()) if "Ingress" in types else None,
    )


def _plain(selector: LabelSelector) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(selector)
    return plain


def kubelet_facts(node: str, answer: Any) -> KubeletFacts | None:
    """Of the answer to `configz`; None where it has another shape: what is no kubelet may play one."""
    config = answer.get("kubeletconfig") if isinstance(answer, dict) else None
    if not isinstance(config, dict):
        return None
    servers = config.get("clusterDNS") or ()
    return KubeletFacts(node, tuple(map(str, servers)), str(config.get("clusterDomain") or ""))
