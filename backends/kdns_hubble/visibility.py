"""Whose DNS Hubble shows: which policies have DNS rules, and how many pods they cover.

Cilium shows DNS only where a policy with DNS rules sends it through its DNS proxy, on the way out of a pod.
Pods on their node's network have no such way: their DNS is never visible.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from kdns_hubble.api_objects import Denied, denied_by
from kdns_hubble.cnp import Rule, rules_of_cilium, rules_of_kubernetes
from kdns_hubble.destinations import Destination, shows
from kdns_hubble.dns_servers import SYSTEM_NAMESPACE, dns_servers
from kdns_hubble.selectors import NAMESPACE_LABELS, Known, pod_labels, selects
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, ForbiddenError, NotFoundError
from kubectl_kdns.filter.selector import Selector, parse_selector
from kubectl_kdns.kube import Cluster

CILIUM_POLICIES = "/apis/cilium.io/v2{}/ciliumnetworkpolicies"
CLUSTERWIDE_POLICIES = "/apis/cilium.io/v2/ciliumclusterwidenetworkpolicies"
KUBERNETES_POLICIES = "/apis/networking.k8s.io/v1{}/networkpolicies"
POLICY_COMMAND = "kubectl kdns hubble policy -n {} --apply --for 10m"
_NAMED = 3


class PodCount(Struct, frozen=True):
    """The pods of one namespace, by whether their DNS is visible; `policies` make it so."""

    namespace: str
    covered: int = 0
    not_covered: int = 0
    not_known: int = 0
    host_network: int = 0
    policies: tuple[str, ...] = ()


class Visibility(Struct, frozen=True):
    """`complete` is False when not all policies could be read: then nothing counts as not covered."""

    namespaces: tuple[PodCount, ...] = ()
    complete: bool = True
    has_crd: bool = True
    denied: tuple[Denied, ...] = ()

    @property
    def covered(self) -> int:
        return sum(count.covered for count in self.namespaces)

    @property
    def not_covered(self) -> int:
        return sum(count.not_covered for count in self.namespaces)

    @property
    def not_known(self) -> int:
        return sum(count.not_known for count in self.namespaces)

    @property
    def host_network(self) -> int:
        return sum(count.host_network for count in self.namespaces)

    @property
    def policies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(policy for count in self.namespaces for policy in count.policies))

    @property
    def evidence(self) -> str:
        """A clause or two for people: whose DNS is visible, by what, and whose is not."""
        pods = self.covered + self.not_covered + self.not_known
        if not self.has_crd:
            return "no policy shows DNS: this cluster has no CiliumNetworkPolicy"
        if not pods:
            return "there are no pods whose DNS Hubble could show" + self._host_network()
        if not self.covered:
            known = (
                "no policy shows" if self.complete and not self.not_known else "no policy is known to show"
            )
            return f"{known} the DNS of {_of(pods)}{self._denied()}{self._host_network()}"
        where = [count.namespace for count in self.namespaces if count.covered]
        text = f"DNS of {self.covered} of {_of(pods)} is visible ({_listed('namespace', where)})"
        return f"{text}, by {_some(self.policies)}{self._denied()}{self._host_network()}"

    @property
    def fix(self) -> str:
        """The smallest command that shows more; "" when all is visible that can be."""
        if not self.has_crd or not self.not_covered + self.not_known:
            return ""
        names = [count.namespace for count in self.namespaces if count.not_covered or count.not_known]
        # Few look for the DNS of the system's own pods; where it alone is missing, it is meant.
        names = [name for name in names if name != SYSTEM_NAMESPACE] or names
        return POLICY_COMMAND.format(names[0] if len(names) == 1 else "NAMESPACE")

    def _host_network(self) -> str:
        return f"; that of {_of(self.host_network)} with hostNetwork never is" if self.host_network else ""

    def _denied(self) -> str:
        return f" (not allowed to {self.denied[0].right})" if self.denied else ""


class Policies(Struct, frozen=True):
    """The rules of all policies that could be read, and what could not be."""

    rules: tuple[Rule, ...] = ()
    denied: tuple[Denied, ...] = ()
    has_crd: bool = True


class _Meta(Struct):
    name: str = ""
    namespace: str = ""
    labels: dict[str, str] | None = None


class _Spec(Struct, rename="camel"):
    host_network: bool = False
    service_account_name: str = ""


class _Status(Struct):
    phase: str = ""


class PodFacts(Struct):
    """A pod as far as policies look at it."""

    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class _Namespace(Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


def look(cluster: Cluster, namespaces: Sequence[str] = (), selector: str = "") -> Visibility:
    """Whose DNS is visible, of the pods in these namespaces (none: all) that `selector` (-l) matches.

    Policies that are not there or may not be read are data. Raises ClusterError when pods may not be listed,
    or nobody can tell; FilterError for a selector that does not parse.
    """
    policies = read_cilium_policies(cluster, namespaces)
    if not policies.has_crd:
        return Visibility(has_crd=False)
    try:
        servers = dns_servers(cluster, "")
    except (BackendError, ForbiddenError):
        servers = []
    keys = {key for rule in policies.rules for key in rule.keys if key.startswith(NAMESPACE_LABELS)}
    labels = _namespace_labels(cluster) if keys else {}
    pods = read_pods(cluster, namespaces, parse_selector(selector))
    return count_pods(pods, policies, servers, labels)


def read_pods(cluster: Cluster, namespaces: Sequence[str], selector: Selector) -> list[PodFacts]:
    """The pods that run or will, in these namespaces (none: all), that `selector` matches."""
    paths = [f"/api/v1/namespaces/{namespace}/pods" for namespace in namespaces] or ["/api/v1/pods"]
    return [
        pod
        for path in paths
        for page in cluster.pages(path, PodFacts, resourceVersion="0")
        for pod in page.items or ()
        if pod.status.phase not in ("Succeeded", "Failed") and selector.matches(pod.metadata.labels or {})
    ]


def count_pods(
    pods: Iterable[PodFacts],
    policies: Policies,
    servers: Sequence[Destination],
    namespace_labels: Mapping[str, Mapping[str, str]],
) -> Visibility:
    """What `look` answers, of what it read."""
    showing = [(rule, known) for rule in policies.rules if (known := _shows(rule, servers)) is not False]
    counts: dict[str, Counter[str]] = {}
    by: dict[str, dict[str, None]] = {}
    for pod in pods:
        namespace = safe_text(pod.metadata.namespace)
        count = counts.setdefault(namespace, Counter())
        if pod.spec.host_network:
            count["host_network"] += 1
            continue
        labels = pod_labels(
            pod.metadata.labels,
            pod.metadata.namespace,
            pod.spec.service_account_name,
            namespace_labels.get(pod.metadata.namespace),
        )
        found = [(rule, _both(known, selects(rule.selector, labels))) for rule, known in showing]
        covering = [rule.policy for rule, known in found if known]
        by.setdefault(namespace, {}).update(dict.fromkeys(covering))
        unsure = bool(policies.denied) or any(known is None for _, known in found)
        count["covered" if covering else "not_known" if unsure else "not_covered"] += 1
    return Visibility(
        namespaces=tuple(
            PodCount(namespace, policies=tuple(by.get(namespace, ())), **counts[namespace])
            for namespace in sorted(counts)
        ),
        complete=not policies.denied,
        has_crd=policies.has_crd,
        denied=policies.denied,
    )


def _shows(rule: Rule, servers: Sequence[Destination]) -> Known:
    """Where the servers are not known, every DNS rule may be for them."""
    if not servers:
        return None if any(allow.dns for allow in rule.allows) else False
    found = [shows(rule, server) for server in servers]
    return True if True in found else None if None in found else False


def _both(one: Known, other: Known) -> Known:
    return False if one is False or other is False else None if one is None or other is None else True


def dns_policies(cluster: Cluster) -> list[str]:
    """The policies that have DNS rules, whomever they select: fewer requests than `look`."""
    rules = read_cilium_policies(cluster, ()).rules
    return list(dict.fromkeys(rule.policy for rule in rules if any(allow.dns for allow in rule.allows)))


def read_cilium_policies(cluster: Cluster, namespaces: Sequence[str]) -> Policies:
    """Cilium's policies that may select pods of these namespaces (none: all)."""
    paths = [CILIUM_POLICIES.format(f"/namespaces/{name}") for name in namespaces]
    return _read(
        cluster,
        ((path, "CiliumNetworkPolicy") for path in paths or [CILIUM_POLICIES.format("")]),
        ((CLUSTERWIDE_POLICIES, "CiliumClusterwideNetworkPolicy"),),
    )


def read_kubernetes_policies(cluster: Cluster, namespace: str) -> Policies:
    """The NetworkPolicies of a namespace, which Cilium adds up with its own."""
    return _read(cluster, ((KUBERNETES_POLICIES.format(f"/namespaces/{namespace}"), "NetworkPolicy"),))


def _read(cluster: Cluster, *groups: Iterable[tuple[str, str]]) -> Policies:
    rules: list[Rule] = []
    denied: list[Denied] = []
    has_crd = True
    for path, kind in (pair for group in groups for pair in group):
        parse = rules_of_kubernetes if kind == "NetworkPolicy" else rules_of_cilium
        try:
            items = cluster.list(path).items
        except ForbiddenError as error:
            denied.append(denied_by(error, path))
        except NotFoundError:
            has_crd = has_crd and kind != "CiliumNetworkPolicy"
        else:
            rules += (rule for item in items for rule in parse({**item, "kind": kind}))
    return Policies(tuple(rules), tuple(denied), has_crd)


def _namespace_labels(cluster: Cluster) -> dict[str, dict[str, str]]:
    try:
        pages = list(cluster.pages("/api/v1/namespaces", _Namespace, resourceVersion="0"))
    except ForbiddenError:
        return {}
    return {item.metadata.name: item.metadata.labels or {} for page in pages for item in page.items or ()}


def _of(pods: int) -> str:
    return f"{pods} pod{'' if pods == 1 else 's'}"


def _listed(word: str, names: Sequence[str]) -> str:
    return f"{word}{'' if len(names) == 1 else 's'} {_some(names)}"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def pods_text(namespace: str, selector: str) -> str:
    """Whose DNS a policy is for, as people say it."""
    return safe_text(f"the pods of namespace {namespace}" + (f" with {selector}" if selector else ""))
