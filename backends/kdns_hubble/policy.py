"""The smallest CiliumNetworkPolicy that shows the DNS of pods and changes nothing of what is allowed.

Cilium adds up what policies allow. So for pods that have a policy which denies by default, ours may only hold
what those policies allow anyway; and DNS rules of a policy are void as soon as another one allows all names.
Measured on Cilium 1.17.4: docs/hubble.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml
from msgspec import Struct

from kdns_hubble.cnp import PROTOCOLS, Protocol, Rule
from kdns_hubble.destinations import Destination, allows_all, limits_names
from kdns_hubble.selectors import (
    NAMESPACE,
    NAMESPACE_LABELS,
    Requirements,
    can_all_hold,
    facts_of,
    implies,
    selector_object,
)
from kubectl_kdns.filter.selector import Requirement

API_VERSION, KIND = "cilium.io/v2", "CiliumNetworkPolicy"
NAME = "kdns-dns-visibility"
MARK = "kdns.io/dns-visibility"
"""Label and annotation of a policy that a running kdns has made."""


class Grant(Struct, frozen=True):
    """What our policy allows, which is allowed anyway, for it to be seen."""

    to: Destination
    protocols: tuple[Protocol, ...]


class Obstacle(Struct, frozen=True):
    """Why our policy would change what is allowed: a clause about a policy that is there."""

    rule: Rule
    text: str


class Verdict(Struct, frozen=True):
    """`grants` can be given without changing what is allowed; `obstacles` say why others cannot."""

    grants: tuple[Grant, ...]
    obstacles: tuple[Obstacle, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(obstacle.text for obstacle in self.obstacles))


def judge(
    pods: Requirements,
    rules: Sequence[Rule],
    servers: Sequence[Destination],
    *,
    namespace: str,
    namespace_labels: Mapping[str, str] | None,
    denies_nothing_extra: bool = True,
    always_enforced: bool = False,
) -> Verdict:
    """What of `servers` can be shown for the pods of `namespace` that `pods` select.

    `denies_nothing_extra` is False for a Cilium whose policies always deny by default: ours then has to allow
    all, and no other policy may restrict these pods.
    """
    keys = frozenset[str]().union(*(rule.keys for rule in rules))
    ours = (*pods, *facts_of(namespace, namespace_labels, keys))
    near = [rule for rule in rules if rule.selector is None or can_all_hold((*ours, *rule.selector))]
    obstacles: list[Obstacle] = []
    restricting = [r for r in near if r.denies_by_default or (r.allows and not denies_nothing_extra)]
    if always_enforced:
        restricting.append(Rule("Cilium's setting enable-policy: always", (), True, ()))
    if restricting and not denies_nothing_extra:
        text = "restricts egress, and this Cilium's policies cannot show DNS without allowing all egress"
        return Verdict((), tuple(Obstacle(rule, f"{rule.policy} {text}") for rule in restricting))
    grants = []
    for server in servers:
        limiting = [rule for rule in near if limits_names(rule, server)]
        if limiting:
            text = "allows only some DNS names (the DNS of its pods is visible already)"
            obstacles += [Obstacle(rule, f"{rule.policy} {text}") for rule in limiting]
            continue
        denying = {
            protocol: [r for r in restricting if not _allowed_anyway(r, ours, near, server, protocol)]
            for protocol in PROTOCOLS
        }
        for rule in restricting:
            denied = [protocol for protocol in PROTOCOLS if rule in denying[protocol]]
            if denied:
                by = "" if len(denied) == len(PROTOCOLS) else f" by {denied[0]}"
                text = f"{rule.policy} does not allow its pods to ask {server.text}{by}"
                obstacles.append(Obstacle(rule, text))
        if protocols := tuple(protocol for protocol in PROTOCOLS if not denying[protocol]):
            grants.append(Grant(server, protocols))
    return Verdict(tuple(grants), tuple(obstacles))


def _allowed_anyway(
    restricting: Rule, ours: Requirements, rules: Sequence[Rule], server: Destination, protocol: Protocol
) -> bool:
    """Whether every pod that both ours and `restricting` select has a policy that allows this."""
    if restricting.selector is None:
        return False
    both = (*ours, *restricting.selector)
    return any(
        rule.selector is not None and implies(both, rule.selector) and allows_all(rule, server, protocol)
        for rule in rules
    )


def way_round(obstacles: Sequence[Obstacle]) -> str:
    """`-l SELECTOR` that leaves out the pods of the policies in the way; "" when one label is not enough."""
    selectors = {obstacle.rule.selector for obstacle in obstacles}
    if len(selectors) != 1 or None in selectors:
        return ""
    own = [item for selector in selectors for item in selector or () if item.key != NAMESPACE]
    if len(own) != 1 or own[0].key.startswith(NAMESPACE_LABELS) or ":" in own[0].key:
        return ""
    return f"-l '{_text(own[0])}'"


def _text(item: Requirement) -> str:
    """The opposite of a requirement, as kubectl's -l takes it."""
    if item.values is None:
        return f"!{item.key}" if item.wanted else item.key
    values = ",".join(sorted(item.values))
    if len(item.values) == 1:
        return f"{item.key}!={values}" if item.wanted else f"{item.key}={values}"
    return f"{item.key} {'notin' if item.wanted else 'in'} ({values})"


def policy_object(
    namespace: str, pods: Requirements, grants: Sequence[Grant], *, denies_nothing_extra: bool = True
) -> dict[str, Any]:
    """The policy. Where it would deny all that it does not allow, it allows all egress as well."""
    egress = [_egress_rule(grant) for grant in grants]
    spec: dict[str, Any] = {"endpointSelector": selector_object(pods)}
    if denies_nothing_extra:
        spec["enableDefaultDeny"] = {"egress": False, "ingress": False}
    else:
        egress.append({"toEntities": ["all"]})
    spec["egress"] = egress
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": spec,
    }


def _egress_rule(grant: Grant) -> dict[str, Any]:
    ports = [
        {"port": str(port.number), "protocol": protocol}
        for port in grant.to.ports
        for protocol in grant.protocols
    ]
    return {**grant.to.peer(), "toPorts": [{"ports": ports, "rules": {"dns": [{"matchPattern": "*"}]}}]}


def document(policy: Mapping[str, Any], pods: str) -> str:
    """The policy as YAML for `kubectl apply -f -`; `pods` says whose DNS it shows, for the comment."""
    metadata = policy["metadata"]
    remove = f"kubectl -n {metadata['namespace']} delete {KIND.lower()} {metadata['name']}"
    text: str = yaml.safe_dump(dict(policy), sort_keys=False)
    return (
        f"# Shows the DNS of {pods} in Hubble; allows and denies nothing new. To remove it: {remove}\n{text}"
    )
