"""Whole commands against a scripted API server: what a user types, and all that is printed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kubectl_kdns.model import Journey
from support.api_server import ApiServer, failure
from support.following import coredns_object

LINES = [
    '[INFO] 10.244.1.5:40001 - 11 "A IN cart.shop.svc.cluster.local. udp 44 false 512" '
    "NOERROR qr,aa,rd 100 0.0002s",
    '[INFO] 10.244.1.5:40002 - 12 "AAAA IN typo.shop.svc.cluster.local. udp 44 false 512" '
    "NXDOMAIN qr,aa,rd 149 0.0003s",
    '[INFO] 10.244.2.9:40003 - 13 "A IN bank.example.com. tcp 44 true 4096" - - 0 2.0004s',
    "[ERROR] plugin/errors: 2 bank.example.com. A: read udp 10.244.0.2:40100->192.0.2.53:53: i/o timeout",
    '[INFO] 10.244.2.9:40004 - 14 "A IN lost.example.com. udp 44 false 512" - - 0 0.0001s',
    '[INFO] 10.244.9.9:40005 - 15 "A IN es\\027[31mc.example.com. udp 44 false 512" SERVFAIL qr,rd 44 0.5s',
    "[INFO] plugin/reload: Running configuration SHA512 = abc",
]
COREFILE = ".:53 {\n    errors\n    log\n    forward . /etc/resolv.conf\n    reload\n}\n"


def coredns_pod() -> dict[str, Any]:
    """As kubeadm makes it, its Corefile in a ConfigMap."""
    made = coredns_object("coredns-a")
    container = made["spec"]["containers"][0]
    container["args"] = ["-conf", "/etc/coredns/Corefile"]
    container["volumeMounts"] = [{"name": "config", "mountPath": "/etc/coredns"}]
    items = [{"key": "Corefile", "path": "Corefile"}]
    made["spec"]["volumes"] = [{"name": "config", "configMap": {"name": "coredns", "items": items}}]
    return made


def config_map(corefile: str) -> dict[str, Any]:
    metadata = {"name": "coredns", "namespace": "kube-system"}
    return {"kind": "ConfigMap", "metadata": metadata, "data": {"Corefile": corefile}}


def pod(name: str, ip: str, app: str) -> dict[str, Any]:
    owner = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "name": f"{app}-5d4f",
        "uid": "rs",
        "controller": True,
    }
    labels = {"app": app, "pod-template-hash": "5d4f"}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "shop",
            "uid": f"uid-{name}",
            "labels": labels,
            "ownerReferences": [owner],
            "creationTimestamp": "2026-11-23T09:00:00Z",
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "app"}]},
        "status": {"phase": "Running", "podIP": ip, "startTime": "2026-11-23T09:00:00Z"},
    }


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(coredns_pod())
        server.put(config_map(COREFILE))
        server.put(pod("web-5d4f-aaaaa", "10.244.1.5", "web"))
        server.put(pod("checkout-5d4f-bbbbb", "10.244.2.9", "checkout"))
        addresses = [{"type": "InternalIP", "address": "192.0.2.11"}]
        server.put({"kind": "Node", "metadata": {"name": "n1"}, "status": {"addresses": addresses}})
        server.log("coredns-a", namespace="kube-system").write(*LINES)
        yield server


@pytest.fixture
def kdns(server: ApiServer, tmp_path: Path) -> Any:
    config = server.kubeconfig(tmp_path / "config")

    def run(*argv: str, **kwargs: Any) -> subprocess.CompletedProcess[str]:
        environ = {**os.environ, "KUBECONFIG": str(config), "TZ": "UTC", "COLUMNS": "120"}
        command = [sys.executable, "-m", "kubectl_kdns", *argv]
        return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, **kwargs)

    return run


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert done.returncode == 0, done.stderr
    return [r["dns"]["name"] for r in map(json.loads, done.stdout.splitlines()) if r["kind"] == "lookup"]


def normal(text: str) -> str:
    """Without what differs from run to run: ports of the server, durations."""
    text = re.sub(r"127\.0\.0\.1:\d+", "127.0.0.1:PORT", text)
    return re.sub(r"in \d+(\.\d+)?(ms|s)( \([\d.]+/s\))?", "in DURATION", text)


def test_the_whole_output(kdns: Any, golden: Any) -> None:
    done = kdns("coredns-logs")
    assert done.returncode == 0
    golden("commands/coredns-logs.txt", done.stdout + "--- stderr\n" + normal(done.stderr))
    done = kdns("coredns-logs", "--rcode", "SERVFAIL", "-o", "json", "--summary", "none")
    golden("commands/servfail.json", done.stdout + "--- stderr\n" + normal(done.stderr))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["-n", "shop", "deploy/web"], ["cart.shop.svc.cluster.local", "typo.shop.svc.cluster.local"]),
        (["-l", "app=checkout"], ["lost.example.com", "bank.example.com"]),
        (["checkout"], ["lost.example.com", "bank.example.com"]),
        (["--pod", "web-*", "--failed"], ["typo.shop.svc.cluster.local"]),
        (["--rcode", "SERVFAIL"], ["bank.example.com", "es\\027[31mc.example.com"]),
        (["--status", "unwritten"], ["lost.example.com"]),
        (["--slower-than", "1s"], ["bank.example.com"]),
        (["--name", "*.EXAMPLE.com.", "--type", "a", "-F", "transport == 'tcp'"], ["bank.example.com"]),
        (["--class", "denial"], ["typo.shop.svc.cluster.local"]),
        (["--limit", "1"], ["cart.shop.svc.cluster.local"]),
        (["--tail", "2"], ["es\\027[31mc.example.com"]),
        (["--since", "2026-11-23T10:00:00.004Z", "--slower-than", "400ms"], []),
    ],
)
def test_flags_select(kdns: Any, flags: list[str], expected: list[str]) -> None:
    assert sorted(names(kdns("coredns-logs", "-o", "json", *flags))) == sorted(expected)


def test_what_may_be_servfail_is_counted_with_the_flag_that_shows_it(kdns: Any) -> None:
    err = kdns("coredns-logs", "--rcode", "SERVFAIL", "--name", "*.example.com").stderr
    assert "notice: 1 more lookups have no answer in the log" in err
    assert "--status unwritten" in err
    assert "no answer in the log" not in kdns("coredns-logs", "--rcode", "SERVFAIL", "--name", "bank*").stderr


def test_record_and_replay_are_the_same_stream(kdns: Any, tmp_path: Path) -> None:
    live = kdns("coredns-logs", "-o", "json", "--summary", "none").stdout.splitlines()
    for name in ("kept.jsonl", "kept.jsonl.gz"):
        path = str(tmp_path / name)
        done = kdns("record", path, "--backend", "coredns", "--since", "2026-11-23T09:00:00Z", "--no-follow")
        assert done.returncode == 0, done.stderr
        replayed = kdns("trace", "--from", path, "-o", "json", "--summary", "none").stdout.splitlines()
        # Besides, a recording has what its journeys need to know of the cluster.
        (forwards,) = [line for line in replayed if '"code":"forwards"' in line]
        assert sorted(replayed) == sorted([*live, forwards])
        assert kdns("record", path, "--last", "1", "--no-follow").returncode == 2  # it exists
    table = kdns("trace", "--from", path, "deploy/web", "--failed", "--no-headers", "--time", "none").stdout
    assert table.split()[:4] == ["shop/web-5d4f-aaaaa", "typo.shop.svc.cluster.local", "AAAA", "NXDOMAIN"]


def test_the_demo_tells_journeys(golden: Any) -> None:
    command = [sys.executable, "-m", "kubectl_kdns", "demo", "--journeys", "--time", "utc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    golden("commands/demo-journeys.txt", done.stdout)
    every = subprocess.run([*command, "-o", "json"], capture_output=True, text=True, check=True).stdout
    lines = [line for line in every.splitlines() if json.loads(line)["kind"] == "journey"]
    journeys = [msgspec.json.decode(line, type=Journey) for line in lines]
    codes = Counter(str(journey.code) for journey in journeys)
    assert codes["upstream_silent"] == codes["upstream_failed"] == codes["outside"] == 1
    assert all(attempt.apart == 0 for journey in journeys for attempt in journey.attempts)


def test_last_takes_the_newest_in_order(kdns: Any) -> None:
    done = kdns("trace", "--backend", "coredns", "--last", "2", "--no-follow", "-o", "json")
    assert names(done) == ["es\\027[31mc.example.com", "lost.example.com"]


def test_backends_say_what_works_and_print_rbac(kdns: Any, server: ApiServer) -> None:
    done = kdns("backends", "-o", "json")
    (hubble, coredns, ebpf, replay) = json.loads(done.stdout)
    assert (hubble["usable"], hubble["evidence"]) == (False, "no Cilium was found in this cluster")
    assert (coredns["name"], coredns["usable"]) == ("coredns", True)
    assert (ebpf["name"], ebpf["usable"]) == ("ebpf", False)
    assert replay["usable"]
    rbac = kdns("backends", "coredns", "--rbac").stdout
    assert "pods/log" in rbac
    assert "kind: ClusterRole" in rbac
    server.put(config_map(COREFILE.replace("    log\n", "")))
    (_, coredns, _, _) = json.loads(kdns("backends", "-o", "json").stdout)
    assert not coredns["usable"]
    assert coredns["fix"] == "kubectl kdns coredns-logs --enable --for 10m"
    done = kdns("trace")
    assert done.returncode == 3
    assert "--enable --for 10m" in done.stderr


def test_a_log_that_is_off_is_said_at_once(kdns: Any, server: ApiServer) -> None:
    for line, code, fix in (
        ("", "log_off", "kubectl kdns coredns-logs --enable --for 10m"),
        ("    log {combined}\n", "log_misconfigured", "log . {combined}"),
        ("    log . {\n  class error\n }\n", "log_class_limited", "--class all"),
    ):
        server.put(config_map(COREFILE.replace("    log\n", line)))
        out = kdns("coredns-logs", "-o", "json").stdout
        notices = [r for r in map(json.loads, out.splitlines()) if r["kind"] == "notice"]
        assert fix in {notice["code"]: notice["message"] for notice in notices}[code]


def test_no_right_to_read_logs_is_one_clear_error(kdns: Any, server: ApiServer) -> None:
    server.script(
        "/pods/coredns-a/log", failure(403, "Forbidden", 'pods "coredns-a" is forbidden'), forever=True
    )
    done = kdns("coredns-logs")
    assert (done.returncode, done.stdout) == (3, "")
    assert "auth can-i get pods --subresource=log" in done.stderr.replace(
        "pods/log", "pods --subresource=log"
    )
    assert "Traceback" not in done.stderr


def test_a_closed_pipe_is_an_orderly_end(server: ApiServer, tmp_path: Path) -> None:
    server.log("coredns-a", namespace="kube-system").write(*LINES * 2000)
    environ = {**os.environ, "KUBECONFIG": str(server.kubeconfig(tmp_path / "c"))}
    command = [sys.executable, "-m", "kubectl_kdns", "coredns-logs"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(30) == 0
        assert b"Traceback" not in process.stderr.read()


def test_explain_filter_says_what_the_backend_takes_over(kdns: Any) -> None:
    out = kdns("coredns-logs", "--rcode", "SERVFAIL", "--explain-filter").stdout
    assert 'dns.rcode == "SERVFAIL"' in out
    assert "searches the log" in out


def test_enable_needs_consent_and_a_dry_run_shows_all(kdns: Any, server: ApiServer) -> None:
    server.put(config_map(COREFILE.replace("    log\n", "")))
    refused = kdns("coredns-logs", "--enable", "--for", "1m", stdin=subprocess.DEVNULL)
    assert refused.returncode == 2
    assert "--yes" in refused.stderr
    manifest = kdns("coredns-logs", "--enable", "--dry-run=client", "-o", "yaml").stdout
    assert "class error # kdns:" in manifest
    assert "PATCH" not in {request.method for request in server.requests}
    assert kdns("cleanup").stderr == "nothing to clean up\n"
