"""The Hubble backend against a real Cilium: what dnsq asked and what `hubble observe` has is the truth."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.cutter import Cutter
from e2e.world import Asked, Running, World, collect

READY = "hubble: flows of"
LIVE = ("trace", "--backend", "hubble", "-o", "json")
FENCED = "fenced"
MIX: list[list[str]] = [
    ["-n", "150", "-rate", "100", "-random", "ok.test"],
    ["-n", "80", "-rate", "100", "-random", "ok.test", "AAAA"],
    ["-n", "60", "-rate", "100", "-random", "-tcp", "ok.test"],
    ["-n", "70", "-rate", "100", "-random", "nowhere.test"],
    ["-n", "40", "-rate", "100", "-random", "servfail.test"],
    ["-n", "4", "-rate", "100", "-t", "8s", "-random", "hole.test"],
    ["-n", "12", "-rate", "100", "-t", "1s", "-random", "drop.test"],
    ["-n", "12", "-rate", "100", "-random", "slow.test"],
]
"""428 lookups a client pod; those of fenced pods and of one more make 997."""
SLOW_MS = 700.0


def policy(world: World, name: str, client: str, pattern: str, *, default_deny: bool) -> dict[str, Any]:
    """Shows the DNS of these clients to the world's CoreDNS."""
    servers = [{"matchLabels": {"app": "kdns-e2e-dns"}}]
    ports = [{"port": "53", "protocol": "ANY"}]
    rule = {
        "toEndpoints": servers,
        "toPorts": [{"ports": ports, "rules": {"dns": [{"matchPattern": pattern}]}}],
    }
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": name, "namespace": world.namespace},
        "spec": {
            "endpointSelector": {"matchLabels": {"app": f"kdns-e2e-{client}"}},
            "enableDefaultDeny": {"egress": default_deny, "ingress": False},
            "egress": [rule],
        },
    }


def flows(world: World, since: str) -> list[dict[str, Any]]:
    """Every DNS flow of the world's pods that the Cilium agents have, from `hubble observe` itself."""
    found = []
    pods = json.loads(world.kubectl("get", "pods", "-A", "-l", "k8s-app=cilium", "-o", "json"))["items"]
    for pod in pods:
        metadata = pod["metadata"]
        observe = ["hubble", "observe", "--protocol", "dns", "--namespace", world.namespace]
        text = world.kubectl(
            *("-n", metadata["namespace"], "exec", metadata["name"], "-c", "cilium-agent", "--"),
            *(*observe, "--since", since, "-o", "jsonpb"),
        )
        found += [line["flow"] for line in map(json.loads, text.splitlines()) if "flow" in line]
    return found


@pytest.fixture(scope="module")
def visible(world: World) -> Iterator[World]:
    """The world with its clients' DNS shown, and others that may ask for ok.test only."""
    relays = json.loads(world.kubectl("get", "services", "-A", "-l", "k8s-app=hubble-relay", "-o", "json"))
    if not relays["items"]:
        assert not os.environ.get("KDNS_E2E_HUBBLE"), "KDNS_E2E_HUBBLE is set, and there is no hubble-relay"
        pytest.skip("this cluster has no hubble-relay (lab/cilium/on): nothing of Hubble can be tested")
    world.add_clients(FENCED)
    world.apply(
        policy(world, "shown", "client", "*", default_deny=False),
        policy(world, FENCED, FENCED, "*.ok.test", default_deny=True),
    )
    world.wait(lambda: is_shown(world), "the policies work", timeout_s=90)
    yield world
    world.kubectl("-n", world.namespace, "delete", "ciliumnetworkpolicies", "shown", FENCED)
    world.kubectl("-n", world.namespace, "delete", "daemonset", FENCED, "--wait=false")


def is_shown(world: World) -> bool:
    """Whether the DNS of a client on each node, of both kinds, comes through Cilium's proxy."""
    started = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 2))
    pods = [*world.clients.values(), *world.fenced.values()]
    collect([(pod, world.start_asking(pod, ["-random", "ok.test"])) for pod in pods])
    return {flow["source"].get("pod_name") for flow in flows(world, started)} >= set(pods)


def key(asked: Asked) -> tuple[Any, ...]:
    return asked.pod, asked.name, asked.type, asked.transport


def record_key(record: dict[str, Any]) -> tuple[Any, ...]:
    return record["client"].get("pod"), record["dns"]["name"], record["dns"]["type"], record["transport"]


def ask_all(world: World, since: str) -> tuple[list[Asked], dict[str, dict[str, Any]]]:
    """997 lookups from pods on all nodes, and the flows of them that Hubble had: read after each kind, for
    the agents' rings are small, and most of what is in them is packets."""
    asked: list[Asked] = []
    found: dict[str, dict[str, Any]] = {}
    denied = ["-n", "50", "-rate", "100", "-random", "denied.test"]
    rest = 997 - len(world.clients) * sum(int(a[1]) for a in MIX) - len(world.fenced) * 50
    first = next(iter(world.clients.values()))
    waves = [[(pod, arguments) for pod in world.clients.values()] for arguments in MIX]
    waves.append([(pod, denied) for pod in world.fenced.values()])
    waves.append([(first, ["-n", str(rest), "-random", "ok.test"])])
    for wave in waves:
        asked += collect([(pod, world.start_asking(pod, arguments)) for pod, arguments in wave])
        found |= {flow["uuid"]: flow for flow in flows(world, since)}
    return asked, found


def settle(running: Running, world: World, wanted: set[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The lookups, when all that are wanted have come, and a little later."""
    world.wait(lambda: wanted <= set(map(record_key, running.lookups())), "every lookup is told")
    time.sleep(1)
    return [r for r in running.lookups() if record_key(r) in wanted]


def test_every_lookup_is_one_record(visible: World) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    started_s = time.monotonic()
    running = visible.start_kdns(*LIVE, "-n", visible.namespace, ready=READY)
    asked, found = ask_all(visible, since)
    assert len(asked) == 997
    truth = {key(a): a for a in asked}
    records = settle(running, visible, set(truth))
    run_ms = (time.monotonic() - started_s) * 1000
    assert running.finish() == 130
    assert Counter(map(record_key, records)) == Counter(map(key, asked))
    for record in records:
        check_record(record, truth[record_key(record)], visible, run_ms)
    names = {a.name for a in asked}
    requests = Counter(
        query
        for flow in found.values()
        if flow["l7"]["type"] == "REQUEST" and flow["verdict"] != "ERROR"
        if (query := flow["l7"]["dns"]["query"].rstrip(".")) in names
    )
    tries: Counter[str] = Counter()
    for record in records:
        tries[record["dns"]["name"]] += record["tries"]
    assert tries == requests


def check_record(record: dict[str, Any], asked: Asked, world: World, run_ms: float) -> None:
    fenced = asked.pod in world.fenced.values()
    assert record["client"]["namespace"] == world.namespace
    assert record["client"]["workload"] == {"kind": "DaemonSet", "name": FENCED if fenced else "client"}
    assert record["side"] == "proxy"
    assert record["server"]["pod"].startswith("dns-")
    if asked.name.endswith("denied.test"):
        assert (record["status"], record["dns"]["rcode"], asked.rcode) == ("denied", "REFUSED", "REFUSED")
        assert record["error"]["type"] == "policy_denied"
        assert record["policy"]["verdict"] == "DROPPED"
    elif asked.rcode == "TIMEOUT":
        # An answer may have come when the client had given up; how long it waited depends on the machine.
        assert record["status"] in ("unanswered", "answered"), (asked, record)
    else:
        assert (record["status"], record["dns"]["rcode"]) == ("answered", asked.rcode), (asked, record)
        least_ms = SLOW_MS if asked.name.endswith("slow.test") else 0
        assert least_ms < record["latency_ms"] < run_ms, (asked, record)
    if asked.rcode == "NOERROR" and asked.name.endswith("ok.test"):
        address = "192.0.2.7" if asked.type == "A" else "2001:db8::7"
        assert [answer["data"] for answer in record["dns"]["answers"]] == [address]


def test_hubble_and_coredns_agree(visible: World) -> None:
    """Each alone and both together: the same lookups, and together each is one line."""
    runs = {
        backends: visible.start_kdns(
            *("trace", "--backend", backends, "-n", visible.namespace, "-o", "json", *visible.here()),
            ready=ready,
        )
        for backends, ready in (
            ("hubble", READY),
            ("coredns", "coredns: the logs of"),
            ("hubble,coredns", "coredns: the logs of"),
        )
    }
    asked = [
        a
        for name in ("ok.test", "nowhere.test", "servfail.test")
        for a in visible.ask(["-n", "60", "-rate", "100", "-random", name])
    ]
    wanted = set(map(key, asked))
    for backends, running in runs.items():
        visible.wait(
            lambda running=running: wanted <= set(map(record_key, running.lookups())), f"all by {backends}"
        )
    time.sleep(2)
    found = {}
    for backends, running in runs.items():
        assert running.finish() == 130
        records = [r for r in running.lookups() if record_key(r) in wanted]
        assert len(records) == len(asked), backends
        # A line of CoreDNS's log is one transmission.
        found[backends] = Counter({(*record_key(r), r["dns"]["rcode"]): r.get("tries", 1) for r in records})
    assert found["hubble"] == found["coredns"] == found["hubble,coredns"]


def test_history_then_live_while_things_break(visible: World) -> None:
    """--since, with relay, a Cilium agent and the port-forward killed once each: no double, no silence."""
    before = visible.ask(["-n", "100", "-rate", "100", "-random", "ok.test"])
    with Cutter(visible.api_server()) as cutter:
        running = visible.start_kdns(
            *(*LIVE, "--since", "2m", "-n", visible.namespace, *through(cutter)), ready=READY
        )
        arguments = ["-n", "3000", "-rate", "100", "-t", "1s", "-random", "ok.test"]
        started = [(pod, visible.start_asking(pod, arguments)) for pod in visible.clients.values()]
        time.sleep(4)
        cutter.cut()
        time.sleep(4)
        relay = visible.kubectl("get", "pods", "-A", "-l", "k8s-app=hubble-relay", "-o", "json")
        delete(visible, json.loads(relay)["items"][0])
        time.sleep(10)
        agents = visible.kubectl("get", "pods", "-A", "-l", "k8s-app=cilium", "-o", "json")
        delete(visible, json.loads(agents)["items"][0])
        asked = before + collect(started)
        visible.wait(lambda: agents_ready(visible), "the Cilium agent is back", timeout_s=120)
        asked += visible.ask(["-n", "50", "-rate", "50", "-random", "ok.test"])
        last = {key(a) for a in asked[-50 * len(visible.clients) :]}
        visible.wait(lambda: last <= set(map(record_key, running.lookups())), "the last ones", timeout_s=90)
        time.sleep(2)
        running.finish()
    seen = Counter(map(record_key, running.lookups()))
    assert not [k for k, n in seen.items() if n > 1]
    told = [r for r in running.records() if r["kind"] in ("loss", "notice")]
    missing = [a for a in asked if a.rcode == "NOERROR" and key(a) not in seen]
    assert not missing or [r for r in told if r["kind"] == "loss"], missing[:3]
    assert [r for r in told if r.get("code") == "reconnected"], running.stderr()
    # What is asked when all is quiet again is there to the last one.
    assert not [a for a in asked[-50 * len(visible.clients) :] if key(a) not in seen]


def through(cutter: Cutter) -> list[str]:
    return ["--server", cutter.url, "--insecure-skip-tls-verify"]


def delete(world: World, pod: dict[str, Any]) -> None:
    metadata = pod["metadata"]
    world.kubectl("-n", metadata["namespace"], "delete", "pod", metadata["name"], "--wait=false")


def agents_ready(world: World) -> bool:
    pods = json.loads(world.kubectl("get", "pods", "-A", "-l", "k8s-app=cilium", "-o", "json"))["items"]
    return all(
        status["ready"]
        for pod in pods
        for status in pod["status"].get("containerStatuses", [{"ready": False}])
    )


def test_nothing_visible_is_said_with_the_policy_that_helps(visible: World) -> None:
    done = visible.kdns(
        "trace", "--backend", "hubble", "-n", "kube-system", "--for", "14s", "--summary", "none"
    )
    assert re.search(r"kubectl kdns hubble policy -n \S+", done.stderr), done.stderr
    done = visible.kdns("hubble", "policy", "-n", "default")
    assert "kind: CiliumNetworkPolicy" in done.stdout
