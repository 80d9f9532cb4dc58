"""The CoreDNS backend against real pods: known lookups in, the same number of records out."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from typing import Any

import pytest

from e2e.cutter import Cutter
from e2e.world import SELECTOR, Asked, Running, World, collect

READY = "coredns: the logs of"
SLOW_MS = 700.0
ROTATED_AFTER = 40_000
LIVE = ("trace", "--backend", "coredns", "-o", "json")
MIX: list[list[str]] = [
    ["-n", "140", "-rate", "200", "-random", "ok.test"],
    ["-n", "80", "-rate", "200", "-random", "ok.test", "AAAA"],
    ["-n", "60", "-rate", "200", "-random", "ok.test", "TXT"],
    ["-n", "60", "-rate", "200", "-random", "-tcp", "ok.test"],
    ["-n", "70", "-rate", "200", "-random", "nowhere.test"],
    ["-n", "40", "-rate", "100", "-random", "servfail.test"],
    ["-n", "20", "-rate", "100", "-random", "refuse.test"],
    ["-n", "4", "-rate", "100", "-t", "8s", "-random", "hole.test"],
    ["-n", "8", "-rate", "100", "-t", "1s", "-random", "drop.test"],
    ["-n", "12", "-rate", "100", "-random", "slow.test"],
    [r"my\ host.ok.test"],
    [r"a\"quote.ok.test"],
    [r"nul\000byte.ok.test"],
    [r"esc\027[31mred.ok.test"],
]
"""494 lookups a client pod; with two pods 988, and 9 more from one of them make 997."""


def key(asked: Asked) -> tuple[Any, ...]:
    return asked.pod, asked.name, asked.type, asked.id, asked.transport


def record_key(record: dict[str, Any]) -> tuple[Any, ...]:
    dns = record["dns"]
    return record["client"].get("pod"), dns["name"], dns["type"], dns["id"], record["transport"]


def ask_all(world: World) -> list[Asked]:
    """997 lookups from pods on all nodes, all kinds at once."""
    started = [
        (pod, world.start_asking(pod, arguments)) for pod in world.clients.values() for arguments in MIX
    ]
    first = next(iter(world.clients.values()))
    total = sum(int(a[1]) if a[0] == "-n" else 1 for a in MIX) * len(world.clients)
    started.append((first, world.start_asking(first, ["-n", str(997 - total), "ok.test"])))
    return collect(started)


def settle(running: Running, world: World, wanted: int, timeout_s: float = 20) -> list[dict[str, Any]]:
    """Waits until that many lookups have come, then a little more to see that no further ones do."""
    world.wait(lambda: len(running.lookups()) >= wanted, f"{wanted} records", timeout_s)
    time.sleep(1)
    return running.lookups()


def test_every_lookup_is_one_record(world: World) -> None:
    started_s = time.monotonic()
    running = world.start_kdns(*LIVE, *world.here(), ready=READY)
    asked = ask_all(world)
    run_ms = (time.monotonic() - started_s) * 1000
    assert len(asked) == 997
    records = [r for r in settle(running, world, 997) if r["client"].get("pod") in world.clients.values()]
    assert running.finish() == 130
    by_key = {record_key(record): record for record in records}
    assert Counter(map(record_key, records)) == Counter(map(key, asked))
    for a in asked:
        record = by_key[key(a)]
        assert record["client"]["namespace"] == world.namespace
        assert record["client"]["workload"] == {"kind": "DaemonSet", "name": "client"}
        assert record["server"]["kind"] == "coredns"
        if a.rcode == "TIMEOUT" and record["status"] == "answered":
            # The answer came when the client had given up; how long either waited depends on the machine.
            assert record["latency_ms"] > 0, (a, record)
        elif a.rcode == "TIMEOUT":
            assert record["status"] == "unwritten"
            assert a.name.endswith("drop.test")
            assert "rcode" not in record["dns"]
        else:
            assert (record["status"], record["dns"]["rcode"]) == ("answered", a.rcode), (a, record)
            # CoreDNS stops its clock some time after it has written the answer: no bound above but the run's.
            least_ms = SLOW_MS if a.name.endswith("slow.test") else 0
            assert least_ms < record["latency_ms"] < run_ms, (a, record)


def test_servfail_of_every_cause_with_its_upstream(world: World) -> None:
    running = world.start_kdns(
        "coredns-logs", "-f", "--rcode", "SERVFAIL", "-o", "json", *world.here(), ready=READY
    )
    asked = [
        a
        for name, n, wait in (
            ("servfail.test", "10", "8s"),
            ("refuse.test", "10", "8s"),
            ("hole.test", "4", "8s"),
            ("drop.test", "5", "1s"),
        )
        for a in world.ask(["-n", n, "-rate", "100", "-t", wait, "-random", name])
    ]
    truth = Counter(key(a) for a in asked if a.rcode == "SERVFAIL")
    # coredns-logs begins with history: what earlier tests asked is in it.
    ours = {key(a) for a in asked}
    world.wait(lambda: truth.keys() <= set(map(record_key, running.lookups())), "every SERVFAIL")
    records = [r for r in running.lookups() if record_key(r) in ours]
    assert running.finish() == 130
    assert Counter(map(record_key, records)) == truth
    causes: dict[str, set[str]] = {}
    for record in records:
        zone = record["dns"]["name"].split(".", 1)[1]
        if zone != "servfail.test":
            assert re.fullmatch(r"[\d.]+", record["upstream"]["ip"])
            causes.setdefault(zone, set()).add(record["error"]["message"].rsplit(": ", 1)[1])
    # The kernel sends only so many "port unreachable" a second: what it holds back becomes a time-out.
    assert causes["refuse.test"] <= {"connection refused", "i/o timeout"}
    assert causes["hole.test"] == {"i/o timeout"}
    # What could have been a SERVFAIL and is not known to be one is counted, with the flag that shows it.
    assert "--status unwritten" in running.stderr()


def test_terminal_safety_in_every_format(world: World) -> None:
    world.ask([r"esc\027[2Jx\155\226\128\174.ok.test"])
    for form in ("table", "wide", "json", "yaml", "csv", "custom-columns=N:.dns.name"):
        done = world.kdns("coredns-logs", "--name", "esc*", "-o", form, *world.here())
        assert "esc\\027[2jx" in done.stdout.replace("\\\\", "\\"), form
        for text in (done.stdout, done.stderr):
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), form


def answered_or_lost(asked: list[Asked], running: Running) -> int:
    """No double; what is missing lies inside the span of a loss. Returns how many are missing.

    When a missing lookup was asked is known from its neighbours, which have records.
    """
    seen = Counter(record_key(r) for r in running.lookups())
    assert not [k for k, n in seen.items() if n > 1]
    times = {record_key(r): r["time"] for r in running.lookups()}
    losses = [r for r in running.records() if r["kind"] == "loss"]
    assert all(loss["from"] <= loss["until"] for loss in losses)
    missing = 0
    for pod in {a.pod for a in asked}:
        before = ""
        gap: list[Asked] = []
        for a in [a for a in asked if a.pod == pod]:
            if key(a) not in times:
                gap += [a] if a.rcode not in ("TIMEOUT", "ERROR") else []
                continue
            after = times[key(a)]
            if gap:
                missing += len(gap)
                assert any(loss["from"] <= after and before <= loss["until"] for loss in losses), (
                    f"{len(gap)} lookups from {before} to {after} are missing, and no loss says so: {losses}"
                )
            before, gap = after, []
        assert not gap, f"{len(gap)} lookups at the end are missing"
    return missing


def steady(world: World, seconds: int) -> list[Any]:
    """Starts 100 lookups a second from every client for so many seconds."""
    arguments = ["-n", str(100 * seconds), "-rate", "100", "-t", "1s", "-random", "ok.test"]
    return [(pod, world.start_asking(pod, arguments)) for pod in world.clients.values()]


def pod_deleted(world: World) -> None:
    name = world.dns_pods()[0]["metadata"]["name"]
    world.kubectl("-n", world.namespace, "delete", "pod", name, "--wait=false")


def container_restarted(world: World) -> None:
    pod = world.dns_pods()[0]["metadata"]["name"]
    image = world.get("daemonset", "client")["spec"]["template"]["spec"]["containers"][0]["image"]
    world.kubectl(
        *("-n", world.namespace, "debug", pod, f"--image={image}", "--target=coredns", "-q"),
        *("--image-pull-policy=IfNotPresent", "--profile=general", "--", "sh", "-c", "kill -TERM 1"),
    )


@pytest.mark.parametrize("disturb", [pod_deleted, container_restarted])
def test_no_double_and_no_silent_gap(world: World, disturb: Any) -> None:
    running = world.start_kdns(*LIVE, *world.here(), ready=READY)
    started = steady(world, 10)
    time.sleep(3)
    disturb(world)
    asked = collect(started)
    world.wait(lambda: len(world.dns_pods()) == 2, "two CoreDNS pods again")
    time.sleep(2)
    running.finish()
    answered_or_lost(asked, running)
    # The new pod or container is followed as well.
    assert len(running.lookups()) > 1500


def test_a_cut_connection_is_resumed_whole(world: World) -> None:
    with Cutter(world.api_server()) as cutter:
        through = ["--server", cutter.url, "--insecure-skip-tls-verify"]
        running = world.start_kdns(*LIVE, *through, *world.here(), ready=READY)
        started = steady(world, 8)
        for _ in range(4):
            time.sleep(1.3)
            cutter.cut()
        asked = collect(started)
        wanted = len([a for a in asked if a.rcode == "NOERROR"])
        # A cut loses nothing: the log is still there.
        assert len(settle(running, world, wanted)) == len(asked)
        running.finish()
    assert answered_or_lost(asked, running) == 0
    assert not [r for r in running.records() if r["kind"] == "loss"]
    assert cutter.cuts >= 4


def test_a_rotated_log_is_read_on(world: World) -> None:
    """More than the kubelet's 10 MiB into the log of one pod."""
    pod = world.dns_pods()[0]
    server, client = pod["status"]["podIP"], next(iter(world.clients.values()))
    running = world.start_kdns(*LIVE, *world.here(), ready=READY)
    arguments = ["-n", "10000", "-rate", "400", "-random", ".".join(["x" * 60] * 3) + ".fast.test"]
    asked: list[Asked] = []
    wanted = 0
    # Each is more than 300 bytes in the log; how many are answered depends on how busy the machine is.
    while wanted < ROTATED_AFTER:
        asked += collect([(client, world.start_asking(client, arguments, server)) for _ in range(4)])
        answered = len([a for a in asked if a.rcode == "NOERROR"])
        assert answered > wanted, "nothing is answered any more"
        wanted = answered
    time.sleep(15)
    last = world.ask(["-n", "50", "-rate", "50", "-random", "ok.test"], server)
    asked = [a for a in asked + last if a.rcode == "NOERROR"]
    last_keys = {key(a) for a in last if a.rcode == "NOERROR"}
    # One pod's log comes in its order: when the last lines are here, so is all that will come.
    world.wait(lambda: last_keys <= {record_key(r) for r in running.lookups()}, "the last of it")
    running.finish()
    records = running.records()
    lookups = {record_key(r): r for r in records if r["kind"] == "lookup"}
    assert len(lookups) == sum(r["kind"] == "lookup" for r in records)
    # The kubelet leaves out what is written while it goes over to the new file: that has to be said, and
    # whoever was asked just before and after tells when that was.
    losses = [r for r in records if r["kind"] == "loss"]
    assert all(r["reason"] == "log_rotated" and r["from"] < r["until"] for r in losses)
    for at, a in enumerate(asked):
        if key(a) in lookups:
            continue
        before = next(lookups[key(b)]["time"] for b in reversed(asked[:at]) if key(b) in lookups)
        after = next(lookups[key(b)]["time"] for b in asked[at + 1 :] if key(b) in lookups)
        # To the second, as answers are printed in another order than they are logged.
        assert [r for r in losses if r["from"][:19] <= after[:19] and before[:19] <= r["until"][:19]], a


def test_history_is_what_logs_prints(world: World) -> None:
    """coredns-logs without -f: the queries that `kubectl logs` shows, no more, no less."""
    lines = 0
    for pod in world.dns_pods():
        text = world.kubectl("-n", world.namespace, "logs", pod["metadata"]["name"])
        lines += len(re.findall(r'^\[INFO\] \S+:\d+ - \d+ "(?!HINFO)', text, re.MULTILINE))
    done = world.kdns("coredns-logs", "-o", "json", "--summary", "none", *world.here())
    kinds = Counter(json.loads(line)["kind"] for line in done.stdout.splitlines())
    assert kinds["lookup"] == lines
    assert SELECTOR.split("=")[1] not in done.stderr
