"""Whole commands with the Hubble backend: what a user types, and all that is printed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.api_server import ApiServer
from support.cilium_cluster import fill
from support.hubble_certificates import RelayCertificates
from support.hubble_flows import CLIENT, denied, request, response
from support.hubble_forward import put_relay
from support.hubble_live import exchange
from support.hubble_server import HubbleServer, Stall

HUBBLE = ("trace", "--backend", "hubble")
PAST = (*HUBBLE, "--no-follow", "-o", "json", "--summary", "none")


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def hubble() -> Iterator[HubbleServer]:
    with HubbleServer(drain_s=0.1) as server:
        yield server


@pytest.fixture
def environ(api: ApiServer, tmp_path: Path) -> dict[str, str]:
    return {
        **os.environ,
        "KUBECONFIG": str(api.kubeconfig(tmp_path / "config")),
        "TZ": "UTC",
        "COLUMNS": "140",
        "TMPDIR": str(tmp_path),
    }


@pytest.fixture
def kdns(environ: dict[str, str]) -> Any:
    def run(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "kubectl_kdns", *argv]
        return subprocess.run(
            command, capture_output=True, text=True, env={**environ, **env}, timeout=60, check=False
        )

    return run


@contextmanager
def started(environ: dict[str, str], *argv: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "kubectl_kdns", *argv]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environ) as process:
        yield process
        process.kill()


def records(done: subprocess.CompletedProcess[str], kind: str = "lookup") -> list[dict[str, Any]]:
    assert "Traceback" not in done.stderr
    assert done.returncode == 0, done.stderr
    return [record for record in map(json.loads, done.stdout.splitlines()) if record["kind"] == kind]


def names(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [record["dns"]["name"] for record in records(done)]


def flags(server: HubbleServer) -> tuple[str, str]:
    return "--hubble-server", server.address


def with_relay(api: ApiServer, hubble: HubbleServer) -> None:
    """Cilium with a ready relay."""
    fill(api)
    put_relay(api, hubble)


# What is shown


def test_history(kdns: Any, hubble: HubbleServer) -> None:
    exchange(hubble, "kdns-n1", "a.test", "b.test")
    exchange(hubble, "kdns-n2", "c.test")
    done = kdns(*PAST, "--since", "5m", *flags(hubble))
    assert names(done) == ["a.test", "b.test", "c.test"]
    first = records(done)[0]
    assert (first["backend"], first["side"], first["status"]) == ("hubble", "proxy", "answered")
    assert f"hubble: flows of the Hubble server {hubble.address}" in done.stderr


def test_the_last_of_all_nodes_together(kdns: Any, hubble: HubbleServer) -> None:
    for number in range(30):
        exchange(hubble, f"kdns-n{number % 2 + 1}", f"f{number}.test")
    assert names(kdns(*PAST, "--last", "5", *flags(hubble))) == [f"f{n}.test" for n in range(25, 30)]
    # Of those that a filter wants which Hubble cannot apply itself.
    done = kdns(
        *PAST, "--last", "3", *flags(hubble), "-F", "latency_ms < 1 && dns.name.matches('^f1?[0-4][.]')"
    )
    assert names(done) == ["f12.test", "f13.test", "f14.test"]


def test_limit_and_for(kdns: Any, hubble: HubbleServer) -> None:
    exchange(hubble, "kdns-n1", *[f"f{n}.test" for n in range(10)])
    assert names(kdns(*HUBBLE, "--since", "5m", "--limit", "3", "-o", "json", *flags(hubble))) == [
        "f0.test",
        "f1.test",
        "f2.test",
    ]
    done = kdns(*HUBBLE, "--since", "5m", "--for", "1s", "-o", "json", "--summary", "none", *flags(hubble))
    assert len(names(done)) == 10


def test_messages_and_raw(kdns: Any, hubble: HubbleServer) -> None:
    asked = request("a.test.", time_ns=hubble.clock.now_ns())
    answer = response(asked, ips=["192.0.2.1"])
    hubble.node("kdns-n1").add(asked, answer)
    done = kdns(*PAST, "--since", "5m", "--messages", "--raw", *flags(hubble))
    assert [m["direction"] for m in records(done, "message")] == ["query", "response"]
    [lookup] = records(done)
    assert answer.uuid.encode().hex() in lookup["raw"]


def test_a_table(kdns: Any, hubble: HubbleServer) -> None:
    now_ns = hubble.clock.now_ns()
    asked = request("a.test.", time_ns=now_ns)
    hubble.node("kdns-n1").add(asked, response(asked, rcode=3), denied("no.test.", port=2, time_ns=now_ns))
    done = kdns(*HUBBLE, "--since", "5m", "--no-follow", "--time", "none", "--no-headers", *flags(hubble))
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines()]
    assert sorted((row[0], row[1], row[3]) for row in rows) == [
        ("lab/client-w4q7t", "a.test", "NXDOMAIN"),
        ("lab/client-w4q7t", "no.test", "denied"),
    ]


def test_what_hubble_takes_over_of_a_filter(kdns: Any) -> None:
    done = kdns(*HUBBLE, "--name", "*.test", "-n", "shop", "--explain-filter")
    assert done.returncode == 0
    takes = ("only for DNS flows", "only of clients in namespace shop", "only for names that end in .test")
    assert f"hubble     asks {'; '.join(takes)}\n" in done.stdout


# Live


def test_live_through_a_port_forward_and_ctrl_c(
    environ: dict[str, str], api: ApiServer, hubble: HubbleServer, tmp_path: Path
) -> None:
    with_relay(api, hubble)
    with started(environ, *HUBBLE, "-o", "json", "--summary", "none") as process:
        assert process.stdout
        assert process.stderr
        hubble.wait_for(lambda: any(r.follow for r in hubble.requests), timeout_s=20)
        exchange(hubble, "kdns-n1", "live.test")
        assert json.loads(process.stdout.readline())["dns"]["name"] == "live.test"
        started_s = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        took_s = time.monotonic() - started_s
        err = process.stderr.read()
    assert "hubble: flows of hubble-relay kube-system/hubble-relay (pod hubble-relay-1)" in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("kdns-*"))
    assert took_s < 5, "it ends by itself, and not because somebody loses patience"


def test_a_relay_pod_that_is_replaced(environ: dict[str, str], api: ApiServer, hubble: HubbleServer) -> None:
    with_relay(api, hubble)
    with started(environ, *HUBBLE, "-o", "json") as process:
        assert process.stdout
        hubble.wait_for(lambda: any(r.follow for r in hubble.requests), timeout_s=20)
        exchange(hubble, "kdns-n1", "before.test")
        lines = [json.loads(process.stdout.readline())]
        put_relay(api, hubble, pod="hubble-relay-2")
        api.delete("Pod", "hubble-relay-1", "kube-system")
        hubble.cut()
        exchange(hubble, "kdns-n2", "after.test")
        while lines[-1].get("dns", {}).get("name") != "after.test":
            lines.append(json.loads(process.stdout.readline()))
    codes = [line["code"] for line in lines if line["kind"] == "notice"]
    assert codes == ["reconnecting", "reconnected"]
    assert "(pod hubble-relay-2)" in next(
        line["message"] for line in lines if line.get("code") == "reconnected"
    )
    assert [line["dns"]["name"] for line in lines if line["kind"] == "lookup"] == [
        "before.test",
        "after.test",
    ]


# Which backend


def test_auto_takes_hubble_when_dns_was_seen_and_says_so(
    kdns: Any, api: ApiServer, hubble: HubbleServer
) -> None:
    with_relay(api, hubble)
    exchange(hubble, "kdns-n1", "a.test")
    done = kdns("trace", "--since", "5m", "--no-follow", "-o", "json", "--summary", "none")
    assert names(done) == ["a.test"]
    assert (
        "backend hubble: Cilium 1.17.4, hubble-relay kube-system/hubble-relay; the last DNS flow"
        in done.stderr
    )
    rows = {row["name"]: row for row in json.loads(kdns("backends", "-o", "json").stdout)}
    assert rows["hubble"]["usable"]


def test_auto_goes_on_to_coredns_where_there_is_no_cilium(kdns: Any) -> None:
    done = kdns("trace")
    assert done.returncode == 3
    assert "hubble: no Cilium was found in this cluster" in done.stderr
    assert "coredns: " in done.stderr


# What goes wrong: one clear message each


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> RelayCertificates:
    return RelayCertificates.make(tmp_path_factory.mktemp("tls") / "certificates")


NAME = ("--hubble-tls-server-name", "instance.hubble-relay.cilium.io")


def failed(done: subprocess.CompletedProcess[str]) -> str:
    assert (done.returncode, done.stdout) == (3, ""), done.stderr
    assert "Traceback" not in done.stderr
    [error] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return error


@pytest.mark.parametrize("mutual", [False, True])
def test_tls(kdns: Any, certificates: RelayCertificates, mutual: bool) -> None:
    ca = certificates.ca if mutual else None
    with HubbleServer(tls=certificates.server, client_ca=ca, drain_s=0.1) as server:
        exchange(server, "kdns-n1", "a.test")
        to = ("--hubble-server", f"tls://{server.address}", "--hubble-tls-ca", str(certificates.ca), *NAME)
        if mutual:
            assert "wants a client certificate" in failed(kdns(*PAST, "--since", "5m", *to))
            certificate, key = map(str, certificates.client)
            to += ("--hubble-tls-cert", certificate, "--hubble-tls-key", key)
        # Proxies of the environment lead nowhere: they are for the web.
        assert names(kdns(*PAST, "--since", "5m", *to, https_proxy="http://127.0.0.1:9")) == ["a.test"]


def test_tls_that_does_not_fit(kdns: Any, certificates: RelayCertificates, hubble: HubbleServer) -> None:
    past = (*PAST, "--since", "5m")
    with HubbleServer(tls=certificates.server) as server:
        secure = ("--hubble-server", f"tls://{server.address}", *NAME)
        wrong = failed(kdns(*past, *secure, "--hubble-tls-ca", str(certificates.wrong_ca)))
        assert "not signed by an authority" in wrong
        assert "it speaks TLS" in failed(kdns(*past, *flags(server)))
    with HubbleServer(tls=certificates.expired) as server:
        to = ("--hubble-server", f"tls://{server.address}", "--hubble-tls-ca", str(certificates.ca), *NAME)
        assert "its certificate has expired" in failed(kdns(*past, *to))
    assert "it speaks plain text" in failed(kdns(*past, "--hubble-server", f"tls://{hubble.address}"))


def test_a_server_that_says_nothing(kdns: Any, hubble: HubbleServer) -> None:
    past = (*PAST, "--since", "5m", *flags(hubble))
    hubble.script("GetFlows", Stall())
    assert "did not answer within 0.5 s" in failed(kdns(*past, "--hubble-request-timeout", "500ms"))
    hubble.freeze()
    assert "no answer within 0.5 s" in failed(kdns(*past, "--hubble-timeout", "500ms"))


def test_ctrl_c_while_it_connects(environ: dict[str, str], hubble: HubbleServer) -> None:
    hubble.script("GetFlows", Stall())
    with started(environ, *HUBBLE, *flags(hubble)) as process:
        assert process.stderr
        hubble.wait_for(lambda: hubble.requests, timeout_s=20)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert "Traceback" not in process.stderr.read()


def test_nothing_is_seen_and_why(kdns: Any, api: ApiServer, hubble: HubbleServer) -> None:
    with_relay(api, hubble)
    pod = {"kind": "Pod", "metadata": {"name": "web", "namespace": "shop"}, "spec": {"containers": []}}
    api.put(pod)
    [notice] = records(kdns(*PAST, "--since", "5m", "-n", "shop"), "notice")
    assert notice["code"] == "nothing_seen"
    assert "kubectl kdns hubble policy -n shop" in notice["message"]
    assert CLIENT.namespace not in notice["message"]
