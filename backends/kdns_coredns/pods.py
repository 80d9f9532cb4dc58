"""What a pod object says about a CoreDNS: which container, which kind, which Corefile it was started with."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

import msgspec
from msgspec import UNSET, Struct

from kubectl_kdns.kube.objects import Meta, workload_of
from kubectl_kdns.model import Maybe, Workload
from kubectl_kdns.times import parse_time

DEFAULT_COREFILE = "/etc/coredns/Corefile"
NODELOCAL_COREFILE = "/etc/coredns/Corefile.base"
"""node-cache makes its Corefile from this template (kubernetes/dns `cmd/node-cache`, `-basecorefile`)."""
KUBE_DNS_CONTAINERS = frozenset({"kubedns", "dnsmasq"})


class _Mount(Struct, rename="camel"):
    name: str = ""
    mount_path: str = ""
    sub_path: str = ""


class _Resources(Struct):
    limits: dict[str, str | int | float] | None = None


class Container(Struct):
    name: str = ""
    image: str = ""
    command: list[str] | None = None
    args: list[str] | None = None
    resources: _Resources = msgspec.field(default_factory=_Resources)
    mounts: list[_Mount] | None = msgspec.field(name="volumeMounts", default=None)

    @property
    def words(self) -> list[str]:
        return [*(self.command or ()), *(self.args or ())]


class _Item(Struct):
    key: str = ""
    path: str = ""


class _ConfigMap(Struct):
    name: str = ""
    items: list[_Item] | None = None


class _Projection(Struct, rename="camel"):
    config_map: _ConfigMap | None = None


class _Projected(Struct):
    sources: list[_Projection] | None = None


class _Volume(Struct, rename="camel"):
    name: str = ""
    config_map: _ConfigMap | None = None
    projected: _Projected | None = None

    @property
    def config_maps(self) -> list[_ConfigMap]:
        if self.config_map:
            return [self.config_map]
        sources = (self.projected.sources if self.projected else None) or ()
        return [source.config_map for source in sources if source.config_map]


class _Spec(Struct, rename="camel"):
    node_name: str = ""
    host_network: bool = False
    dns_policy: str = "ClusterFirst"
    containers: list[Container] = []
    volumes: list[_Volume] | None = None


class _Running(Struct, rename="camel"):
    started_at: str | None = None


class _Terminated(Struct, rename="camel"):
    reason: str = ""
    exit_code: int = 0
    finished_at: str | None = None


class _Waiting(Struct):
    reason: str = ""
    message: str = ""


class _State(Struct):
    running: _Running | None = None
    terminated: _Terminated | None = None
    waiting: _Waiting | None = None


class _ContainerStatus(Struct, rename="camel"):
    name: str = ""
    restart_count: int = 0
    ready: bool = False
    state: _State | None = None
    last_state: _State | None = None


class _Status(Struct, rename="camel"):
    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    container_statuses: list[_ContainerStatus] | None = None


class PodObject(Struct):
    """A pod as far as we need it."""

    metadata: Meta = msgspec.field(default_factory=Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


class ConfigSource(Struct, frozen=True):
    """One key of a ConfigMap."""

    namespace: str
    name: str
    key: str


class Mount(Struct, frozen=True):
    """A ConfigMap in a container: `keys` are (path, key) below or at `path`; empty: every key by its name."""

    path: str
    namespace: str
    name: str
    keys: tuple[tuple[str, str], ...] = ()

    def key_of(self, path: str) -> str | None:
        """The key that is the file `path`, whether or not the ConfigMap has it; None when it is elsewhere."""
        for place, key in self.keys:
            if place == path:
                return key
        directory, _, file = path.rpartition("/")
        return file if not self.keys and directory == self.path else None

    def path_of(self, key: str) -> str | None:
        """Where a key of the ConfigMap is a file; None when it is not mounted."""
        if not self.keys:
            return f"{self.path}/{key}"
        return next((place for place, name in self.keys if name == key), None)


class Condition(Struct, frozen=True):
    """How a container fares. `why` is why it does not run; `last_end` and its time are of the run before this
    one; times are nanoseconds since the epoch, 0 where there is none. Limits are as they are written."""

    why: str = ""
    started_ns: int = 0
    last_end: str = ""
    last_end_ns: int = 0
    cpu_limit: str = ""
    memory_limit: str = ""
    host_network: bool = False
    dns_policy: str = "ClusterFirst"
    is_ending: bool = False
    """The pod is being deleted."""


class CorednsPod(Struct, frozen=True):
    """A pod that runs a CoreDNS; `kind` is `coredns` or `nodelocal`, as in `server.kind`.

    `config` is where its Corefile comes from, None when that is no ConfigMap; `corefile` its path in the
    container. `has_started` is whether there is a log to be read.
    """

    namespace: str
    name: str
    uid: str
    node: str
    ip: str
    container: str
    image: str
    kind: str
    labels: Mapping[str, str]
    workload: Maybe[Workload]
    restarts: int
    ready: bool
    has_started: bool
    config: ConfigSource | None
    corefile: str
    mounts: tuple[Mount, ...]
    condition: Condition = Condition()
    addresses: tuple[str, ...] = ()
    """Those on the node at which a NodeLocal DNSCache listens, by its flags."""

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name} ({self.node})" if self.node else f"{self.namespace}/{self.name}"


def has_finished(pod: PodObject) -> bool:
    """Evicted, or on a node that was shut down: its containers are gone, and it will have no others."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_kube_dns(pod: PodObject) -> bool:
    """Whether it is the DNS server that GKE has instead of CoreDNS."""
    return any(container.name in KUBE_DNS_CONTAINERS for container in pod.spec.containers)


def coredns_pod(pod: PodObject) -> CorednsPod | None:
    """The CoreDNS in a pod that a selector has chosen; None for a pod without containers."""
    if not pod.spec.containers:
        return None
    meta = pod.metadata
    container = next(
        (c for looks in (_is_node_cache, _is_coredns) for c in pod.spec.containers if looks(c)),
        pod.spec.containers[0],
    )
    nodelocal = _is_node_cache(container)
    mounts = tuple(_mounts(pod.spec, container, meta.namespace))
    corefile, config = _config(container, mounts, nodelocal)
    status = next((s for s in pod.status.container_statuses or () if s.name == container.name), None)
    state = (status and status.state) or _State()
    restarts = status.restart_count if status else 0
    return CorednsPod(
        namespace=meta.namespace,
        name=meta.name,
        uid=meta.uid,
        node=pod.spec.node_name,
        ip=pod.status.pod_ip,
        container=container.name,
        image=container.image,
        kind="nodelocal" if nodelocal else "coredns",
        labels=meta.labels or {},
        workload=_workload(meta),
        restarts=restarts,
        ready=bool(status and status.ready),
        has_started=bool(state.running or state.terminated or restarts),
        config=config,
        corefile=corefile,
        mounts=mounts,
        condition=_condition(pod, container, state, (status and status.last_state) or _State()),
        addresses=tuple(ip for ip in _flag(container.words, "localip").split(",") if ip and nodelocal),
    )


def _condition(pod: PodObject, container: Container, state: _State, before: _State) -> Condition:
    limits = container.resources.limits or {}
    why = state.waiting or state.terminated
    last = before.terminated or state.terminated
    return Condition(
        why=why.reason if why else "" if state.running else pod.status.phase,
        started_ns=_time_ns(state.running.started_at) if state.running else 0,
        last_end=(last.reason or f"exit code {last.exit_code}") if last else "",
        last_end_ns=_time_ns(last.finished_at) if last else 0,
        cpu_limit=_limit(limits.get("cpu")),
        memory_limit=_limit(limits.get("memory")),
        host_network=pod.spec.host_network,
        dns_policy=pod.spec.dns_policy,
        is_ending=pod.metadata.deletion_timestamp is not None,
    )


def _limit(quantity: str | int | float | None) -> str:
    """As it is written; "" where there is none, which is also what the kubelet makes of 0."""
    return "" if quantity is None or re.fullmatch(r"0+(\.0*)?[a-zA-Z]*", str(quantity)) else str(quantity)


def _time_ns(text: str | None) -> int:
    try:
        return parse_time(text) if text else 0
    except ValueError:
        return 0


def _workload(meta: Meta) -> Maybe[Workload]:
    try:
        created_ns = parse_time(meta.creation_timestamp) if meta.creation_timestamp else 0
    except ValueError:
        return UNSET
    return workload_of(meta, created_ns)


def _is_node_cache(container: Container) -> bool:
    image = container.image.rpartition("/")[2]
    return (
        container.name == "node-cache"
        or "node-cache" in image
        or "nodelocaldns" in image
        or any(posixpath.basename(word) == "node-cache" for word in container.words)
    )


def _is_coredns(container: Container) -> bool:
    return (
        container.name == "coredns"
        or "coredns" in container.image.rpartition("/")[2]
        or any(posixpath.basename(word) in ("coredns", "Corefile") for word in container.words)
    )


def _mounts(spec: _Spec, container: Container, namespace: str) -> Iterator[Mount]:
    volumes = {volume.name: volume for volume in spec.volumes or ()}
    for mount in container.mounts or ():
        volume = volumes.get(mount.name)
        path = mount.mount_path.rstrip("/")
        for config_map in volume.config_maps if volume else ():
            keys = [(item.path, item.key) for item in config_map.items or ()]
            if mount.sub_path:
                # One file or directory of the volume is mounted at this very path.
                named = dict(keys)
                keys = [(path, named.get(mount.sub_path, mount.sub_path))]
            else:
                keys = [(f"{path}/{place}", key) for place, key in keys]
            yield Mount(path, namespace, config_map.name, tuple(keys))


def _config(
    container: Container, mounts: tuple[Mount, ...], nodelocal: bool
) -> tuple[str, ConfigSource | None]:
    """(the Corefile's path, its source)."""
    words = container.words
    paths = [_flag(words, "conf") or DEFAULT_COREFILE]
    if nodelocal:
        paths.insert(0, _flag(words, "basecorefile") or NODELOCAL_COREFILE)
    for path in map(posixpath.normpath, paths):
        for mount in mounts:
            key = mount.key_of(path)
            if key is not None:
                return path, ConfigSource(mount.namespace, mount.name, key)
    return paths[0], None


def _flag(words: list[str], name: str) -> str:
    """The value of a Go flag: `-name value`, `-name=value`, with one dash or two."""
    for index, word in enumerate(words):
        flag, separator, value = word.partition("=")
        if flag in (f"-{name}", f"--{name}"):
            return value if separator else "".join(words[index + 1 : index + 2])
    return ""
