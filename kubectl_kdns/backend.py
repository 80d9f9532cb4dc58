"""The contract that a backend fulfils, and the registry that finds backends.

A backend is a module named in plugin.yaml (or an entry point in the group `kubectl_kdns.backends`) with one
object `BACKEND` that fulfils `Backend`. Live and recorded data take one path: `open` gives a Source for a
cluster, `decode` gives batches of the same records for a file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol, runtime_checkable

from msgspec import Struct, field

from kubectl_kdns.errors import UsageError, did_you_mean
from kubectl_kdns.model import Record

if TYPE_CHECKING:
    from kubectl_kdns.change import Change, Leftover
    from kubectl_kdns.directory import Directory
    from kubectl_kdns.doctor import Check, ClusterFacts
    from kubectl_kdns.doctor.inside import Inside
    from kubectl_kdns.filter import Filter
    from kubectl_kdns.kube import Cluster


class Probe(Struct, frozen=True):
    """A backend's answer to "can you work here?": `fix` is the smallest change that would make it usable.

    `creates`: it would work at once, but creates objects in the cluster while it runs, so it has to be asked
    for; `evidence` says which.
    """

    usable: bool
    evidence: str
    fix: str = ""
    creates: bool = False


class Plan(Struct, frozen=True):
    """What a backend does itself of a filter. `takes` says it for --explain-filter, one clause an item;
    `work` is the backend's own. It must never drop an event that the filter wants.

    `sees_twice`: it sees a lookup at several places by itself, at the client's socket and at the server's.
    """

    takes: tuple[str, ...] = ()
    work: Any = None
    sees_twice: bool = False


class Scope(Struct, frozen=True):
    """What to open. Times are nanoseconds since the epoch; None is "no limit".

    `history` asks for events from before now (bounded by `since_ns` and `tail` lines a source; no more than
    the `last` lookups of all are wanted), `follow` for those from now on. `options` are the backend's own
    flags by their long name, `-` as `_`. `progress` asks for notices `progress`, from backends that know it.
    """

    cluster: Cluster | None = None
    directory: Directory | None = None
    history: bool = False
    follow: bool = True
    since_ns: int | None = None
    tail: int | None = None
    last: int | None = None
    previous: bool = False
    raw: bool = False
    messages: bool = False
    progress: bool = False
    timeout_ns: int = 5_000_000_000
    options: Mapping[str, Any] = field(default_factory=dict)


class Source(Protocol):
    """An open stream: iterating yields batches in order of completion; an empty batch is a heartbeat.

    `close` may be called from any thread, more than once; iteration then ends soon, after the rest.
    `counters` are figures for the summary (lines_read, lines_not_queries, ...), valid at any time.
    `description` says what is read ("the logs of 2 CoreDNS pods"), once iteration has begun at the latest.
    `in_history` is True while it is known that more of the past is to come.
    """

    in_history: bool

    @property
    def description(self) -> str: ...
    @property
    def counters(self) -> Mapping[str, int]: ...
    def __iter__(self) -> Iterator[list[Record]]: ...
    def close(self) -> None: ...


class Backend(Protocol):
    """One way to see DNS."""

    name: str

    def probe(self, cluster: Cluster, options: Mapping[str, Any]) -> Probe:
        """Only reads; never raises for what the cluster lacks, that is its answer. Raises ClusterError when
        the cluster cannot be asked: not reached, or login refused. `options` are the backend's own flags, and
        `namespaces`, those of the clients that are wanted (none: all)."""

    def plan(self, filter_: Filter) -> Plan: ...

    def open(self, scope: Scope, plan: Plan) -> Source:
        """Raises KdnsError when it cannot work here."""

    def sniff(self, head: bytes) -> bool:
        """Whether a file that begins with `head` (up to 64 KiB, uncompressed) is for this backend."""

    def decode(self, stream: BinaryIO, scope: Scope, plan: Plan) -> Source:
        """Reads a recorded file; never raises on content, a broken end is a `loss`."""

    def change(self, cluster: Cluster, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Change:
        """The temporary change that makes this backend see (more); UsageError where there is none."""

    def leftovers(self, cluster: Cluster) -> list[Leftover]:
        """What earlier runs of this backend left in the cluster. Raises KdnsError when it cannot look."""


@runtime_checkable
class Creator(Protocol):
    """What a backend has besides whose `open` creates objects in the cluster, for --dry-run."""

    def creates(self, scope: Scope, plan: Plan, *, server: bool) -> list[Any]:
        """Those objects. With `server` the API server has looked at them; raises KdnsError if it refuses."""


class AgentProgram(Struct, frozen=True):
    """A program that a backend runs on nodes of an architecture (GOARCH's name); `sha256` is hexadecimal."""

    architecture: str
    size_bytes: int
    sha256: str


@runtime_checkable
class AgentOwner(Protocol):
    """What a backend has besides that runs programs of its own on nodes."""

    def programs(self) -> list[AgentProgram]:
        """Those that came with it; a damaged installation may lack them."""


class Entered(Protocol):
    """A place in the cluster from which DNS messages can be sent; `resolv_conf` is its file's text."""

    resolv_conf: str

    def send(self, slot: int, server: str, port: int, message: bytes, *, over_tcp: bool) -> None:
        """From socket number `slot` there (0 to 63), which keeps the server of its first message."""

    def receive(self, timeout_s: float) -> tuple[int, int, bytes] | None:
        """The slot, an errno (0: none) and the message that came; None when nothing did in time."""

    def close(self) -> None: ...


@runtime_checkable
class Enterable(Protocol):
    """What a source has besides that can ask from within a pod of the cluster."""

    def enter(self, node: str, pod_uid: str) -> Entered:
        """`pod_uid` "" is the node itself. Raises BackendError while it cannot."""


class Forward(Struct, frozen=True):
    """One of those that a DNS server of the cluster asks in turn: `server` is its kind (coredns, nodelocal),
    `where` names what says so, `zone` what is asked there ("." for all), `to` an address or the file that
    has them, `scheme` dns, tls, quic, https or grpc."""

    server: str
    where: str
    zone: str
    to: str
    port: int
    scheme: str = "dns"


@runtime_checkable
class Forwarder(Protocol):
    """What a backend has besides that knows whom the DNS servers ask in turn."""

    def forwards(self, cluster: Cluster, options: Mapping[str, Any]) -> list[Forward]:
        """All of them; raises KdnsError when that cannot be known."""


class ServerPod(Struct, frozen=True):
    """A pod that answers DNS for the cluster, with the port of its container."""

    namespace: str
    name: str
    node: str
    ip: str
    port: int
    labels: Mapping[str, str]


@runtime_checkable
class ServerFinder(Protocol):
    """What a backend has besides that knows the pods of the DNS servers."""

    def servers(self, cluster: Cluster, options: Mapping[str, Any]) -> list[ServerPod]:
        """The ready ones; raises KdnsError when they cannot be found."""


@runtime_checkable
class Doctor(Protocol):
    """What a backend has besides that knows how the DNS server which it watches should look."""

    @property
    def checks(self) -> Sequence[Check[Any]]:
        """They judge what `facts` gives; their `needs` may also name fields of `ClusterFacts`."""

    def facts(
        self,
        cluster: Cluster,
        options: Mapping[str, Any],
        general: Callable[[], ClusterFacts],
        needs: frozenset[str],
        inside: Inside,
    ) -> Any:
        """Reads what the chosen checks need. `general` waits for the general facts, which are read meanwhile.

        Only reads, and opens `inside` if that is among the needs; never raises for what cannot be read, it is
        `Unread` in the facts."""


class BackendInfo(Struct, frozen=True):
    """One row of plugin.yaml's `backends`."""

    name: str
    module: str
    summary: str
    live: bool
    components: tuple[str, ...]
    node_capabilities: tuple[str, ...]
    rbac: tuple[Mapping[str, Any], ...]
    rbac_change: tuple[Mapping[str, Any], ...] = ()
    """What its temporary change needs besides."""


@cache
def load_plugin() -> dict[str, Any]:
    """plugin.yaml as data: beside the core in a wheel or an archive, at the root of a checkout."""
    from pathlib import Path

    import yaml

    here = Path(__file__).resolve().parent
    for path in (here / "plugin.yaml", here.parent / "plugin.yaml"):
        if path.is_file():
            loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
            data: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=loader)
            return data
    raise FileNotFoundError(f"plugin.yaml is neither in {here} nor above it: the installation is damaged")


def own_backends() -> dict[str, BackendInfo]:
    """The backends of plugin.yaml, by name."""
    return {
        name: BackendInfo(
            name=name,
            module=row["module"],
            summary=row["summary"],
            live=row["live"],
            components=tuple(row["components"]),
            node_capabilities=tuple(row["nodeCapabilities"]),
            rbac=tuple(row["rbac"]),
            rbac_change=tuple(row.get("rbacChange", ())),
        )
        for name, row in load_plugin()["backends"].items()
    }


def backend_infos() -> dict[str, BackendInfo]:
    """All backends by name: plugin.yaml's first, then those of installed packages."""
    # Looking through what is installed costs as much as the rest of a start: only where all are asked for.
    from importlib.metadata import entry_points

    rows = own_backends()
    for entry in entry_points(group="kubectl_kdns.backends"):
        rows.setdefault(
            entry.name,
            BackendInfo(entry.name, entry.module, f"from the package of {entry.module}", True, (), (), ()),
        )
    return rows


def find_backend(name: str) -> BackendInfo:
    """The row of that name; UsageError with a suggestion when there is none."""
    infos = own_backends()
    if name not in infos:
        infos = backend_infos()
    if name not in infos:
        hint = did_you_mean(name, list(infos)) or f"backends are: {', '.join(infos)}"
        raise UsageError(f"there is no backend {name!r}", hint=hint)
    return infos[name]


def load_backend(name: str) -> Backend:
    """The backend of that name, imported."""
    import importlib

    backend: Backend = importlib.import_module(find_backend(name).module).BACKEND
    return backend
