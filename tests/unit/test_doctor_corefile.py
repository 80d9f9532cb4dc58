"""The checks of Corefiles, pure: texts and pods in, findings out."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kdns_coredns.configs import CorefileText
from kdns_coredns.corefile import parse_corefile
from kdns_coredns.doctor import CHECKS
from kdns_coredns.doctor_corefile import corefile_live, corefile_log, corefile_parses
from kdns_coredns.doctor_facts import domain_of, read_corefile
from kdns_coredns.doctor_plugins import corefile_plugins
from kdns_coredns.doctor_routes import corefile_forward, corefile_kubernetes, corefile_zones
from kdns_coredns.notes import REJECTED, RELOADED
from kubectl_kdns.doctor import Check, Unread
from kubectl_kdns.doctor.facts import KubeletFacts
from kubectl_kdns.doctor.finding import judge
from support.doctor_cluster import COREFILE
from support.doctor_facts import (
    HOUR_NS,
    NOW_NS,
    PODS,
    cluster,
    condition,
    coredns,
    coredns_pod,
    corefile,
    nodelocal,
    said,
)

BY_ID = {check.id: check for check in CHECKS}
CONFIG = "configmap kube-system/coredns"
A, B = "pod kube-system/coredns-a", "pod kube-system/coredns-b"
CHANGED = corefile(changed_ns=NOW_NS - HOUR_NS)
"""After the pods were started."""


def with_line(old: str, new: str) -> dict[str, Any]:
    assert old in COREFILE
    return {"corefiles": (corefile(COREFILE.replace(old, new)),)}


def without(plugin: str) -> dict[str, Any]:
    return with_line(f"    {plugin}\n", "")


CASES: list[tuple[Check[Any], dict[str, Any], tuple[str, str, str]]] = [
    (
        corefile_parses,
        {"pods": (coredns_pod(config=None),), "corefiles": ()},
        ("unknown", A, "its Corefile is in no ConfigMap, so nobody can read it from here"),
    ),
    (
        corefile_parses,
        {"corefiles": (corefile(corefile=Unread("x"), mistake="Corefile:3: a } that closes nothing"),)},
        (
            "failure",
            CONFIG,
            "Corefile:3: a } that closes nothing: CoreDNS refuses it; pods that run keep the one of "
            "before, new "
            "ones crash",
        ),
    ),
    (
        corefile_parses,
        {"corefiles": (corefile(corefile=Unread("x"), gone="configmap x has no key Corefile"),)},
        (
            "failure",
            CONFIG,
            "configmap x has no key Corefile: pods that run still have the one of before, new ones "
            "cannot start",
        ),
    ),
    (
        corefile_parses,
        {"corefiles": (corefile(corefile=Unread("not allowed", "ask")),)},
        ("unknown", CONFIG, "not allowed"),
    ),
    (
        corefile_parses,
        with_line("loop", "import custom/*.override"),
        ("unknown", CONFIG, "what it imports is not known: custom/*.override"),
    ),
    (
        corefile_live,
        {"corefiles": (corefile(COREFILE.replace("    reload\n", ""), changed_ns=NOW_NS - HOUR_NS),)},
        (
            "warning",
            CONFIG,
            "the ConfigMap was changed 1h0m0s ago, and 2 pods started before cannot see it: no `reload`",
        ),
    ),
    (
        corefile_log,
        with_line("errors", "errors\n    log {combined}"),
        ("warning", CONFIG, "line 3: CoreDNS takes {combined} for the name of a zone, and logs nothing"),
    ),
    (
        corefile_plugins,
        with_line("reload", "reload\n    prometeus :9153"),
        (
            "warning",
            CONFIG,
            "line 13: prometeus is no plugin of CoreDNS's own; unless this image has it, CoreDNS refuses the "
            "Corefile",
        ),
    ),
    (
        BY_ID["corefile-errors"],
        without("errors"),
        ("warning", CONFIG, "no `errors` in the server block of . (line 1): why lookups fail is in no log"),
    ),
    (
        BY_ID["corefile-cache"],
        without("cache 30"),
        (
            "warning",
            CONFIG,
            "no `cache` in the server block of . (line 1): every lookup of an external name goes to "
            "the upstream",
        ),
    ),
    (
        BY_ID["corefile-loop"],
        without("loop"),
        (
            "warning",
            CONFIG,
            "no `loop` in the server block of . (line 1): a forward that leads back is not noticed, "
            "and takes "
            "CoreDNS down",
        ),
    ),
    (
        BY_ID["corefile-reload"],
        without("reload"),
        ("warning", CONFIG, "no `reload` anywhere: a change of the ConfigMap waits for a restart"),
    ),
    (
        BY_ID["corefile-health"],
        without("health"),
        ("warning", CONFIG, "no `health` anywhere: a liveness probe has nobody to ask"),
    ),
    (
        BY_ID["corefile-ready"],
        without("ready"),
        (
            "warning",
            CONFIG,
            "no `ready` anywhere: a pod gets lookups before it knows the cluster's Services",
        ),
    ),
    (
        BY_ID["corefile-loop"],
        with_line("    loop\n", "    import custom/*.override\n"),
        ("unknown", CONFIG, "no `loop`, but it may be in what is imported: custom/*.override"),
    ),
    (
        corefile_zones,
        {"corefiles": (corefile("a.test:53 {\n}\na.test b.test {\n}\n"),)},
        (
            "failure",
            CONFIG,
            "dns://a.test:53 is served by the blocks of lines 1 and 3: CoreDNS refuses that; pods "
            "that run keep "
            "the Corefile of before, new ones crash",
        ),
    ),
    (
        corefile_kubernetes,
        with_line("kubernetes cluster.local", "kubernetes other.local"),
        (
            "failure",
            CONFIG,
            "no `kubernetes` for cluster.local (only for in-addr.arpa, ip6.arpa, other.local): no "
            "Service of the "
            "cluster has a name",
        ),
    ),
    (
        corefile_kubernetes,
        {"corefiles": (corefile(". {\n import x\n}"),)},
        ("unknown", CONFIG, "no `kubernetes` for cluster.local, but it may be in what is imported: x"),
    ),
    (
        corefile_forward,
        with_line("/etc/resolv.conf", "10.96.0.10"),
        (
            "failure",
            CONFIG,
            "line 9: `forward . 10.96.0.10` leads back to CoreDNS (its own address): lookups go "
            "round until they "
            "time out",
        ),
    ),
    (
        corefile_forward,
        {"corefiles": (corefile(pods=(coredns_pod(condition=condition(dns_policy="ClusterFirst")),)),)},
        (
            "failure",
            CONFIG,
            "line 9: `forward . /etc/resolv.conf` leads back to CoreDNS (the pods' dnsPolicy puts "
            "the cluster's "
            "DNS into that file): lookups go round until they time out",
        ),
    ),
]


@pytest.mark.parametrize(("check", "changes", "expected"), CASES)
def test_what_is_broken_is_said(
    check: Check[Any], changes: dict[str, Any], expected: tuple[str, str, str]
) -> None:
    assert said(check, coredns(**changes)) == [expected]


def test_every_check_has_a_case() -> None:
    of_corefiles = {check.id for check in CHECKS if check.topic == "Corefile"}
    assert {check.id for check, _, _ in CASES} == of_corefiles


@pytest.mark.parametrize(
    ("event", "severity"),
    [(RELOADED, "ok"), (REJECTED, "failure"), ("", "unknown"), (Unread("no right"), "unknown")],
)
def test_a_changed_corefile(event: str | Unread, severity: str) -> None:
    facts = coredns(corefiles=(CHANGED,), reloads={pod.uid: event for pod in PODS})
    assert [(each, on) for each, on, _ in said(corefile_live, facts)] == [(severity, A), (severity, B)]


def test_a_change_of_a_moment_ago_is_on_its_way() -> None:
    facts = coredns(corefiles=(corefile(changed_ns=NOW_NS - HOUR_NS // 60),))
    assert said(corefile_live, facts)[0] == (
        "info",
        A,
        "the ConfigMap was changed 1m0s ago: it takes up to 3m0s to get there",
    )


@pytest.mark.parametrize(
    ("upstream", "leads_back"),
    [
        ("10.96.0.10:53", True),
        ("dns://10.96.0.10", True),
        ("10.244.1.2", True),
        ("127.0.0.1", True),
        ("[::1]:53", True),
        ("127.0.0.1:5353", False),
        ("tls://127.0.0.1", False),
        ("9.9.9.9", False),
        ("tls://9.9.9.9%dns.quad9.net", False),
        ("2620:fe::fe", False),
        ("/etc/resolv.conf", False),
        ("upstream.test", False),
    ],
)
def test_where_forward_leads(upstream: str, leads_back: bool) -> None:
    facts = coredns(corefiles=(corefile(COREFILE.replace("/etc/resolv.conf", upstream)),))
    assert [severity == "failure" for severity, _, _ in said(corefile_forward, facts)] == [leads_back]


def test_a_loopback_in_the_nodes_network_may_be_a_resolver() -> None:
    pods = tuple(replace(pod, condition=condition(host_network=True)) for pod in PODS)
    facts = coredns(corefiles=(corefile(COREFILE.replace("/etc/resolv.conf", "127.0.0.1"), pods),))
    assert said(corefile_forward, facts)[0][0] == "ok"


def test_nodelocal_may_ask_the_service_but_not_itself() -> None:
    text = "cluster.local:53 {\n errors\n cache\n loop\n reload\n health\n forward . %s\n}"
    for upstream, severity in (("10.96.0.10", "ok"), ("169.254.20.10", "failure")):
        facts = coredns(corefiles=(corefile(text % upstream, (nodelocal(),)),))
        assert said(corefile_forward, facts)[0][0] == severity
        # It needs no `ready`, and no `kubernetes`.
        assert said(BY_ID["corefile-ready"], facts) == []
        assert said(corefile_kubernetes, facts) == []


@pytest.mark.parametrize("distinction", ["bind 10.0.0.1", "view a {\n expr true\n }"])
def test_one_zone_for_different_clients(distinction: str) -> None:
    facts = coredns(corefiles=(corefile(f".:53 {{\n {distinction}\n}}\n.:53 {{\n errors\n}}\n"),))
    assert said(corefile_zones, facts)[0][0] == "ok"


def test_a_block_that_forwards_nothing_needs_no_cache() -> None:
    text = COREFILE + "corp.test {\n errors\n file db.corp\n}\n"
    facts = coredns(corefiles=(corefile(text),))
    assert [said(BY_ID[f"corefile-{name}"], facts)[0][0] for name in ("cache", "loop")] == ["ok", "ok"]


def test_the_clusters_domain() -> None:
    corp = corefile(COREFILE.replace("cluster.local", "corp.example."))
    assert domain_of(cluster(), (corp,)) == "cluster.local"  # as kubelets say it
    assert domain_of(cluster(kubelets=Unread("no")), (corp,)) == "corp.example"
    assert domain_of(cluster(kubelets=()), ()) == "cluster.local"
    handed = cluster(kubelets=(KubeletFacts("n1", (), "Corp.Example."),))
    assert domain_of(handed, ()) == "corp.example"


def test_what_a_text_says() -> None:
    source = CHANGED.source
    metadata = {
        "creationTimestamp": "2026-01-01T00:00:00Z",
        "managedFields": [{"time": "2026-01-03T00:00:00Z"}, {"time": "never"}, {}],
    }
    read = read_corefile(
        source, CorefileText("/Corefile", ".:53 {}", config_map={"metadata": metadata}), PODS
    )
    assert read.corefile == parse_corefile(".:53 {}")
    assert (read.changed_ns, read.mistake, read.gone) == (1767398400_000_000_000, "", "")
    broken = read_corefile(source, CorefileText("/Corefile", ".:53 { a {"), PODS)
    assert broken.mistake.startswith("Corefile:1: ")
    gone = read_corefile(source, CorefileText("/Corefile", None, "no key", gone=True), PODS)
    assert (gone.gone, gone.changed_ns) == ("no key", 0)
    unread = read_corefile(source, CorefileText("/Corefile", None, "not allowed"), PODS)
    assert unread.corefile == Unread("not allowed", "kubectl auth can-i get configmaps -n kube-system")


@pytest.mark.parametrize(
    ("changed", "fix"),
    [
        ("kubernetes other.local", "cluster.local as a zone of `kubernetes` in line 5"),
        ("hosts", "a line `kubernetes cluster.local in-addr.arpa ip6.arpa`"),
    ],
)
def test_a_block_takes_kubernetes_once(changed: str, fix: str) -> None:
    facts = coredns(corefiles=(corefile(COREFILE.replace("kubernetes cluster.local", changed)),))
    (finding,) = judge([corefile_kubernetes], facts)
    assert finding.fix == f"{fix}: kubectl -n kube-system edit configmap coredns"
