"""`kubectl kdns doctor` as a user types it: what is printed, exit statuses, and what may not be read."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kubectl_kdns.cli.app import main
from kubectl_kdns.doctor.examination import Catalogue
from kubectl_kdns.schema import json_schema
from support.api_server import ApiServer, Reply, failure
from support.doctor_cluster import COREFILE, DoctorCluster, answer, nodelocal, pod, policy, silent

Doctor = Callable[..., tuple[int, str, str]]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def doctor(
    server: ApiServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doctor:
    monkeypatch.setenv("KUBECONFIG", str(server.kubeconfig(tmp_path / "config")))

    def run(*argv: str) -> tuple[int, str, str]:
        status = main(["doctor", *argv])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


def broken() -> DoctorCluster:
    """Many things at once, with names and texts that try to be more than text."""
    cluster = DoctorCluster()
    cluster.corefile(
        COREFILE.replace("/etc/resolv.conf", "10.96.0.10")
        .replace("loop", "lo\x1b[31mop")
        .replace("errors", "")
    )
    cluster.change("service", "spec.ports.1.protocol", "SCTP")
    cluster.ports["coredns-5d4f-bbbbb"] = answer(2)
    cluster.objects["deny"] = policy("shop", "deny", podSelector={}, policyTypes=["Egress"])
    cluster.objects["scan"] = pod("shop", "scan-5d4f-ddddd", "192.0.2.12", labels={}, hostNetwork=True)
    cluster.change("a", "spec.containers.0.resources", {"limits": {"cpu": "100m"}})
    cluster.objects["local"] = nodelocal("local-1", "n1")
    return cluster


def normal(text: str) -> str:
    """Without what differs from run to run."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    text = re.sub(r"\b(in|slowest) [\d.]+(µs|ms|s)\b", r"\1 DURATION", text)
    return re.sub(r"changed \d+h\d+m\d+s ago", "changed DURATION ago", text)


def test_the_whole_text_of_a_healthy_cluster(server: ApiServer, doctor: Doctor, golden: Any) -> None:
    DoctorCluster().install(server)
    status, out, err = doctor("--all")
    assert (status, err) == (0, "")
    golden("doctor/healthy.txt", normal(out))
    status, out, _ = doctor()
    assert status == 0
    assert out.endswith("ok (--all shows what is ok)\n")
    assert "OK" not in out


def test_the_whole_text_of_a_broken_cluster(server: ApiServer, doctor: Doctor, golden: Any) -> None:
    broken().install(server)
    status, out, err = doctor()
    assert (status, err) == (1, "")
    assert "\x1b" not in out
    golden("doctor/broken.txt", normal(out))


def test_json_and_yaml_say_the_same(server: ApiServer, doctor: Doctor) -> None:
    broken().install(server)
    status, out, _ = doctor("-o", "json", "--only", "policy-egress,service-ports")
    assert status == 1
    findings = [json.loads(line) for line in out.splitlines()]
    for finding in findings:
        jsonschema.validate(finding, json_schema())
    assert findings[0] == {
        "apiVersion": "kdns/v1",
        "kind": "finding",
        "check": "service-ports",
        "topic": "Service",
        "severity": "failure",
        "on": {"kind": "service", "name": "kube-dns", "namespace": "kube-system"},
        "evidence": "port 53 TCP is not among its ports: answers too long for UDP are lost",
        "fix": findings[0]["fix"],
    }
    assert findings[0]["fix"].startswith("kubectl -n kube-system patch service kube-dns --type=json")
    status, out, _ = doctor("-o", "yaml", "--only", "policy-egress", "--only", "service-ports")
    assert status == 1
    assert list(yaml.safe_load_all(out)) == findings


def test_a_policy_that_is_proposed_is_a_policy(server: ApiServer, doctor: Doctor) -> None:
    """What the fix would apply opens the way, to the pods of the one that closes it and to no others."""
    cluster = DoctorCluster()
    selector = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}
    cluster.objects["deny"] = policy("shop", "deny", podSelector=selector, policyTypes=["Egress"])
    cluster.install(server)
    status, out, _ = doctor("-o", "json", "--only", "policy-egress")
    assert status == 1
    command, manifest, end = json.loads(out)["fix"].split("\n")
    assert (command, end) == ("kubectl apply -f - <<'EOF'", "EOF")
    assert json.loads(manifest)["spec"]["podSelector"] == selector
    server.put(json.loads(manifest))
    status, out, _ = doctor("-o", "json", "--only", "policy-egress")
    assert (status, json.loads(out)["severity"]) == (0, "ok")


def test_wrong_usage(doctor: Doctor) -> None:
    status, out, err = doctor("--only", "coredns-redy")
    assert (status, out) == (2, "")
    assert "there is no check 'coredns-redy'; did you mean \"coredns-ready\"?" in err
    assert "Try: kubectl kdns doctor --list" in err
    status, _, err = doctor("-o", "jsn")
    assert status == 2
    assert 'did you mean "json"?' in err


def test_what_needs_agents_is_made_on_request_only(server: ApiServer, doctor: Doctor) -> None:
    status, out, err = doctor("--only", "active-udp")
    assert (status, out) == (2, "")
    assert "active-udp asks from within pods and nodes" in err
    assert "Try: kubectl kdns doctor --active --only active-udp" in err
    assert server.requests == []


def test_the_list_needs_no_cluster(server: ApiServer, doctor: Doctor) -> None:
    status, out, err = doctor("--list")
    assert (status, err) == (0, "")
    listed = [line.split()[0] for line in out.splitlines() if line.startswith("  ")]
    assert listed == [check.id for check in Catalogue().checks]
    assert server.requests == []
    _, out, _ = doctor("--list", "--only", "lookup-answers")
    assert out.splitlines() == [
        "Lookups",
        "  lookup-answers        Every ready CoreDNS pod answers for kubernetes.default",
    ]


def test_nobody_answers(server: ApiServer, doctor: Doctor) -> None:
    server.script("GET /version", failure(401, "Unauthorized"), forever=True)
    status, out, err = doctor()
    assert (status, out) == (3, "")
    assert "does not accept the credentials" in err


def test_the_server_is_not_there(tmp_path: Path) -> None:
    with ApiServer() as gone:
        config = gone.kubeconfig(tmp_path / "config")
    environ = {**os.environ, "KUBECONFIG": str(config)}
    command = [sys.executable, "-m", "kubectl_kdns", "doctor"]
    done = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr.startswith("error: cannot reach the API server")


POLICIES = {"policy-egress", "policy-ingress"}
OF_PODS = {
    *(f"pods-{name}" for name in ("host-network", "dns-policy", "ndots", "search-domains", "name-servers")),
    *POLICIES,
    "service-endpoints",
}
OF_SERVICES = {"service-exists", "service-ports", "service-address", "service-endpoints", "pods-name-servers"}

FORBIDDEN: dict[str, tuple[str, set[str]]] = {
    "nodes": ("GET /api/v1/nodes\\?", {"service-address", "coredns-placement"}),
    "pods everywhere": (r"GET /api/v1/pods\?", OF_PODS),
    "pods in kube-system": (
        r"GET /api/v1(/namespaces/kube-system)?/pods\?",
        OF_PODS
        | {check.id for check in Catalogue().checks if check.topic in ("CoreDNS pods", "Corefile", "Lookups")}
        | {"nodelocal-ready", "nodelocal-address"},
    ),
    "services": ("GET /api/v1/services", OF_SERVICES | POLICIES),
    "endpoints": ("GET .*/endpointslices", {"service-endpoints"} | POLICIES),
    "namespaces": (r"GET /api/v1/namespaces\?", POLICIES),
    "policies": ("GET .*/networkpolicies", POLICIES),
    "kubelets": ("GET .*/configz", {"service-address"}),
    "deployments": ("GET .*/deployments", {"coredns-replicas"}),
    "configmaps": ("GET .*/configmaps", {"corefile-parses"}),
    "port-forward": ("GET .*/portforward", {"lookup-answers"}),
    "reviews": ("POST .*/selfsubjectaccessreviews", {"backend-rights"}),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_may_not_be_read_is_unknown_and_said(name: str, server: ApiServer, doctor: Doctor) -> None:
    pattern, expected = FORBIDDEN[name]
    server.script(pattern, failure(403, "Forbidden", "the user may not do that"), forever=True)
    DoctorCluster().install(server)
    status, out, err = doctor("-o", "json")
    assert (status, err) == (0, "")
    unknown = [finding for line in out.splitlines() if (finding := json.loads(line))["severity"] == "unknown"]
    assert {finding["check"] for finding in unknown} == expected
    assert all("not allowed to " in finding["evidence"] for finding in unknown)
    assert all("auth can-i" in finding["fix"] for finding in unknown)


def test_missing_rights_are_named(server: ApiServer, doctor: Doctor) -> None:
    cluster = DoctorCluster()
    cluster.allowed = False
    cluster.install(server)
    status, out, _ = doctor("--only", "backend-rights")
    assert status == 0
    assert "this user may not get pods, list pods" in out
    assert "Try: kubectl kdns backends coredns --rbac | kubectl apply -f - (then bind it to the user)" in out


def test_one_missing_right_is_one_block_of_text(server: ApiServer, doctor: Doctor) -> None:
    server.script("GET .*/networkpolicies", failure(403, "Forbidden"), forever=True)
    DoctorCluster().install(server)
    _, out, _ = doctor()
    assert "UNKNOWN policy-egress, policy-ingress\n" in out
    assert out.count("not allowed to list networkpolicies") == 1


def test_a_silent_pod_is_given_up(server: ApiServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kdns_coredns.doctor_lookups.TIMEOUT_S", 0.2)
    cluster = DoctorCluster()
    cluster.ports["coredns-5d4f-aaaaa"] = silent
    cluster.install(server)
    status, out, _ = doctor("--only", "lookup-answers")
    assert status == 1
    assert "kubernetes.default.svc.cluster.local: no answer within 0.2 s, the way through the" in out


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("[INFO] Reloading\n[INFO] Reloading complete", ("ok", 0)),
        ("[ERROR] plugin/reload: Corefile changed but reload failed: no such plugin", ("failure", 1)),
        ("[INFO] Reloading complete\n[ERROR] plugin/reload: Corefile parse failed: x", ("failure", 1)),
        ("nothing about it", ("unknown", 0)),
    ],
)
def test_a_change_is_live_when_the_log_says_so(
    log: str, expected: tuple[str, int], server: ApiServer, doctor: Doctor
) -> None:
    cluster = DoctorCluster()
    cluster.change("config", "metadata.managedFields.0.time", "2024-01-02T08:00:00Z")
    cluster.install(server)
    for name in ("coredns-5d4f-aaaaa", "coredns-5d4f-bbbbb"):
        server.log(name, namespace="kube-system").write(*log.split("\n"))
    status, out, _ = doctor("--only", "corefile-live", "-o", "json")
    findings = [json.loads(line) for line in out.splitlines()]
    assert ({finding["severity"] for finding in findings}, status) == ({expected[0]}, expected[1])
    assert [finding["on"]["name"] for finding in findings] == ["coredns-5d4f-aaaaa", "coredns-5d4f-bbbbb"]


def test_kube_dns_is_no_failure(server: ApiServer, doctor: Doctor) -> None:
    """GKE's DNS server is not CoreDNS: what is known of the Service and of pods is told all the same."""
    cluster = DoctorCluster()
    for name in ("a", "b"):
        cluster.change(name, "spec.containers.0.name", "kubedns")
        cluster.change(name, "status.containerStatuses.0.name", "kubedns")
    cluster.install(server)
    status, out, _ = doctor("-o", "json")
    findings = {finding["check"]: finding for finding in map(json.loads, out.splitlines())}
    assert status == 0
    assert findings["coredns-found"]["severity"] == "info"
    assert "there is no CoreDNS here" in findings["coredns-found"]["evidence"]
    assert findings["service-endpoints"]["severity"] == "ok"
    assert "coredns-ready" not in findings


def test_an_answer_that_does_not_come_is_not_waited_for(
    server: ApiServer, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubectl_kdns.doctor.reading.PATIENCE_S", 0.5)
    never = threading.Event()
    server.script("GET .*/configz", Reply(200, b"{}", after=never), forever=True)
    DoctorCluster().install(server)
    try:
        status, out, _ = doctor("--only", "service-address,service-ports", "-o", "json")
    finally:
        never.set()
    findings = {finding["check"]: finding for finding in map(json.loads, out.splitlines())}
    assert status == 0
    assert findings["service-address"]["severity"] == "unknown"
    assert findings["service-address"]["evidence"] == "no answer within 0.5 s"
    assert findings["service-ports"]["severity"] == "ok"


def test_nodes_that_do_not_answer_are_left_out(server: ApiServer, doctor: Doctor) -> None:
    cluster = DoctorCluster()
    cluster.objects["n3"] = {**cluster.objects["n2"], "metadata": {"name": "virtual", "labels": {}}}
    server.script("/nodes/n2/proxy/configz", failure(404, "NotFound"), forever=True)
    server.script("/nodes/virtual/proxy/configz", Reply(200, b"[]"), forever=True)
    cluster.install(server)
    status, out, _ = doctor("--only", "service-address", "-o", "json")
    assert status == 0
    assert json.loads(out)["evidence"] == "pods are told to ask 10.96.0.10, by 1 kubelet"


def test_the_service_that_is_proposed_is_the_one_that_is_missing(server: ApiServer, doctor: Doctor) -> None:
    cluster = DoctorCluster()
    del cluster.objects["service"]
    cluster.install(server)
    only = ("--only", "service-exists,service-ports,service-address,service-endpoints", "-o", "json")
    status, out, _ = doctor(*only)
    assert (status, json.loads(out)["check"]) == (1, "service-exists")
    server.put(json.loads(json.loads(out)["fix"].split("\n")[1]))
    status, out, _ = doctor(*only)
    assert status == 0
    assert [json.loads(line)["severity"] for line in out.splitlines()] == ["ok"] * 4
