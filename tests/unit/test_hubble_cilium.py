"""What is known of a cluster's Cilium, with all rights and with few."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_hubble.cilium import CiliumState, find_cilium
from kubectl_kdns.errors import ForbiddenError
from support.hubble_objects import ObjectCluster

CONFIG = {"enable-hubble": "true", "enable-l7-proxy": "true", "hubble-listen-address": ":4244"}


def agents(
    name: str = "cilium",
    image: str = "registry.example:5000/cilium/cilium:v1.17.4@sha256:00",
    desired: int = 3,
    namespace: str = "kube-system",
) -> dict[str, Any]:
    containers = [{"name": "sidecar", "image": "x:v9.9.9"}, {"name": "cilium-agent", "image": image}]
    return {
        "kind": "DaemonSet",
        "metadata": {"name": name, "namespace": namespace, "labels": {"k8s-app": "cilium"}},
        "spec": {"template": {"spec": {"containers": containers}}},
        "status": {"desiredNumberScheduled": desired, "numberReady": max(0, desired - 1)},
    }


def config(data: dict[str, str], namespace: str = "kube-system") -> dict[str, Any]:
    metadata = {"name": "cilium-config", "namespace": namespace}
    return {"kind": "ConfigMap", "metadata": metadata, "data": data}


def agent_pod() -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": "cilium-x", "namespace": "net", "labels": {"k8s-app": "cilium"}},
        "spec": {"containers": [{"name": "cilium-agent", "image": "cilium:v1.16.0-rc.1"}]},
    }


def state_of(cluster: ObjectCluster, namespace: str = "") -> CiliumState:
    return find_cilium(cluster, namespace)  # type: ignore[arg-type]


def test_cilium_as_the_chart_makes_it_takes_two_requests() -> None:
    cluster = ObjectCluster(agents(), config(CONFIG))
    state = state_of(cluster)
    assert state == CiliumState(
        present=True,
        namespace="kube-system",
        version="1.17.4",
        agents=3,
        ready_agents=2,
        hubble=True,
        l7_proxy=True,
        listen_address=":4244",
    )
    assert state.release == (1, 17)
    assert len(cluster.asked) == 2


def test_keys_that_are_left_out_have_the_agents_own_default() -> None:
    state = state_of(ObjectCluster(agents(), config({})))
    assert (state.hubble, state.l7_proxy, state.listen_address) == (False, True, "")
    state = state_of(ObjectCluster(agents(), config({"enable-l7-proxy": "false"})))
    assert state.l7_proxy is False


@pytest.mark.parametrize(
    ("image", "version", "release"),
    [
        ("cilium:v1.16.0-rc.1", "1.16.0-rc.1", (1, 16)),
        ("cilium:1.9.18", "1.9.18", (1, 9)),
        ("registry.example:5000/cilium", "", (0, 0)),
        ("cilium@sha256:1.2.3", "", (0, 0)),
        ("cilium:latest", "", (0, 0)),
    ],
)
def test_the_version_is_that_of_the_image(image: str, version: str, release: tuple[int, int]) -> None:
    state = state_of(ObjectCluster(agents(image=image)))
    assert (state.version, state.release) == (version, release)


def test_clouds() -> None:
    gke = state_of(
        ObjectCluster(agents("anetd-l", desired=0), agents("anetd", "gke.example/cilium:v1.15.1-gke.2"))
    )
    assert (gke.flavour, gke.version, gke.agents) == ("gke", "1.15.1-gke.2", 3)
    aks = state_of(
        ObjectCluster(agents(image="mcr.microsoft.com/containernetworking/cilium/cilium:v1.16.6-2"))
    )
    assert (aks.flavour, aks.release) == ("aks", (1, 16))


def test_no_cilium() -> None:
    assert state_of(ObjectCluster()) == CiliumState(namespace="kube-system")


def test_without_the_right_to_list_daemon_sets_the_pods_tell() -> None:
    cluster = ObjectCluster(agent_pod(), config(CONFIG, "net"))
    cluster.forbidden = {"/apis/apps/v1/daemonsets": 403}
    state = state_of(cluster)
    assert (state.present, state.namespace, state.version, state.agents) == (True, "net", "1.16.0-rc.1", None)
    assert state.hubble is True
    assert [denied.right for denied in state.denied] == ["list daemonsets in the whole cluster"]


def test_without_the_right_to_look_in_all_namespaces() -> None:
    cluster = ObjectCluster(agents(), config(CONFIG))
    cluster.forbidden = {"/apis/apps/v1/daemonsets": 403, "/api/v1/pods": 403}
    state = state_of(cluster)
    assert (state.present, state.version, state.agents, state.hubble) == (True, "1.17.4", 3, True)
    assert [denied.right for denied in state.denied] == [
        "list daemonsets in the whole cluster",
        "list pods in the whole cluster",
    ]


def test_without_the_right_to_read_its_configuration() -> None:
    cluster = ObjectCluster(agents())
    cluster.forbidden = {"/api/v1/namespaces/kube-system/configmaps/cilium-config": 403}
    state = state_of(cluster)
    assert (state.present, state.hubble, state.l7_proxy) == (True, None, None)
    assert [denied.right for denied in state.denied] == ["get configmaps in namespace 'kube-system'"]


def test_without_any_other_right_the_configuration_shows_that_it_is_there() -> None:
    cluster = ObjectCluster(agents(), config(CONFIG))
    in_namespace = ("/apis/apps/v1/namespaces/kube-system/daemonsets", "/api/v1/namespaces/kube-system/pods")
    cluster.forbidden = dict.fromkeys(("/apis/apps/v1/daemonsets", "/api/v1/pods", *in_namespace), 403)
    state = state_of(cluster)
    assert (state.present, state.version, state.hubble) == (True, "", True)
    assert [denied.right for denied in state.denied] == [
        "list daemonsets in the whole cluster",
        "list pods in the whole cluster",
        "list daemonsets in namespace 'kube-system'",
        "list pods in namespace 'kube-system'",
    ]


def test_a_login_that_is_refused_is_no_answer() -> None:
    cluster = ObjectCluster(agents())
    cluster.forbidden = {"/apis/apps/v1/daemonsets": 401}
    with pytest.raises(ForbiddenError):
        state_of(cluster)
