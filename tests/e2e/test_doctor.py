"""The doctor on real pods: nothing wrong where nothing is, and what was broken named, and no more."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
ACTIVE = "active-udp,active-tcp,active-large,active-upstreams"
TWICE = "\n.:53 {\n    errors\n    forward . 192.0.2.1\n    cache\n    loop\n}\n"


@pytest.fixture(scope="module")
def patient(world: World) -> World:
    """A CoreDNS of its own to be judged: by the ConfigMap, for its pods read it only at their start."""
    world.add_dns("patient", RUNNING)
    with_corefile(world, COREFILE)
    return world


def judged(world: World, *flags: str, only: str = CHECKS) -> dict[str, dict[str, Any]]:
    """What is worse than a warning, or is one, by check."""
    here = ["--coredns-namespace", world.namespace, "--coredns-selector", SELECTOR]
    done = world.kdns("doctor", "-o", "json", "--only", only, *here, *flags, check=False)
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


def line_of(fix: str) -> str:
    """The line that a fix wants, as it stands between backquotes or at its begin."""
    return found[1] if (found := re.search(r"a line `([^`]+)`", fix)) else fix.partition("  (")[0]


def added(text: str, fix: str) -> str:
    """With the line that the fix wants, in the first block."""
    return text.replace(".:53 {\n", f".:53 {{\n    {line_of(fix)}\n", 1)


def said_plugin(text: str, fix: str) -> str:
    meant = re.search(r'did you mean "(\w+)"', fix)
    assert meant
    return text.replace("loadbalence", meant[1])


def said_zone(text: str, fix: str) -> str:
    found = re.search(r"^(\S+) as a zone of `kubernetes` in line (\d+)", fix)
    assert found
    lines = text.split("\n")
    lines[int(found[2]) - 1] = lines[int(found[2]) - 1].replace("kubernetes ", f"kubernetes {found[1]} ")
    return "\n".join(lines)


def by_hand(fix: str, change: Callable[[str], str]) -> Callable[[str, str], str]:
    """What a person does who reads that fix."""

    def mend(text: str, said: str) -> str:
        assert fix in said
        return change(text)

    return mend


BROKEN: dict[str, tuple[Callable[[str], str], Callable[[str, str], str]]] = {
    "corefile-parses": (
        replaced("    reload\n}", "    reload\n"),
        by_hand("edit configmap patient", lambda text: text + "}\n"),
    ),
    "corefile-log": (
        replaced("    errors\n", "    errors\n    log {combined}\n"),
        lambda text, fix: text.replace("log {combined}", line_of(fix)),
    ),
    "corefile-plugins": (replaced("    loop\n", "    loop\n    loadbalence\n"), said_plugin),
    "corefile-errors": (replaced("    errors\n", ""), added),
    "corefile-cache": (replaced("    cache 30\n", ""), added),
    "corefile-loop": (replaced("    loop\n", ""), added),
    "corefile-reload": (replaced("    reload\n", ""), added),
    "corefile-ready": (replaced("    ready\n", ""), added),
    "corefile-zones": (
        lambda text: text + TWICE,
        by_hand("one block of these", lambda text: text.replace(TWICE, "")),
    ),
    "corefile-forward": (
        replaced("forward . /etc/resolv.conf", "forward . 127.0.0.1"),
        by_hand("an upstream outside of the cluster", replaced("forward . 127.0.0.1", "forward . 192.0.2.1")),
    ),
    "corefile-kubernetes": (replaced("kubernetes cluster.local", "kubernetes other.local"), said_zone),
}


@pytest.mark.parametrize("check", BROKEN)
def test_what_is_wrong_in_a_corefile_is_named_and_its_fix_mends_it(patient: World, check: str) -> None:
    break_, mend = BROKEN[check]
    broken = break_(COREFILE)
    try:
        with_corefile(patient, broken)
        bad = judged(patient)
        assert list(bad) == [check], bad
        with_corefile(patient, mend(broken, bad[check]["fix"]))
        assert judged(patient) == {}
    finally:
        with_corefile(patient, COREFILE)


def run(fix: str) -> None:
    """A fix that is a command, or more than one."""
    assert fix.startswith("kubectl "), fix
    done = subprocess.run(["sh", "-c", fix], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{fix}: {done.stderr}"


def rolled_out(world: World) -> None:
    world.kubectl("-n", world.namespace, "rollout", "status", "deployment/patient", "--timeout=60s")
    world.wait(lambda: len(world.get("pods", "-l", SELECTOR)["items"]) == 2, "the old pods are gone")


@contextmanager
def running(world: World, text: str = RUNNING) -> Iterator[None]:
    """Pods that start meanwhile read this; the Corefile to be judged stands there again at the end."""
    with_corefile(world, text)
    try:
        yield
    finally:
        with_corefile(world, RUNNING)
        world.kubectl("-n", world.namespace, "scale", "deployment/patient", "--replicas=2")
        world.kubectl("-n", world.namespace, "rollout", "restart", "deployment/patient")
        rolled_out(world)
        with_corefile(world, COREFILE)


@pytest.mark.parametrize(
    ("replicas", "told"), [(0, ("coredns-found", "failure")), (1, ("coredns-replicas", "warning"))]
)
def test_pods_that_are_missing(patient: World, replicas: int, told: tuple[str, str]) -> None:
    with running(patient):
        patient.kubectl("-n", patient.namespace, "scale", "deployment/patient", f"--replicas={replicas}")
        patient.wait(lambda: len(patient.get("pods", "-l", SELECTOR)["items"]) == replicas, "they are gone")
        pods = "coredns-found,coredns-ready,coredns-replicas"
        bad = judged(patient, only=pods)
        assert [(each, finding["severity"]) for each, finding in bad.items()] == [told]
        if replicas:
            run(bad["coredns-replicas"]["fix"])
        else:  # whose pods they were nobody can know: "Bring the Deployment back"
            patient.kubectl("-n", patient.namespace, "scale", "deployment/patient", "--replicas=2")
        rolled_out(patient)
        assert judged(patient, only=pods) == {}
    assert judged(patient) == {}


def test_pods_that_are_throttled(patient: World) -> None:
    limits = ("set", "resources", "deployment/patient", "--limits=cpu=100m,memory=64Mi")
    with running(patient):
        patient.kubectl("-n", patient.namespace, *limits)
        rolled_out(patient)
        bad = judged(patient, only="coredns-resources")
        assert "100m" in bad["coredns-resources"]["evidence"]
        run(bad["coredns-resources"]["fix"])
        rolled_out(patient)
        assert judged(patient, only="coredns-resources") == {}


def test_a_pod_in_the_nodes_network(world: World) -> None:
    world.add_clients("fenced")
    host = '{"spec":{"template":{"spec":{"hostNetwork":true}}}}'
    restarted = ("-n", world.namespace, "rollout", "status", "daemonset/fenced", "--timeout=120s")
    try:
        world.kubectl("-n", world.namespace, "patch", "daemonset", "fenced", "-p", host)
        world.kubectl(*restarted)
        bad = judged(world, only="pods-host-network")
        assert bad["pods-host-network"]["on"]["name"] == "fenced"
        run(bad["pods-host-network"]["fix"])
        world.kubectl(*restarted)
        world.wait(lambda: judged(world, only="pods-host-network") == {}, "the old pods are gone")
    finally:
        world.kubectl("-n", world.namespace, "delete", "daemonset", "fenced", "--wait=true")


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
        assert list(bad) == ["policy-egress"], bad
        run(bad["policy-egress"]["fix"])
        assert judged(patient) == {}
    finally:
        patient.kubectl("-n", patient.namespace, "delete", "networkpolicy", "--all")
    assert judged(patient) == {}


def test_agents_find_all_ways_open_and_are_gone(patient: World) -> None:
    begun_s = time.monotonic()
    assert judged(patient, "--active", only=ACTIVE) == {}
    assert time.monotonic() - begun_s < 10
    agents = "jobs,configmaps,pods", "-A", "-l", "app.kubernetes.io/name=kdns-agent"
    patient.wait(lambda: not patient.get(*agents)["items"], "the agents are gone", 15)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(patient: World, number: int) -> None:
    running = patient.start_kdns("doctor", "--active", "--only", ACTIVE, ready="agents on")
    assert running.finish(number) == 128 + number
    agents = "jobs,configmaps", "-A", "-l", "app.kubernetes.io/name=kdns-agent"
    assert patient.get(*agents)["items"] == []


def test_an_upstream_that_does_not_answer(patient: World) -> None:
    with_corefile(patient, COREFILE.replace("forward . /etc/resolv.conf", "forward . 192.0.2.1"))
    try:
        bad = judged(patient, "--active", only=ACTIVE)
        assert list(bad) == ["active-upstreams"], bad
        assert bad["active-upstreams"]["on"] == {"kind": "upstream", "name": "192.0.2.1"}
        assert "no answer by UDP (timed out)" in bad["active-upstreams"]["evidence"]
        assert "the address at forward . in" in bad["active-upstreams"]["fix"]
        with_corefile(patient, COREFILE.replace("/etc/resolv.conf", patient.upstream))
        assert judged(patient, "--active", only=ACTIVE) == {}
    finally:
        with_corefile(patient, COREFILE)


def test_pods_that_answer_nobody(patient: World) -> None:
    with running(patient, RUNNING.replace("whoami", "acl {\n drop\n }\n whoami")):
        patient.kubectl("-n", patient.namespace, "rollout", "restart", "deployment/patient")
        rolled_out(patient)
        with_corefile(patient, COREFILE)
        bad = judged(patient, "--active", only=ACTIVE)
        assert sorted(bad) == ["active-tcp", "active-udp"], bad
        assert "timed out" in bad["active-udp"]["evidence"]
        assert bad["active-udp"]["on"]["kind"] == "pod"
        run(bad["active-udp"]["fix"])
