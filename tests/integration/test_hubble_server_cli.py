"""Cilium's own `hubble` against the tests' relay: it must not notice, and must print what we say it prints.

Runs when `hubble` is in the PATH, or KDNS_HUBBLE says where it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hubble_certificates import SERVER_NAME, RelayCertificates
from support.hubble_flows import (
    COREDNS,
    POLICY_VERDICT,
    Pod,
    denied,
    dropped_packet,
    enveloped,
    json_fields,
    lost,
    of_the_future,
    refused,
    request,
    response,
)
from support.hubble_server import HubbleServer

HUBBLE = os.environ.get("KDNS_HUBBLE") or shutil.which("hubble")
pytestmark = pytest.mark.skipif(not HUBBLE, reason="no `hubble` in the PATH, and KDNS_HUBBLE is not set")

WEB = Pod("web-1", "10.244.2.57", "shop", "k8s:app=web", "kdns-n2", ("web", "Deployment"), 14144)


def run(server: HubbleServer, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    command = [str(HUBBLE), *arguments, "--server", server.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment(), check=False)
    assert not check or done.returncode == 0, done.stderr
    return done


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("HUBBLE_")}


def observed(server: HubbleServer, *arguments: str) -> list[dict[str, Any]]:
    lines = run(server, "observe", "-o", "jsonpb", *arguments).stdout.splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture
def server() -> Iterator[HubbleServer]:
    with HubbleServer(drain_s=0.05) as server:
        yield server


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> RelayCertificates:
    return RelayCertificates.make(tmp_path_factory.mktemp("hubble") / "tls")


def fill(server: HubbleServer) -> list[Any]:
    """One event of each kind, all different in time; returns them in that order."""
    now_ns = time.time_ns() - 60_000_000_000
    ask = request("a.example.com.", "AAAA", time_ns=now_ns)
    truncated = request("big.example.com.", "TXT", protocol="TCP", port=40001, time_ns=now_ns + 10_000_000)
    other = request("b.example.org.", client=WEB, port=40002, time_ns=now_ns + 20_000_000)
    six = Pod("six-1", "fd00::17", "shop", node="kdns-n2")
    events = [
        ask,
        response(ask, ips=["2001:db8::1", "2001:db8::2"], cnames=["c.example.com."], ttl=7),
        truncated,
        response(truncated, rcode=2),
        other,
        refused(other),
        denied("secret.test.", client=WEB, port=40003, time_ns=now_ns + 30_000_000),
        dropped_packet(event_type=POLICY_VERDICT, time_ns=now_ns + 40_000_000),
        dropped_packet(protocol="TCP", time_ns=now_ns + 40_001_000),
        request("<&>\u00e4\u001b.test.", client=six, time_ns=now_ns + 50_000_000),
        of_the_future(request("future.test.", client=WEB, time_ns=now_ns + 60_000_000)),
        lost("OBSERVER_EVENTS_QUEUE", 7, time_ns=now_ns + 70_000_000),
        lost("PERF_EVENT_RING_BUFFER", 1 << 40, node="kdns-n2", time_ns=now_ns + 80_000_000),
    ]
    for event in events:
        server.node(event.node_name).add(event)
    return events


def test_it_prints_our_own_jsonpb(server: HubbleServer) -> None:
    ours = [json_fields(e if e.DESCRIPTOR.name == "GetFlowsResponse" else enveloped(e)) for e in fill(server)]
    assert observed(server, "--all") == ours
    assert server.requests[0].number == 2**64 - 1


def test_its_filters_take_what_we_say(server: HubbleServer) -> None:
    fill(server)
    assert names(server, "--protocol", "dns", "--last", "2") == [  # the last two of each node
        "big.example.com.",
        "big.example.com.",
        "<&>\u00e4\u001b.test.",
        "future.test.",
    ]
    assert names(server, "--verdict", "ERROR") == ["b.example.org."]
    assert names(server, "--verdict", "DROPPED") == ["secret.test.", "", ""]
    assert names(server, "--type", "drop") == [""]
    assert names(server, "--namespace", "shop", "--ipv4") == [
        "b.example.org.",
        "b.example.org.",
        "secret.test.",
        "future.test.",
    ]
    assert names(server, "--from-pod", "shop/six", "--ipv6") == ["<&>\u00e4\u001b.test."]
    assert names(server, "--to-pod", "lab/client") == ["a.example.com.", "big.example.com."]
    assert names(server, "--from-label", "app=web", "--not", "--verdict", "ERROR", "--port", "40002") == [
        "b.example.org."
    ]
    assert names(server, "--to-workload", "coredns", "--node-name", "*n1") == []
    assert len(names(server, "--to-workload", "coredns")) == 5  # of the node where it runs
    assert names(server, "--from-workload", "web", "--to-ip", COREDNS.ip, "--first", "1") == [
        "b.example.org."
    ]
    assert names(server, "--since", "59s", "--protocol", "dns") == []
    assert names(server, "--since", "10m", "--until", "59s", "--type", "l7", "--protocol", "tcp") == [
        "big.example.com.",
        "big.example.com.",
    ]


def names(server: HubbleServer, *arguments: str) -> list[str]:
    """The name of each flow that comes, "" for one without DNS."""
    flows = [message["flow"] for message in observed(server, *arguments) if "flow" in message]
    return [flow.get("l7", {}).get("dns", {}).get("query", "") for flow in flows]


def test_it_follows(server: HubbleServer) -> None:
    command = [str(HUBBLE), "observe", "--follow", "-o", "jsonpb", "--server", server.address]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment()
    ) as follower:
        assert follower.stdout is not None
        try:
            server.wait_for(lambda: server.streams, timeout_s=30)
            flow = request("live.test.", time_ns=time.time_ns())
            server.node("kdns-n2").add(flow)
            assert json.loads(follower.stdout.readline()) == json_fields(enveloped(flow))
        finally:
            follower.terminate()
    server.wait_for(lambda: not server.streams)


def test_a_wrong_regexp_is_a_node_status_on_stderr(server: HubbleServer) -> None:
    done = run(server, "observe", "-o", "jsonpb", "--last", "1", "--allowlist", '{"dns_query":["("]}')
    status = json.loads(done.stderr)["node_status"]
    assert (status["state_change"], status["node_names"]) == ("NODE_ERROR", ["kdns-n1", "kdns-n2"])
    assert status["message"].startswith(
        "invalid DNS query filter: failed to compile regexp: error parsing regexp: "
    )


def test_a_field_mask(server: HubbleServer) -> None:
    server.node("kdns-n1").add(request())
    mask = "l7.dns.query,node_name"
    got = observed(
        server,
        "--last",
        "1",
        "--experimental-field-mask",
        mask,
        "--experimental-use-default-field-masks=false",
    )
    flow = {"node_name": "kdns-n1", "l7": {"dns": {"query": "example.com."}}}
    assert got == [{"flow": flow, "node_name": "kdns-n1"}]


def test_status_and_lists(server: HubbleServer) -> None:
    server.node("kdns-n1").add(request())
    server.node("kdns-n2").go()
    status = json.loads(run(server, "status", "-o", "json").stdout)
    assert (status["num_flows"], status["num_connected_nodes"], status["unavailable_nodes"]) == (
        "1",
        1,
        ["kdns-n2"],
    )
    nodes = json.loads(run(server, "list", "nodes", "-o", "json").stdout)
    assert [(node["name"], node["state"]) for node in nodes] == [
        ("kdns-n1", "NODE_CONNECTED"),
        ("kdns-n2", "NODE_UNAVAILABLE"),
    ]
    spaces = json.loads(run(server, "list", "namespaces", "-o", "json").stdout)
    assert [space["namespace"] for space in spaces] == ["kube-system", "lab"]


def test_tls_with_client_certificate_and_basic_auth(certificates: RelayCertificates) -> None:
    certificate, key = certificates.client
    flags = ["--tls", "--tls-server-name", SERVER_NAME.replace("*", "instance")]
    login = ["--basic-auth-username", "me", "--basic-auth-password", "secret"]
    trusted, wrong = (["--tls-ca-cert-files", str(ca)] for ca in (certificates.ca, certificates.wrong_ca))
    mine = ["--tls-client-cert-file", str(certificate), "--tls-client-key-file", str(key)]
    with HubbleServer(
        tls=certificates.server, client_ca=certificates.ca, basic_auth=("me", "secret")
    ) as server:
        assert "Connected Nodes: 2/2" in run(server, "status", *flags, *trusted, *mine, *login).stdout
        for less in ([*trusted, *mine], [*wrong, *mine, *login], [*trusted, *login]):
            assert run(server, "status", *flags, *less, check=False).returncode != 0


def test_a_unix_socket(tmp_path: Path) -> None:
    with HubbleServer(unix=tmp_path / "hubble.sock") as server:
        assert "Ok" in run(server, "status").stdout
