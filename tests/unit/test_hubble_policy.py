"""The visibility policy: what it allows is allowed anyway, whatever other policies there are."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble.cnp import PROTOCOLS, Allow, PortSpan, Rule, rules_of_cilium, rules_of_kubernetes
from kdns_hubble.destinations import Destination, Port
from kdns_hubble.policy import Verdict, document, judge, policy_object, way_round
from kdns_hubble.selectors import NAMESPACE, Requirements, pod_labels, selects
from kubectl_kdns.filter.selector import Requirement, parse_selector
from support.cilium_cluster import cilium_policy, network_policy

DNS_LABELS = pod_labels({"k8s-app": "kube-dns"}, "kube-system")
KUBE_DNS = Destination(
    "kube-system/kube-dns",
    "endpoints",
    namespace="kube-system",
    match={"k8s-app": "kube-dns"},
    pods=(DNS_LABELS,),
)
NODE = Destination("NodeLocal DNSCache", "entity", value="host")
DENY_ALL = "{endpointSelector: {}, egress: [{}]}"
ALLOW_DNS = "{endpointSelector: {}, egress: [{DNS, toPorts: [{ports: [ANY_53]}]}]}"
ONLY_A = (
    "{endpointSelector: {}, egress: [{DNS, toPorts: [{ports: [ANY_53], rules: {dns: [{matchName: a}]}}]}]}"
)


def verdict(*policies: dict[str, Any], selector: str = "", **more: Any) -> Verdict:
    rules = [
        rule
        for policy in policies
        for rule in (rules_of_kubernetes if policy["kind"] == "NetworkPolicy" else rules_of_cilium)(policy)
    ]
    pods = parse_selector(selector).requirements
    servers = more.pop("servers", (KUBE_DNS,))
    return judge(pods, rules, servers, namespace="shop", namespace_labels={"env": "prod"}, **more)


def granted(found: Verdict) -> str:
    return " ".join(protocol for grant in found.grants for protocol in grant.protocols)


@pytest.mark.parametrize(
    ("policies", "selector", "expected"),
    [
        # All of these as measured on Cilium 1.17.4, with the policy and without.
        ([], "", "UDP TCP"),
        ([DENY_ALL], "", ""),
        ([ALLOW_DNS], "", "UDP TCP"),
        ([DENY_ALL, ALLOW_DNS], "", "UDP TCP"),
        ([ONLY_A], "", ""),
        # DNS rules stay in force beside an allowed destination, until another policy allows all names.
        ([ONLY_A, "{endpointSelector: {}, egress: [{toEntities: [cluster]}]}"], "", ""),
        (
            ["{endpointSelector: {}, egress: [{DNS, toPorts: [{ports: [{port: '53', protocol: UDP}]}]}]}"],
            "",
            "UDP",
        ),
        # Of pods that are left out nothing is said.
        (["{endpointSelector: {matchLabels: {app: db}}, egress: [{}]}"], "", ""),
        (["{endpointSelector: {matchLabels: {app: db}}, egress: [{}]}"], "app!=db", "UDP TCP"),
        (["{endpointSelector: {matchLabels: {app: db}}, egress: [{}]}"], "app=web", "UDP TCP"),
        (["{endpointSelector: {matchLabels: {app: db}}, egress: [{}]}"], "tier=front", ""),
        # Allowed for fewer pods than are restricted.
        ([DENY_ALL, ALLOW_DNS.replace("{}", "{matchLabels: {app: web}}", 1)], "", ""),
        ([DENY_ALL, ALLOW_DNS.replace("{}", "{matchLabels: {app: web}}", 1)], "app=web", "UDP TCP"),
    ],
)
def test_what_may_be_shown(policies: list[str], selector: str, expected: str) -> None:
    found = verdict(
        *(cilium_policy(spec, name=f"p{i}") for i, spec in enumerate(policies)), selector=selector
    )
    assert granted(found) == expected
    assert bool(found.obstacles) is (expected != "UDP TCP")


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("{podSelector: {}, policyTypes: [Egress]}", ""),
        ("{podSelector: {}, egress: [{ports: [{port: 53, protocol: UDP}, {port: 53}]}]}", "UDP TCP"),
        ("{podSelector: {}, egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}", ""),
        ("{podSelector: {}, policyTypes: [Ingress]}", "UDP TCP"),
    ],
)
def test_policies_of_kubernetes_count_too(spec: str, expected: str) -> None:
    assert granted(verdict(network_policy(spec))) == expected


def test_clusterwide_policies_count_where_the_namespace_has_their_labels() -> None:
    def of_namespaces(env: str) -> dict[str, Any]:
        label = f"k8s:io.cilium.k8s.namespace.labels.env: {env}"
        return cilium_policy(
            f"{{endpointSelector: {{matchLabels: {{{label}}}}}, egress: [{{}}]}}", namespace=""
        )

    assert granted(verdict(of_namespaces("prod"))) == ""
    assert granted(verdict(of_namespaces("test"))) == "UDP TCP"


def test_each_server_is_judged_by_itself() -> None:
    found = verdict(cilium_policy(ALLOW_DNS), servers=(KUBE_DNS, NODE))
    assert [grant.to for grant in found.grants] == [KUBE_DNS]
    assert found.texts == (
        "ciliumnetworkpolicy shop/theirs does not allow its pods to ask NodeLocal DNSCache",
    )


def test_where_all_is_denied_by_default_somebody_must_allow_it() -> None:
    assert granted(verdict(always_enforced=True)) == ""
    assert granted(verdict(cilium_policy(ALLOW_DNS), always_enforced=True)) == "UDP TCP"


def test_a_cilium_before_1_16_shows_only_pods_without_a_policy() -> None:
    assert granted(verdict(denies_nothing_extra=False)) == "UDP TCP"
    assert granted(verdict(cilium_policy(ALLOW_DNS), denies_nothing_extra=False)) == ""
    ignored = ALLOW_DNS.replace("egress", "enableDefaultDeny: {egress: false}, egress", 1)
    assert granted(verdict(cilium_policy(ignored), denies_nothing_extra=False)) == ""


@pytest.mark.parametrize(
    ("selector", "way"),
    [
        ("{matchLabels: {app: db}}", "-l 'app!=db'"),
        ("{matchExpressions: [{key: app, operator: In, values: [db, kv]}]}", "-l 'app notin (db,kv)'"),
        ("{matchExpressions: [{key: app, operator: NotIn, values: [web]}]}", "-l 'app=web'"),
        ("{matchExpressions: [{key: app, operator: Exists}]}", "-l '!app'"),
        ("{matchExpressions: [{key: app, operator: DoesNotExist}]}", "-l 'app'"),
        ("{matchLabels: {app: db, tier: back}}", ""),
        ("{}", ""),
        ("{matchLabels: {io.cilium.k8s.namespace.labels.env: prod}}", ""),
        ("nonsense", ""),
    ],
)
def test_how_to_leave_out_the_pods_in_the_way(selector: str, way: str) -> None:
    found = verdict(cilium_policy(f"{{endpointSelector: {selector}, egress: [{{}}]}}"))
    assert found.obstacles
    assert way_round(found.obstacles) == way
    if way:
        pods = way.removeprefix("-l '").removesuffix("'")
        other = verdict(cilium_policy(f"{{endpointSelector: {selector}, egress: [{{}}]}}"), selector=pods)
        assert granted(other) == "UDP TCP"


def test_the_policy() -> None:
    found = verdict(servers=(KUBE_DNS, NODE))
    policy = policy_object("shop", parse_selector("app=web").requirements, found.grants)
    text = document(policy, "the pods of namespace shop")
    assert yaml.safe_load(text) == policy
    assert text.startswith("# ")
    assert "kubectl -n shop delete ciliumnetworkpolicy kdns-dns-visibility" in text.split("\n")[0]
    assert policy["spec"]["endpointSelector"] == {"matchLabels": {"k8s:app": "web"}}
    assert policy["spec"]["enableDefaultDeny"] == {"egress": False, "ingress": False}
    ports = [{"port": "53", "protocol": protocol} for protocol in PROTOCOLS]
    to_ports = [{"ports": ports, "rules": {"dns": [{"matchPattern": "*"}]}}]
    labels = {"k8s:io.kubernetes.pod.namespace": "kube-system", "k8s:k8s-app": "kube-dns"}
    assert policy["spec"]["egress"] == [
        {"toEndpoints": [{"matchLabels": labels}], "toPorts": to_ports},
        {"toEntities": ["host"], "toPorts": to_ports},
    ]


def test_the_policy_before_1_16_allows_all_else() -> None:
    policy = policy_object("shop", (), verdict().grants, denies_nothing_extra=False)
    assert "enableDefaultDeny" not in policy["spec"]
    assert policy["spec"]["egress"][-1] == {"toEntities": ["all"]}


def test_openshift_asks_the_port_of_the_pods() -> None:
    server = Destination("dns", "endpoints", namespace="openshift-dns", match={"a": "b"}, ports=(Port(5353),))
    policy = policy_object("shop", (), verdict(servers=(server,)).grants)
    ports = policy["spec"]["egress"][0]["toPorts"][0]["ports"]
    assert [port["port"] for port in ports] == ["5353", "5353"]


# Against a small model of Cilium: rules add up; with a rule that denies by default only what is allowed is.

SETS = [
    {key: value for key, value in zip("ab", values, strict=True) if value}
    for values in itertools.product(("", "x", "y", "z"), repeat=2)
]
requirement_sets = st.lists(
    st.builds(
        Requirement,
        st.sampled_from("ab"),
        st.none() | st.frozensets(st.sampled_from("xy"), min_size=1),
        st.booleans(),
    ),
    max_size=2,
).map(tuple)
allows = st.builds(
    Allow,
    ports=st.sampled_from(
        [(), (PortSpan(frozenset(PROTOCOLS), 53, 53),), (PortSpan(frozenset(("UDP",)), 53, 53),)]
    ),
    dns=st.sampled_from([None, ("*",), ("a.test",)]),
    anywhere=st.booleans(),
    exact=st.booleans(),
)
all_rules = st.lists(
    st.builds(
        Rule,
        policy=st.just("x"),
        selector=requirement_sets,
        denies_by_default=st.booleans(),
        allows=st.lists(allows, max_size=2).map(tuple),
    ),
    max_size=3,
)


def all_names_allowed(rules: list[Rule], labels: dict[str, str], protocol: str) -> bool:
    """Whether a pod may ask kube-dns for every name; a rule for some names takes the others away."""
    mine = [rule for rule in rules if selects(rule.selector, labels)]
    to_dns = [
        allow
        for rule in mine
        for allow in rule.allows
        if allow.anywhere and (not allow.ports or protocol in allow.ports[0].protocols)
    ]
    if any(allow.limits_names for allow in to_dns):
        return False
    return not any(rule.denies_by_default for rule in mine) or any(allow.exact for allow in to_dns)


@given(requirement_sets, all_rules)
def test_it_never_allows_what_is_not_allowed(pods: Requirements, rules: list[Rule]) -> None:
    found = judge(pods, rules, [KUBE_DNS], namespace="shop", namespace_labels=None)
    for labels in SETS:
        if selects(pods, {**labels, NAMESPACE: "shop"}):
            for grant in found.grants:
                for protocol in grant.protocols:
                    assert all_names_allowed(rules, labels, protocol)


@given(requirement_sets, all_rules)
def test_what_it_refuses_has_a_reason(pods: Requirements, rules: list[Rule]) -> None:
    found = judge(pods, rules, [KUBE_DNS], namespace="shop", namespace_labels=None)
    complete = [grant.protocols for grant in found.grants] == [PROTOCOLS]
    assert complete is not bool(found.obstacles)
