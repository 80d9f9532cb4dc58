"""Whose DNS is visible, counted; and the sentence and the command that come of it."""

from __future__ import annotations

import msgspec
import pytest

from kdns_hubble.api_objects import Denied
from kdns_hubble.cnp import rules_of_cilium
from kdns_hubble.destinations import Destination
from kdns_hubble.selectors import pod_labels
from kdns_hubble.visibility import PodCount, PodFacts, Policies, Visibility, count_pods
from support.cilium_cluster import cilium_policy, pod

SERVERS = (Destination("dns", "endpoints", pods=(pod_labels({"k8s-app": "kube-dns"}, "kube-system"),)),)
ALL_NAMES = "toPorts: [{ports: [ANY_53], rules: {dns: [{matchPattern: '*'}]}}]"
SHOWING = f"{{endpointSelector: {{}}, egress: [{{DNS, {ALL_NAMES}}}]}}"
PODS = [
    pod("web-1", app="web"),
    pod("db-1", app="db"),
    pod("node-agent", host=True),
    pod("other-1", "other", app="web"),
]
BY_ITS_OWN = SHOWING.replace("{}", "{matchLabels: {app: web}}", 1)


def counted(
    *specs: str, denied: tuple[Denied, ...] = (), servers: tuple[Destination, ...] = SERVERS
) -> Visibility:
    rules = [rule for spec in specs for rule in rules_of_cilium(cilium_policy(spec))]
    facts = msgspec.convert(PODS, list[PodFacts])
    return count_pods(facts, Policies(tuple(rules), denied), servers, {})


def test_pods_are_counted_by_namespace_and_policy() -> None:
    found = counted(BY_ITS_OWN)
    other, shop = found.namespaces
    assert (shop.covered, shop.not_covered, shop.host_network) == (1, 1, 1)
    assert shop.policies == ("ciliumnetworkpolicy shop/theirs",)
    assert (other.namespace, other.covered, other.not_covered) == ("other", 0, 1)
    assert found.evidence == (
        "DNS of 1 of 3 pods is visible (namespace shop), by ciliumnetworkpolicy shop/theirs; "
        "that of 1 pod with hostNetwork never is"
    )
    assert found.fix == "kubectl kdns hubble policy -n NAMESPACE --apply --for 10m"


def test_the_fix_names_the_one_namespace_where_something_is_missing() -> None:
    assert counted(SHOWING).fix == "kubectl kdns hubble policy -n other --apply --for 10m"


def test_the_fix_is_for_the_system_only_where_nothing_else_is_missing() -> None:
    system, shop = PodCount("kube-system", not_covered=2), PodCount("shop", not_covered=1)
    assert "-n shop " in Visibility((system, shop)).fix
    assert "-n kube-system " in Visibility((system,)).fix


def test_nothing_is_visible_without_a_policy() -> None:
    found = counted()
    assert (found.covered, found.not_covered, found.not_known) == (0, 3, 0)
    assert found.evidence.startswith("no policy shows the DNS of 3 pods")


@pytest.mark.parametrize(
    "egress",
    [
        f"[{{toEntities: [world], {ALL_NAMES}}}]",
        "[{DNS, toPorts: [{ports: [ANY_53]}]}]",
    ],
)
def test_a_policy_for_other_servers_or_without_dns_rules_shows_nothing(egress: str) -> None:
    assert counted(f"{{endpointSelector: {{}}, egress: {egress}}}").covered == 0


def test_what_cannot_be_read_is_not_known() -> None:
    found = counted(denied=(Denied("list ciliumnetworkpolicies in the whole cluster"),))
    assert (found.not_covered, found.not_known) == (0, 3)
    assert not found.complete
    assert "no policy is known to show" in found.evidence
    assert "not allowed to list ciliumnetworkpolicies" in found.evidence
    odd = SHOWING.replace("{}", "{matchLabels: {pod-template-hash: x}}", 1)
    assert (counted(odd).not_known, counted(odd).not_covered) == (2, 1)


def test_without_known_servers_dns_rules_may_be_for_them() -> None:
    found = counted(SHOWING, servers=())
    assert (found.covered, found.not_known) == (0, 2)


def test_one_policy_that_surely_shows_is_enough() -> None:
    unsure = SHOWING.replace("{}", "{matchLabels: {pod-template-hash: x}}", 1)
    assert counted(unsure, SHOWING).covered == 2


def test_a_cluster_without_cilium_has_no_fix() -> None:
    found = Visibility(has_crd=False)
    assert found.fix == ""
    assert "no CiliumNetworkPolicy" in found.evidence
    assert "no pods" in Visibility().evidence
