"""The doctor on whole clusters: a healthy one is fine, of each broken one exactly what was broken is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.doctor.examination import Catalogue, examine
from kubectl_kdns.doctor.finding import SEVERITIES, Finding
from kubectl_kdns.kube import ConnectionFlags, connect
from support.api_server import ApiServer
from support.doctor_breaks import BROKEN, DENY, FINE, put
from support.doctor_cluster import (
    DoctorCluster,
    nodelocal,
    policy,
)

ALWAYS = {("info", "backend-usable")}
"""Neither Hubble nor the log is there, and agents have to be asked for: in every cluster here."""


@pytest.fixture
def diagnose(tmp_path: Path) -> Callable[..., list[Finding]]:
    def run(cluster: DoctorCluster, *only: str) -> list[Finding]:
        with ApiServer() as server:
            cluster.install(server)
            flags = ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config")))
            catalogue = Catalogue()
            return examine(connect(flags), catalogue, catalogue.choose(only), {})

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
        findings = examine(connect(flags), catalogue, catalogue.choose(["pods-ndots"]), {})
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
