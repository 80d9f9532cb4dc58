"""Corefiles are read with what they import, and nobody else's is taken for the user's own."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_coredns.configs import CorefileText, owner_of_corefile, read_corefiles
from kdns_coredns.discover import ConfigSource, CorednsPod
from support.coredns_cluster import CONFIG, ITEM, SIMPLE, FakeCluster, find, pod


def corefiles(cluster: FakeCluster, pods: tuple[CorednsPod, ...]) -> dict[ConfigSource, CorefileText]:
    return read_corefiles(cluster, pods)  # type: ignore[arg-type]


def config_map(name: str, data: dict[str, str], **metadata: Any) -> dict[str, Any]:
    return {
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system", **metadata},
        "data": data,
    }


CUSTOM_MOUNTS = [
    {"name": "config-volume", "mountPath": "/etc/coredns"},
    {"name": "custom", "mountPath": "/etc/coredns/custom"},
]


def pod_with_custom(*, name: str = "a") -> dict[str, Any]:
    """As on AKS and k3s."""
    container = {**SIMPLE[0], "args": ["-conf", "/etc/coredns/Corefile"], "volumeMounts": CUSTOM_MOUNTS}
    volumes = [
        {"name": "config-volume", "configMap": {"name": "coredns", "items": [ITEM]}},
        {"name": "custom", "configMap": {"name": "coredns-custom", "optional": True}},
    ]
    return pod(name, containers=[container], volumes=volumes)


def test_a_corefile_with_its_imports() -> None:
    cluster = FakeCluster(
        pod_with_custom(),
        pod_with_custom(name="b"),
        config_map("coredns", {"Corefile": ".:53 {}", "unused": "x"}),
        config_map("coredns-custom", {"log.override": "log", "shop.server": "shop:53 {}"}),
    )
    found = corefiles(cluster, find(cluster).pods)
    assert list(found) == [CONFIG]
    corefile = found[CONFIG]
    assert (corefile.path, corefile.text, corefile.reason) == ("/etc/coredns/Corefile", ".:53 {}", "")
    assert corefile.config_map["metadata"]["name"] == "coredns"
    override = {"/etc/coredns/custom/log.override": "log"}
    assert corefile.resolve("custom/*.override") == override
    assert corefile.resolve("/etc/coredns/custom/*.override") == override
    assert corefile.resolve("./custom/../custom/log.override") == override
    assert corefile.resolve("custom/*.nothing") == {}
    assert corefile.resolve("custom/log.overrid?") == override
    assert corefile.resolve("*") == {"/etc/coredns/Corefile": ".:53 {}"}
    assert corefile.resolve("/etc/elsewhere/*.override") is None
    assert cluster.asked.count("/api/v1/namespaces/kube-system/configmaps/coredns") == 1


def test_imports_from_a_config_map_that_does_not_exist_are_none_at_all() -> None:
    cluster = FakeCluster(pod_with_custom(), config_map("coredns", {"Corefile": "x"}))
    corefile = corefiles(cluster, find(cluster).pods)[CONFIG]
    assert (corefile.text, corefile.resolve("custom/*.override")) == ("x", {})


def test_what_may_not_be_read_is_not_known() -> None:
    cluster = FakeCluster(pod_with_custom(), config_map("coredns", {"Corefile": "x"}))
    cluster.forbidden["/api/v1/namespaces/kube-system/configmaps/coredns-custom"] = 403
    corefile = corefiles(cluster, find(cluster).pods)[CONFIG]
    assert (corefile.text, corefile.resolve("custom/*.override")) == ("x", None)
    cluster.forbidden["/api/v1/namespaces/kube-system/configmaps/coredns"] = 403
    corefile = corefiles(cluster, find(cluster).pods)[CONFIG]
    assert (corefile.text, corefile.reason) == (
        None,
        "not allowed to get /api/v1/namespaces/kube-system/configmaps/coredns: RBAC",
    )


@pytest.mark.parametrize("data", [{"other": "x"}, {}])
def test_a_config_map_without_the_key(data: dict[str, str]) -> None:
    cluster = FakeCluster(pod(), config_map("coredns", data))
    corefile = corefiles(cluster, find(cluster).pods)[CONFIG]
    assert (corefile.text, corefile.reason) == (None, "configmap kube-system/coredns has no key Corefile")


COREFILE = {"Corefile": ".:53 {\n    import custom/*.override\n}"}


@pytest.mark.parametrize(
    ("source", "obj", "words"),
    [
        (CONFIG, config_map("coredns", COREFILE), []),
        (
            CONFIG,
            config_map("coredns", {"Corefile": "x"}, annotations={"meta.helm.sh/release-name": "my"}),
            [],
        ),
        (
            CONFIG,
            config_map(
                "coredns",
                {"Corefile": "x"},
                labels={"eks.amazonaws.com/component": "coredns"},
                managedFields=[{"manager": "kubectl-edit"}],
            ),
            [],
        ),
        (
            CONFIG,
            config_map("coredns", COREFILE, labels={"addonmanager.kubernetes.io/mode": "Reconcile"}),
            ["AKS", "configmap coredns-custom --from-literal=log.override=log", "rollout restart"],
        ),
        (
            CONFIG,
            config_map("x", {"Corefile": "x"}, labels={"addonmanager.kubernetes.io/mode": "Reconcile"}),
            ["GKE", "puts it back"],
        ),
        (
            CONFIG,
            config_map("coredns", {"Corefile": "x"}, managedFields=[{"manager": "eks"}]),
            ["EKS", "aws eks update-addon"],
        ),
        (
            ConfigSource("openshift-dns", "dns-default", "Corefile"),
            config_map("dns-default", {"Corefile": "x"}),
            ["OpenShift", '{"spec":{"logLevel":"Debug"}}'],
        ),
        (
            CONFIG,
            config_map("coredns", COREFILE, annotations={"objectset.rio.cattle.io/id": ""}),
            ["k3s", "configmap coredns-custom"],
        ),
        (
            ConfigSource("kube-system", "rke2-coredns-rke2-coredns", "Corefile"),
            config_map("x", {}, annotations={"meta.helm.sh/release-name": "rke2-coredns"}),
            ["RKE2", "HelmChartConfig kube-system/rke2-coredns"],
        ),
    ],
)
def test_whose_corefile_it_is(source: ConfigSource, obj: dict[str, Any], words: list[str]) -> None:
    said = owner_of_corefile(source, obj)
    assert bool(said) == bool(words)
    assert [word for word in words if word not in said] == []
