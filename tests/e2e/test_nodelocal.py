"""Journeys through the cluster's real NodeLocal DNSCache, against what was asked and each hop as it was seen.

Runs where the cluster has one, and KDNS_E2E_NODELOCAL=1 says that it must: to put it in changes the cluster.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from e2e.test_ebpf import cluster_dns, is_ready, start, wait_until_gone
from e2e.world import World, collect
from kubectl_kdns.times import parse_time


def test_journeys_through_nodelocal_against_truth(world: World) -> None:
    if not pods_of("node-local-dns", world):
        assert not os.environ.get("KDNS_E2E_NODELOCAL"), (
            "KDNS_E2E_NODELOCAL is set, and there is no NodeLocal"
        )
        pytest.skip("this cluster has no NodeLocal DNSCache (lab/nodelocal on)")
    server, coredns = cluster_dns(world), pods_of("kube-dns", world)
    zone = f"{world.namespace}.svc.cluster.local"
    warm, cold = f"dns.{zone}", f"cold.{zone}"
    trace = world.start_kdns("trace", "--backend", "ebpf", "--journeys", "-o", "json")
    world.wait(lambda: is_ready(trace), "the agents are there")
    hops = start(world)  # the truth of what NodeLocal asked: each hop by itself, joined to nothing
    first = world.ask([f"{warm}."], server)
    mixes = {
        "own zone": ["-n", "60", "-rate", "200", "-random", f"{zone}."],
        "own zone by TCP": ["-n", "40", "-rate", "200", "-tcp", "-random", f"{zone}."],
        "outside": ["-n", "60", "-rate", "200", "-random", "kdns-e2e.example.org."],
        "warm": ["-n", "60", "-rate", "200", f"{warm}."],
        "cold": ["-n", "60", "-rate", "300", f"{cold}."],
    }
    pods = set(world.clients.values())
    running = [(mix, pod, world.start_asking(pod, mixes[mix], server)) for pod in pods for mix in mixes]
    mix_of = {warm: "warm"}
    asked = [*first]
    for mix, pod, process in running:
        for each in collect([(pod, process)]):
            mix_of[each.name] = mix
            asked.append(each)
    assert len(asked) == 281 * len(pods)
    assert {each.rcode for each in asked if mix_of[each.name] == "warm"} == {"NOERROR"}
    assert "TIMEOUT" not in {each.rcode for each in asked}

    def attempts() -> list[dict[str, Any]]:
        journeys = [r for r in trace.records() if r["kind"] == "journey" and r["client"].get("pod") in pods]
        return [a for journey in journeys for a in journey["attempts"] if a["name"] in mix_of]

    world.wait(lambda: len(attempts()) >= len(asked), "all journeys")
    assert (trace.finish(), hops.finish()) == (130, 130)
    found = attempts()
    assert len(found) == len(asked)
    forwarded = [r for r in hops.lookups() if (r["hop"], r["side"]) == ("nodelocal", "client")]
    joined: list[dict[str, Any]] = []
    for attempt in found:
        own, *others = attempt["hops"]
        assert own["hop"] == "client"
        assert {sight["side"] for sight in own["seen"]} == {"client", "server"}, own
        mine = [hop for hop in others if hop["hop"] == "nodelocal"]
        joined += [hop | {"name": attempt["name"]} for hop in mine]
        # NodeLocal asks at most once for each of these, from its own node, while the lookup is open.
        assert len(mine) <= 1
        for hop in mine:
            assert {sight["node"] for sight in hop["seen"] if sight["side"] == "client"} <= {
                sight["node"] for sight in own["seen"] if sight["side"] == "server"
            }
            assert own["latency_ms"] >= hop["latency_ms"]
        if mix_of[attempt["name"]].startswith("own zone"):
            assert [answering_pod(hop) in coredns for hop in mine] == [True], attempt
        elif mix_of[attempt["name"]] == "outside":
            assert len(mine) == 1, attempt
    (summary,) = [r for r in trace.records() if r["kind"] == "summary"]
    # A hop that was seen is in one journey at most, and those that are in none are counted.
    for name in (warm, cold):
        seen = [key(r) for r in forwarded if r["dns"]["name"] == name]
        told = [key(hop) for hop in joined if hop["name"] == name]
        assert len(seen) >= len(pods), "each node's cache asks once at least"
        assert len(told) == len(set(told))
        assert len(told) <= len(seen)
        assert all(any(is_one(hop, other) for other in seen) for hop in told)
        assert len(seen) - len(told) <= summary["counters"].get("lookups_apart", 0)
    assert len([hop for hop in joined if hop["name"] == warm]) == len(pods)
    wait_until_gone(world, 30)


def pods_of(app: str, world: World) -> set[str]:
    out = world.kubectl("-n", "kube-system", "get", "pods", "-l", f"k8s-app={app}", "-o", "name")
    return {line.removeprefix("pod/") for line in out.split()}


Key = tuple[int, str, int]


def key(hop: dict[str, Any]) -> Key:
    return parse_time(hop["time"]), hop["client"]["ip"], hop["client"]["port"]


def is_one(hop: Key, other: Key) -> bool:
    """Each run has its own agents, which set the kernel's clock to the wall's by themselves."""
    return hop[1:] == other[1:] and abs(hop[0] - other[0]) < 5_000_000


def answering_pod(hop: dict[str, Any]) -> str | None:
    server = hop["server"]
    pod: str | None = server.get("backend", server).get("pod")
    return pod
