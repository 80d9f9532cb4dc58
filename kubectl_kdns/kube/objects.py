"""API objects as far as the directory needs them, decoded straight into Structs, and what they say to it.

Only these fields are decoded: 50,000 pods as plain JSON objects would be more than a gigabyte.
"""

from __future__ import annotations

import re
from functools import lru_cache
from sys import intern

import msgspec
from msgspec import UNSET, Struct, structs

from kubectl_kdns import endpoints
from kubectl_kdns.address_index import AddressIndex
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Maybe, Workload
from kubectl_kdns.times import NS_PER_S, parse_time

DNS_SERVICE_NAMES = ("kube-dns", "coredns", "dns-default", "rke2-coredns-rke2-coredns")
_DNS_SERVICE_LABELS = {("k8s-app", "kube-dns"), ("k8s-app", "coredns")}
_SCHEDULED_JOB = re.compile(r"(.+)-(\d{8})")
_DAY_MINUTES = 24 * 60


class Owner(Struct):
    kind: str = ""
    name: str = ""
    controller: bool | None = None


class Annotations(Struct):
    """Those that we read. On nodes: addresses of tunnels and bridges, by which pods are seen elsewhere."""

    initial_events_end: str = msgspec.field(name="k8s.io/initial-events-end", default="")
    config_hash: str = msgspec.field(name="kubernetes.io/config.hash", default="")
    calico_ipip: str = msgspec.field(name="projectcalico.org/IPv4IPIPTunnelAddr", default="")
    calico_vxlan: str = msgspec.field(name="projectcalico.org/IPv4VXLANTunnelAddr", default="")
    calico_vxlan6: str = msgspec.field(name="projectcalico.org/IPv6VXLANTunnelAddr", default="")
    calico_wireguard: str = msgspec.field(name="projectcalico.org/IPv4WireguardInterfaceAddr", default="")
    cilium: str = msgspec.field(name="network.cilium.io/ipv4-cilium-host", default="")
    cilium6: str = msgspec.field(name="network.cilium.io/ipv6-cilium-host", default="")
    cilium_old: str = msgspec.field(name="io.cilium.network.ipv4-cilium-host", default="")


class Meta(Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    labels: dict[str, str] | None = None
    annotations: Annotations | None = None
    owner_references: list[Owner] | None = None


class _PodSpec(Struct, rename="camel"):
    node_name: str = ""
    host_network: bool = False


class _PodIp(Struct):
    ip: str = ""


class _Terminated(Struct, rename="camel"):
    finished_at: str | None = None


class _ContainerState(Struct):
    terminated: _Terminated | None = None


class _ContainerStatus(Struct):
    name: str = ""
    container_id: str = msgspec.field(name="containerID", default="")  # containerd://<64 hex digits>
    state: _ContainerState | None = None


class _PodStatus(Struct, rename="camel"):
    phase: str = ""
    start_time: str | None = None
    pod_ip: str = msgspec.field(name="podIP", default="")
    pod_ips: list[_PodIp] | None = msgspec.field(name="podIPs", default=None)
    container_statuses: list[_ContainerStatus] | None = None


class Pod(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)


class _Port(Struct):
    port: int = 0


class _ServiceSpec(Struct, rename="camel"):
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: list[str] | None = msgspec.field(name="clusterIPs", default=None)
    external_ips: list[str] | None = msgspec.field(name="externalIPs", default=None)
    selector: dict[str, str] | None = None
    ports: list[_Port] | None = None


class _Ingress(Struct):
    ip: str = ""


class _LoadBalancer(Struct):
    ingress: list[_Ingress] | None = None


class _ServiceStatus(Struct, rename="camel"):
    load_balancer: _LoadBalancer | None = None


class Service(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)
    status: _ServiceStatus = msgspec.field(default_factory=_ServiceStatus)


class _Endpoint(Struct):
    addresses: list[str] | None = None


class EndpointSlice(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    endpoints: list[_Endpoint] | None = None


class _NodeAddress(Struct):
    type: str = ""
    address: str = ""


class _NodeSpec(Struct, rename="camel"):
    pod_cidr: str = msgspec.field(name="podCIDR", default="")
    pod_cidrs: list[str] | None = msgspec.field(name="podCIDRs", default=None)


class _NodeStatus(Struct):
    addresses: list[_NodeAddress] | None = None


class Node(Struct):
    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _NodeSpec = msgspec.field(default_factory=_NodeSpec)
    status: _NodeStatus = msgspec.field(default_factory=_NodeStatus)


def pod_of(pod: Pod, index: AddressIndex, now_ns: int) -> endpoints.Pod:
    """`now_ns` is the end of a pod that has ended without saying when."""
    meta, status = pod.metadata, pod.status
    created_ns = _time_ns(meta.creation_timestamp)
    ips = [entry.ip for entry in status.pod_ips or () if entry.ip] or [status.pod_ip]
    return endpoints.Pod(
        namespace=intern(safe_text(meta.namespace)),
        name=safe_text(meta.name),
        uid=safe_text(meta.uid),
        labels=index.labels(meta.labels or {}),
        node=intern(safe_text(pod.spec.node_name)) if pod.spec.node_name else UNSET,
        workload=workload_of(meta, created_ns),
        ips=() if pod.spec.host_network else tuple(ip for ip in ips if ip),
        start_ns=_time_ns(status.start_time) or created_ns,
        end_ns=_end_ns(status, now_ns),
        containers=endpoints.pack_containers(
            (entry.container_id.rpartition("/")[2], safe_text(entry.name))
            for entry in status.container_statuses or ()
        ),
        static_uid=meta.annotations.config_hash if meta.annotations else "",
    )


def workload_of(meta: Meta, created_ns: int) -> Maybe[Workload]:
    """What a person would say the pod belongs to, by what its controller put into names and labels.

    A Deployment's ReplicaSet is called by the Deployment and the label pod-template-hash; a CronJob's Job by
    the CronJob and the minute for which it was scheduled. So nobody needs the right to list those.
    """
    owners = meta.owner_references or ()
    owner = next((owner for owner in owners if owner.controller), None)
    if owner is None or owner.kind == "Node":
        return UNSET  # bare, or a static pod, which belongs to its node and to nobody
    labels = meta.labels or {}
    if owner.kind == "ReplicaSet":
        for label, kind in (("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout")):
            suffix = f"-{labels.get(label, '')}"
            if len(suffix) > 1 and owner.name.endswith(suffix):
                return _workload(kind, owner.name.removesuffix(suffix))
    if owner.kind == "Job" and (match := _SCHEDULED_JOB.fullmatch(owner.name)):
        # A date, as in backup-20260101, would be years away from the minutes since 1970.
        minutes = created_ns // (60 * NS_PER_S)
        if abs(int(match[2]) - minutes) <= _DAY_MINUTES:
            return _workload("CronJob", match[1])
    return _workload(owner.kind, owner.name)


def service_of(service: Service) -> endpoints.Service:
    meta, spec = service.metadata, service.spec
    balancer = service.status.load_balancer or _LoadBalancer()
    ips = [
        *(spec.cluster_ips or [spec.cluster_ip]),
        *(spec.external_ips or ()),
        *(ingress.ip for ingress in balancer.ingress or ()),
    ]
    named = meta.name in DNS_SERVICE_NAMES or not _DNS_SERVICE_LABELS.isdisjoint((meta.labels or {}).items())
    return endpoints.Service(
        safe_text(meta.namespace),
        safe_text(meta.name),
        tuple(dict.fromkeys(ip for ip in ips if ip and ip != "None")),
        spec.selector or {},
        dns=named and any(port.port == 53 for port in spec.ports or ()),
    )


def endpoints_of(slice_: EndpointSlice) -> endpoints.Endpoints:
    meta = slice_.metadata
    service = safe_text((meta.labels or {}).get("kubernetes.io/service-name", meta.name))
    ips = [ip for endpoint in slice_.endpoints or () for ip in endpoint.addresses or ()]
    return endpoints.Endpoints(safe_text(meta.namespace), meta.name, service, tuple(dict.fromkeys(ips)))


def node_of(node: Node) -> endpoints.Node:
    from ipaddress import ip_network

    addresses = [a.address for a in node.status.addresses or () if a.type in ("InternalIP", "ExternalIP")]
    # All that is decoded of annotations, but for the first two, which are no addresses.
    tunnels = structs.astuple(node.metadata.annotations)[2:] if node.metadata.annotations else ()
    networks = node.spec.pod_cidrs or [node.spec.pod_cidr]
    bridges: list[str] = []
    for text in networks:
        try:
            network = ip_network(text)
        except ValueError:
            continue
        # flannel's tunnel takes the first address of the node's network, bridges and ptp the second; the
        # address plugins give neither to a pod, and if one did, the pod would win.
        bridges += [str(network[0]), str(network[1])] if network.num_addresses > 2 else []
    ips = dict.fromkeys(ip for ip in (*addresses, *tunnels, *bridges) if ip)
    return endpoints.Node(safe_text(node.metadata.name), tuple(ips), tuple(text for text in networks if text))


@lru_cache(maxsize=65536)
def _workload(kind: str, name: str) -> Workload:
    return Workload(safe_text(kind), safe_text(name))


def _end_ns(status: _PodStatus, now_ns: int) -> int | None:
    if status.phase not in ("Succeeded", "Failed"):
        return None
    states = [c.state.terminated for c in status.container_statuses or () if c.state and c.state.terminated]
    ends = [_time_ns(state.finished_at) for state in states]
    # Whole seconds, rounded down: the last query may have come after that.
    return max(ends) + NS_PER_S if ends and all(ends) else now_ns


def _time_ns(text: str | None) -> int:
    try:
        return parse_time(text) if text else 0
    except ValueError:
        return 0
