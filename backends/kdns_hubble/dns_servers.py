"""Finds the cluster's DNS servers as destinations of a policy: their Service, labels and ports.

Cilium applies policies after Service translation, so the pods' own labels and ports count (OpenShift: 5353).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from typing import Any

from kdns_hubble.destinations import Destination, Port
from kdns_hubble.selectors import pod_labels
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, ForbiddenError, NotFoundError, UsageError
from kubectl_kdns.kube import Cluster

SYSTEM_NAMESPACE = "kube-system"
SERVICES = (
    (SYSTEM_NAMESPACE, "kube-dns"),
    ("openshift-dns", "dns-default"),
    (SYSTEM_NAMESPACE, "rke2-coredns-rke2-coredns"),
    (SYSTEM_NAMESPACE, "coredns"),
)
LABELS = "k8s-app in (kube-dns,coredns)"
NODELOCAL_LABELS = "k8s-app in (node-local-dns,nodelocaldns)"
NODELOCAL_ON_HOST = Destination("NodeLocal DNSCache on the node", "entity", value="host")
EXTERNAL = Destination("servers outside of the cluster", "entity", value="world")
_LINK_LOCAL = ipaddress.IPv4Network("169.254.0.0/16")


def dns_servers(cluster: Cluster, namespace: str, to: Sequence[str] = ()) -> list[Destination]:
    """The servers that `--to` names (an IP, a CIDR, svc/NAME, coredns, nodelocal, external); without it the
    cluster's DNS Service, and NodeLocal DNSCache where it runs.

    Raises UsageError for what is no server, BackendError when there is none of that name.
    """
    if not to:
        return [*_cluster_dns(cluster), *_nodelocal(cluster)]
    found = [server for text in to for server in _named(cluster, namespace, text)]
    return list({server.text: server for server in found}.values())


def _named(cluster: Cluster, namespace: str, text: str) -> list[Destination]:
    if text == "coredns":
        return _cluster_dns(cluster)
    if text == "nodelocal":
        return _nodelocal(cluster) or [NODELOCAL_ON_HOST]
    if text == "external":
        return [EXTERNAL]
    kind, slash, name = text.partition("/")
    if slash and kind in ("svc", "service", "services"):
        return _service_of_name(cluster, namespace, name)
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        raise UsageError(
            f"--to {text}: not a DNS server that a policy can name",
            hint="an IP address, svc/NAME, coredns, nodelocal or external",
        ) from None
    if isinstance(network, ipaddress.IPv4Network) and network.subnet_of(_LINK_LOCAL):
        # Addresses of the node itself are "host" to Cilium, and no CIDR rule reaches them.
        return [NODELOCAL_ON_HOST]
    for service in cluster.list("/api/v1/services").items:
        if text in (service["spec"].get("clusterIPs") or [service["spec"].get("clusterIP")]):
            return _behind(cluster, service)
    return [Destination(text, "cidr", value=str(network))]


def _service_of_name(cluster: Cluster, namespace: str, name: str) -> list[Destination]:
    services = cluster.list("/api/v1/services", fieldSelector=f"metadata.name={name}").items
    own = [service for service in services if service["metadata"]["namespace"] == namespace]
    chosen = own or services
    if len(chosen) != 1:
        places = ", ".join(service["metadata"]["namespace"] for service in chosen)
        cause = f"it is in the namespaces {places}" if chosen else "there is none in any namespace"
        raise BackendError(f"which Service {name} is meant is not clear", cause=cause, hint="--to CLUSTER-IP")
    return _behind(cluster, chosen[0])


def _cluster_dns(cluster: Cluster) -> list[Destination]:
    for namespace, name in SERVICES:
        try:
            return _behind(cluster, cluster.get(f"/api/v1/namespaces/{namespace}/services/{name}"))
        except NotFoundError:
            continue
    services = cluster.list("/api/v1/services", labelSelector=LABELS).items
    services = [service for service in services if service["spec"].get("selector")]
    if not services:
        raise BackendError(
            "the cluster's DNS servers were not found",
            cause="there is no Service kube-dns, dns-default or coredns, and none with its labels",
            hint="--to svc/NAME, or --to IP of the server",
        )
    return _behind(cluster, services[0])


def _behind(cluster: Cluster, service: Any) -> list[Destination]:
    """The pods behind a Service. Those with hostNetwork are nodes to Cilium."""
    namespace, name = service["metadata"]["namespace"], service["metadata"]["name"]
    selector = service["spec"].get("selector")
    if not selector:
        raise BackendError(
            f"service {namespace}/{name} selects no pods, so a policy cannot name them",
            hint="--to IP of the server",
        )
    text = ",".join(f"{key}={value}" for key, value in sorted(selector.items()))
    pods = cluster.list(f"/api/v1/namespaces/{namespace}/pods", labelSelector=text).items
    ports = _ports(service, pods)
    if any(pod["spec"].get("hostNetwork") for pod in pods):
        return [
            Destination(f"{namespace}/{name} on its nodes ({entity})", "entity", value=entity, ports=ports)
            for entity in ("host", "remote-node")
        ]
    return [_endpoints(cluster, namespace, name, selector, pods, ports)]


def _endpoints(
    cluster: Cluster,
    namespace: str,
    name: str,
    match: Mapping[str, str],
    pods: Sequence[Any],
    ports: tuple[Port, ...],
) -> Destination:
    of_namespace = namespace_labels(cluster, namespace)
    labels = [
        pod_labels(
            pod["metadata"].get("labels"), namespace, pod["spec"].get("serviceAccountName", ""), of_namespace
        )
        for pod in pods
    ]
    return Destination(
        text=safe_text(f"{namespace}/{name}"),
        kind="endpoints",
        namespace=namespace,
        match=dict(match),
        pods=tuple(labels),
        ports=ports,
    )


def namespace_labels(cluster: Cluster, namespace: str) -> dict[str, str] | None:
    """A namespace's labels; None when they may not be read."""
    try:
        found = cluster.get(f"/api/v1/namespaces/{namespace}")
    except (ForbiddenError, NotFoundError):
        return None
    return dict(found["metadata"].get("labels") or {})


def _ports(service: Any, pods: Sequence[Any]) -> tuple[Port, ...]:
    """The pods' ports for the Service's port 53 (for all of its ports when it has no 53)."""
    of_pods = [
        port
        for pod in pods
        for container in pod["spec"].get("containers") or ()
        for port in container.get("ports") or ()
    ]
    listed = service["spec"].get("ports") or []
    numbers = set()
    for port in [port for port in listed if port["port"] == 53] or listed:
        target = port.get("targetPort") or port["port"]
        named = [item["containerPort"] for item in of_pods if item.get("name") == target]
        numbers.add(target if isinstance(target, int) else named[0] if named else port["port"])
    return tuple(
        Port(
            number,
            {
                item.get("protocol", "TCP"): item["name"]
                for item in of_pods
                if item["containerPort"] == number and item.get("name")
            },
        )
        for number in sorted(numbers)
    ) or (Port(),)


def _nodelocal(cluster: Cluster) -> list[Destination]:
    """NodeLocal DNSCache: on the node's network as usual, or the pods of a local redirect policy."""
    try:
        pods = cluster.list("/api/v1/pods", labelSelector=NODELOCAL_LABELS).items
    except ForbiddenError:
        return []
    if any(pod["spec"].get("hostNetwork") for pod in pods):
        return [NODELOCAL_ON_HOST]
    if not pods:
        return []
    meta = pods[0]["metadata"]
    match = {"k8s-app": meta["labels"]["k8s-app"]}
    return [_endpoints(cluster, meta["namespace"], "NodeLocal DNSCache", match, pods, (Port(),))]
