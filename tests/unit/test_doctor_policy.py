"""Which pods NetworkPolicies keep from asking the DNS pods: the rules of the API, one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from kubectl_kdns.doctor.facts import EndpointFacts
from kubectl_kdns.doctor.finding import judge
from kubectl_kdns.doctor.policy import Policy
from kubectl_kdns.doctor.reachability import policy_egress, policy_ingress
from support.doctor_cluster import DNS_LABELS
from support.doctor_facts import app, cluster, policy, said

UDP, TCP = {"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}
BOTH = [UDP, TCP]
SYSTEM = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}}
DNS = {"podSelector": {"matchLabels": DNS_LABELS}}


def egress(*rules: dict[str, Any], name: str = "out", **spec: Any) -> Policy:
    return policy(
        "shop", name, **{"podSelector": {}, "policyTypes": ["Egress"], "egress": list(rules), **spec}
    )


def ingress(*rules: dict[str, Any], **spec: Any) -> Policy:
    selector = {"matchLabels": DNS_LABELS}
    return policy("kube-system", "in", **{"podSelector": selector, "ingress": list(rules), **spec})


OPEN: dict[str, Policy] = {
    "everything": egress({}),
    "every port": egress({"to": [SYSTEM]}),
    "everybody at port 53": egress({"ports": BOTH}),
    "a range of ports": egress(
        {"ports": [{"protocol": "UDP", "port": 1, "endPort": 100}, {"protocol": "TCP"}]}
    ),
    "the name of a port": egress({"ports": [{"protocol": "UDP", "port": "dns"}, TCP]}),
    "two rules": egress({"to": [SYSTEM], "ports": [UDP]}, {"to": [SYSTEM], "ports": [TCP]}),
    "namespace and labels": egress({"to": [{**SYSTEM, **DNS}], "ports": BOTH}),
    "an expression": egress(
        {
            "to": [
                {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
            ],
            "ports": BOTH,
        }
    ),
    "the Service's address": egress({"to": [{"ipBlock": {"cidr": "10.96.0.10/32"}}], "ports": BOTH}),
    "not for this pod": egress(podSelector={"matchLabels": {"app": "batch"}}),
    "not for what is excluded": egress(
        podSelector={"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}
    ),
    "not for egress": policy("shop", "in", podSelector={}, ingress=[]),
    "of another namespace": policy("bank", "out", podSelector={}, policyTypes=["Egress"]),
}

CLOSED: dict[str, tuple[Policy, str]] = {
    "nothing": (egress(), "UDP or TCP"),
    "by its rules, without types": (
        policy("shop", "out", podSelector={}, egress=[{"ports": [{"protocol": "TCP", "port": 443}]}]),
        "UDP or TCP",
    ),
    "UDP only": (egress({"ports": [UDP]}), "TCP"),
    "TCP only": (egress({"ports": [TCP]}), "UDP"),
    "no protocol is TCP": (egress({"ports": [{"port": 53}]}), "UDP"),
    "own namespace": (egress({"to": [DNS], "ports": BOTH}), "UDP or TCP"),
    "another namespace": (
        egress({"to": [{"namespaceSelector": {"matchLabels": {"team": "bank"}}}]}),
        "UDP or TCP",
    ),
    "other labels": (
        egress({"to": [{**SYSTEM, "podSelector": {"matchLabels": {"k8s-app": "x"}}}]}),
        "UDP or TCP",
    ),
    "other addresses": (
        egress({"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}}], "ports": BOTH}),
        "UDP or TCP",
    ),
    "other ports": (egress({"ports": [{"protocol": "UDP", "port": 54, "endPort": 99}]}), "UDP or TCP"),
}


@pytest.mark.parametrize("name", OPEN)
def test_egress_that_is_open(name: str) -> None:
    assert [severity for severity, _, _ in said(policy_egress, cluster(policies=(OPEN[name],)))] == ["ok"]


@pytest.mark.parametrize("name", CLOSED)
def test_egress_that_is_closed(name: str) -> None:
    policy_, protocols = CLOSED[name]
    severity = "warning" if protocols == "TCP" else "failure"
    lost = "; answers too long for UDP are lost" if protocols == "TCP" else ""
    evidence = (
        f"1 pod (deployment/web) cannot ask the DNS pods by {protocols}: no rule of networkpolicy shop/out "
        f"lets them{lost}"
    )
    assert said(policy_egress, cluster(policies=(policy_,))) == [(severity, "namespace shop", evidence)]


def test_policies_add_up() -> None:
    policies = (egress(name="deny"), egress({"ports": BOTH}, name="dns"))
    assert said(policy_egress, cluster(policies=policies))[0][0] == "ok"


def test_pods_are_told_together_by_what_closes_their_way() -> None:
    batch = {"matchLabels": {"app": "batch"}}
    facts = cluster(
        pods=(*cluster().pods, app("batch"), app("batch"), app("node", host_network=True)),  # type: ignore[misc]
        policies=(egress(), egress(name="more", podSelector=batch)),
    )
    assert [(on, evidence.split(":")[0]) for _, on, evidence in said(policy_egress, facts)] == [
        ("namespace shop", "1 pod (deployment/web) cannot ask the DNS pods by UDP or TCP"),
        ("namespace shop", "2 pods (deployment/batch) cannot ask the DNS pods by UDP or TCP"),
    ]


def test_other_ports_behind_the_service() -> None:
    """OpenShift's DNS pods listen at 5353, and policies are about the port of the pod."""
    endpoints = EndpointFacts(
        "kube-system", "kube-dns", frozenset({"10.244.1.2"}), dns_ports=frozenset({("UDP", 5353)})
    )
    facts = cluster(endpoints=(endpoints,), policies=(egress({"ports": BOTH}),))
    assert "by UDP:" in said(policy_egress, facts)[0][2]


def test_a_cache_on_the_node_makes_it_a_warning() -> None:
    pods = (*cluster().pods, app("local", "kube-system", labels={"k8s-app": "node-local-dns"}))  # type: ignore[misc]
    ((severity, _, evidence),) = said(policy_egress, cluster(pods=pods, policies=(egress(),)))
    assert severity == "warning"
    assert evidence.endswith("NodeLocal DNSCache, on the pod's own node, may answer all the same")


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ([{}], "ok"),
        ([{"from": [{"namespaceSelector": {}}], "ports": BOTH}], "ok"),
        ([{"from": [{"ipBlock": {"cidr": "10.244.0.0/16"}}]}], "ok"),
        ([{"from": [{"namespaceSelector": {}}], "ports": [UDP]}], "warning"),
        ([{"from": [{"podSelector": {}}]}], "failure"),
        ([{"ports": [{"protocol": "TCP", "port": 9153}]}], "failure"),
        ([], "failure"),
    ],
)
def test_ingress(rules: list[dict[str, Any]], expected: str) -> None:
    ((severity, on, evidence),) = said(policy_ingress, cluster(policies=(ingress(*rules),)))
    assert severity == expected
    if severity == "failure":
        assert on == "networkpolicy kube-system/in"
        assert "cannot ask the DNS pods by UDP or TCP: no rule of networkpolicy kube-system/in" in evidence


def test_one_dns_pod_that_is_closed_is_told() -> None:
    """A lookup goes to any of them: a share of them is lost."""
    first, second, client = cluster().pods  # type: ignore[misc]
    pods = (replace(first, labels={**DNS_LABELS, "canary": "yes"}), second, client)
    closed = ingress(podSelector={"matchLabels": {"canary": "yes"}})
    ((severity, _, evidence),) = said(policy_ingress, cluster(pods=pods, policies=(closed,)))
    assert severity == "failure"
    assert "cannot ask 1 of 2 DNS pods by UDP or TCP" in evidence


def test_the_fix_does_not_overwrite_another_policy() -> None:
    policies = (egress(), egress(name="allow-dns-out", podSelector={"matchLabels": {"app": "x"}}))
    (finding,) = judge([policy_egress], cluster(policies=policies))
    manifest = json.loads(str(finding.fix).split("\n")[1])
    assert manifest["metadata"] == {"name": "allow-dns-out-too", "namespace": "shop"}
    assert manifest["spec"]["egress"][0]["ports"] == BOTH
    opened = policy("shop", "fix", **manifest["spec"])
    assert said(policy_egress, cluster(policies=(*policies, opened)))[0][0] == "ok"


def test_no_dns_pods_no_verdict_on_policies() -> None:
    assert said(policy_egress, cluster(pods=(app(),), policies=(egress(),)))[0][0] == "ok"
