"""The checks of CoreDNS pods, NodeLocal DNSCache and lookups, pure: facts in, findings out."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kdns_coredns.doctor import CHECKS
from kdns_coredns.doctor_facts import ControllerFacts, CorednsFacts
from kdns_coredns.doctor_lookups import lookup_answers, lookup_latency
from kdns_coredns.doctor_nodelocal import nodelocal_address, nodelocal_ready
from kdns_coredns.doctor_pods import (
    coredns_found,
    coredns_placement,
    coredns_ready,
    coredns_replicas,
    coredns_resources,
    coredns_restarts,
    coredns_versions,
)
from kubectl_kdns.doctor import Check, Target, Unread
from kubectl_kdns.doctor.facts import NodeFacts
from kubectl_kdns.doctor.finding import judge
from support.doctor_facts import (
    HOUR_NS,
    NOW_NS,
    PODS,
    cluster,
    condition,
    coredns,
    coredns_pod,
    lookup,
    nodelocal,
    said,
)

DEPLOYMENT = Target("deployment", "coredns", "kube-system")
A, B = "pod kube-system/coredns-a", "pod kube-system/coredns-b"


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_a_healthy_cluster_is_ok(check: Check[Any]) -> None:
    found = said(check, coredns())
    # Of a cache that is not there nothing is said but that.
    assert {severity for severity, _, _ in found} == (set() if check is nodelocal_address else {"ok"})


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.id)
def test_what_could_not_be_read_is_unknown(check: Check[Any]) -> None:
    why = Unread("not allowed to look", "kubectl auth can-i")
    facts = CorednsFacts(
        cluster(), NOW_NS, why, controllers=why, corefiles=why, lookups=why, reloads=why, inside=why
    )
    findings = judge([check], facts)
    assert [(each.severity, each.evidence, each.fix) for each in findings] == [
        ("unknown", "not allowed to look", "kubectl auth can-i")
    ]


def first(**changes: Any) -> dict[str, Any]:
    """The pods with the first one changed."""
    return {"pods": (coredns_pod(**changes), PODS[1])}


CASES: list[tuple[Check[Any], dict[str, Any], tuple[str, str, str]]] = [
    (
        coredns_found,
        {"pods": (), "absent": Unread("no CoreDNS pods were found in any namespace", "look")},
        ("failure", "pods coredns", "no CoreDNS pods were found in any namespace"),
    ),
    (
        coredns_found,
        {"pods": (), "absent": Unread("the DNS server is kube-dns"), "is_kube_dns": True},
        ("info", "pods coredns", "the DNS server is kube-dns"),
    ),
    (
        coredns_found,
        {"pods": ()},
        ("failure", "pods coredns", "only CoreDNS pods that are being deleted, and no other CoreDNS"),
    ),
    (
        coredns_found,
        {"pods": (nodelocal(),)},
        ("failure", "pods coredns", "only NodeLocal DNSCache, and no other CoreDNS"),
    ),
    (
        coredns_ready,
        {"pods": tuple(coredns_pod(ready=False, condition=condition(why="ImagePullBackOff")) for _ in "ab")},
        (
            "failure",
            "pods coredns",
            "none of 2 pods is ready (ImagePullBackOff): no lookup is answered",
        ),
    ),
    (
        coredns_ready,
        first(ready=False),
        ("warning", A, "not ready: it runs, but its readiness probe fails; 1 of 2 pods answer"),
    ),
    (
        coredns_replicas,
        {"controllers": (ControllerFacts(DEPLOYMENT, 0, 0, 0),)},
        ("failure", str(DEPLOYMENT), "it is scaled to 0: no lookup is answered"),
    ),
    (
        coredns_replicas,
        {"controllers": (ControllerFacts(DEPLOYMENT, 3, 2, 2),)},
        (
            "warning",
            str(DEPLOYMENT),
            "2 of 3 pods were made: a quota, or an admission webhook?",
        ),
    ),
    (
        coredns_replicas,
        {"controllers": (ControllerFacts(DEPLOYMENT, 1, 1, 1),)},
        ("warning", str(DEPLOYMENT), "1 replica on 2 nodes: its restart is an outage"),
    ),
    (
        coredns_restarts,
        first(restarts=4, condition=condition(last_end="Error", last_end_ns=NOW_NS - 2 * HOUR_NS)),
        ("warning", A, "4 restarts, the last 2h0m0s ago: Error"),
    ),
    (
        coredns_restarts,
        first(restarts=1, condition=condition(last_end="OOMKilled", last_end_ns=NOW_NS - HOUR_NS)),
        ("warning", A, "1 restart, the last 1h0m0s ago: OOMKilled (memory limit 170Mi)"),
    ),
    (
        coredns_restarts,
        first(restarts=1, condition=condition(last_end="OOMKilled", last_end_ns=NOW_NS - 30 * HOUR_NS)),
        ("info", A, "1 restart, the last 30h0m0s ago: OOMKilled (memory limit 170Mi)"),
    ),
    (
        coredns_placement,
        {"pods": (PODS[0], coredns_pod("coredns-b", "n1"))},
        ("warning", "pods coredns", "all 2 pods are on node n1, one of 2"),
    ),
    (
        coredns_placement,
        {
            "cluster": cluster(
                nodes=(
                    NodeFacts("n1", True, "east"),
                    NodeFacts("n2", True, "east"),
                    NodeFacts("n3", True, "west"),
                )
            )
        },
        ("warning", "pods coredns", "all 2 pods are in zone east, one of 2"),
    ),
    (
        coredns_resources,
        {"pods": tuple(replace(pod, condition=condition(cpu_limit="0.2")) for pod in PODS)},
        (
            "warning",
            str(DEPLOYMENT),
            "CPU limit 0.2: the kernel stops it within every 100 ms when it is busy",
        ),
    ),
    (
        coredns_resources,
        {"pods": tuple(replace(pod, condition=condition(memory_limit="")) for pod in PODS)},
        ("info", str(DEPLOYMENT), "no memory limit: a flood of lookups may take its node's memory"),
    ),
    (
        coredns_versions,
        first(image="coredns:v1.11.1"),
        (
            "warning",
            "pods coredns",
            "the pods run 2 images: 1 of coredns:v1.11.1, 1 of coredns:v1.12.1; a rollout that stands still?",
        ),
    ),
    (
        nodelocal_ready,
        {"pods": (nodelocal(ready=False, condition=condition(why="CrashLoopBackOff")), nodelocal("b", "n2"))},
        (
            "failure",
            "pod kube-system/local-a",
            "not ready on node n1: CrashLoopBackOff; lookups of that node may go unanswered",
        ),
    ),
    (
        nodelocal_ready,
        {"pods": (nodelocal(),)},
        ("warning", "pods nodelocal", "1 of 2 ready nodes have none: n2"),
    ),
    (
        nodelocal_address,
        {"pods": (nodelocal(),)},
        (
            "info",
            "pods nodelocal",
            "it listens at 169.254.20.10, but pods are told to ask 10.96.0.10: unless something redirects "
            "lookups, nobody asks it",
        ),
    ),
    (
        nodelocal_address,
        {"pods": (nodelocal(addresses=()),)},
        ("info", "pods nodelocal", "its flags do not say at which address it listens"),
    ),
    (
        lookup_answers,
        {"lookups": (lookup(rcode="SERVFAIL", addresses=0),)},
        ("failure", A, "kubernetes.default.svc.cluster.local: SERVFAIL"),
    ),
    (
        lookup_answers,
        {"lookups": (lookup(addresses=0),)},
        ("failure", A, "kubernetes.default.svc.cluster.local: an answer without an address"),
    ),
    (
        lookup_answers,
        {"lookups": (lookup(error="no answer within 3 s"),)},
        ("failure", A, "kubernetes.default.svc.cluster.local: no answer within 3 s"),
    ),
    (
        lookup_answers,
        {"lookups": (lookup(error="not allowed", asked=False),)},
        ("unknown", A, "could not be asked: not allowed"),
    ),
    (
        lookup_latency,
        {"lookups": (lookup(PODS[0], 3, 4, 5), lookup(PODS[1], 900, 120, 101))},
        ("warning", B, "median 120ms of 3 lookups, of the other pods 4ms"),
    ),
]


@pytest.mark.parametrize(("check", "changes", "expected"), CASES)
def test_what_is_broken_is_said(
    check: Check[Any], changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert said(check, coredns(**changes)) == [expected]


def test_every_check_has_a_case() -> None:
    elsewhere = {check.id for check in CHECKS if check.topic == "Corefile" or check.is_active}
    assert {check.id for check, _, _ in CASES} == {check.id for check in CHECKS} - elsewhere


@pytest.mark.parametrize(
    ("latencies", "severity"),
    [
        ([(1, 1, 1)], "ok"),  # nobody to compare with
        ([(1, 1, 1), (90, 90, 90)], "ok"),  # slower, but not slow
        ([(30, 30, 30), (140, 140, 140)], "ok"),  # slow, but so are the others
        ([(900, 1, 1), (1, 1, 1)], "ok"),  # once
        ([(1, 1, 1), (1, 1, 1), (101, 101, 101)], "warning"),
    ],
)
def test_when_a_pod_is_slow(latencies: list[tuple[float, ...]], severity: str) -> None:
    lookups = tuple(lookup(coredns_pod(f"c{n}"), *each) for n, each in enumerate(latencies))
    assert [each for each, _, _ in said(lookup_latency, coredns(lookups=lookups))] == [severity]


def test_old_restarts_are_no_news() -> None:
    old = condition(last_end="Completed", last_end_ns=NOW_NS - 48 * HOUR_NS)
    facts = coredns(pods=(coredns_pod(restarts=2, condition=old),))
    assert said(coredns_restarts, facts) == [
        ("ok", "pods coredns", "2 restarts, none of them in the last 24 hours")
    ]


def test_one_replica_on_one_node_is_as_it_must_be() -> None:
    facts = coredns(
        cluster=cluster(nodes=(NodeFacts("n1", True),)),
        controllers=(ControllerFacts(DEPLOYMENT, 1, 1, 1),),
    )
    assert said(coredns_replicas, facts) == [("ok", str(DEPLOYMENT), "1 of 1 replicas ready")]


def test_a_cpu_limit_of_a_core_is_no_throttle() -> None:
    facts = coredns(pods=tuple(replace(pod, condition=condition(cpu_limit="3")) for pod in PODS))
    assert said(coredns_resources, facts)[0][0] == "ok"
