"""Hubble's relay is found wherever charts and clouds put it, and what is missing is said."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_hubble.api_objects import Denied
from kdns_hubble.discover import GKE_NAMESPACE, Relay, RelayPod, RelaySearch, find_relay
from kubectl_kdns.errors import ForbiddenError
from support.hubble_objects import ObjectCluster

LABELS = {"k8s-app": "hubble-relay", "app.kubernetes.io/name": "hubble-relay"}
GRPC = {"port": 80, "protocol": "TCP", "targetPort": "grpc"}


def service(
    namespace: str = "kube-system",
    port: dict[str, Any] = GRPC,
    name: str = "hubble-relay",
    labels: dict[str, str] = LABELS,
) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    spec = {"selector": {"k8s-app": "hubble-relay"}, "ports": [port]}
    return {"kind": "Service", "metadata": metadata, "spec": spec}


def relay_pod(
    name: str = "hubble-relay-1",
    namespace: str = "kube-system",
    *,
    ready: bool = True,
    port: int = 4245,
    state: dict[str, Any] | None = None,
    phase: str = "Running",
    metadata: dict[str, Any] | None = None,
    secret_files: tuple[str, ...] = ("client.crt", "client.key"),
) -> dict[str, Any]:
    items = [{"key": "x", "path": path} for path in secret_files]
    tls = {"name": "tls", "projected": {"sources": [{"secret": {"name": "certs", "items": items}}]}}
    ports = [{"name": "grpc", "containerPort": port}, {"name": "prometheus", "containerPort": 9966}]
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": LABELS, **(metadata or {})},
        "spec": {
            "nodeName": "n1",
            "containers": [{"name": "hubble-relay", "image": "registry.example/relay:v1", "ports": ports}],
            "volumes": [{"name": "config", "configMap": {"name": "hubble-relay-config"}}, tls],
        },
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [{"name": "hubble-relay", "state": state or {"running": {}}}],
        },
    }


def find(cluster: ObjectCluster, namespace: str = "") -> RelaySearch:
    return find_relay(cluster, namespace)  # type: ignore[arg-type]


def relay_of(cluster: ObjectCluster) -> Relay:
    found = find(cluster)
    assert found.relay is not None
    return found.relay


def test_a_relay_as_the_chart_makes_it_takes_two_requests() -> None:
    cluster = ObjectCluster(service(), relay_pod())
    relay = Relay("kube-system", "hubble-relay", 80, False, 4245, (RelayPod("hubble-relay-1", "n1", True),))
    assert find(cluster) == RelaySearch(relay)
    assert cluster.asked == ["/api/v1/services", "/api/v1/namespaces/kube-system/pods"]
    assert str(relay) == "kube-system/hubble-relay"
    assert relay.server_name == "instance.hubble-relay.cilium.io"


@pytest.mark.parametrize("labels", [{"app.kubernetes.io/name": "hubble-relay"}, {}])
def test_a_relay_with_other_labels(labels: dict[str, str]) -> None:
    assert (
        relay_of(ObjectCluster(service("net", labels=labels), relay_pod(namespace="net"))).namespace == "net"
    )


@pytest.mark.parametrize(
    ("port", "tls", "target_port"),
    [
        ({"port": 443, "targetPort": "grpc"}, True, 4300),
        ({"port": 443, "targetPort": 4222}, True, 4222),
        ({"port": 80, "targetPort": 4245}, False, 4245),
        ({"port": 80, "targetPort": "other"}, False, 4245),
    ],
)
def test_the_port_says_whether_it_speaks_tls(port: dict[str, Any], tls: bool, target_port: int) -> None:
    relay = relay_of(ObjectCluster(service(port=port), relay_pod(port=4300)))
    assert (relay.tls, relay.target_port) == (tls, target_port)


@pytest.mark.parametrize("tls", [True, False])
def test_on_an_odd_port_the_certificate_of_the_pods_says_it(tls: bool) -> None:
    files = ("client.crt", "server.crt", "server.key") if tls else ("client.crt",)
    cluster = ObjectCluster(service(port={**GRPC, "port": 8443}), relay_pod(secret_files=files))
    assert relay_of(cluster).tls is tls
    # The same where somebody has taken the Service away.
    relay = relay_of(ObjectCluster(relay_pod(secret_files=files, port=4300)))
    assert (relay.service, relay.port, relay.tls, relay.target_port) == ("", 0, tls, 4300)
    assert str(relay) == "kube-system/hubble-relay"


def test_the_service_of_the_metrics_is_not_the_relays() -> None:
    metrics = {"name": "metrics", "port": 9966, "targetPort": "prometheus"}
    cluster = ObjectCluster(service(port=metrics, name="hubble-relay-metrics"), service(), relay_pod())
    assert find(cluster).others == ()
    assert relay_of(cluster).service == "hubble-relay"


def test_gke_has_a_namespace_and_a_certificate_of_its_own() -> None:
    cluster = ObjectCluster(
        service(GKE_NAMESPACE, {"port": 443, "targetPort": 4245}), relay_pod(namespace=GKE_NAMESPACE)
    )
    assert relay_of(cluster).server_name == f"hubble-relay.{GKE_NAMESPACE}.svc.cluster.local"


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (relay_pod(ready=False), "its checks do not pass"),
        (
            relay_pod(ready=False, state={"waiting": {"reason": "ImagePullBackOff"}}, phase="Pending"),
            "ImagePullBackOff",
        ),
        (relay_pod(ready=False, state={"terminated": {"reason": "Error"}}), "Error"),
        (relay_pod(ready=False, phase="Pending"), "Pending"),
        (relay_pod(metadata={"deletionTimestamp": "2026-11-23T10:00:00Z"}), "is being deleted"),
        (relay_pod(ready=False, state={"waiting": {"reason": "\x1b[31m"}}), "\\027[31m"),
    ],
)
def test_pods_that_are_not_ready_say_why(pod: dict[str, Any], reason: str) -> None:
    relay = relay_of(ObjectCluster(service(), pod))
    assert relay.pods == (RelayPod("hubble-relay-1", "n1", False, reason),)
    assert relay.ready_pods == ()


def test_ready_pods_come_first_and_finished_ones_are_gone() -> None:
    cluster = ObjectCluster(
        service(), relay_pod("a", ready=False), relay_pod("b"), relay_pod("c", ready=False, phase="Failed")
    )
    relay = relay_of(cluster)
    assert [pod.name for pod in relay.pods] == ["b", "a"]
    assert [pod.name for pod in relay.ready_pods] == ["b"]


def test_of_several_relays_one_that_answers() -> None:
    cluster = ObjectCluster(
        service(), relay_pod(ready=False), service("cilium"), relay_pod("hubble-relay-2", "cilium")
    )
    found = find(cluster)
    assert found.relay
    assert found.relay.namespace == "cilium"
    assert [str(other) for other in found.others] == ["kube-system/hubble-relay"]
    only = find(cluster, "kube-system")
    assert only.relay
    assert (only.relay.namespace, only.others) == ("kube-system", ())


def test_no_relay() -> None:
    assert find(ObjectCluster()) == RelaySearch()
    assert find(ObjectCluster(service(port={"name": "metrics", "port": 9966}))) == RelaySearch()


def test_without_the_right_to_list_all_namespaces() -> None:
    cluster = ObjectCluster(service(GKE_NAMESPACE), relay_pod(namespace=GKE_NAMESPACE))
    cluster.forbidden = {"/api/v1/services": 403, "/api/v1/namespaces/kube-system/services/hubble-relay": 403}
    found = find(cluster)
    assert found.relay
    assert found.relay.namespace == GKE_NAMESPACE
    assert found.denied == (
        Denied("list services in the whole cluster", "can-i /api/v1/services"),
        Denied(
            "get services in namespace 'kube-system'",
            "can-i /api/v1/namespaces/kube-system/services/hubble-relay",
        ),
    )


def test_without_that_right_the_contexts_own_namespace_is_looked_at() -> None:
    cluster = ObjectCluster(service("net"), relay_pod(namespace="net"), service("cilium"))
    cluster.forbidden = {"/api/v1/services": 403}
    cluster.namespace = "net"
    cluster.store.put({**service("kube-system"), "spec": {}})
    assert relay_of(cluster).namespace == "net"


def test_without_any_right() -> None:
    cluster = ObjectCluster(service(), relay_pod())
    cluster.forbidden = {"/api/v1/namespaces/kube-system/services": 403}
    cluster.forbidden["/api/v1/namespaces/kube-system/pods"] = 403
    found = find(cluster, "kube-system")
    assert found.relay is None
    assert [denied.right for denied in found.denied] == [
        "list services in namespace 'kube-system'",
        "list pods in namespace 'kube-system'",
    ]


def test_a_login_that_is_refused_is_no_answer() -> None:
    cluster = ObjectCluster()
    cluster.forbidden = {"/api/v1/services": 401}
    with pytest.raises(ForbiddenError):
        find(cluster)
