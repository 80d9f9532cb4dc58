"""The doctor on real pods: nothing wrong where nothing is, and what was broken named, and no more."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from e2e.world import World

SELECTOR = "app=kdns-e2e-patient"
COREFILE = """
.:53 {
    errors
    health :8080 {
        lameduck 1s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
}
"""
RUNNING = ".:53 {\n    ready\n    whoami\n}\n"
"""What the pods run: they may not list Services, so plugin kubernetes would never be ready."""
CHECKS = ",".join(
    f"{topic}-{each}"
    for topic, several in {
        "coredns": ("found", "ready", "replicas"),
        "corefile": ("parses", "log", "plugins", "errors", "cache", "loop", "reload", "health", "ready"),
    }.items()
    for each in several
)
CHECKS += ",corefile-zones,corefile-kubernetes,corefile-forward,policy-egress"
TWICE = "\n.:53 {\n    errors\n    forward . 192.0.2.1\n    cache\n    loop\n}\n"


@pytest.fixture(scope="module")
def patient(world: World) -> World:
    """A CoreDNS of its own to be judged: by the ConfigMap, for its pods read it only at their start."""
    world.add_dns("patient", RUNNING)
    with_corefile(world, COREFILE)
    return world


def judged(world: World, *flags: str) -> dict[str, dict[str, Any]]:
    """What is worse than a warning, or is one, by check."""
    here = ["--coredns-namespace", world.namespace, "--coredns-selector", SELECTOR]
    done = world.kdns("doctor", "-o", "json", "--only", CHECKS, *here, *flags, check=False)
    assert done.returncode in (0, 1), done.stderr
    findings = [json.loads(line) for line in done.stdout.splitlines()]
    mine = [f for f in findings if f.get("on", {}).get("namespace", world.namespace) == world.namespace]
    bad = {f["check"]: f for f in mine if f["severity"] in ("warning", "failure")}
    assert done.returncode == int(any(f["severity"] == "failure" for f in findings))
    return bad


def with_corefile(world: World, text: str) -> None:
    data = {"data": {"Corefile": text}}
    world.kubectl("-n", world.namespace, "patch", "configmap", "patient", "-p", json.dumps(data))


def test_the_cluster_itself_has_no_failure_and_is_read_fast(world: World) -> None:
    begun_s = time.monotonic()
    done = world.kdns("doctor", check=False)
    assert time.monotonic() - begun_s < 5
    assert done.returncode == 0, done.stdout
    assert "failure" not in done.stdout.splitlines()[-1]


def test_a_healthy_one(patient: World) -> None:
    assert judged(patient) == {}


def replaced(old: str, new: str) -> Callable[[str], str]:
    def change(text: str) -> str:
        assert old in text
        return text.replace(old, new)

    return change


BROKEN: dict[str, Callable[[str], str]] = {
    "corefile-parses": replaced("    reload\n}", "    reload\n"),
    "corefile-log": replaced("    errors\n", "    errors\n    log {combined}\n"),
    "corefile-plugins": replaced("    cache 30\n", "    cache 30\n    cahce 30\n"),
    "corefile-errors": replaced("    errors\n", ""),
    "corefile-cache": replaced("    cache 30\n", ""),
    "corefile-loop": replaced("    loop\n", ""),
    "corefile-reload": replaced("    reload\n", ""),
    "corefile-ready": replaced("    ready\n", ""),
    "corefile-zones": lambda text: (
        text + "\n.:53 {\n    errors\n    forward . 192.0.2.1\n    cache\n    loop\n}\n"
    ),
    "corefile-forward": replaced("forward . /etc/resolv.conf", "forward . 127.0.0.1"),
    "corefile-kubernetes": replaced("kubernetes cluster.local", "kubernetes other.local"),
}


@pytest.mark.parametrize("check", BROKEN)
def test_what_is_wrong_in_a_corefile_is_named_and_nothing_else(patient: World, check: str) -> None:
    with_corefile(patient, BROKEN[check](COREFILE))
    try:
        bad = judged(patient)
    finally:
        with_corefile(patient, COREFILE)
    assert list(bad) == [check], bad
    assert bad[check]["fix"]
    assert judged(patient) == {}


def test_no_pods_are_a_failure(patient: World) -> None:
    patient.kubectl("-n", patient.namespace, "scale", "deployment/patient", "--replicas=0")
    patient.wait(lambda: not patient.get("pods", "-l", SELECTOR)["items"], "they are gone")
    try:
        assert "coredns-found" in judged(patient)
    finally:
        with_corefile(patient, RUNNING)
        patient.kubectl("-n", patient.namespace, "scale", "deployment/patient", "--replicas=2")
        patient.kubectl("-n", patient.namespace, "rollout", "status", "deployment/patient", "--timeout=60s")
        with_corefile(patient, COREFILE)
    assert judged(patient) == {}


def test_a_policy_that_closes_port_53(patient: World) -> None:
    name = {"name": "closed", "namespace": patient.namespace}
    spec = {
        "podSelector": {},
        "policyTypes": ["Egress"],
        "egress": [{"ports": [{"port": 443, "protocol": "TCP"}]}],
    }
    policy = {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": name, "spec": spec}
    patient.apply(policy)
    try:
        bad = judged(patient)
    finally:
        patient.kubectl("-n", patient.namespace, "delete", "networkpolicy", "closed")
    assert list(bad) == ["policy-egress"], bad
    assert "53" in bad["policy-egress"]["fix"]
    assert judged(patient) == {}
