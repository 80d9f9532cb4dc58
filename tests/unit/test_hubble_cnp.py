"""Policies read: whom they select, what they allow, and that odd ones are not known rather than wrong."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble.cnp import rules_of_cilium, rules_of_kubernetes
from kdns_hubble.destinations import Destination, Port, allows_all, limits_names, reaches, shows
from kdns_hubble.selectors import pod_labels, selects
from support.cilium_cluster import cilium_policy, network_policy

DNS_LABELS = pod_labels(
    {"k8s-app": "kube-dns"}, "kube-system", "coredns", {"kubernetes.io/metadata.name": "kube-system"}
)
KUBE_DNS = Destination(
    "kube-system/kube-dns",
    "endpoints",
    namespace="kube-system",
    match={"k8s-app": "kube-dns"},
    pods=(DNS_LABELS,),
    ports=(Port(53, {"UDP": "dns", "TCP": "dns-tcp"}),),
)
OPENSHIFT = Destination("openshift-dns/dns-default", "endpoints", pods=(DNS_LABELS,), ports=(Port(5353),))
NODE = Destination("the node", "entity", value="host")
WORLD = Destination("outside", "entity", value="world")
RESOLVER = Destination("8.8.8.8", "cidr", value="8.8.8.8/32")


def only(spec: str, **where: str) -> Any:
    (rule,) = rules_of_cilium(cilium_policy(spec, **where))
    return rule


@pytest.mark.parametrize(
    ("egress", "visible", "allowed"),
    [
        # As measured on Cilium 1.17.4: what is allowed to kube-dns by UDP, by TCP.
        ("[{}]", False, ""),
        ("[{DNS, toPorts: [{ports: [ANY_53]}]}]", False, "UDP TCP"),
        ("[{DNS, toPorts: [{ports: [{port: '53', protocol: UDP}]}]}]", False, "UDP"),
        ("[{DNS, toPorts: [{ports: [{port: '0', protocol: TCP}]}]}]", False, "TCP"),
        ("[{DNS, toPorts: [{ports: [{port: '50', endPort: 60, protocol: udp}]}]}]", False, "UDP"),
        ("[{DNS, toPorts: [{ports: [{port: dns}]}]}]", False, "UDP"),
        ("[{DNS}]", False, "UDP TCP"),
        ("[{toEntities: [cluster]}]", False, "UDP TCP"),
        ("[{toEntities: [all]}]", False, "UDP TCP"),
        ("[{toEntities: [world]}]", False, ""),
        ("[{toCIDR: [0.0.0.0/0]}]", False, ""),
        ("[{toPorts: [{ports: [ANY_53]}]}]", False, "UDP TCP"),
        ("[{toEndpoints: [], toPorts: [{ports: [ANY_53]}]}]", False, ""),
        ("[{toEndpoints: [{}]}]", False, ""),
        ("[{toEndpoints: [{matchLabels: {io.kubernetes.pod.namespace: kube-system}}]}]", False, "UDP TCP"),
        (
            "[{toEndpoints: [{matchLabels: {k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name:"
            " kube-system}}]}]",
            False,
            "UDP TCP",
        ),
        ("[{DNS, toPorts: [{ports: [ANY_53], rules: {dns: [{matchPattern: '*'}]}}]}]", True, "UDP TCP"),
        ("[{DNS, toPorts: [{ports: [ANY_53], rules: {dns: [{matchName: a.test}]}}]}]", True, ""),
        ("[{DNS, toPorts: [{ports: [{port: '80'}], rules: {dns: [{matchPattern: '*'}]}}]}]", False, ""),
        ("[{DNS, toPorts: [{ports: [ANY_53], rules: {http: [{}]}}]}]", False, ""),
        ("[{DNS, toPorts: [{ports: [ANY_53], listener: {name: x}}]}]", False, ""),
        ("[{DNS, toPorts: [{ports: [ANY_53]}], authentication: {mode: required}}]", False, ""),
        ("[{DNS, toRequires: [{}], toPorts: [{ports: [ANY_53]}]}]", False, ""),
        # Not known: destinations that are not read.
        (
            "[{toServices: [{}], toPorts: [{ports: [ANY_53], rules: {dns: [{matchPattern: '*'}]}}]}]",
            None,
            "",
        ),
        (
            "[{toEndpoints: [{matchLabels: {controller-uid: x}}],"
            " toPorts: [{ports: [ANY_53], rules: {dns: [{matchPattern: '*'}]}}]}]",
            False,
            "",
        ),
        ("[{toPorts: 7}]", False, ""),
        ("[{toPorts: [7], toEntities: [all]}]", False, ""),
        ("[{toPorts: [{ports: [{port: []}]}], toEntities: [all]}]", False, ""),
    ],
)
def test_what_an_egress_says_of_dns(egress: str, visible: bool | None, allowed: str) -> None:
    rule = only(f"{{endpointSelector: {{}}, egress: {egress}}}")
    assert rule.denies_by_default
    assert shows(rule, KUBE_DNS) is visible
    assert " ".join(p for p in ("UDP", "TCP") if allows_all(rule, KUBE_DNS, p)) == allowed  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("server", "peer", "expected"),
    [
        (NODE, "toEntities: [host]", True),
        (NODE, "toEntities: [cluster]", True),
        (NODE, "toCIDR: [169.254.20.10/32]", False),
        (NODE, "toEntities: [world]", False),
        (WORLD, "toEntities: [world]", True),
        (WORLD, "toEntities: [cluster]", False),
        (RESOLVER, "toEntities: [world]", True),
        (RESOLVER, "toCIDR: [8.8.0.0/16]", True),
        (RESOLVER, "toCIDRSet: [{cidr: 8.8.0.0/16}]", True),
        (RESOLVER, "toCIDRSet: [{cidr: 8.8.0.0/16, except: [8.8.8.0/24]}]", False),
        (RESOLVER, "toCIDR: [nonsense]", None),
        (RESOLVER, "toCIDR: ['::/0']", False),
        (KUBE_DNS, "toServices: [{}]", None),
        (OPENSHIFT, "toEntities: [cluster]", True),
    ],
)
def test_which_servers_a_rule_reaches(server: Destination, peer: str, expected: bool | None) -> None:
    (allow,) = only(f"{{endpointSelector: {{}}, egress: [{{{peer}}}]}}").allows
    assert reaches(allow, server) is expected


def test_the_port_is_that_of_the_pods() -> None:
    rule = only("{endpointSelector: {}, egress: [{DNS, toPorts: [{ports: [ANY_53]}]}]}")
    assert not allows_all(rule, OPENSHIFT, "UDP")
    rule = only("{endpointSelector: {}, egress: [{DNS, toPorts: [{ports: [{port: '5353'}]}]}]}")
    assert allows_all(rule, OPENSHIFT, "UDP")


def test_servers_of_unequal_labels_are_not_known() -> None:
    others = pod_labels({"k8s-app": "kube-dns", "old": ""}, "kube-system", "coredns", {})
    server = Destination("dns", "endpoints", pods=(DNS_LABELS, others))
    rule = only("{endpointSelector: {}, egress: [{toEndpoints: [{matchLabels: {k8s:old: ''}}]}]}")
    assert reaches(rule.allows[0], server) is False  # only of its own namespace
    (allow,) = only(
        "{endpointSelector: {}, egress: [{toEndpoints: [{matchExpressions: [{key: old, operator: Exists},"
        " {key: io.kubernetes.pod.namespace, operator: Exists}]}]}]}"
    ).allows
    assert reaches(allow, server) is None


@pytest.mark.parametrize(
    ("spec", "denies"),
    [
        ("{endpointSelector: {}, egress: [{}]}", True),
        ("{endpointSelector: {}, ingress: [{}]}", False),
        ("{endpointSelector: {}, egressDeny: [{}]}", True),
        ("{endpointSelector: {}, egress: [{}], enableDefaultDeny: {egress: false}}", False),
        ("{endpointSelector: {}, egress: [{}], enableDefaultDeny: {ingress: false}}", True),
    ],
)
def test_which_policies_deny_by_default(spec: str, denies: bool) -> None:
    assert only(spec).denies_by_default is denies


def test_a_policy_is_for_its_namespace_whatever_it_says() -> None:
    rule = only("{endpointSelector: {matchLabels: {k8s:io.kubernetes.pod.namespace: other, app: web}}}")
    assert selects(rule.selector, pod_labels({"app": "web"}, "shop")) is True
    assert selects(rule.selector, pod_labels({"app": "web"}, "other")) is False
    everywhere = only("{endpointSelector: {matchLabels: {app: web}}}", namespace="")
    assert selects(everywhere.selector, pod_labels({"app": "web"}, "other")) is True


def test_node_policies_are_not_for_pods_and_specs_count_each() -> None:
    assert rules_of_cilium(cilium_policy("{nodeSelector: {}, egress: [{}]}", namespace="")) == []
    policy = cilium_policy("{endpointSelector: {}, egress: [{}]}")
    policy["specs"] = [policy["spec"], {"nodeSelector": {}}, policy.pop("spec")]
    assert len(rules_of_cilium(policy)) == 2


def test_a_policy_that_cannot_be_read_may_do_anything() -> None:
    (rule,) = rules_of_cilium({**cilium_policy("{}"), "spec": {"egress": "everything"}})
    assert rule.selector is None
    assert rule.denies_by_default


@pytest.mark.parametrize(
    ("spec", "allowed"),
    [
        ("{podSelector: {}, policyTypes: [Egress]}", ""),
        ("{podSelector: {}, policyTypes: [Egress], egress: [{}]}", "UDP TCP"),
        ("{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}, {port: 53}]}]}", "UDP TCP"),
        ("{podSelector: {}, egress: [{ports: [{port: 53}]}]}", "TCP"),
        ("{podSelector: {}, egress: [{ports: [{protocol: UDP}]}]}", "UDP"),
        ("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", ""),
        ("{podSelector: {}, egress: [{to: [{namespaceSelector: {}}]}]}", "UDP TCP"),
        ("{podSelector: {}, egress: [{to: [{podSelector: {}}]}]}", ""),
        (
            "{podSelector: {}, egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name:"
            " kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]}]}",
            "UDP TCP",
        ),
        ("{podSelector: {}, egress: [{to: [{podSelector: {matchNothing: 1}}]}]}", ""),
        ("{podSelector: {}, egress: [{to: [7]}]}", ""),
        ("{podSelector: {}, egress: [{ports: 7}]}", ""),
    ],
)
def test_what_a_network_policy_allows(spec: str, allowed: str) -> None:
    (rule,) = rules_of_kubernetes(network_policy(spec))
    assert rule.denies_by_default
    assert " ".join(p for p in ("UDP", "TCP") if allows_all(rule, KUBE_DNS, p)) == allowed  # type: ignore[arg-type]


def test_a_network_policy_for_ingress_says_nothing_of_egress() -> None:
    assert rules_of_kubernetes(network_policy("{podSelector: {}, ingress: [{}]}")) == []
    assert rules_of_kubernetes(network_policy("{podSelector: {}, policyTypes: [Ingress]}")) == []


KEYS = st.sampled_from(
    [
        *("endpointSelector", "podSelector", "egress", "enableDefaultDeny", "specs", "rules", "dns"),
        *("to", "ports", "port", "protocol", "toEndpoints", "toPorts", "toEntities", "toCIDR", "toCIDRSet"),
        *("matchLabels", "matchExpressions", "key", "operator", "values", "namespaceSelector"),
        *("ipBlock", "cidr"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 99999) | st.text(max_size=5) | st.sampled_from(["53", "ANY"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON))
def test_nothing_in_a_policy_raises(spec: dict[str, Any]) -> None:
    metadata = {"name": "odd", "namespace": "shop"}
    policy = {"kind": "X", "metadata": metadata, "spec": spec, "specs": spec.get("specs")}
    for rule in (*rules_of_cilium(policy), *rules_of_kubernetes(policy)):
        selects(rule.selector, DNS_LABELS)
        for server in (KUBE_DNS, NODE, WORLD, RESOLVER):
            shows(rule, server)
            limits_names(rule, server)
            allows_all(rule, server, "UDP")
