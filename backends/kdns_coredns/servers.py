"""Which pods answer for the cluster's DNS, and at which port: for who asks them without the way of a pod."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kdns_coredns.configs import read_corefiles
from kdns_coredns.discover import discover
from kdns_coredns.doctor_facts import COREDNS, dns_ports, read_corefile
from kubectl_kdns.backend import ServerPod
from kubectl_kdns.kube import Cluster


def read_servers(cluster: Cluster, options: Mapping[str, Any]) -> list[ServerPod]:
    """The ready CoreDNS pods; those of NodeLocal DNSCache listen only at addresses of their node."""
    pods = [pod for pod in discover(cluster, options).pods if pod.kind == COREDNS and pod.ready]
    ports = dns_ports(
        read_corefile(source, text, tuple(pod for pod in pods if pod.config == source))
        for source, text in read_corefiles(cluster, tuple(pods)).items()
    )
    return [ServerPod(pod.namespace, pod.name, pod.node, pod.ip, ports[pod.uid], pod.labels) for pod in pods]
