"""CoreDNS is found wherever distributions put it, with the ConfigMap that its Corefile comes from."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_coredns.discover import ConfigSource, PodQuery
from kdns_coredns.pods import PodObject, coredns_pod
from kubectl_kdns.errors import BackendError, ForbiddenError
from kubectl_kdns.model import Workload
from support.coredns_cluster import CONFIG, ITEM, SIMPLE, FakeCluster, find, pod


def test_a_kubeadm_pod_with_all_that_is_known_of_it() -> None:
    owner = {"kind": "ReplicaSet", "name": "coredns-5d78c9869d", "controller": True}
    labels = {"k8s-app": "kube-dns", "pod-template-hash": "5d78c9869d"}
    found = find(FakeCluster(pod(labels=labels, metadata={"uid": "u1", "ownerReferences": [owner]})))
    [one] = found.pods
    assert (one.namespace, one.name, one.uid, one.node, one.ip) == (
        "kube-system",
        "coredns-5d78c9869d-abcde",
        "u1",
        "n1",
        "10.244.0.2",
    )
    assert (one.container, one.image, one.kind) == (
        "coredns",
        "registry.example/coredns/coredns:v1.12.1",
        "coredns",
    )
    assert (one.labels, one.workload) == (labels, Workload("Deployment", "coredns"))
    assert (one.restarts, one.ready, one.has_started) == (1, True, True)
    assert (one.config, one.corefile) == (CONFIG, "/etc/coredns/Corefile")
    assert str(one) == "kube-system/coredns-5d78c9869d-abcde (n1)"
    assert found.config_sources == (CONFIG,)
    assert found.queries == (PodQuery("", "k8s-app in (kube-dns,coredns,node-local-dns,nodelocaldns)"),)
    assert found.notes == ()


@pytest.mark.parametrize(
    ("namespace", "labels"),
    [
        ("kube-system", {"k8s-app": "kube-dns", "app.kubernetes.io/name": "rke2-coredns"}),
        ("kube-system", {"k8s-app": "coredns"}),
        ("dns", {"app.kubernetes.io/name": "coredns"}),
        ("openshift-dns", {"dns.operator.openshift.io/daemonset-dns": "default"}),
        ("kube-system", {"k8s-app": "node-local-dns"}),
        ("kube-system", {"k8s-app": "nodelocaldns"}),
    ],
)
def test_labels_of_distributions(namespace: str, labels: dict[str, str]) -> None:
    other = pod("web", "shop", {"app": "web"})
    found = find(FakeCluster(pod("dns-1", namespace, labels), other))
    assert [(p.namespace, p.name) for p in found.pods] == [(namespace, "dns-1")]


def test_a_pod_with_several_labels_is_one_pod() -> None:
    labels = {"k8s-app": "kube-dns", "app.kubernetes.io/name": "coredns"}
    found = find(FakeCluster(pod("b", labels=labels), pod("a", labels=labels)))
    assert [p.name for p in found.pods] == ["a", "b"]
    assert len(found.queries) == 2


def test_pods_that_have_finished_are_no_longer_there() -> None:
    evicted = pod("a", status={"phase": "Failed", "reason": "Evicted"})
    assert [p.name for p in find(FakeCluster(evicted, pod("b"))).pods] == ["b"]


def test_options_choose() -> None:
    cluster = FakeCluster(pod("a"), pod("b", "dns", {"app": "my-dns"}), pod("c", "shop", {"app": "my-dns"}))
    assert [p.name for p in find(cluster, coredns_selector="app=my-dns").pods] == ["b", "c"]
    assert [p.name for p in find(cluster, coredns_namespace="kube-system").pods] == ["a"]
    found = find(cluster, coredns_namespace="dns", coredns_selector="app=my-dns")
    assert (found.pods[0].name, found.queries) == ("b", (PodQuery("dns", "app=my-dns"),))


def test_without_the_right_to_list_all_namespaces() -> None:
    cluster = FakeCluster(pod("a"), pod("b", "dns"))
    cluster.forbidden["/api/v1/pods"] = 403
    found = find(cluster)
    assert [p.name for p in found.pods] == ["a"]
    assert found.queries[0].namespace == "kube-system"
    assert "--coredns-namespace" in found.notes[0]


@pytest.mark.parametrize(
    ("forbidden", "options"),
    [
        ({"/api/v1/pods": 401}, {}),
        ({"/api/v1/pods": 403, "/api/v1/namespaces/kube-system/pods": 403}, {}),
        ({"/api/v1/namespaces/dns/pods": 403}, {"coredns_namespace": "dns"}),
    ],
)
def test_without_any_right_it_is_an_error(forbidden: dict[str, int], options: dict[str, str]) -> None:
    cluster = FakeCluster(pod("a"))
    cluster.forbidden = forbidden
    with pytest.raises(ForbiddenError):
        find(cluster, **options)


def test_odd_labels_are_found_behind_the_service() -> None:
    service = {
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system"},
        "spec": {"selector": {"tier": "dns", "app": "resolver"}},
    }
    cluster = FakeCluster(service, pod("a", labels={"app": "resolver", "tier": "dns"}))
    found = find(cluster)
    assert [p.name for p in found.pods] == ["a"]
    assert found.queries == (PodQuery("kube-system", "app=resolver,tier=dns"),)


def test_a_service_that_may_not_be_read_is_no_error_of_its_own() -> None:
    cluster = FakeCluster()
    cluster.forbidden["/api/v1/namespaces/kube-system/services/kube-dns"] = 403
    with pytest.raises(BackendError, match="no CoreDNS pods were found"):
        find(cluster)


@pytest.mark.parametrize("spec", [{}, {"selector": {"app": "gone"}}])
def test_nothing_behind_the_service(spec: dict[str, Any]) -> None:
    service = {"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}, "spec": spec}
    with pytest.raises(BackendError) as caught:
        find(FakeCluster(service))
    assert caught.value.what == "no CoreDNS pods were found in any namespace"
    for way in ("--coredns-namespace", "--coredns-selector", "kubectl get pods -A -l k8s-app=kube-dns"):
        assert way in caught.value.hint


def test_nothing_where_the_user_said() -> None:
    with pytest.raises(BackendError) as caught:
        find(FakeCluster(pod("a")), coredns_namespace="dns", coredns_selector="app=x")
    assert str(caught.value) == (
        "no pods with labels 'app=x' in namespace dns\nTry: kubectl get pods -n dns -l 'app=x'"
    )


GKE = [{"name": name, "image": f"gke.gcr.io/k8s-dns-{name}"} for name in ("kubedns", "dnsmasq", "sidecar")]
NODE_CACHE = {
    "name": "node-cache",
    "image": "registry.example/dns/k8s-dns-node-cache:1.26.4",
    "args": ["-localip", "169.254.20.10", "-conf", "/etc/Corefile", "-upstreamsvc", "kube-dns-upstream"],
    "volumeMounts": [
        {"name": "kube-dns-config", "mountPath": "/etc/kube-dns"},
        {"name": "config-volume", "mountPath": "/etc/coredns"},
    ],
}
NODE_CACHE_VOLUMES = [
    {"name": "kube-dns-config", "configMap": {"name": "kube-dns", "optional": True}},
    {
        "name": "config-volume",
        "configMap": {"name": "node-local-dns", "items": [{"key": "Corefile", "path": "Corefile.base"}]},
    },
]


def nodelocal_pod() -> dict[str, Any]:
    labels = {"k8s-app": "node-local-dns"}
    return pod("node-local-dns-x", labels=labels, containers=[NODE_CACHE], volumes=NODE_CACHE_VOLUMES)


def test_kube_dns_is_no_coredns() -> None:
    with pytest.raises(BackendError) as caught:
        find(FakeCluster(pod("kube-dns-1", containers=GKE)))
    assert caught.value.what == "there is no CoreDNS here"
    assert "kube-system/kube-dns-1" in caught.value.cause
    assert caught.value.hint.startswith("kubectl kdns backends")


def test_node_caches_before_kube_dns_are_seen_and_the_rest_is_said() -> None:
    found = find(FakeCluster(pod("kube-dns-1", containers=GKE), nodelocal_pod()))
    assert [(p.name, p.kind) for p in found.pods] == [("node-local-dns-x", "nodelocal")]
    assert "kube-dns (1 pods)" in found.notes[0]


def test_a_node_cache_has_a_template_for_a_corefile() -> None:
    [one] = find(FakeCluster(nodelocal_pod())).pods
    assert (one.kind, one.container) == ("nodelocal", "node-cache")
    assert one.config == ConfigSource("kube-system", "node-local-dns", "Corefile")
    assert one.corefile == "/etc/coredns/Corefile.base"


MOUNT = {"name": "v", "mountPath": "/etc/coredns/"}


@pytest.mark.parametrize(
    ("container", "volume", "config"),
    [
        ({"args": ["-conf=/etc/coredns/Corefile"], "volumeMounts": [MOUNT]}, {"name": "c"}, "Corefile"),
        ({"command": ["/coredns", "--conf", "/etc/coredns//Corefile"], "volumeMounts": [MOUNT]}, {"name": "c"}, "Corefile"),  # noqa: E501
        ({"volumeMounts": [MOUNT]}, {"name": "c"}, "Corefile"),
        ({"args": ["-conf", "/etc/coredns/dns.conf"], "volumeMounts": [MOUNT]}, {"name": "c", "items": [{"key": "main", "path": "dns.conf"}]}, "main"),  # noqa: E501
        ({"args": ["-conf", "/x/Corefile"], "volumeMounts": [{"name": "v", "mountPath": "/x/Corefile", "subPath": "Corefile"}]}, {"name": "c"}, "Corefile"),  # noqa: E501
        ({"args": ["-conf", "/x/Corefile"], "volumeMounts": [{"name": "v", "mountPath": "/x/Corefile", "subPath": "a"}]}, {"name": "c", "items": [{"key": "k", "path": "a"}]}, "k"),  # noqa: E501
        ({"args": ["-conf", "/elsewhere/Corefile"], "volumeMounts": [MOUNT]}, {"name": "c"}, None),
        ({"args": ["-conf", "/etc/coredns/Corefile"], "volumeMounts": [MOUNT]}, {"name": "c", "items": [{"key": "k", "path": "other"}]}, None),  # noqa: E501
        ({"args": ["-conf", "/etc/coredns/Corefile"]}, {"name": "c"}, None),
        ({"args": ["-conf"], "volumeMounts": [MOUNT]}, {"name": "c"}, "Corefile"),
    ],
)  # fmt: skip
def test_where_a_corefile_comes_from(
    container: dict[str, Any], volume: dict[str, Any], config: str | None
) -> None:
    containers = [{"name": "coredns", "image": "coredns", **container}]
    [one] = find(FakeCluster(pod(containers=containers, volumes=[{"name": "v", "configMap": volume}]))).pods
    assert one.config == (ConfigSource("kube-system", "c", config) if config else None)


def test_a_corefile_in_a_projected_volume() -> None:
    sources = [{"secret": {"name": "s"}}, {"configMap": {"name": "c", "items": [ITEM]}}]
    containers = [{"name": "coredns", "image": "coredns", "volumeMounts": [MOUNT]}]
    volumes = [{"name": "v", "projected": {"sources": sources}}]
    [one] = find(FakeCluster(pod(containers=containers, volumes=volumes))).pods
    assert one.config == ConfigSource("kube-system", "c", "Corefile")


@pytest.mark.parametrize(
    ("containers", "chosen"),
    [
        ([{"name": "proxy", "image": "envoy"}, {"name": "coredns", "image": "x"}], "coredns"),
        ([{"name": "metrics", "image": "x"}, {"name": "dns", "image": "reg/coredns@sha256:1"}], "dns"),
        ([{"name": "rbac", "image": "x"}, {"name": "dns", "image": "y", "command": ["coredns"]}], "dns"),
        ([{"name": "a", "image": "x"}, {"name": "b", "image": "y", "args": ["-conf", "/e/Corefile"]}], "b"),
        ([{"name": "a", "image": "x"}, {"name": "b", "image": "y"}], "a"),
        ([{"name": "coredns", "image": "x"}, {"name": "node-cache", "image": "y"}], "node-cache"),
    ],
)
def test_the_container(containers: list[dict[str, Any]], chosen: str) -> None:
    [one] = find(FakeCluster(pod(containers=containers))).pods
    assert one.container == chosen


@pytest.mark.parametrize(
    ("state", "restarts", "has_started"),
    [
        ({"running": {"startedAt": "2026-11-23T10:00:00Z"}}, 0, True),
        ({"waiting": {"reason": "ContainerCreating"}}, 0, False),
        ({"waiting": {"reason": "CrashLoopBackOff"}}, 3, True),
        ({"terminated": {"exitCode": 1}}, 0, True),
        (None, 0, False),
    ],
)
def test_whether_there_is_a_log(state: Any, restarts: int, has_started: bool) -> None:
    status = {"containerStatuses": [{"name": "coredns", "restartCount": restarts, "state": state}]}
    [one] = find(FakeCluster(pod(status=status))).pods
    assert (one.has_started, one.restarts, one.ready) == (has_started, restarts, False)


def test_a_pod_that_says_nothing() -> None:
    assert coredns_pod(PodObject()) is None
    bare = {"kind": "Pod", "metadata": {"name": "a", "namespace": "n", "labels": {"k8s-app": "kube-dns"}}}
    bare["spec"] = {"containers": SIMPLE}
    bare["metadata"]["creationTimestamp"] = "never"
    [one] = find(FakeCluster(bare)).pods
    assert (str(one), one.config, one.has_started) == ("n/a", None, False)
