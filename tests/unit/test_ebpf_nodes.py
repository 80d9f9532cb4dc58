"""On which nodes agents run, in which image, and why not on the others."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kdns_ebpf.manifest import Placement
from kdns_ebpf.nodes import Choice, Node, choose
from kdns_ebpf.options import AgentOptions
from kubectl_kdns.errors import BackendError, FilterError
from support.agent_nodes import node

PAUSE = "registry.k8s.io/pause:3.10"


def nodes(*objects: dict[str, Any]) -> list[Node]:
    return [msgspec.convert(each, Node) for each in objects]


def chosen(*objects: dict[str, Any], options: AgentOptions | None = None, **more: Any) -> Choice:
    return choose(nodes(*objects), options or AgentOptions(), **more)


def why_not(*objects: dict[str, Any]) -> str:
    (reason,) = chosen(*objects).skipped.values()
    return reason


def test_every_ready_linux_node() -> None:
    found = chosen(node("n1"), node("n2", node_info={"architecture": "arm64"}))
    places = [Placement(name, cpu, PAUSE, kernel="6.1.0") for name, cpu in (("n1", "amd64"), ("n2", "arm64"))]
    assert found == Choice(tuple(places), {})


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"node_info": {"operatingSystem": "windows"}}, "its system is windows, the agent runs on Linux"),
        ({"node_info": {"architecture": "s390x"}}, "there is no agent for s390x"),
        ({"node_info": {"architecture": ""}}, "there is no agent for its unknown architecture"),
        ({"ready": False}, "it is not ready"),
        (
            {"labels": {"type": "virtual-kubelet"}},
            "it is a virtual node: there is no kernel of its own to watch",
        ),
        ({"taints": ["virtual-kubelet.io/provider"]}, "it is a virtual node"),
        ({"labels": {"eks.amazonaws.com/compute-type": "fargate"}}, "it is a Fargate node"),
        ({"images": []}, "it does not say which images it has. Try: --image IMAGE"),
    ],
)
def test_why_not(more: dict[str, Any], reason: str) -> None:
    assert why_not(node("n1", **more)).startswith(reason)


def test_taints_and_old_kernels_are_no_reason() -> None:
    """The Job tolerates everything, and before 5.8 the agent has its fallback."""
    old = node("n1", taints=["node-role.kubernetes.io/control-plane"], node_info={"kernelVersion": "4.18.0"})
    found = chosen(old)
    assert not found.skipped
    assert [place.kernel for place in found.placements] == ["4.18.0"]


def test_only_where_it_is_wanted() -> None:
    fleet = [node(f"pool-{i}", labels={"pool": "a" if i < 2 else "b"}) for i in range(4)]
    by_glob = chosen(*fleet, options=AgentOptions(nodes=("pool-[12]",)))
    assert [place.node for place in by_glob.placements] == ["pool-1", "pool-2"]
    by_label = chosen(*fleet, options=AgentOptions(node_selector="pool in (b)"))
    assert [place.node for place in by_label.placements] == ["pool-2", "pool-3"]
    by_clients = chosen(*fleet, only=frozenset({"pool-0"}))
    assert [place.node for place in by_clients.placements] == ["pool-0"]


def test_a_node_that_is_not_wanted_is_not_told_as_skipped() -> None:
    assert chosen(node("n1"), node("n2", ready=False), options=AgentOptions(nodes=("n1",))).skipped == {}


def test_more_nodes_than_agents_are_allowed() -> None:
    fleet = [node(f"n{i}") for i in range(3)]
    with pytest.raises(BackendError, match="3 nodes are wanted, and at most 2 agents") as caught:
        chosen(*fleet, options=AgentOptions(max_nodes=2))
    assert "--max-nodes 3" in caught.value.hint
    assert len(chosen(*fleet, options=AgentOptions(max_nodes=3)).placements) == 3


def test_a_broken_selector() -> None:
    with pytest.raises(FilterError):
        chosen(node("n1"), options=AgentOptions(node_selector="a in ("))


def image_of(images: list[dict[str, Any]], pod_images: tuple[str, ...] = ()) -> str:
    (place,) = chosen(node("n1", images=images), pod_images={"n1": pod_images}).placements
    assert not place.pull
    return place.image


@pytest.mark.parametrize(
    "name",
    [
        "registry.k8s.io/pause:3.10",
        "docker.io/rancher/mirrored-pause:3.6",
        "k8s.gcr.io/pause-amd64:3.1",
        "localhost:5000/pause@sha256:0123",
        "602401143452.dkr.ecr.us-west-2.amazonaws.com/eks/pause:3.5",
    ],
)
def test_pause_of_any_registry_is_taken_first(name: str) -> None:
    images = [{"names": ["tiny:1"], "sizeBytes": 1}, {"names": [name], "sizeBytes": 700_000}]
    assert image_of(images, ("kube-proxy:1",)) == name


def test_the_name_with_a_tag_is_preferred() -> None:
    images = [{"names": ["pause@sha256:1", "<none>@<none>", "pause:3.9"], "sizeBytes": 700_000}]
    assert image_of(images) == "pause:3.9"


def test_without_pause_the_smallest_one_in_use() -> None:
    """The kubelet removes images that nobody uses when the disk is full."""
    images = [
        {"names": ["unused:1"], "sizeBytes": 10},
        {"names": ["big:1"], "sizeBytes": 3000},
        {"names": ["small:1"], "sizeBytes": 2000},
    ]
    assert image_of(images, ("big:1", "small:1", "not-listed:1")) == "small:1"
    assert image_of([], ("b:1", "a:1")) == "a:1"
    assert image_of(images) == "unused:1"


def test_an_image_of_the_users_own_may_be_pulled() -> None:
    found = chosen(node("n1", images=[]), options=AgentOptions(image="mine:1"))
    assert found.placements == (Placement("n1", "amd64", "mine:1", pull=True, kernel="6.1.0"),)


@pytest.mark.parametrize("status", [{}, {"images": None, "conditions": None}])
def test_a_node_that_says_nothing(status: dict[str, Any]) -> None:
    assert chosen({"metadata": {"name": "n1"}, "status": status}).skipped
