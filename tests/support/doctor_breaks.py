"""Ways to break a healthy cluster, with exactly what the doctor must say of each; and some that are none."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from support.doctor_cluster import (
    COREFILE,
    DNS_LABELS,
    Break,
    DoctorCluster,
    answer,
    nodelocal,
    now_text,
    pod,
    policy,
    refused,
)

DENY = {"podSelector": {}, "policyTypes": ["Egress"]}
DNS_PORTS = [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]


def both(path: str, value: Any) -> Break:
    """The same change of both CoreDNS pods."""

    def do(cluster: DoctorCluster) -> None:
        cluster.change("a", path, value)
        cluster.change("b", path, value)

    return do


def change(name: str, path: str, value: Any) -> Break:
    return lambda cluster: cluster.change(name, path, value)


def without(*names: str) -> Break:
    def do(cluster: DoctorCluster) -> None:
        for name in names:
            del cluster.objects[name]

    return do


def corefile(old: str, new: str) -> Break:
    assert old in COREFILE
    return lambda cluster: cluster.corefile(COREFILE.replace(old, new))


def put(**objects: Any) -> Break:
    return lambda cluster: cluster.objects.update(objects)


def ports(**serving: Any) -> Break:
    return lambda cluster: cluster.ports.update(
        {f"coredns-5d4f-{name * 5}": serve for name, serve in serving.items()}
    )


def not_ready(name: str) -> Break:
    """The pod crashes, and its endpoint is not ready."""

    def do(cluster: DoctorCluster) -> None:
        cluster.change(name, "status.conditions.0.status", "False")
        cluster.change(name, "status.containerStatuses.0.ready", False)
        cluster.change(name, "status.containerStatuses.0.state", {"waiting": {"reason": "CrashLoopBackOff"}})
        index = 0 if name == "a" else 1
        cluster.change("endpoints", f"endpoints.{index}.conditions.ready", False)

    return do


def all_of(*breaks: Break) -> Break:
    def do(cluster: DoctorCluster) -> None:
        for each in breaks:
            each(cluster)

    return do


def killed_for_memory(cluster: DoctorCluster) -> None:
    cluster.change("a", "status.containerStatuses.0.restartCount", 3)
    ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": now_text()}}
    cluster.change("a", "status.containerStatuses.0.lastState", ended)


def scaled_to_nothing(cluster: DoctorCluster) -> None:
    without("a", "b")(cluster)
    cluster.change("deployment", "spec.replicas", 0)
    cluster.change("deployment", "status", {})
    cluster.change("endpoints", "endpoints", None)


def changed_later(cluster: DoctorCluster) -> None:
    cluster.change("config", "metadata.managedFields.0.time", "2024-01-02T08:00:00Z")


def kubelet(cluster: DoctorCluster) -> None:
    cluster.kubelets["n2"]["clusterDNS"] = ["10.96.0.99"]


def other_domain(cluster: DoctorCluster) -> None:
    for config in cluster.kubelets.values():
        config["clusterDomain"] = "corp.example"


def allow(*peers: Any, **more: Any) -> Any:
    return {**DENY, "egress": [{"to": list(peers), "ports": DNS_PORTS}], **more}


KUBE_SYSTEM = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}

BROKEN: dict[str, tuple[Break, set[tuple[str, str]]]] = {
    "one pod crashes": (not_ready("a"), {("warning", "coredns-ready")}),
    "all pods crash": (
        all_of(not_ready("a"), not_ready("b")),
        {("failure", "coredns-ready"), ("failure", "service-endpoints")},
    ),
    "killed for memory": (killed_for_memory, {("warning", "coredns-restarts")}),
    "scaled to nothing": (
        scaled_to_nothing,
        {("failure", "coredns-found"), ("failure", "coredns-replicas"), ("failure", "service-endpoints")},
    ),
    "a pod that was not made": (
        all_of(
            without("b"),
            change("deployment", "status", {"replicas": 1, "readyReplicas": 1}),
            lambda cluster: cluster.objects["endpoints"]["endpoints"].pop(),
        ),
        {("warning", "coredns-replicas")},
    ),
    "all on one node": (change("b", "spec.nodeName", "n1"), {("warning", "coredns-placement")}),
    "all in one zone": (
        all_of(
            change("n2", "metadata.labels", {"topology.kubernetes.io/zone": "east"}),
            put(
                n3={
                    "kind": "Node",
                    "metadata": {"name": "n3", "labels": {"topology.kubernetes.io/zone": "west"}},
                    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
                }
            ),
            lambda cluster: cluster.kubelets.update(n3=cluster.kubelets["n1"]),
        ),
        {("warning", "coredns-placement")},
    ),
    "throttled": (
        both("spec.containers.0.resources.limits.cpu", "100m"),
        {("warning", "coredns-resources")},
    ),
    "no memory limit": (both("spec.containers.0.resources", {}), {("info", "coredns-resources")}),
    "a memory limit of 0": (
        both("spec.containers.0.resources.limits.memory", 0),
        {("info", "coredns-resources")},
    ),
    "two versions": (
        change("b", "spec.containers.0.image", "registry.k8s.io/coredns/coredns:v1.11.1"),
        {("warning", "coredns-versions")},
    ),
    "no Service": (without("service", "endpoints"), {("failure", "service-exists")}),
    "a headless Service": (
        all_of(change("service", "spec.clusterIP", "None"), change("service", "spec.clusterIPs", ["None"])),
        {("failure", "service-exists")},
    ),
    "no TCP": (
        lambda cluster: cluster.objects["service"]["spec"]["ports"].pop(),
        {("failure", "service-ports")},
    ),
    "a kubelet that hands out another address": (kubelet, {("failure", "service-address")}),
    "a selector that fits no pod": (
        all_of(
            change("service", "spec.selector", {"k8s-app": "dns"}),
            change("endpoints", "endpoints", None),
        ),
        {("failure", "service-endpoints")},
    ),
    "an endpoint that is no pod": (
        change("endpoints", "endpoints.1.addresses", ["10.244.2.77"]),
        {("warning", "service-endpoints")},
    ),
    "a Corefile that does not parse": (
        lambda cluster: cluster.corefile(COREFILE.replace("pods insecure", "{")),
        {("failure", "corefile-parses")},
    ),
    "no ConfigMap": (without("config"), {("failure", "corefile-parses")}),
    "log of a format": (corefile("errors", "errors\n    log {combined}"), {("warning", "corefile-log")}),
    "a plugin that does not exist": (
        corefile("    loop\n", "    loop\n    loadbalence\n"),
        {("warning", "corefile-plugins")},
    ),
    "no errors": (corefile("    errors\n", ""), {("warning", "corefile-errors")}),
    "no health": (corefile("    health\n", ""), {("warning", "corefile-health")}),
    "no ready": (corefile("    ready\n", ""), {("warning", "corefile-ready")}),
    "no cache": (corefile("    cache 30\n", ""), {("warning", "corefile-cache")}),
    "no loop": (corefile("    loop\n", ""), {("warning", "corefile-loop")}),
    "no reload": (corefile("    reload\n", ""), {("warning", "corefile-reload")}),
    "no reload, and a change": (
        all_of(corefile("    reload\n", ""), changed_later),
        {("warning", "corefile-reload"), ("warning", "corefile-live")},
    ),
    "forward to the Service": (
        corefile("/etc/resolv.conf", "10.96.0.10"),
        {("failure", "corefile-forward")},
    ),
    "forward to the loopback": (
        corefile("/etc/resolv.conf", "127.0.0.1"),
        {("failure", "corefile-forward")},
    ),
    "CoreDNS asks the cluster's DNS": (
        both("spec.dnsPolicy", "ClusterFirst"),
        {("failure", "corefile-forward")},
    ),
    "a zone twice": (
        lambda cluster: cluster.corefile(COREFILE + COREFILE),
        {("failure", "corefile-zones")},
    ),
    "no kubernetes": (
        corefile("kubernetes cluster.local", "kubernetes cluster.locl"),
        {("failure", "corefile-kubernetes")},
    ),
    "another domain": (other_domain, {("failure", "corefile-kubernetes")}),
    "NodeLocal crashes": (
        put(l1=nodelocal("local-1", "n1"), l2=nodelocal("local-2", "n2", ready=False)),
        {("failure", "nodelocal-ready")},
    ),
    "NodeLocal is missing": (put(l1=nodelocal("local-1", "n1")), {("warning", "nodelocal-ready")}),
    "SERVFAIL": (ports(a=answer(2)), {("failure", "lookup-answers")}),
    "NXDOMAIN": (ports(a=answer(3)), {("failure", "lookup-answers")}),
    "no address": (ports(a=answer(0, b"")), {("failure", "lookup-answers")}),
    "nobody listens": (ports(b=refused), {("failure", "lookup-answers")}),
    "one pod is slow": (ports(b=answer(after_s=0.15)), {("warning", "lookup-latency")}),
    "a pod in the node's network": (
        change("web", "spec.hostNetwork", True),
        {("warning", "pods-host-network")},
    ),
    "a system pod in its node's network": (
        put(p=pod("kube-system", "proxy-1-aaaaa", "192.0.2.11", labels={}, hostNetwork=True)),
        {("info", "pods-host-network")},
    ),
    "a pod that asks its node's servers": (
        change("web", "spec.dnsPolicy", "Default"),
        {("info", "pods-dns-policy")},
    ),
    "many dots": (
        change("web", "spec.dnsConfig", {"options": [{"name": "ndots", "value": "10"}]}),
        {("info", "pods-ndots")},
    ),
    "a long search list": (
        change("web", "spec.dnsConfig", {"searches": [f"s{number}" for number in range(7)]}),
        {("info", "pods-search-domains")},
    ),
    "servers of its own": (
        change("web", "spec.dnsConfig", {"nameservers": ["192.0.2.53"]}),
        {("info", "pods-name-servers")},
    ),
    "egress denied": (put(p=policy("shop", "deny", **DENY)), {("failure", "policy-egress")}),
    "egress by UDP only": (
        put(p=policy("shop", "udp", **{**DENY, "egress": [{"to": [KUBE_SYSTEM], "ports": DNS_PORTS[:1]}]})),
        {("warning", "policy-egress")},
    ),
    "egress to other pods": (
        put(p=policy("shop", "own", **allow({"podSelector": {}}))),
        {("failure", "policy-egress")},
    ),
    "ingress closed": (
        put(p=policy("kube-system", "closed", podSelector={"matchLabels": DNS_LABELS}, ingress=[])),
        {("failure", "policy-ingress")},
    ),
    "ingress from elsewhere": (
        put(
            p=policy(
                "kube-system",
                "elsewhere",
                podSelector={"matchLabels": DNS_LABELS},
                ingress=[{"from": [{"namespaceSelector": {"matchLabels": {"team": "bank"}}}]}],
            )
        ),
        {("failure", "policy-ingress")},
    ),
}


def one_is_being_deleted(cluster: DoctorCluster) -> None:
    """It is ready yet, and answers nobody."""
    old = deepcopy(cluster.objects["a"])
    old["metadata"] |= {"name": "coredns-5d4f-ooooo", "deletionTimestamp": "2024-01-03T08:00:00Z"}
    old["spec"]["containers"][0]["image"] = "registry.k8s.io/coredns/coredns:v1.11.1"
    old["status"] |= {"podIP": "10.244.1.55", "podIPs": [{"ip": "10.244.1.55"}]}
    cluster.objects["old"] = old
    cluster.ports["coredns-5d4f-ooooo"] = refused
    ending = {"addresses": ["10.244.1.55"], "conditions": {"ready": False}}
    cluster.objects["endpoints"]["endpoints"].append(ending)


FINE: dict[str, Break] = {
    "a CPU limit of 0, which is none": both("spec.containers.0.resources.limits.cpu", "0"),
    "a pod that is being deleted": one_is_being_deleted,
    "egress that allows DNS": put(p=policy("shop", "dns", **allow(KUBE_SYSTEM))),
    "egress by the labels of the pods": put(
        p=policy("shop", "dns", **allow({**KUBE_SYSTEM, "podSelector": {"matchLabels": DNS_LABELS}}))
    ),
    "egress to every address": put(p=policy("shop", "dns", **allow({"ipBlock": {"cidr": "0.0.0.0/0"}}))),
    "a denial that another policy opens": put(
        p=policy("shop", "deny", **DENY), q=policy("shop", "dns", **allow(KUBE_SYSTEM))
    ),
    "a denial of other pods": put(
        p=policy("shop", "deny", **{**DENY, "podSelector": {"matchLabels": {"app": "batch"}}})
    ),
    "ingress of the port's name": put(
        p=policy(
            "kube-system",
            "dns",
            podSelector={"matchLabels": DNS_LABELS},
            ingress=[{"ports": [{"protocol": "UDP", "port": "dns"}, {"protocol": "TCP", "port": "dns-tcp"}]}],
        )
    ),
    "NodeLocal on every node": put(l1=nodelocal("local-1", "n1"), l2=nodelocal("local-2", "n2")),
    "two views of one zone": lambda cluster: cluster.corefile(
        COREFILE.replace("errors", "view internal {\n expr true\n }\n    errors") + COREFILE
    ),
    "a domain in capitals": corefile("kubernetes cluster.local", "kubernetes Cluster.Local."),
    "a ready CoreDNS of somebody else": put(
        x=pod("tools", "coredns-77-xxxxx", "10.244.1.77", labels={"app.kubernetes.io/name": "coredns"})
    ),
}
