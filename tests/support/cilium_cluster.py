"""A scripted cluster with Cilium: policies, agents, settings, the DNS Service, namespaces, pods."""

from __future__ import annotations

from typing import Any

import yaml

from support.api_server import ApiServer
from support.api_store import KIND_OF, RESOURCES

CILIUM = {
    "CiliumNetworkPolicy": ("/apis/cilium.io/v2", "ciliumnetworkpolicies", True),
    "CiliumClusterwideNetworkPolicy": ("/apis/cilium.io/v2", "ciliumclusterwidenetworkpolicies", False),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", True),
}
RESOURCES.update(CILIUM)
KIND_OF.update({(prefix, plural): kind for kind, (prefix, plural, _) in CILIUM.items()})

TO_DNS = 'toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: kube-dns}}]'
ANY_53 = '{port: "53", protocol: ANY}'


def cilium_policy(spec: str, name: str = "theirs", namespace: str = "shop") -> dict[str, Any]:
    """A CiliumNetworkPolicy of this spec (YAML); DNS stands for the way to kube-dns, ANY_53 for its port."""
    text = spec.replace("DNS", TO_DNS).replace("ANY_53", ANY_53)
    metadata = {"name": name, "namespace": namespace} if namespace else {"name": name}
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    return {"kind": kind, "metadata": metadata, "spec": yaml.safe_load(text)}


def network_policy(spec: str, name: str = "theirs", namespace: str = "shop") -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"kind": "NetworkPolicy", "metadata": metadata, "spec": yaml.safe_load(spec)}


def pod(name: str, namespace: str = "shop", *, host: bool = False, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"kind": "Pod", "metadata": metadata, "spec": {"hostNetwork": host, "containers": []}}


def dns_pod(name: str = "coredns-1", port: int = 53) -> dict[str, Any]:
    found = pod(name, "kube-system", **{"k8s-app": "kube-dns"})
    ports = [
        {"name": "dns", "containerPort": port, "protocol": "UDP"},
        {"name": "dns-tcp", "containerPort": port, "protocol": "TCP"},
    ]
    found["spec"]["containers"] = [{"name": "coredns", "ports": ports}]
    return found


def fill(server: ApiServer, *, version: str = "1.17.4", config: dict[str, str] | None = None) -> None:
    """Cilium's agents and settings, kube-dns with one pod, the namespaces kube-system and shop."""
    for name in ("kube-system", "shop"):
        server.put(
            {"kind": "Namespace", "metadata": {"name": name, "labels": {"kubernetes.io/metadata.name": name}}}
        )
    agent = {"name": "cilium-agent", "image": f"registry.test/cilium/cilium:v{version}"}
    server.put(
        {
            "kind": "DaemonSet",
            "metadata": {"name": "cilium", "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
            "spec": {"template": {"spec": {"containers": [agent]}}},
        }
    )
    settings = {"enable-hubble": "true", "enable-l7-proxy": "true", **(config or {})}
    server.put(
        {
            "kind": "ConfigMap",
            "metadata": {"name": "cilium-config", "namespace": "kube-system"},
            "data": settings,
        }
    )
    ports = [{"port": 53, "protocol": p, "targetPort": t} for p, t in (("UDP", "dns"), ("TCP", "dns-tcp"))]
    server.put(
        {
            "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
            "spec": {"selector": {"k8s-app": "kube-dns"}, "clusterIP": "10.96.0.10", "ports": ports},
        }
    )
    server.put(dns_pod())
