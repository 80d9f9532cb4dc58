"""Can Hubble show DNS here: each thing that may be in the way, with the smallest change that helps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdns_hubble.probe import probe
from kubectl_kdns.backend import Probe
from kubectl_kdns.errors import ClusterError, UsageError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from support.api_server import ApiServer, Reply, failure
from support.cilium_cluster import cilium_policy, fill, pod
from support.hubble_certificates import RelayCertificates
from support.hubble_forward import put_relay
from support.hubble_live import end_of, exchange, threads
from support.hubble_server import HubbleServer

SHOWN = (
    'endpointSelector: {}\negress: [{DNS, toPorts: [{ports: [ANY_53], rules: {dns: [{matchPattern: "*"}]}}]}]'
)


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server
    end_of(threads)


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


@pytest.fixture
def hubble() -> Iterator[HubbleServer]:
    with HubbleServer(drain_s=0.1) as server:
        yield server


def refused(answer: Probe, *words: str) -> str:
    assert not answer.usable
    for word in words:
        assert word in answer.evidence
    return answer.fix


def test_no_cilium(cluster: Cluster) -> None:
    assert probe(cluster, {}) == Probe(False, "no Cilium was found in this cluster")


def test_hubble_is_off(server: ApiServer, cluster: Cluster) -> None:
    fill(server, config={"enable-hubble": "false"})
    fix = refused(probe(cluster, {}), "Hubble is off (enable-hubble in configmap kube-system/cilium-config)")
    assert fix.endswith("--set hubble.enabled=true --set hubble.relay.enabled=true")


def test_the_l7_proxy_is_off(server: ApiServer, cluster: Cluster) -> None:
    fill(server, config={"enable-l7-proxy": "false"})
    assert refused(probe(cluster, {}), "Cilium's L7 proxy is off").endswith("--set l7Proxy=true")


def test_dataplane_v2(server: ApiServer, cluster: Cluster) -> None:
    metadata = {"name": "anetd", "namespace": "kube-system", "labels": {"k8s-app": "anetd"}}
    server.put({"kind": "DaemonSet", "metadata": metadata, "spec": {}})
    refused(probe(cluster, {}), "GKE's Dataplane V2 has no DNS visibility")


def test_a_relay_that_is_not_ready(server: ApiServer, cluster: Cluster) -> None:
    fill(server)
    put_relay(server, None)
    fix = refused(probe(cluster, {}), "hubble-relay kube-system/hubble-relay is not ready (hubble-relay-1: ")
    assert fix == "kubectl -n kube-system describe pods -l k8s-app=hubble-relay"


def test_no_relay_and_no_agent(server: ApiServer, cluster: Cluster) -> None:
    fill(server)
    refused(probe(cluster, {}), "no hubble-relay was found, and no Cilium agent is ready")


def test_tls_that_does_not_fit(
    server: ApiServer, cluster: Cluster, hubble: HubbleServer, tmp_path: Path
) -> None:
    fill(server)
    put_relay(server, hubble, port=443)
    ca = str(RelayCertificates.make(tmp_path / "tls").ca)
    assert "--hubble-tls off" in refused(probe(cluster, {"hubble_tls_ca": ca}), "it speaks plain text")
    with pytest.raises(UsageError):
        probe(cluster, {"hubble_tls": "perhaps"})


def test_a_port_that_may_not_be_forwarded(server: ApiServer, cluster: Cluster, hubble: HubbleServer) -> None:
    fill(server)
    put_relay(server, hubble)
    server.script("/portforward", failure(403, "Forbidden", "cannot create pods/portforward"), forever=True)
    fix = refused(probe(cluster, {}), "not allowed")
    assert "auth can-i get pods --subresource=portforward -n kube-system" in fix


def test_what_may_not_be_read(server: ApiServer, cluster: Cluster, hubble: HubbleServer) -> None:
    """Services and pods of the usual namespaces are enough; with none of them it is said."""
    fill(server)
    put_relay(server, hubble)
    exchange(hubble, "kdns-n1", "a.test")
    server.script("GET /api/v1/(services|pods)", failure(403, "Forbidden", "no"), forever=True)
    assert probe(cluster, {}).usable
    server.script("GET /a", failure(403, "Forbidden", "no"), forever=True)
    answer = probe(cluster, {})
    assert not answer.usable
    assert "not allowed" in answer.evidence or "cannot be told" in answer.evidence


def test_nobody_shows_dns(server: ApiServer, cluster: Cluster, hubble: HubbleServer) -> None:
    fill(server)
    put_relay(server, hubble)
    server.put(pod("web"))
    fix = refused(probe(cluster, {}), "Cilium 1.17.4, hubble-relay kube-system/hubble-relay; no policy shows")
    assert fix == "kubectl kdns hubble policy -n shop --apply --for 10m"


def test_visible_but_quiet(server: ApiServer, cluster: Cluster, hubble: HubbleServer) -> None:
    fill(server)
    put_relay(server, hubble)
    server.put(pod("web"))
    server.put(cilium_policy(SHOWN))
    answer = probe(cluster, {})
    assert answer.usable
    assert answer.evidence.endswith("nobody has asked lately")


def test_seen(server: ApiServer, cluster: Cluster, hubble: HubbleServer) -> None:
    fill(server)
    put_relay(server, hubble)
    server.put(cilium_policy(SHOWN))
    exchange(hubble, "kdns-n1", "a.test")
    answer = probe(cluster, {})
    assert answer.usable
    assert "the last DNS flow was seen 0" in answer.evidence
    assert "shop/theirs" in answer.evidence
    named = probe(cluster, {"hubble_server": hubble.address})
    assert named.usable
    assert named.evidence.startswith(f"--hubble-server {hubble.address}; the last DNS flow")


@pytest.mark.parametrize("reply", [failure(401, "Unauthorized"), Reply(cut=True)])
def test_a_cluster_that_cannot_be_asked(server: ApiServer, cluster: Cluster, reply: Any) -> None:
    server.script("GET", reply, forever=True)
    with pytest.raises(ClusterError):
        probe(cluster, {})
