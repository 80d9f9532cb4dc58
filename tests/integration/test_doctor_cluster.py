"""The doctor on whole clusters: a healthy one is fine, of each broken one exactly what was broken is told."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.doctor.examination import Catalogue, examine
from kubectl_kdns.doctor.finding import SEVERITIES, Finding
from kubectl_kdns.errors import ForbiddenError, KdnsError
from kubectl_kdns.kube import ConnectionFlags, connect
from support.api_server import ApiServer
from support.doctor_agents import Agents, Asked
from support.doctor_breaks import BROKEN, DENY, FINE, put
from support.doctor_cluster import (
    COREFILE,
    DoctorCluster,
    nodelocal,
    policy,
)

ALWAYS = {("info", "backend-usable")}
"""Neither Hubble nor the log is there, and agents have to be asked for: in every cluster here."""


@pytest.fixture
def agents(monkeypatch: pytest.MonkeyPatch) -> Agents:
    agents = Agents()
    monkeypatch.setattr("kubectl_kdns.doctor.inside.load_backend", lambda _: agents)
    return agents


@pytest.fixture
def diagnose(tmp_path: Path, agents: Agents) -> Callable[..., list[Finding]]:  # noqa: ARG001
    def run(cluster: DoctorCluster, *only: str, said: list[str] | None = None) -> list[Finding]:
        with ApiServer() as server:
            cluster.install(server)
            flags = ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config")))
            catalogue = Catalogue()
            chosen = catalogue.choose(only, active=True)
            return examine(connect(flags), catalogue, chosen, {}, [].append if said is None else said.append)

    return run


def told(findings: list[Finding]) -> set[tuple[str, str]]:
    return {(each.severity, each.check) for each in findings if each.severity != "ok"} - ALWAYS


def test_a_healthy_cluster(diagnose: Any) -> None:
    findings = diagnose(DoctorCluster())
    assert told(findings) == set()
    said = {each.check for each in findings}
    # nodelocal-address has nothing to say where there is none.
    assert said == {check.id for check in Catalogue().checks} - {"nodelocal-address"}
    answers = [each for each in findings if each.check == "lookup-answers"]
    assert [str(each.on) for each in answers] == [
        "pod kube-system/coredns-5d4f-aaaaa",
        "pod kube-system/coredns-5d4f-bbbbb",
    ]
    assert all("kubernetes.default.svc.cluster.local: NOERROR in " in each.evidence for each in answers)


@pytest.mark.parametrize("name", BROKEN)
def test_exactly_what_was_broken_is_told(name: str, diagnose: Any) -> None:
    break_, expected = BROKEN[name]
    cluster = DoctorCluster()
    break_(cluster)
    findings = diagnose(cluster)
    assert told(findings) == expected
    worst = {check.id: SEVERITIES.index(check.worst) for check in Catalogue().checks}
    for finding in findings:
        if finding.severity != "unknown":
            assert SEVERITIES.index(finding.severity) >= worst[finding.check]
        if (finding.severity, finding.check) in expected and finding.severity in ("failure", "warning"):
            assert finding.evidence
            assert finding.fix, f"{finding.check} has no fix"


@pytest.mark.parametrize("name", FINE)
def test_what_is_right_is_not_blamed(name: str, diagnose: Any) -> None:
    cluster = DoctorCluster()
    FINE[name](cluster)
    assert told(diagnose(cluster)) == set()


def test_only_what_was_asked_for_is_read(tmp_path: Path) -> None:
    with ApiServer() as server:
        DoctorCluster().install(server)
        flags = ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config")))
        catalogue = Catalogue()
        chosen = catalogue.choose(["pods-ndots"], active=False)
        findings = examine(connect(flags), catalogue, chosen, {}, pytest.fail)
        paths = {request.path for request in server.requests}
    assert [each.check for each in findings] == ["pods-ndots"]
    assert paths == {"/version", "/api/v1/pods"}


@pytest.mark.parametrize("check", [check.id for check in Catalogue().checks])
def test_a_check_names_all_that_it_needs(check: str, diagnose: Any) -> None:
    """Alone it says the same as with all others: nothing that it looks at is read only for another."""
    cluster = DoctorCluster()
    put(l1=nodelocal("local-1", "n1"), l2=nodelocal("local-2", "n2"), p=policy("shop", "deny", **DENY))(
        cluster
    )
    alone = [(each.severity, each.check) for each in diagnose(cluster, check)]
    together = [(each.severity, each.check) for each in diagnose(cluster) if each.check == check]
    assert alone == together
    assert "unknown" not in {severity for severity, _ in alone}


ACTIVE = ("active-udp", "active-tcp", "active-large", "active-upstreams")
POD_A, POD_B = "pod kube-system/coredns-5d4f-aaaaa", "pod kube-system/coredns-5d4f-bbbbb"


def test_agents_ask_all_from_all_and_go(agents: Agents, diagnose: Any) -> None:
    said: list[str] = []
    findings = diagnose(DoctorCluster(), *ACTIVE, said=said)
    assert {each.severity for each in findings} == {"ok"}
    assert (agents.opened, bool(agents.closed)) == (1, True)
    assert agents.options["agent_node"] == agents.options["enter_nodes"] == ["n1", "n2"]
    assert [line.partition(" until")[0] for line in said] == ["agents on n1, n2"]
    servers = {"10.244.1.2", "10.244.2.2", "10.96.0.10"}
    asked = {(each.who, each.server, each.over_tcp) for each in agents.asked}
    whos = {each.who for each in agents.asked}
    assert len(whos) == 4
    assert {"n1", "n2"} < whos
    assert {(w, s, t) for w in whos for s in servers for t in (False, True)} <= asked
    # The upstream of /etc/resolv.conf is asked from the pods only.
    assert {who for who, server, _ in asked if server == "192.0.2.53"} == whos - {"n1", "n2"}
    assert max(each.size for each in agents.asked if not each.over_tcp) == 512


def test_what_is_lost_once_is_asked_for_again(agents: Agents, diagnose: Any) -> None:
    lost: set[tuple[str, str]] = set()

    def rule(asked: Asked) -> bytes | None:
        if (asked.who, asked.server) in lost or asked.over_tcp:
            return asked.answer()
        lost.add((asked.who, asked.server))
        return None

    agents.rule = rule
    assert {each.severity for each in diagnose(DoctorCluster(), *ACTIVE)} == {"ok"}
    assert lost


def test_a_pod_that_nobody_reaches_by_udp(agents: Agents, diagnose: Any) -> None:
    agents.rule = lambda asked: (
        errno.ECONNREFUSED if asked.server == "10.244.2.2" and not asked.over_tcp else asked.answer()
    )
    bad = [each for each in diagnose(DoctorCluster(), *ACTIVE) if each.severity != "ok"]
    assert [(each.severity, each.check, str(each.on)) for each in bad] == [("failure", "active-udp", POD_B)]
    assert bad[0].evidence.startswith("no answer by UDP (connection refused), asked from node n1, node n2")


def test_an_upstream_that_is_gone_and_one_that_is_coredns(agents: Agents, diagnose: Any) -> None:
    agents.rule = lambda asked: None if asked.server == "192.0.2.53" else asked.answer()
    agents.resolv_conf = {"uid-b": "nameserver 10.96.0.10\n"}
    cluster = DoctorCluster()
    cluster.change("b", "metadata.uid", "uid-b")
    bad = [each for each in diagnose(cluster, *ACTIVE) if each.severity != "ok"]
    assert [(each.severity, str(each.on)) for each in bad] == [
        ("failure", "upstream 10.96.0.10"),
        ("failure", "upstream 192.0.2.53"),
    ]
    assert "that is service kube-system/kube-dns itself" in bad[0].evidence
    assert "no answer by UDP (timed out) nor by TCP (timed out)" in bad[1].evidence


def test_many_upstreams_are_not_asked_of_each_other(agents: Agents, diagnose: Any) -> None:
    cluster = DoctorCluster()
    upstreams = [f"192.0.2.{n}" for n in range(1, 41)]
    blocks = "".join(
        f"z{i}.test {{\n errors\n cache\n forward . {ip}\n}}\n" for i, ip in enumerate(upstreams)
    )
    cluster.corefile(COREFILE + blocks)
    bad = [each for each in diagnose(cluster, "active-upstreams") if each.severity != "ok"]
    assert {each.severity for each in bad} == {"info"}
    assert len(bad) == 41 - 30
    assert "not tried: 30 others were" in bad[0].evidence
    assert len({each.server for each in agents.asked if each.server.startswith("192.0.2.")}) == 30


def test_a_node_without_an_agent_is_unknown_and_the_others_are_told(agents: Agents, diagnose: Any) -> None:
    agents.denied = ("n2",)
    told_ = diagnose(DoctorCluster(), "active-udp")
    assert [(each.severity, str(each.on)) for each in told_] == [
        ("unknown", POD_B),
        ("unknown", "node n2"),
        ("ok", "paths coredns"),
    ]


def test_agents_that_cannot_be_taken_away_are_said(agents: Agents, diagnose: Any) -> None:
    agents.left = KdnsError(
        "2 objects of agents are still in namespace kube-system", hint="kubectl kdns cleanup"
    )
    said: list[str] = []
    assert {each.severity for each in diagnose(DoctorCluster(), "active-udp", said=said)} == {"ok"}
    assert said[1:] == [str(agents.left)]
    assert "kubectl kdns cleanup" in said[1]


def test_no_such_node(agents: Agents, diagnose: Any) -> None:
    cluster = DoctorCluster()
    for name in ("n1", "n2"):
        cluster.change(name, "status.conditions.0.status", "False")
    for name in ("a", "b"):
        cluster.change(name, "status.containerStatuses.0.ready", False)
    (finding,) = diagnose(cluster, "active-udp")
    assert (finding.severity, finding.evidence) == (
        "unknown",
        "no ready node for an agent, or none fits --agent-node",
    )
    assert agents.opened == 0


def test_agents_that_may_not_be_made(agents: Agents, diagnose: Any) -> None:
    agents.error = ForbiddenError("may not create jobs", hint="kubectl kdns backends ebpf --rbac")
    findings = diagnose(DoctorCluster(), *ACTIVE, "coredns-found")
    assert {(each.severity, each.check) for each in findings} == {
        ("ok", "coredns-found"),
        *(("unknown", check) for check in ACTIVE),
    }
    assert all(each.fix == "kubectl kdns backends ebpf --rbac" for each in findings if each.severity != "ok")
