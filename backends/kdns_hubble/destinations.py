"""DNS servers as a policy sees them, and what a rule means for the way to them."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct

from kdns_hubble.cnp import Allow, Protocol, Rule
from kdns_hubble.selectors import Known, selects

_ALL_OF_CLUSTER = {"all", "cluster"}


class Port(Struct, frozen=True):
    """A port on which a server's pods take DNS, behind their Service: policies are for that one."""

    number: int = 53
    names: Mapping[str, str] = {}
    """Protocol -> the port's name in the pods, where it has one."""


class Destination(Struct, frozen=True):
    """DNS servers that one rule reaches.

    `kind` endpoints: pods with the labels `match` in `namespace`; `pods` are the labels of each that runs.
    entity: one of Cilium's (`host`, `world`). cidr: addresses outside of the cluster.
    """

    text: str
    kind: Literal["endpoints", "entity", "cidr"]
    namespace: str = ""
    match: Mapping[str, str] = {}
    pods: tuple[Mapping[str, str], ...] = ()
    value: str = ""
    ports: tuple[Port, ...] = (Port(),)

    def peer(self) -> dict[str, Any]:
        """The destination part of an egress rule."""
        if self.kind == "entity":
            return {"toEntities": [self.value]}
        if self.kind == "cidr":
            return {"toCIDR": [self.value]}
        labels = {f"k8s:{key}": value for key, value in self.match.items()}
        return {
            "toEndpoints": [{"matchLabels": {"k8s:io.kubernetes.pod.namespace": self.namespace, **labels}}]
        }


def reaches(allow: Allow, to: Destination) -> Known:
    """Whether the destinations of a rule have these servers, whatever the port."""
    if allow.anywhere:
        return True
    if to.kind == "endpoints":
        if allow.entities & _ALL_OF_CLUSTER:
            return True
        found = [_selects_all(selector, to) for selector in allow.selectors]
    elif to.kind == "entity":
        found = [bool(allow.entities & ({"all", to.value} | ({"cluster"} if to.value == "host" else set())))]
    else:
        found = [
            bool(allow.entities & {"all", "world"}),
            *(_contains(cidr, to.value) for cidr in allow.cidrs),
        ]
    if True in found:
        return True
    return None if None in found or not allow.exact else False


def _selects_all(selector: Any, to: Destination) -> Known:
    found = {selects(selector, pod) for pod in to.pods}
    return found.pop() if len(found) == 1 else None


def _contains(outer: str, inner: str) -> Known:
    try:
        one, other = ipaddress.ip_network(outer, False), ipaddress.ip_network(inner, False)
    except ValueError:
        return None
    return one.version == other.version and other.subnet_of(one)  # type: ignore[arg-type]


def has_port(allow: Allow, port: Port, protocol: Protocol) -> bool:
    name = port.names.get(protocol, "")
    return not allow.ports or any(span.has(port.number, protocol, name) for span in allow.ports)


def shows(rule: Rule, to: Destination) -> Known:
    """Whether the rule makes DNS to these servers visible for the pods that it selects."""
    found = [
        reaches(allow, to)
        for allow in rule.allows
        if allow.dns and any(has_port(allow, port, p) for port in to.ports for p in ("UDP", "TCP"))
    ]
    return True if True in found else None if None in found else False


def allows_all(rule: Rule, to: Destination, protocol: Protocol) -> bool:
    """Whether the rule surely allows its pods every DNS message to these servers by this protocol."""
    sure = [
        allow
        for allow in rule.allows
        if allow.exact and not allow.limits_names and reaches(allow, to) is True
    ]
    return all(any(has_port(allow, port, protocol) for allow in sure) for port in to.ports)


def limits_names(rule: Rule, to: Destination) -> bool:
    """Whether the rule may allow its pods only some DNS names at these servers."""
    return any(
        allow.limits_names
        and reaches(allow, to) is not False
        and any(has_port(allow, port, p) for port in to.ports for p in ("UDP", "TCP"))
        for allow in rule.allows
    )
