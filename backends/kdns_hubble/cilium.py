"""What a cluster's Cilium is: there at all, which version, and whether Hubble and the L7 proxy are on."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from kdns_hubble.api_objects import Container, Denied, PodObject, denied_by
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster

CONFIG_MAP = "cilium-config"
USUAL_NAMESPACE = "kube-system"
AGENTS = "k8s-app in (cilium,anetd)"
"""Labels of Cilium's agents: of its chart, and of GKE Dataplane V2."""
_GKE_NAME = "anetd"
_AKS_REGISTRY = "mcr.microsoft.com/"
_AGENT_CONTAINER = "cilium-agent"
_VERSION = re.compile(r":v?(\d+\.\d+\.\d+[\w.+-]*)")


class CiliumState(Struct, frozen=True):
    """`hubble`, `l7_proxy` are what its configuration says, None when it could not be read.

    `flavour` is "gke" (Dataplane V2: no L7 visibility) or "aks" (Azure CNI by Cilium), where somebody else
    manages it. `version` is that of the image ("1.17.4", "" unknown); `agents` how many there should be.
    `listen_address` is where the agents serve Hubble to a relay ("" nowhere).
    """

    present: bool = False
    namespace: str = ""
    flavour: str = ""
    version: str = ""
    agents: int | None = None
    ready_agents: int | None = None
    hubble: bool | None = None
    l7_proxy: bool | None = None
    listen_address: str | None = None
    denied: tuple[Denied, ...] = ()

    @property
    def release(self) -> tuple[int, int]:
        """(1, 17) of "1.17.4"; (0, 0) when the version is not known."""
        numbers = self.version.split(".")
        return (int(numbers[0]), int(numbers[1])) if self.version else (0, 0)


class _Meta(Struct):
    name: str = ""
    namespace: str = ""


class _Template(Struct):
    spec: _TemplateSpec


class _TemplateSpec(Struct):
    containers: list[Container] | None = None


class _SetSpec(Struct):
    template: _Template | None = None


class _SetStatus(Struct, rename="camel"):
    desired_number_scheduled: int = 0
    number_ready: int = 0


class _DaemonSet(Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _SetSpec = msgspec.field(default_factory=_SetSpec)
    status: _SetStatus = msgspec.field(default_factory=_SetStatus)

    @property
    def containers(self) -> list[Container]:
        return (self.spec.template and self.spec.template.spec.containers) or []


def find_cilium(cluster: Cluster, namespace: str = "") -> CiliumState:
    """Two requests where Cilium is as its chart makes it; `namespace` "" looks in all of them.

    Never raises for what is missing or not allowed; ClusterError when the cluster cannot be asked.
    """
    denied: list[Denied] = []
    state = _agents(cluster, namespace, denied)
    if state is None and denied and not namespace:
        state = _agents(cluster, USUAL_NAMESPACE, denied)
    if state is None:
        state = CiliumState(namespace=namespace or USUAL_NAMESPACE)
    config = _config(cluster, state.namespace, denied)
    if config is not None:
        # The agent's own defaults (pkg/hubble/cell/config.go, pkg/defaults/defaults.go) for keys left out.
        state = msgspec.structs.replace(
            state,
            present=True,
            hubble=config.get("enable-hubble", "false") == "true",
            l7_proxy=config.get("enable-l7-proxy", "true") == "true",
            listen_address=safe_text(config.get("hubble-listen-address", "")),
        )
    return msgspec.structs.replace(state, denied=tuple(dict.fromkeys(denied)))


def _agents(cluster: Cluster, namespace: str, denied: list[Denied]) -> CiliumState | None:
    return _by_daemon_sets(cluster, namespace, denied) or _by_pods(cluster, namespace, denied)


def _by_daemon_sets(cluster: Cluster, namespace: str, denied: list[Denied]) -> CiliumState | None:
    path = f"/apis/apps/v1{f'/namespaces/{namespace}' if namespace else ''}/daemonsets"
    try:
        pages = cluster.pages(path, _DaemonSet, labelSelector=AGENTS, resourceVersion="0")
        found = [one for page in pages for one in page.items or ()]
    except ForbiddenError as error:
        denied.append(denied_by(error, path))
        return None
    if not found:
        return None
    # GKE has a set for each size of node; most of them are empty.
    found.sort(key=lambda one: -one.status.desired_number_scheduled)
    return CiliumState(
        present=True,
        namespace=safe_text(found[0].metadata.namespace),
        flavour=_flavour(found[0].metadata.name, found[0].containers),
        version=_version(found[0].containers),
        agents=sum(one.status.desired_number_scheduled for one in found),
        ready_agents=sum(one.status.number_ready for one in found),
    )


def _by_pods(cluster: Cluster, namespace: str, denied: list[Denied]) -> CiliumState | None:
    """By one of the agents: in a large cluster all of them would be megabytes."""
    path = f"/api/v1{f'/namespaces/{namespace}' if namespace else ''}/pods"
    try:
        page = next(cluster.pages(path, PodObject, labelSelector=AGENTS, limit=1))
    except ForbiddenError as error:
        denied.append(denied_by(error, path))
        return None
    if not page.items:
        return None
    pod = page.items[0]
    containers = pod.spec.containers or []
    return CiliumState(
        present=True,
        namespace=safe_text(pod.metadata.namespace),
        flavour=_flavour(pod.metadata.name, containers),
        version=_version(containers),
    )


def _config(cluster: Cluster, namespace: str, denied: list[Denied]) -> Mapping[str, str] | None:
    path = f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}"
    try:
        data: Mapping[str, str] = cluster.get(path).get("data") or {}
        return data
    except NotFoundError:
        return None
    except ForbiddenError as error:
        denied.append(denied_by(error, path))
        return None


def _agent(containers: Sequence[Container]) -> Container:
    named = [one for one in containers if one.name == _AGENT_CONTAINER]
    return (named or [*containers, Container()])[0]


def _flavour(name: str, containers: Sequence[Container]) -> str:
    if name.startswith(_GKE_NAME):
        return "gke"
    return "aks" if _agent(containers).image.startswith(_AKS_REGISTRY) else ""


def _version(containers: Sequence[Container]) -> str:
    # A registry's port comes before the last slash; the digest after an @ is no version.
    match = _VERSION.search(_agent(containers).image.rpartition("/")[2].partition("@")[0])
    return safe_text(match[1]) if match else ""
