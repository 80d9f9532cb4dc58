"""NetworkPolicies (networking.k8s.io/v1), and whether they let one pod reach another on a port."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from ipaddress import ip_address, ip_network

from msgspec import Struct

from kubectl_kdns.filter.selector import Selector


class PolicyPort(Struct, frozen=True):
    """`port` None is every port; a text is the name of a container's port; `end` closes a range."""

    protocol: str
    port: int | str | None = None
    end: int | None = None


class Peer(Struct, frozen=True):
    """Pods by their labels and their namespace's (None: all, or the policy's own), or addresses."""

    pods: Selector | None = None
    namespaces: Selector | None = None
    cidr: str = ""
    excepts: tuple[str, ...] = ()


class Rule(Struct, frozen=True):
    """No peers: everybody. No ports: all."""

    peers: tuple[Peer, ...] = ()
    ports: tuple[PolicyPort, ...] = ()


class Policy(Struct, frozen=True):
    """`egress` and `ingress` are None where the policy says nothing about that direction.

    `selects` is which pods of its namespace it is for, `selector` the same as it is written, as JSON.
    """

    namespace: str
    name: str
    selects: Selector
    selector: str
    egress: tuple[Rule, ...] | None = None
    ingress: tuple[Rule, ...] | None = None


class End(Struct, frozen=True):
    """One end of a connection: a pod, with its addresses and (name, protocol, number) of its ports."""

    namespace: str
    labels: Mapping[str, str]
    namespace_labels: Mapping[str, str]
    ips: tuple[str, ...] = ()
    ports: tuple[tuple[str, str, int], ...] = ()


def rules_for(policies: Iterable[Policy], pod: End, direction: str) -> list[tuple[Policy, tuple[Rule, ...]]]:
    """Of the policies of a pod's namespace those that isolate it in that direction, with their rules."""
    return [
        (policy, rules)
        for policy in policies
        if (rules := policy.egress if direction == "egress" else policy.ingress) is not None
        and policy.selects.matches(pod.labels)
    ]


def lets_pass(
    policy: Policy, rules: Sequence[Rule], peer: End, server: End, protocol: str, port: int
) -> bool:
    """Whether a rule of the policy has the peer among its peers and the server's port among its ports."""
    return any(
        (not rule.peers or any(_is_peer(policy, each, peer) for each in rule.peers))
        and (not rule.ports or any(_is_port(each, server, protocol, port) for each in rule.ports))
        for rule in rules
    )


def _is_peer(policy: Policy, peer: Peer, end: End) -> bool:
    if peer.cidr:
        return any(_within(ip, peer.cidr) and not any(_within(ip, e) for e in peer.excepts) for ip in end.ips)
    if peer.namespaces is None:
        inside = end.namespace == policy.namespace
    else:
        inside = peer.namespaces.matches(end.namespace_labels)
    return inside and (peer.pods is None or peer.pods.matches(end.labels))


def _within(ip: str, cidr: str) -> bool:
    try:
        return ip_address(ip) in ip_network(cidr, strict=False)
    except (ValueError, TypeError):
        return False


def _is_port(port: PolicyPort, server: End, protocol: str, number: int) -> bool:
    if port.protocol != protocol:
        return False
    if port.port is None:
        return True
    if isinstance(port.port, str):
        return (port.port, protocol, number) in server.ports
    return port.port <= number <= (port.end or port.port)
