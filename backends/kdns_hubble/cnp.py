"""Reads Cilium's policies and Kubernetes' NetworkPolicy: whom they select, what they allow at egress.

Sources: cilium v1.17.4 pkg/policy/api (rule.go, egress.go, l4.go, rule_validation.go) and how it translates
Kubernetes' own (pkg/k8s/network_policy.go). What is not understood makes a rule inexact, never wrong.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

from kdns_hubble.selectors import NAMESPACE, NAMESPACE_LABELS, RESERVED, Requirements, selector_of
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.filter.selector import Requirement

Protocol = Literal["UDP", "TCP"]
PROTOCOLS: tuple[Protocol, Protocol] = ("UDP", "TCP")
CILIUM_RULE_KEYS = {"toEndpoints", "toEntities", "toCIDR", "toCIDRSet", "toPorts"}


class PortSpan(Struct, frozen=True):
    """Ports that a rule is for: a name as the pod has it, or first to last; 0 is every port."""

    protocols: frozenset[str]
    first: int = 0
    last: int = 0
    name: str = ""

    def has(self, number: int, protocol: Protocol, name: str) -> bool:
        if protocol not in self.protocols:
            return False
        return self.name == name if self.name else not self.first or self.first <= number <= self.last


class Allow(Struct, frozen=True):
    """One thing that a rule allows at egress. `dns` are the patterns of its DNS rules, None without any.

    `anywhere`: not limited by destination. `selectors` may hold None for one that cannot be read. `exact` is
    False when more must hold than is read here (other L7 rules, TLS, authentication, destinations of kinds
    that are not read): then it may show DNS, but nobody can say that it allows all of it.
    """

    ports: tuple[PortSpan, ...]
    dns: tuple[str, ...] | None = None
    selectors: tuple[Requirements | None, ...] = ()
    entities: frozenset[str] = frozenset()
    cidrs: tuple[str, ...] = ()
    anywhere: bool = False
    exact: bool = True

    @property
    def limits_names(self) -> bool:
        return self.dns is not None and "*" not in self.dns


class Rule(Struct, frozen=True):
    """What one policy, or one of its `specs`, says to the pods it selects (None: which is not known)."""

    policy: str
    selector: Requirements | None
    denies_by_default: bool
    allows: tuple[Allow, ...]

    @property
    def keys(self) -> frozenset[str]:
        """All label keys that decide whom it selects."""
        return frozenset(item.key for item in self.selector or ())


class _Port(Struct, rename="camel"):
    port: str | int = ""
    protocol: str = "ANY"
    end_port: int = 0


class _DefaultDeny(Struct):
    egress: bool | None = None


class _CiliumSpec(Struct, rename="camel"):
    endpoint_selector: Any = None
    node_selector: Any = None
    egress: list[dict[str, Any]] | None = None
    egress_deny: list[Any] | None = None
    enable_default_deny: _DefaultDeny | None = None


class _KubernetesSpec(Struct, rename="camel"):
    pod_selector: Any = msgspec.field(default_factory=dict)
    policy_types: list[str] | None = None
    egress: list[dict[str, Any]] | None = None


def name_of(policy: Any) -> str:
    """kind and name as kubectl takes them: `ciliumnetworkpolicy shop/dns`, made safe."""
    metadata = policy.get("metadata") or {}
    namespace = f"{metadata['namespace']}/" if metadata.get("namespace") else ""
    return safe_text(f"{str(policy.get('kind', 'policy')).lower()} {namespace}{metadata.get('name', '')}")


def rules_of_cilium(policy: Any) -> list[Rule]:
    """The rules of a CiliumNetworkPolicy or a clusterwide one that are for pods. Never raises on content."""
    name, namespace = name_of(policy), (policy.get("metadata") or {}).get("namespace", "")
    specs = [policy["spec"]] if policy.get("spec") else []
    more = policy.get("specs")
    specs += more if isinstance(more, list) else []
    return [rule for spec in specs if (rule := _cilium_rule(name, namespace, spec))]


def _cilium_rule(name: str, namespace: str, value: Any) -> Rule | None:
    try:
        spec = msgspec.convert(value, _CiliumSpec)
    except msgspec.ValidationError:
        return Rule(name, None, True, (Allow((), exact=False),))
    if spec.endpoint_selector is None and spec.node_selector is not None:
        return None
    selector = selector_of(spec.endpoint_selector)
    if selector is not None and namespace:
        others = (item for item in selector if item.key != NAMESPACE)
        selector = (Requirement(NAMESPACE, frozenset((namespace,)), True), *others)
    default_deny = spec.enable_default_deny.egress if spec.enable_default_deny else None
    has_egress = bool(spec.egress or spec.egress_deny)
    return Rule(
        policy=name,
        selector=selector,
        denies_by_default=has_egress and default_deny is not False,
        allows=tuple(allow for rule in spec.egress or () for allow in _cilium_allows(namespace, rule)),
    )


def _cilium_allows(namespace: str, rule: dict[str, Any]) -> list[Allow]:
    """One EgressRule: each of its port rules to all of its destinations. An empty one allows nothing."""
    known_only = not {key for key, value in rule.items() if value} - CILIUM_RULE_KEYS
    peers = [key for key in rule if key.startswith("to") and key not in ("toPorts", "toRequires")]
    base = Allow(
        ports=(),
        selectors=tuple(_peer_selector(namespace, item) for item in _list(rule.get("toEndpoints"))),
        entities=frozenset(str(entity) for entity in _list(rule.get("toEntities"))),
        cidrs=tuple(_cidrs(rule)),
        anywhere=not peers and bool(rule.get("toPorts")),
        exact=known_only,
    )
    port_rules = rule.get("toPorts")
    if not port_rules:
        return [base] if peers else []
    return [_with_ports(base, item) for item in _list(port_rules)]


def _peer_selector(namespace: str, value: Any) -> Requirements | None:
    """A destination's selector is for the policy's own namespace unless it speaks of namespaces itself."""
    selector = selector_of(value)
    if selector is None or any(
        item.key.startswith((NAMESPACE, NAMESPACE_LABELS, RESERVED)) for item in selector
    ):
        return selector
    own = frozenset((namespace,)) if namespace else None
    return (Requirement(NAMESPACE, own, True), *selector)


def _cidrs(rule: dict[str, Any]) -> list[str]:
    sets = [
        item for item in _list(rule.get("toCIDRSet")) if isinstance(item, dict) and not item.get("except")
    ]
    return [str(item) for item in (*_list(rule.get("toCIDR")), *(item.get("cidr", "") for item in sets))]


def _with_ports(base: Allow, rule: Any) -> Allow:
    if not isinstance(rule, dict):
        return msgspec.structs.replace(base, exact=False)
    try:
        ports = msgspec.convert(rule.get("ports") or [], list[_Port])
        spans = tuple(_span(port) for port in ports)
    except (msgspec.ValidationError, ValueError):
        spans, base = (), msgspec.structs.replace(base, exact=False)
    found = rule.get("rules")
    rules: dict[str, Any] = found if isinstance(found, dict) else {}
    dns = rules.get("dns")
    names = [_pattern(item) for item in _list(dns)] if dns else None
    only_dns = not {key for key, value in rule.items() if value} - {"ports", "rules"} and not {
        key for key, value in rules.items() if value
    } - {"dns"}
    return msgspec.structs.replace(
        base, ports=spans, dns=None if names is None else tuple(names), exact=base.exact and only_dns
    )


def _pattern(item: Any) -> str:
    """A name or a pattern of a DNS rule; "*" is every name."""
    return str(item.get("matchName") or item.get("matchPattern") or "") if isinstance(item, dict) else ""


def _span(port: _Port) -> PortSpan:
    protocol = (port.protocol or "ANY").upper()
    protocols = frozenset(PROTOCOLS) if protocol == "ANY" else frozenset((protocol,))
    text = str(port.port)
    if text and not text.isdecimal():
        return PortSpan(protocols, name=text.lower())
    first = int(text or 0)
    return PortSpan(protocols, first, max(first, port.end_port))


def rules_of_kubernetes(policy: Any) -> list[Rule]:
    """What a NetworkPolicy (networking.k8s.io/v1) says about egress; nothing when it is for ingress only."""
    name, namespace = name_of(policy), (policy.get("metadata") or {}).get("namespace", "")
    try:
        spec = msgspec.convert(policy.get("spec") or {}, _KubernetesSpec)
    except msgspec.ValidationError:
        return [Rule(name, None, True, (Allow((), exact=False),))]
    if not spec.egress and "Egress" not in (spec.policy_types or ()):
        return []
    selector = selector_of(spec.pod_selector)
    if selector is not None:
        selector = (Requirement(NAMESPACE, frozenset((namespace,)), True), *selector)
    allows = tuple(allow for rule in spec.egress or () for allow in _kubernetes_allows(namespace, rule))
    return [Rule(name, selector, True, allows)]


def _kubernetes_allows(namespace: str, rule: dict[str, Any]) -> list[Allow]:
    try:
        ports = msgspec.convert(rule.get("ports") or [], list[_Port])
    except msgspec.ValidationError:
        return [Allow((), exact=False)]
    # Without a protocol it is TCP here, and not any.
    raw = _list(rule.get("ports"))
    spans = tuple(
        _span(port if item.get("protocol") else msgspec.structs.replace(port, protocol="TCP"))
        for port, item in zip(ports, raw, strict=True)
    )
    peers = _list(rule.get("to"))
    if not peers:
        return [Allow(spans, anywhere=True)]
    return [_kubernetes_peer(namespace, spans, peer) for peer in peers]


def _kubernetes_peer(namespace: str, ports: tuple[PortSpan, ...], peer: Any) -> Allow:
    if not isinstance(peer, dict):
        return Allow(ports, exact=False)
    block = peer.get("ipBlock")
    if isinstance(block, dict):
        return Allow(ports, cidrs=() if block.get("except") else (str(block.get("cidr", "")),))
    in_namespace = peer.get("namespaceSelector")
    if in_namespace is None:
        where: Requirements | None = (Requirement(NAMESPACE, frozenset((namespace,)), True),)
    else:
        where = selector_of(in_namespace, NAMESPACE_LABELS)
    pods = selector_of(peer.get("podSelector") or {})
    return Allow(ports, selectors=(None if where is None or pods is None else (*where, *pods),))


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
