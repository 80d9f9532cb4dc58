"""Where did it die, and is the upstream well: each conclusion on real pods, and counts against truth."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.test_ebpf import is_ready, wait_until_gone
from e2e.world import Running, World, collect
from kubectl_kdns.times import parse_time

LABELS = {"app.kubernetes.io/name": "coredns"}
"""By which kdns knows a DNS server of the cluster."""


@pytest.fixture(scope="module")
def scene(world: World) -> Iterator[World]:
    """DNS servers that kdns takes for the cluster's own, and pods that ask them, or nobody."""
    world.add_dns("cluster-dns", world.corefile(), LABELS)
    server = world.get("service", "cluster-dns")["spec"]["clusterIP"]
    empty = world._service("empty-dns")
    world.apply(empty, {"apiVersion": "v1", "kind": "Service", "metadata": world._meta("payments"),
                        "spec": {"selector": {"app": "none"}, "ports": [{"port": 80}]}})  # fmt: skip
    world.add_asker("asker", server)
    world.add_asker("lonely", world.get("service", "empty-dns")["spec"]["clusterIP"])
    world.add_asker("lost", "192.0.2.99")
    yield world
    wait_until_gone(world, 30)


def explain(
    world: World, name: str, *flags: str, pod: str = "asker"
) -> tuple[int, list[dict[str, Any]], str]:
    type_ = () if "--type" in flags else ("--type", "A")
    done = world.kdns(
        "explain", name, "--in", pod, "-n", world.namespace, *type_, "-o", "json", *flags, check=False
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return done.returncode, [r for r in records if r["kind"] == "journey"], done.stderr


def test_one_type_after_the_other(scene: World) -> None:
    flags = ("--type", "A,AAAA", "--one-by-one")
    status, (journey,), _ = explain(scene, "fine.ok.test.", *flags)
    assert status == 0
    first, second = sorted(journey["attempts"], key=lambda each: str(each["time"]))
    assert [first["type"], second["type"]] == ["A", "AAAA"]
    answered_ns = parse_time(first["time"]) + first["latency_ms"] * 1e6
    assert parse_time(second["time"]) >= answered_ns


CASES = [
    ("fine.ok.test", "asker", 0, "upstream", r"192.0.2.7 from \S+, through cluster-dns-"),
    ("own.fast.test", "asker", 0, ("own", "answered"), "192.0.2.8 from cluster-dns-"),
    ("gone.drop.test", "asker", 1, ("dropped", "server_silent"), "arrived at cluster-dns-"),
    ("bad.servfail.test", "asker", 1, "upstream_failed", "SERVFAIL came from"),
    ("deep.hole.test", "asker", 1, "upstream_silent", "and got no answer"),
    ("no.refuse.test", "asker", 1, ("failed", "too_late", "server_silent"), "cluster-dns-"),
    ("fine.ok.test", "lonely", 1, ("lost_before_server", "not_seen"), r"no DNS server|not seen"),
    ("fine.ok.test", "lost", 1, "outside_silent", "no answer from 192.0.2.99"),
]


@pytest.mark.parametrize(("name", "pod", "status", "codes", "words"), CASES)
def test_each_way_to_end(
    scene: World, name: str, pod: str, status: int, codes: str | tuple[str, ...], words: str
) -> None:
    returned, journeys, stderr = explain(scene, f"{name}.", pod=pod)
    assert (returned, len(journeys)) == (status, 1), stderr
    (journey,) = journeys
    assert journey["code"] in ((codes,) if isinstance(codes, str) else codes), journey
    assert re.search(words, journey["conclusion"]), journey["conclusion"]
    assert (journey["client"]["pod"], journey["client"]["namespace"]) == (pod, scene.namespace)


def test_the_search_list_is_the_pods_own_and_a_typo_is_named(scene: World) -> None:
    returned, (journey,), stderr = explain(scene, "paymnets")
    names = [attempt["name"] for attempt in journey["attempts"]]
    assert names[0] == f"paymnets.{scene.namespace}.svc.cluster.local"
    assert (len(names), names[-1], journey["rcode"], returned) == (4, "paymnets", "NXDOMAIN", 1)
    assert "the nearest name of a Service is payments" in stderr


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("fine.ok.test.", 0, "answered"),
        ("bad.servfail.test.", 1, "failed"),
        ("x.hole.test.", 1, "server_silent"),
    ],
)
def test_without_an_agent_each_server_is_asked(scene: World, name: str, status: int, code: str) -> None:
    returned, journeys, stderr = explain(scene, name, "--no-agent", "--timeout", "2s")
    assert returned == status, stderr
    pods = scene.get("pods", "-l", "app.kubernetes.io/name=coredns")["items"]
    servers = [pod["metadata"]["name"] for pod in pods if pod["metadata"]["name"].startswith("cluster-dns")]
    assert servers
    # The others are the pod's own, of the servers' logs: what the agent asked as the pod before.
    journeys = [each for each in journeys if "asked over TCP through the API server" in each["conclusion"]]
    asked = [journey["attempts"][0]["hops"][0]["server"]["pod"] for journey in journeys]
    assert sorted(asked) == sorted(servers)
    assert {journey["code"] for journey in journeys} == {code}
    assert "not tried: UDP" in stderr


def test_many_times_by_their_way(scene: World) -> None:
    done = scene.kdns("explain", "fine.ok.test.", "--in", "asker", "-n", scene.namespace, "--type", "A",
                      "--count", "10", "--interval", "50ms")  # fmt: skip
    ways = re.findall(r"(\d+) of (\d+) fine.*: (cluster-dns-\S+)", done.stderr)
    assert sum(int(all_) for _, all_, _ in ways) == 10
    assert all(fine == all_ for fine, all_, _ in ways)


def test_what_the_application_asks_itself(scene: World) -> None:
    watching = scene.start_kdns(
        *("explain", "watched.ok.test", "--in", "asker", "-n", scene.namespace, "--watch", "-o", "json")
    )
    scene.wait(lambda: is_ready(watching), "the agents are there")
    command = ["kubectl", "-n", scene.namespace, "exec", "asker", "--"]
    tool = ["python3", "/tmp/asker.py"] if scene.python_asks() else ["dnsq"]
    if scene.python_asks():
        pytest.skip("the asker of these images is not in this pod")
    server = scene.get("service", "cluster-dns")["spec"]["clusterIP"]
    subprocess.run([*command, *tool, "-s", server, "watched.ok.test."], check=True, capture_output=True)
    assert watching.process.wait(60) == 0
    (journey,) = [record for record in watching.records() if record["kind"] == "journey"]
    assert journey["client"]["process"]["name"] == "dnsq"


def test_nothing_is_left_and_bad_input_is_said(scene: World) -> None:
    done = scene.kdns("explain", "x.test", "--in", "askre", "-n", scene.namespace, check=False)
    assert done.returncode == 2
    assert "asker" in done.stderr
    wait_until_gone(scene, 10)


def test_upstreams_have_the_numbers_that_went_there(scene: World) -> None:
    server = scene.get("service", "cluster-dns")["spec"]["clusterIP"]
    watching = scene.start_kdns("upstreams", "--for", "40s", "-o", "json")
    scene.wait(lambda: is_ready(watching), "the agents are there")
    for arguments in (
        ["-n", "40", "-rate", "100", "-random", "ok.test"],
        ["-n", "25", "-rate", "100", "-random", "unknown.test"],
        ["-n", "2", "-random", "slow.test"],
        ["-n", "1", "-t", "1s", "-random", "hole.test"],
        ["-n", "10", "-rate", "100", "-random", "fast.test"],
    ):
        assert scene.ask(arguments, server)
    assert watching.process.wait(90) == 0, watching.stderr()
    pods = len(scene.clients)
    found = [
        record
        for record in watching.records()
        if record["kind"] == "upstream" and record["server"].startswith("cluster-dns")
    ]
    rcodes: Counter[str] = Counter()
    for record in found:
        assert (record["upstream"]["ip"], record["hop"]) == (scene.upstream, "coredns")
        rcodes.update(record["rcodes"])
    # erratic answers its own way for slow.test; what matters is that all were answered, late.
    answered = sum(rcodes.values())
    assert rcodes["NXDOMAIN"] == 25 * pods
    assert answered == (40 + 25 + 2) * pods
    silent = sum(record["unanswered"] for record in found)
    assert silent >= 2 * pods  # each of them is asked again after 2 s
    assert sum(record["queries"] for record in found) == answered + silent
    assert max(record["latency_ms"]["p99"] for record in found) >= 700
    assert all("hole.test" in r["last_error"]["message"] for r in found if r["unanswered"])


def start_journeys(scene: World) -> Running:
    """A trace of journeys, when its agents are there."""
    trace = scene.start_kdns("trace", "--backend", "ebpf", "--journeys", "-o", "json")
    scene.wait(lambda: is_ready(trace), "the agents are there")
    return trace


def journeys_of(trace: Running, scene: World, names: set[str]) -> list[dict[str, Any]]:
    """Those of the scene's clients for these names, so far."""
    pods = set(scene.clients.values())
    records = [r for r in trace.records() if r["kind"] == "journey" and r["name"] in names]
    return [r for r in records if r["client"].get("pod") in pods]


def test_journeys_against_truth(scene: World) -> None:
    server = scene.get("service", "cluster-dns")["spec"]["clusterIP"]
    trace = start_journeys(scene)
    mixes = [
        ["-n", "100", "-rate", "200", "-random", "ok.test"],
        ["-n", "50", "-rate", "200", "-tcp", "-random", "ok.test"],
        ["-n", "40", "-rate", "200", "-random", "fast.test"],
        ["-n", "60", "-rate", "300", "same.ok.test"],
    ] * 2
    clients = scene.clients.values()
    running = [(pod, scene.start_asking(pod, mix, server)) for pod in clients for mix in mixes]
    asked = collect(running)
    total = 2 * 250 * len(scene.clients)
    assert [each.rcode for each in asked] == ["NOERROR"] * total
    names = {each.name for each in asked}

    def mine() -> list[dict[str, Any]]:
        return journeys_of(trace, scene, names)

    scene.wait(lambda: sum(len(j["attempts"]) for j in mine()) >= total, "all journeys")
    assert trace.finish() == 130
    attempts = [attempt for journey in mine() for attempt in journey["attempts"]]
    assert len(attempts) == total
    forwards: Counter[str] = Counter()
    for attempt in attempts:
        own, *others = attempt["hops"]
        assert {sight["side"] for sight in own["seen"]} == {"client", "server"}
        assert len(others) <= 1
        forwards[attempt["name"]] += len(others)
        name = attempt["name"]
        if name.endswith("fast.test"):
            assert not others
        elif name != "same.ok.test":
            # There is no cache: a name that only one lookup has is one forward.
            assert len(others) == 1, attempt
        for hop in others:
            assert hop["server"]["ip"] == scene.upstream
            assert own["latency_ms"] >= hop["latency_ms"]
    # Of a name that all ask at once each forward is given to one lookup, or to none, which is counted.
    (summary,) = [r for r in trace.records() if r["kind"] == "summary"]
    apart = summary["counters"].get("lookups_apart", 0)
    same = 2 * 60 * len(clients)
    assert 0 <= forwards["same.ok.test"] + apart - same <= 4 * len(clients)


def test_journeys_of_a_kdns_that_stood_still_are_whole(scene: World) -> None:
    """As after Ctrl-Z and fg: what both nodes told meanwhile is not late because it is read later."""
    server = scene.get("service", "cluster-dns")["spec"]["clusterIP"]
    trace = start_journeys(scene)
    arguments = ["-n", "900", "-rate", "100", "-random", "ok.test"]
    running = [(pod, scene.start_asking(pod, arguments, server)) for pod in scene.clients.values()]
    time.sleep(1)
    trace.process.send_signal(signal.SIGSTOP)
    time.sleep(6)
    trace.process.send_signal(signal.SIGCONT)
    asked = collect(running)
    names = {each.name for each in asked}

    def mine() -> list[dict[str, Any]]:
        return journeys_of(trace, scene, names)

    scene.wait(lambda: len(mine()) >= len(asked), "all journeys")
    assert trace.finish() == 130
    assert len(mine()) == len(asked)
    for journey in mine():
        (attempt,) = journey["attempts"]
        own, forward = attempt["hops"]
        assert {sight["side"] for sight in own["seen"]} == {"client", "server"}
        assert forward["server"]["ip"] == scene.upstream


CACHE = """
.:53 {
    errors
    ready
    cache 30
    forward . SERVER
}
"""


def test_journeys_through_a_cache_against_truth(scene: World) -> None:
    """NodeLocal DNSCache's place, taken by pods of its label: it answers from its cache, or asks CoreDNS."""
    coredns = scene.get("service", "cluster-dns")["spec"]["clusterIP"]
    scene.add_dns("cache", CACHE.replace("SERVER", coredns), {"k8s-app": "node-local-dns"})
    cache = scene.get("service", "cache")["spec"]["clusterIP"]
    warmed = ["-n", "30", "-rate", "100", "warm.ok.test"]
    scene.wait(lambda: all(asked.rcode == "NOERROR" for asked in scene.ask(warmed, cache)), "it answers")
    # Not through the Service alone: a node may have learned of one of its pods only.
    for pod in scene.get("pods", "-l", "app=kdns-e2e-cache")["items"]:
        assert all(asked.rcode == "NOERROR" for asked in scene.ask(warmed, pod["status"]["podIP"]))
    trace = start_journeys(scene)
    mixes = {
        ("client", "nodelocal", "coredns"): ["-n", "100", "-rate", "200", "-random", "ok.test"],
        ("client", "nodelocal"): ["-n", "50", "-rate", "200", "-tcp", "-random", "fast.test"],
        ("client",): ["-n", "60", "-rate", "200", "warm.ok.test"],
        (): ["-n", "60", "-rate", "300", "cold.ok.test"],
    }
    pods = scene.clients.values()
    expected: dict[str, tuple[str, ...]] = {}
    asked = []
    running = [(way, pod, scene.start_asking(pod, mix, cache)) for pod in pods for way, mix in mixes.items()]
    for way, pod, process in running:
        for each in collect([(pod, process)]):
            assert each.rcode == "NOERROR"
            expected[each.name] = way
            asked.append(each)
    assert len(asked) == 270 * len(pods)

    def attempts() -> list[dict[str, Any]]:
        journeys = [r for r in trace.records() if r["kind"] == "journey" and r["client"].get("pod") in pods]
        return [a for journey in journeys for a in journey["attempts"] if a["name"] in expected]

    scene.wait(lambda: len(attempts()) >= len(asked), "all journeys")
    assert trace.finish() == 130
    found = attempts()
    assert len(found) == len(asked)
    joined = 0
    for attempt in found:
        way = tuple(hop["hop"] for hop in attempt["hops"])
        if expected[attempt["name"]]:
            assert way == expected[attempt["name"]], attempt
        else:
            assert way == ("client", "nodelocal", "coredns")[: len(way)], attempt
            joined += len(way) - 1
    # Of the name that all ask at once: what CoreDNS logged, and forwarded, is joined to one, or counted.
    logs = scene.kubectl("-n", scene.namespace, "logs", "-l", "app=kdns-e2e-cluster-dns", "--tail=-1")
    logged = logs.count('"A IN cold.ok.test. ')
    (summary,) = [r for r in trace.records() if r["kind"] == "summary"]
    assert logged > 0
    # Others may ask in this cluster meanwhile, and have lookups that are left apart.
    assert joined <= 2 * logged <= joined + summary["counters"].get("lookups_apart", 0)
    scene.kubectl("-n", scene.namespace, "delete", "deployment/cache", "service/cache", "configmap/cache")
