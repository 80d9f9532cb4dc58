"""What is created in the cluster: one ConfigMap with the agent's binaries, and one Job a node.

The first Job owns the ConfigMap, so that what a killed client leaves goes away by itself: the Job by its TTL,
the ConfigMap with it. Nothing here asks a cluster.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from kdns_ebpf.local import agent_binary
from kdns_ebpf.options import LEAST_MEMORY_MI, AgentOptions
from kubectl_kdns.ownership import Ownership

LABEL = "app.kubernetes.io/managed-by"
MANAGER = "kdns"
NAME_LABEL = "app.kubernetes.io/name"
AGENT = "kdns-agent"
SESSION_LABEL = "kdns.dev/session"
NODE_ANNOTATION = "kdns.dev/node"
OWNER_ANNOTATION = "kdns.dev/owner"
SELECTOR = f"{LABEL}={MANAGER},{NAME_LABEL}={AGENT}"

CONTAINER = "agent"
SOCKET = "/run/kdns/agent.sock"
TTL_S = 60
CAPABILITIES = ("BPF", "NET_ADMIN", "PERFMON", "DAC_READ_SEARCH", "NET_RAW")
LOCK_CAPABILITIES = ("SYS_RESOURCE",)
"""Before Linux 5.11 the maps of BPF programs count as locked memory, of which a container may have little."""
_COUNTS_MAPS_BEFORE = (5, 11)
ENTER_CAPABILITIES = ("SYS_ADMIN", "SYS_PTRACE")
"""To enter a pod's network and to read its resolv.conf, besides."""
_BINARIES, _RUN, _CGROUP = "/kdns", "/run/kdns", "/host/cgroup"


class Placement(Struct, frozen=True):
    """Where an agent is to run, and in which image; `pull`: the image need not be there yet. `kernel` is the
    node's release (5.10.0-32-amd64), "" unknown."""

    node: str
    architecture: str
    image: str
    pull: bool = False
    kernel: str = ""


def capabilities_on(kernel: str) -> list[str]:
    """What the agent has to have on a kernel of this release."""
    version = re.match(r"(\d+)\.(\d+)", kernel)
    is_old = version is not None and (int(version[1]), int(version[2])) < _COUNTS_MAPS_BEFORE
    return [*CAPABILITIES, *(LOCK_CAPABILITIES if is_old else ())]


def map_name(session: str) -> str:
    """The name of the ConfigMap, with which those of a session's Jobs begin."""
    return f"kdns-{session}"


def agent_command(architecture: str) -> str:
    """The agent's path in its container."""
    return f"{_BINARIES}/{_key(architecture)}"


def relay_command(architecture: str) -> list[str]:
    return [agent_command(architecture), "relay", "--socket", SOCKET]


def enter_command(architecture: str, pod_uid: str) -> list[str]:
    """`pod_uid` "" is the node itself."""
    who = ["--pod-uid", pod_uid] if pod_uid else ["--pid", "1"]
    return [agent_command(architecture), "enter", *who]


def config_map(
    name: str,
    owner: Ownership,
    options: AgentOptions,
    architectures: Iterable[str],
    job: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """`job` is the name and the uid of the Job that it goes away with."""
    metadata = _metadata(name, owner, options)
    if job is not None:
        # Without blockOwnerDeletion: that would need the right to change the Job's finalizers.
        reference = {"apiVersion": "batch/v1", "kind": "Job", "name": job[0], "uid": job[1]}
        metadata["ownerReferences"] = [reference]
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "immutable": True,  # what runs as root on the nodes is not to be changed by who may change ConfigMaps
        "binaryData": {
            _key(architecture): base64.b64encode(agent_binary(architecture).read_bytes()).decode()
            for architecture in sorted(set(architectures))
        },
    }


def job(
    name: str,
    binaries: str,
    owner: Ownership,
    options: AgentOptions,
    where: Placement,
    arguments: Sequence[str],
) -> dict[str, Any]:
    """The Job of one node; `binaries` is the name of the ConfigMap."""
    lifetime_s = max(options.lifetime_ns // 1_000_000_000, 1)
    command = [
        *(agent_command(where.architecture), "serve", "--socket", SOCKET, "--cgroup", _CGROUP),
        *("--deadline-s", str(lifetime_s), *arguments),
    ]
    pod_metadata = _metadata("", owner, options)
    del pod_metadata["name"], pod_metadata["namespace"]
    pod_metadata["annotations"] = {NODE_ANNOTATION: where.node}
    metadata = _metadata(name, owner, options)
    metadata["annotations"][NODE_ANNOTATION] = where.node
    spec: dict[str, Any] = {
        # Past the scheduler: the node was chosen by name, and may be cordoned, full of taints or of pods.
        "nodeName": where.node,
        "hostNetwork": True,  # connection tracking is the node's
        "hostPID": True,  # names of processes
        "dnsPolicy": "Default",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "tolerations": [{"operator": "Exists"}],
        "containers": [_container(options, where, command)],
        "volumes": [
            {
                "name": "agent",
                "configMap": {
                    "name": binaries,
                    "defaultMode": 0o555,
                    "items": [{"key": _key(where.architecture), "path": _key(where.architecture)}],
                },
            },
            {"name": "run", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "cgroup", "hostPath": {"path": "/sys/fs/cgroup", "type": "Directory"}},
        ],
    }
    if options.priority_class:
        spec["priorityClassName"] = options.priority_class
    if options.image_pull_secret:
        spec["imagePullSecrets"] = [{"name": options.image_pull_secret}]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": lifetime_s + 10,  # the agent ends by itself before
            "ttlSecondsAfterFinished": TTL_S,
            "template": {"metadata": pod_metadata, "spec": spec},
        },
    }


def _container(options: AgentOptions, where: Placement, command: list[str]) -> dict[str, Any]:
    # No appArmorProfile: the runtimes' default one allows all that the agent does (it forbids to mount and to
    # trace, which it never does), and API servers before 1.30 do not know the field.
    security: dict[str, Any] = {
        "runAsUser": 0,
        "runAsNonRoot": False,  # an image may say otherwise, and pause does
        "readOnlyRootFilesystem": True,
        # Older default profiles refuse bpf() even to who has CAP_BPF (moby#43374).
        "seccompProfile": {"type": "Unconfined"},
        # Without it SELinux refuses bpf(); nodes without SELinux do not look at it.
        "seLinuxOptions": {"level": "s0", "type": "spc_t"},
    }
    if options.privileged:
        security["privileged"] = True
    else:
        security["allowPrivilegeEscalation"] = False
        security["capabilities"] = {"drop": ["ALL"], "add": capabilities_on(where.kernel)}
    if where.node in options.enter_nodes and not options.privileged:
        security["capabilities"]["add"] += ENTER_CAPABILITIES
        # The default profile forbids to look into other processes.
        security["appArmorProfile"] = {"type": "Unconfined"}
    limits = {"memory": options.memory}
    if options.cpu:  # none by default: an agent that is throttled loses what its ring has no room for
        limits["cpu"] = options.cpu
    return {
        "name": CONTAINER,
        "image": where.image,
        "imagePullPolicy": "IfNotPresent" if where.pull else "Never",
        "command": command,
        # Little, because the kubelet, too, refuses a pod for which a full node has no room. The maps in the
        # kernel count as ours.
        "resources": {"requests": {"cpu": "10m", "memory": f"{LEAST_MEMORY_MI}Mi"}, "limits": limits},
        # Its last words are then in the pod's status: nobody needs the right to read logs for them.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": security,
        "volumeMounts": [
            {"name": "agent", "mountPath": _BINARIES, "readOnly": True},
            {"name": "run", "mountPath": _RUN},
            {"name": "cgroup", "mountPath": _CGROUP, "readOnly": True},
        ],
    }


def _key(architecture: str) -> str:
    return f"agent-{architecture}"


def _metadata(name: str, owner: Ownership, options: AgentOptions) -> dict[str, Any]:
    return {
        "name": name,
        "namespace": options.namespace,
        "labels": {LABEL: MANAGER, NAME_LABEL: AGENT, SESSION_LABEL: owner.session},
        "annotations": {OWNER_ANNOTATION: msgspec.json.encode(owner).decode()},
    }
