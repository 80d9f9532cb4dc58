"""`explain` where no agent may run: DNS servers are asked through the API server, and objects are read."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.api_server import ApiServer, failure
from support.doctor_cluster import DoctorCluster, answer, refused, silent
from support.websocket_server import Serve

A, B = "coredns-5d4f-aaaaa", "coredns-5d4f-bbbbb"
Run = Callable[..., tuple[int, list[dict[str, Any]], str]]


@pytest.fixture
def explain(tmp_path: Path) -> Run:
    """Runs it for pod shop/web-1 of a cluster; `ports` are its DNS pods. Gives status, journeys and text."""

    def run(*flags: str, name: str = "kubernetes.default", **ports: Serve) -> Any:
        cluster = DoctorCluster()
        cluster.ports |= {{"a": A, "b": B}[key]: serve for key, serve in ports.items()}
        with ApiServer() as server:
            cluster.install(server)
            server.put(
                {
                    "kind": "Pod",
                    "metadata": {"name": "web-1", "namespace": "shop", "uid": "u1"},
                    "spec": {"nodeName": "n1", "containers": [{"name": "web"}]},
                    "status": {
                        "phase": "Running",
                        "podIP": "10.244.1.77",
                        "startTime": "2026-01-01T00:00:00Z",
                    },
                }
            )
            server.script("POST /apis/batch/", failure(403, "Forbidden", "jobs is forbidden"), forever=True)
            kubeconfig = server.kubeconfig(tmp_path / "config")
            command = ["explain", name, "--in", "web-1", "-n", "shop", "-o", "json", *flags]
            done = subprocess.run(
                [sys.executable, "-m", "kubectl_kdns", *command, "--kubeconfig", str(kubeconfig)],
                capture_output=True,
                text=True,
                timeout=60,
            )
            made = [each for each in server.requests if each.method in ("POST", "PUT", "PATCH")]
        assert {each.path.rpartition("/")[2] for each in made} <= {"jobs", "selfsubjectaccessreviews"}
        journeys = [json.loads(line) for line in done.stdout.splitlines()]
        return done.returncode, [each for each in journeys if each["kind"] == "journey"], done.stderr

    return run


def test_each_dns_server_is_asked_by_the_search_list(explain: Run) -> None:
    status, journeys, said = explain("--no-agent", "--type", "A")
    assert status == 0, said
    assert [each["attempts"][0]["hops"][0]["server"]["pod"] for each in journeys] == [A, B]
    for journey in journeys:
        assert journey["client"]["pod"] == "web-1"
        assert journey["resolved_ips"] == ["10.96.0.1"]
        assert [each["name"] for each in journey["attempts"]] == ["kubernetes.default.shop.svc.cluster.local"]
        assert journey["code"] == "answered"
    assert "search shop.svc.cluster.local svc.cluster.local cluster.local" in said
    assert "not tried: UDP, and the way between pod shop/web-1 and the DNS servers" in said


def test_without_the_right_to_make_agents_it_goes_on_without(explain: Run) -> None:
    status, journeys, said = explain("--type", "A")
    assert (status, len(journeys)) == (0, 2), said
    assert "no agent can be had: not allowed to create jobs" in said
    assert "kubectl kdns backends ebpf --rbac" in said


@pytest.mark.parametrize(
    ("serve", "code", "words"),
    [
        (answer(2), "failed", f"SERVFAIL from {B}"),
        (answer(3), "answered", f"NXDOMAIN from {B}"),
        (silent, "server_silent", f"no answer from {B}, asked over TCP through the API server: timed out"),
        (refused, "server_silent", "connection refused"),
    ],
)
def test_the_one_server_that_fails_is_named(explain: Run, serve: Serve, code: str, words: str) -> None:
    status, journeys, said = explain(
        "--no-agent", "--type", "A", "--timeout", "500ms", name="db.shop.", b=serve
    )
    assert status == 1, said
    fine, bad = journeys
    assert (fine["code"], bad["code"]) == ("answered", code)
    assert words in bad["conclusion"]
    assert "doctor: failure: pod kube-system/coredns-5d4f-bbbbb" in said


def test_what_needs_an_agent_is_refused(explain: Run) -> None:
    status, journeys, said = explain("--no-agent", "--watch")
    assert (status, journeys) == (2, [])
    assert "to see the pod's own lookup takes an agent" in said


def test_several_times_with_the_shares_of_each_server(explain: Run) -> None:
    flags = ("--type", "A", "--count", "3", "--interval", "10ms")
    status, journeys, said = explain("--no-agent", *flags, b=answer(2))
    assert status == 1, said
    servers = [journey["attempts"][0]["hops"][0]["server"]["pod"] for journey in journeys]
    assert servers == [A, B] * 3
    assert said.count("its resolv.conf by its spec") == 1
    shares = re.findall(r"  (\d+ of \d+) fine(?:, p50 \S+, p95 \S+)?: (\S+)", said)
    # Each of the three went through the search list at the one that fails.
    assert shares == [("0 of 12", B), ("3 of 3", A)], said
