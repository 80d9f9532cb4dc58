"""The eBPF backend on real nodes: known lookups in, as many records out, and nothing left behind."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from e2e.cutter import Cutter
from e2e.test_coredns import MIX, ask_all, key, record_key
from e2e.world import Running, World, collect

TRACE = ("trace", "--backend", "ebpf", "-o", "json", "--all-sightings")
OURS = "app.kubernetes.io/managed-by=kdns,app.kubernetes.io/name=kdns-agent"


def is_ready(running: Running) -> bool:
    return any(record.get("code") == "agents_ready" for record in running.records())


def start(world: World, *flags: str) -> Running:
    running = world.start_kdns(*TRACE, *flags)
    world.wait(lambda: is_ready(running) or running.process.poll() is not None, "the agents are there")
    assert running.process.poll() is None, running.stderr()
    return running


def left_behind(world: World) -> list[str]:
    out = world.kubectl("get", "jobs,configmaps,pods", "-A", "-l", OURS, "-o", "name")
    return out.split()


def wait_until_gone(world: World, timeout_s: float) -> None:
    world.wait(lambda: not left_behind(world), "nothing is left in the cluster", timeout_s)


def asked_by(records: list[dict[str, Any]], world: World) -> list[dict[str, Any]]:
    """The lookups of the test's own client pods, at their own sockets."""
    pods = set(world.clients.values())
    return [
        r
        for r in records
        if r["hop"] == "client" and r["side"] == "client" and r["client"].get("pod") in pods
    ]


def settle(running: Running, world: World, wanted: int, timeout_s: float = 30) -> list[dict[str, Any]]:
    world.wait(lambda: len(asked_by(running.lookups(), world)) >= wanted, f"{wanted} records", timeout_s)
    time.sleep(1)
    return running.lookups()


@pytest.fixture(autouse=True)
def nothing_is_left(world: World) -> Any:
    yield
    world.finish_all()
    wait_until_gone(world, 10)


def test_every_lookup_with_who_asked(world: World) -> None:
    # CoreDNS answers hole.test after 6 s, and the clients wait for 8.
    running = start(world, "--timeout", "9s")
    coredns = world.start_kdns(
        *("trace", "--backend", "coredns", "-o", "json"), *world.here(), ready="coredns: the logs of"
    )
    asked = ask_all(world)
    assert len(asked) == 997
    lookups = settle(running, world, 997, 40)
    assert running.finish() == 130
    records = asked_by(lookups, world)
    by_key = {record_key(record): record for record in records}
    assert Counter(map(record_key, records)) == Counter(map(key, asked))
    assert sum(record["tries"] for record in records) == 997
    dns_pods = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in world.dns_pods()}
    node_of = {pod: node for node, pod in world.clients.items()}
    for a in asked:
        record = by_key[key(a)]
        client, server = record["client"], record["server"]
        assert client["namespace"] == world.namespace
        assert client["container"] == "tools"
        assert client["node"] == record["node"] == node_of[a.pod]
        assert client["process"]["name"] == ("python3" if world.python_asks() else "dnsq")
        assert client["workload"] == {"kind": "DaemonSet", "name": "client"}
        assert (server["ip"], server["kind"]) == (world.server, "service")
        assert dns_pods[server["backend"]["pod"]] == server["backend"]["ip"]
        if a.rcode == "TIMEOUT":
            assert record["status"] in ("unanswered", "answered"), record
            assert record["status"] == "unanswered" or not a.name.endswith("drop.test"), record
        else:
            assert (record["status"], record["dns"].get("rcode")) == ("answered", a.rcode), (a, record)
            # The kernel sees the packets inside of what the program waits for.
            assert record["latency_ms"] <= a.ms, (a, record)
    # The same through CoreDNS's log; what it never answered stands there without an end.
    world.wait(lambda: len(coredns.lookups()) >= 997, "997 in the log")
    assert coredns.finish() == 130
    logged = [r for r in coredns.lookups() if r["client"].get("pod") in node_of]
    assert Counter(map(record_key, logged)) == Counter(map(record_key, records))
    # A line of the log is one query that arrived.
    assert sum(r.get("tries", 1) for r in logged) == sum(r["tries"] for r in records)
    for r in logged:
        if r["status"] == "answered" and by_key[record_key(r)]["status"] == "answered":
            assert r["dns"]["rcode"] == by_key[record_key(r)]["dns"]["rcode"]


def test_each_hop_and_side_is_seen(world: World) -> None:
    running = start(world)
    # The cluster's own DNS, because a DNS server is known by its Service; these names it has to ask for.
    asked = world.ask(["-n", "20", "-rate", "20", "-random", "kdns-e2e.example.org"], cluster_dns(world))
    lookups = settle(running, world, len(asked))
    running.finish()
    if not world.python_asks():
        # Where nobody waits for a CPU, what the program measures is what the kernel saw.
        kernel_ms = {record_key(r): r["latency_ms"] for r in asked_by(lookups, world)}
        more_ms = sorted(a.ms - kernel_ms[key(a)] for a in asked)
        assert 0 < more_ms[len(more_ms) // 2] < 1
    names = {a.name for a in asked}
    mine = [r for r in lookups if r["dns"].get("name") in names]
    seen = Counter((r["hop"], r["side"]) for r in mine)
    # Whom CoreDNS asks is outside of the cluster, as a rule: that side is not seen.
    assert seen[("client", "client")] == seen[("client", "server")] == len(asked)
    assert seen[("coredns", "client")] == len(asked)
    for r in mine:
        if r["side"] == "server" and r["hop"] == "client":
            assert r["server"]["kind"] == "coredns"
            assert r["client"]["pod"] in world.clients.values()


def cluster_dns(world: World) -> str:
    out = world.kubectl("-n", "kube-system", "get", "services", "-l", "k8s-app=kube-dns", "-o", "json")
    return str(json.loads(out)["items"][0]["spec"]["clusterIP"])


def test_a_cut_connection_loses_only_what_it_counts(world: World) -> None:
    """The agents keep what they see until their client is back; what was on the wire is a counted loss."""
    with Cutter(world.api_server()) as cutter:
        running = start(world, "--server", cutter.url, "--insecure-skip-tls-verify")
        started = [
            (pod, world.start_asking(pod, ["-n", "400", "-rate", "50", "-random", "ok.test"]))
            for pod in world.clients.values()
        ]
        for _ in range(3):
            time.sleep(2)
            cutter.cut()
        asked = collect(started)
        time.sleep(3)
        # Taking the agents away needs the connection, too.
        assert running.finish() == 130
    assert cutter.cuts >= 3
    names = {a.name for a in asked}
    mine = [r for r in asked_by(running.lookups(), world) if r["dns"].get("name") in names]
    found = Counter(map(record_key, mine))
    assert max(found.values()) == 1
    assert found.keys() <= set(map(key, asked))
    losses = [r for r in running.records() if r["kind"] == "loss"]
    assert {loss["reason"] for loss in losses} <= {"disconnected"}
    missing = len(asked) - len(mine)
    # A lookup is two messages at its client, and two more at its server where that is on a node, too.
    assert 2 * missing <= sum(loss["count"] for loss in losses) <= 0.1 * 4 * len(asked)


def test_filters_work_in_the_agents(world: World) -> None:
    flags = ["-n", world.namespace, "--name", "*.ok.test", "--type", "AAAA", "--rcode", "NOERROR"]
    running = start(world, *flags)
    wanted = world.ask(["-n", "30", "-rate", "100", "-random", "ok.test", "AAAA"])
    world.ask(["-n", "300", "-rate", "300", "-random", "ok.test"])
    world.ask(["-n", "30", "-rate", "100", "-random", "nowhere.test", "AAAA"])
    records = settle(running, world, len(wanted))
    assert running.finish() == 130
    assert Counter(map(record_key, asked_by(records, world))) == Counter(map(key, wanted))
    (summary,) = [r for r in running.records() if r["kind"] == "summary"] or [{}]
    counters = summary.get("counters") or {}
    if counters:
        assert counters["messages_filtered"] > 2 * counters["messages_sent"]


def process_of(pod_uid: str) -> str:
    """A process of that pod, if its node runs on this machine (the lab's do); else ""."""
    for path in Path("/proc").glob("[0-9]*/cgroup"):
        with suppress(OSError):
            if pod_uid in path.read_text():
                return path.parent.name
    return ""


def test_messages_are_those_of_tcpdump(world: World, tmp_path: Any) -> None:
    pod = next(iter(world.clients.values()))
    process = process_of(world.get("pod", pod)["metadata"]["uid"])
    if not process or not shutil.which("tshark"):
        pytest.skip("needs tshark, and nodes of which this machine sees the processes: a capture in a pod")
    capture = tmp_path / "pod.pcap"
    # At the pod's own end: on the node addresses and ports may be translated ones.
    tcpdump = subprocess.Popen(
        ["nsenter", "-t", process, "-n", "tcpdump", "-i", "any", "-w", str(capture), "-U", "port 53"],
        stderr=subprocess.PIPE,
        text=True,
    )
    assert tcpdump.stderr
    while "listening" not in (said := tcpdump.stderr.readline()):
        assert said, "tcpdump did not start"
    running = start(world, "--messages", "--pod", pod)
    sent = 0
    for arguments in (*MIX[:4], ["-n", "12", "-rate", "100", "-random", "slow.test"]):
        out, _ = world.start_asking(pod, arguments).communicate(timeout=60)
        sent += len(out.splitlines())
    assert sent
    time.sleep(1)
    assert running.finish() == 130
    tcpdump.send_signal(signal.SIGINT)
    tcpdump.communicate(timeout=10)
    fields = ("ip.src", "udp.srcport", "tcp.srcport", "dns.id", "dns.flags.response", "dns.qry.name")
    command = ["tshark", "-r", str(capture), "-Y", "dns", "-T", "fields", "-E", "occurrence=f"]
    command += [word for field in fields for word in ("-e", field)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    theirs = set()
    for line in out.splitlines():
        _, udp, tcp, id_, response, name = line.split("\t")
        theirs.add(((udp or tcp), int(id_, 0), response in ("1", "True"), name.lower()))
    ours = set()
    for r in running.records():
        if r["kind"] == "message" and r["side"] == "client" and r["client"].get("pod") == pod:
            is_response = r["direction"] == "response"
            port = r["server"]["port"] if is_response else r["client"]["port"]
            ours.add((str(port), r["dns"]["id"], is_response, r["dns"]["name"]))
    assert len(ours) >= 2 * (sum(int(a[1]) for a in MIX[:4]) + 12)
    losses = [r for r in running.records() if r["kind"] == "loss"]
    assert ours == theirs, (len(ours), len(theirs), sorted(theirs - ours)[:4], losses)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nothing_is_left_after_a_signal(world: World, number: int) -> None:
    running = start(world)
    world.ask(["-n", "5", "ok.test"])
    assert running.finish(number) == 128 + number
    assert left_behind(world) == []


def test_killed_client_leaves_nothing_for_long(world: World) -> None:
    running = start(world)
    running.finish(signal.SIGKILL)
    told = world.kdns("cleanup", "--dry-run=client").stdout
    assert "2 agents" in told or "agent" in told
    # The relay ends with its client; 30 s after the last ping the agent does too; then the Job's TTL runs.
    done = world.kdns("cleanup")
    assert "agent" in done.stdout
    wait_until_gone(world, 10)


def test_a_deleted_pod_and_a_cut_connection_are_said(world: World) -> None:
    running = start(world)
    pod = left_pods(world)[0]
    world.kubectl("-n", "kube-system", "delete", "pod", pod, "--wait=false")
    told = ("agent_gone", "agent_ended", "agent_failed")
    world.wait(lambda: any(r.get("code") in told for r in running.records()), "the pod is missed")
    asked = world.ask(["-n", "20", "-rate", "100", "-random", "ok.test"])
    world.wait(
        lambda: any(r["dns"].get("name") in {a.name for a in asked} for r in running.lookups()),
        "the other node is still watched",
    )
    running.finish()


def left_pods(world: World) -> list[str]:
    items = json.loads(world.kubectl("get", "pods", "-A", "-l", OURS, "-o", "json"))["items"]
    return [item["metadata"]["name"] for item in items]


def test_dry_run_creates_nothing(world: World) -> None:
    for mode in ("client", "server"):
        done = world.kdns("trace", "--backend", "ebpf", f"--dry-run={mode}", "-o", "yaml")
        assert done.stdout.count("kind: Job") >= len(world.clients)
        assert left_behind(world) == []
