"""What is created in a cluster for agents, object by object."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
import yaml
from conftest import Golden

from kdns_ebpf.local import agent_binary
from kdns_ebpf.manifest import (
    CAPABILITIES,
    OWNER_ANNOTATION,
    Placement,
    config_map,
    job,
    map_name,
    relay_command,
)
from kdns_ebpf.options import AgentOptions
from kubectl_kdns.ownership import Ownership

OWNER = Ownership(
    session="0badcafe",
    user="anna",
    host="laptop",
    pid=4242,
    process_start="99",
    started="2026-11-27T10:00:00.000000000Z",
    until="2026-11-27T11:01:00.000000000Z",
)
PLACE = Placement("kdns-n1", "amd64", "registry.k8s.io/pause:3.10")
MAX_CONFIG_MAP_BYTES = 1 << 20


def make_job(where: Placement = PLACE, **options: Any) -> dict[str, Any]:
    chosen = AgentOptions(**options)
    arguments = chosen.arguments(5_000_000_000)
    return job("kdns-0badcafe-123456", map_name("0badcafe"), OWNER, chosen, where, arguments)


def pod_spec(made: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = made["spec"]["template"]["spec"]
    return spec


def container(made: dict[str, Any]) -> dict[str, Any]:
    (found,) = pod_spec(made)["containers"]
    return dict(found)


def test_all_of_it(golden: Golden) -> None:
    binaries = config_map(
        map_name("0badcafe"), OWNER, AgentOptions(), ["amd64"], ("kdns-0badcafe-123456", "u1")
    )
    binaries["binaryData"] = dict.fromkeys(binaries["binaryData"], "(base64)")
    golden("ebpf/manifest.yaml", yaml.safe_dump_all([make_job(), binaries], sort_keys=False))


def test_all_options_that_change_it(golden: Golden) -> None:
    made = make_job(
        Placement("edge-1", "arm64", "registry.example/any:1", pull=True),
        namespace="kdns",
        image_pull_secret="pull",
        privileged=True,
        priority_class="high",
        cpu="500m",
        memory="256Mi",
        lifetime_ns=600_000_000_000,
        ports=(53, 5353, 8053),
    )
    golden("ebpf/manifest-options.yaml", yaml.safe_dump(made, sort_keys=False))


def test_not_privileged_and_as_little_as_it_needs() -> None:
    made = make_job()
    security = container(made)["securityContext"]
    assert "privileged" not in security
    assert security["capabilities"] == {"drop": ["ALL"], "add": list(CAPABILITIES)}
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert pod_spec(made)["automountServiceAccountToken"] is False
    hosts = [volume["hostPath"]["path"] for volume in pod_spec(made)["volumes"] if "hostPath" in volume]
    assert hosts == ["/sys/fs/cgroup"]
    mounts = {mount["name"]: mount.get("readOnly", False) for mount in container(made)["volumeMounts"]}
    assert mounts == {"agent": True, "run": False, "cgroup": True}


@pytest.mark.parametrize(
    ("kernel", "more"),
    [
        ("5.10.0-32-amd64", ["SYS_RESOURCE"]),
        ("4.18.0-553.el8_10.x86_64", ["SYS_RESOURCE"]),
        ("5.11.0", []),
        ("6.1.0-50-amd64", []),
        ("", []),
        ("unknown", []),
    ],
)
def test_old_kernels_count_maps_as_locked_memory(kernel: str, more: list[str]) -> None:
    security = container(make_job(Placement("n", "amd64", "pause", kernel=kernel)))["securityContext"]
    assert security["capabilities"]["add"] == [*CAPABILITIES, *more]


def test_privileged_is_not_limited_to_capabilities() -> None:
    """The API server refuses privileged with allowPrivilegeEscalation: false."""
    security = container(make_job(privileged=True))["securityContext"]
    assert security["privileged"] is True
    assert not {"allowPrivilegeEscalation", "capabilities"} & security.keys()


def test_it_ends_by_itself() -> None:
    made = make_job(lifetime_ns=90_000_000_000)
    words = container(made)["command"]
    assert words[words.index("--deadline-s") + 1] == "90"
    assert made["spec"]["activeDeadlineSeconds"] == 100
    assert (made["spec"]["backoffLimit"], made["spec"]["ttlSecondsAfterFinished"]) == (0, 60)


def test_the_node_is_chosen_past_scheduler_and_taints() -> None:
    spec = pod_spec(make_job())
    assert spec["nodeName"] == "kdns-n1"
    assert spec["tolerations"] == [{"operator": "Exists"}]


def test_an_image_that_is_there_is_never_pulled() -> None:
    assert container(make_job())["imagePullPolicy"] == "Never"
    pulled = make_job(Placement("n", "amd64", "any:1", pull=True))
    assert container(pulled)["imagePullPolicy"] == "IfNotPresent"


def test_the_agent_and_its_relay_are_one_program() -> None:
    assert container(make_job())["command"][:4] == [
        "/kdns/agent-amd64",
        "serve",
        "--socket",
        "/run/kdns/agent.sock",
    ]
    assert relay_command("arm64") == ["/kdns/agent-arm64", "relay", "--socket", "/run/kdns/agent.sock"]


def test_both_binaries_fit_one_config_map() -> None:
    made = config_map("kdns-x", OWNER, AgentOptions(), ["amd64", "arm64", "amd64"])
    assert list(made["binaryData"]) == ["agent-amd64", "agent-arm64"]
    assert len(msgspec.json.encode(made)) < MAX_CONFIG_MAP_BYTES
    for architecture in ("amd64", "arm64"):
        data = base64.b64decode(made["binaryData"][f"agent-{architecture}"])
        assert data == agent_binary(architecture).read_bytes()
    assert "ownerReferences" not in made["metadata"]


def test_who_started_it_can_be_read_back() -> None:
    metadata = make_job()["metadata"]
    assert msgspec.json.decode(metadata["annotations"][OWNER_ANNOTATION], type=Ownership) == OWNER


@pytest.mark.parametrize("node", ["n" * 253, "ip-10-0-0-1.eu-central-1.compute.internal"])
def test_long_names_of_nodes_are_in_annotations_only(node: str) -> None:
    made = make_job(Placement(node, "amd64", "pause"))
    assert len(made["metadata"]["name"]) <= 63
    assert node not in made["metadata"]["labels"].values()
    assert made["metadata"]["annotations"]["kdns.dev/node"] == node
