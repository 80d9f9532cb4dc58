"""Facts of a healthy cluster for the doctor's pure checks, and a way to change one of them."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from kdns_coredns.corefile import parse_corefile
from kdns_coredns.doctor_facts import (
    LARGE_TCP,
    LARGE_UDP,
    TCP,
    UDP,
    ControllerFacts,
    CorednsFacts,
    CorefileFacts,
    InsideFacts,
    LookupFacts,
    PathFacts,
    UpstreamFacts,
    pod_target,
)
from kdns_coredns.pods import Condition, ConfigSource, CorednsPod
from kubectl_kdns.backend import Forward, Probe
from kubectl_kdns.doctor.facts import (
    ClusterFacts,
    EndpointFacts,
    KubeletFacts,
    NodeFacts,
    PodFacts,
    ServiceFacts,
)
from kubectl_kdns.doctor.finding import Check, Target, judge
from kubectl_kdns.doctor.objects import PolicyObject, policy_facts
from kubectl_kdns.doctor.policy import Policy
from kubectl_kdns.model import Workload
from kubectl_kdns.resolver import Reply
from kubectl_kdns.times import NS_PER_S
from support.doctor_cluster import COREFILE, DNS_LABELS, SERVICE_IP
from support.doctor_cluster import policy as policy_object

HOUR_NS = 3600 * NS_PER_S
NOW_NS = 1_000_000 * HOUR_NS
DNS_PORTS = (("dns", "UDP", 53), ("dns-tcp", "TCP", 53))
ENDPOINT_PORTS = frozenset({("UDP", 53), ("TCP", 53)})
SERVICE = ServiceFacts("kube-system", "kube-dns", (SERVICE_IP,), DNS_LABELS, (("UDP", 53), ("TCP", 53)))


def app(name: str = "web", namespace: str = "shop", **more: Any) -> PodFacts:
    owner = more.pop("owner", Target("deployment", name, namespace))
    labels = more.pop("labels", {"app": name})
    return PodFacts(namespace, f"{name}-1", owner, labels, ips=("10.244.1.9",), **more)


def _dns(name: str, ip: str) -> PodFacts:
    owner = Target("deployment", "coredns", "kube-system")
    return PodFacts("kube-system", name, owner, DNS_LABELS, (ip,), dns_policy="Default", ports=DNS_PORTS)


def policy(namespace: str, name: str, **spec: Any) -> Policy:
    return policy_facts(msgspec.convert(policy_object(namespace, name, **spec), PolicyObject))


def cluster(**changes: Any) -> ClusterFacts:
    """Two nodes, two DNS pods, one client."""
    healthy = ClusterFacts(
        nodes=(NodeFacts("n1", True, "east"), NodeFacts("n2", True, "west")),
        pods=(_dns("coredns-a", "10.244.1.2"), _dns("coredns-b", "10.244.2.2"), app()),
        services=(SERVICE,),
        endpoints=(
            EndpointFacts(
                "kube-system", "kube-dns", frozenset({"10.244.1.2", "10.244.2.2"}), dns_ports=ENDPOINT_PORTS
            ),
        ),
        namespaces={
            name: {"kubernetes.io/metadata.name": name, "team": name} for name in ("kube-system", "shop")
        },
        policies=(),
        kubelets=(
            KubeletFacts("n1", (SERVICE_IP,), "cluster.local"),
            KubeletFacts("n2", (SERVICE_IP,), "cluster.local"),
        ),
        probes={"coredns": Probe(True, "2 CoreDNS pods, and their log is on")},
        rights={"coredns": ()},
    )
    return replace(healthy, **changes)


def coredns_pod(name: str = "coredns-a", node: str = "n1", **changes: Any) -> CorednsPod:
    healthy = CorednsPod(
        namespace="kube-system",
        name=name,
        uid=f"uid-{name}",
        node=node,
        ip=f"10.244.{node[-1]}.2",
        container="coredns",
        image="coredns:v1.12.1",
        kind="coredns",
        labels=DNS_LABELS,
        workload=Workload("Deployment", "coredns"),
        restarts=0,
        ready=True,
        has_started=True,
        config=ConfigSource("kube-system", "coredns", "Corefile"),
        corefile="/etc/coredns/Corefile",
        mounts=(),
        condition=Condition(started_ns=NOW_NS - 10 * HOUR_NS, memory_limit="170Mi", dns_policy="Default"),
    )
    return replace(healthy, **changes)


def condition(**changes: Any) -> Condition:
    return replace(coredns_pod().condition, **changes)


PODS = (coredns_pod(), coredns_pod("coredns-b", "n2"))


def nodelocal(name: str = "local-a", node: str = "n1", **changes: Any) -> CorednsPod:
    local: dict[str, Any] = {"kind": "nodelocal", "addresses": ("169.254.20.10",), "workload": UNSET}
    return coredns_pod(name, node, **(local | changes))


def corefile(text: str = COREFILE, pods: tuple[CorednsPod, ...] = PODS, **changes: Any) -> CorefileFacts:
    source = ConfigSource("kube-system", "coredns", "Corefile")
    facts = CorefileFacts(source, pods, parse_corefile(text), changed_ns=NOW_NS - 11 * HOUR_NS)
    return replace(facts, **changes)


def lookup(pod: CorednsPod = PODS[0], *latencies_ms: float, **changes: Any) -> LookupFacts:
    latencies = tuple(int(value * 1_000_000) for value in latencies_ms or (9, 2, 1))
    facts = LookupFacts(pod, "kubernetes.default.svc.cluster.local", "NOERROR", 1, latencies)
    return replace(facts, **changes)


SIZES = {UDP: 80, LARGE_UDP: 528, TCP: 80, LARGE_TCP: 1716}
FORWARD = Forward("coredns", "configmap kube-system/coredns:9", ".", "/etc/resolv.conf", 53)
SERVERS = (SERVICE.target, *map(pod_target, PODS))
LOST = Reply(problem="timed out")


def paths(lost: Any = lambda _: False, **changes: Any) -> InsideFacts:
    """Every CoreDNS pod and node asks all servers in every way; `lost` is whether nothing came by a path."""
    askers = (*map(pod_target, PODS), Target("node", "n1"), Target("node", "n2"))
    every = [
        PathFacts(asker, server, way, Reply("NOERROR", True, size_bytes=size))
        for asker in askers
        for server in SERVERS
        for way, size in SIZES.items()
    ]
    told = tuple(replace(path, reply=LOST) if lost(path) else path for path in every)
    well = Reply("NOERROR", True)
    healthy = InsideFacts(
        told, tuple(UpstreamFacts(pod, FORWARD, "192.0.2.53", well, well) for pod in PODS), (), 2, 3
    )
    return replace(healthy, **changes)


def coredns(**changes: Any) -> CorednsFacts:
    """Two CoreDNS pods of one Deployment in a healthy cluster."""
    healthy = CorednsFacts(
        cluster(),
        NOW_NS,
        PODS,
        controllers=(ControllerFacts(Target("deployment", "coredns", "kube-system"), 2, 2, 2),),
        corefiles=(corefile(),),
        lookups=(lookup(), lookup(PODS[1])),
        reloads={},
        inside=paths(),
    )
    return replace(healthy, **changes)


def said(check: Check[Any], facts: Any) -> list[tuple[str, str, str]]:
    """(severity, on, evidence) of each finding; a failure or a warning must have a fix."""
    findings = judge([check], facts)
    for finding in findings:
        assert finding.fix or finding.severity not in ("failure", "warning"), finding
    return [(finding.severity, str(finding.on), finding.evidence) for finding in findings]
