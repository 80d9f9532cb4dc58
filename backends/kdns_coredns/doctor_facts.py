"""What the CoreDNS checks judge: pods, their controllers, Corefiles, lookups, with the general facts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from kdns_coredns.configs import CorefileText
from kdns_coredns.corefile import Corefile, CorefileError, parse_corefile
from kdns_coredns.log_settings import LogSettings, log_settings
from kdns_coredns.pods import ConfigSource, CorednsPod
from kubectl_kdns.backend import Forward
from kubectl_kdns.doctor import ClusterFacts, Target, Unread, known
from kubectl_kdns.doctor.finding import NOT_ASKED
from kubectl_kdns.resolver import DNS_PORT, Reply
from kubectl_kdns.times import parse_time

COREDNS, NODELOCAL = "coredns", "nodelocal"
UDP, TCP, LARGE_UDP, LARGE_TCP = "UDP", "TCP", "large UDP", "large TCP"


class ControllerFacts(Struct, frozen=True):
    """A Deployment of a DNS server: how many pods it should have, has, and has ready."""

    target: Target
    wanted: int
    made: int
    ready: int


class CorefileFacts(Struct, frozen=True):
    """One Corefile with the pods that read it. `mistake` is why CoreDNS would refuse it.

    `changed_ns` is when its ConfigMap was changed last, at the latest; 0 where that is not known.
    """

    source: ConfigSource
    pods: tuple[CorednsPod, ...]
    corefile: Corefile | Unread
    mistake: str = ""
    gone: str = ""
    changed_ns: int = 0

    @property
    def target(self) -> Target:
        return Target("configmap", self.source.name, self.source.namespace)

    @property
    def is_nodelocal(self) -> bool:
        return all(pod.kind == NODELOCAL for pod in self.pods)

    @property
    def edit(self) -> str:
        return f"kubectl -n {self.source.namespace} edit configmap {self.source.name}"

    @property
    def settings(self) -> LogSettings:
        return log_settings(known(self.corefile))


class LookupFacts(Struct, frozen=True):
    """One question asked of one pod several times: the rcode of the last answer, or why there is none.

    `latencies_ns` are of those that were answered.
    """

    pod: CorednsPod
    name: str
    rcode: str = ""
    addresses: int = 0
    latencies_ns: tuple[int, ...] = ()
    error: str = ""
    fix: str = ""
    asked: bool = True
    """Whether the way to the pod was there: else nothing is known of the pod."""

    @property
    def median_ns(self) -> int:
        ordered = sorted(self.latencies_ns)
        return ordered[len(ordered) // 2] if ordered else 0


class PathFacts(Struct, frozen=True):
    """What became of one question on its way from `asker` (a DNS server's pod, or a node) to `server` (such a
    pod, or the Service). `way` is UDP, TCP, LARGE_UDP or LARGE_TCP."""

    asker: Target
    server: Target
    way: str
    reply: Reply


class UpstreamFacts(Struct, frozen=True):
    """What an upstream answered to a pod that forwards to it; `problem` is why it was not asked."""

    pod: CorednsPod
    forward: Forward
    address: str
    udp: Reply = Reply()
    tcp: Reply = Reply()
    problem: str = ""


class InsideFacts(Struct, frozen=True):
    """What was asked from within pods and nodes. `not_entered` are those from which it could not be."""

    paths: tuple[PathFacts, ...]
    upstreams: tuple[UpstreamFacts, ...]
    not_entered: tuple[tuple[Target, Unread], ...] = ()
    nodes: int = 0
    all_nodes: int = 0


class CorednsFacts(Struct, frozen=True):
    """All of them. `absent` is why there is no CoreDNS, where that is certain; `reloads`, by a pod's UID, is
    what its log last says of a new Corefile since that was changed ("" is nothing)."""

    cluster: ClusterFacts
    now_ns: int
    pods: tuple[CorednsPod, ...] | Unread
    absent: Unread | None = None
    is_kube_dns: bool = False
    others: int = 0
    controllers: tuple[ControllerFacts, ...] | Unread = NOT_ASKED
    corefiles: tuple[CorefileFacts, ...] | Unread = NOT_ASKED
    lookups: tuple[LookupFacts, ...] | Unread = NOT_ASKED
    reloads: Mapping[str, str | Unread] | Unread = NOT_ASKED
    inside: InsideFacts | Unread = NOT_ASKED

    @property
    def coredns(self) -> tuple[CorednsPod, ...]:
        return tuple(pod for pod in known(self.pods) if pod.kind == COREDNS)

    @property
    def nodelocal(self) -> tuple[CorednsPod, ...]:
        return tuple(pod for pod in known(self.pods) if pod.kind == NODELOCAL)

    @property
    def domain(self) -> str:
        return domain_of(self.cluster, () if isinstance(self.corefiles, Unread) else self.corefiles)


def pod_target(pod: CorednsPod) -> Target:
    return Target("pod", pod.name, pod.namespace)


def read_corefile(source: ConfigSource, text: CorefileText, pods: tuple[CorednsPod, ...]) -> CorefileFacts:
    """What one text says, parsed as CoreDNS does."""
    right = f"kubectl auth can-i get configmaps -n {source.namespace}"
    facts = CorefileFacts(source, pods, Unread(text.reason, right), changed_ns=_changed_ns(text.config_map))
    if text.text is None:
        return replace(facts, gone=text.reason if text.gone else "")
    try:
        return replace(facts, corefile=parse_corefile(text.text, resolve=text.resolve))
    except CorefileError as error:
        return replace(facts, corefile=Unread(str(error)), mistake=str(error))


def dns_ports(corefiles: Iterable[CorefileFacts]) -> Mapping[str, int]:
    """By a pod's UID, the port at which it answers; the usual one where its Corefile does not say."""
    ports = {
        pod.uid: one.settings.port
        for one in corefiles
        if not isinstance(one.corefile, Unread)
        for pod in one.pods
    }
    return defaultdict(lambda: DNS_PORT, {uid: port for uid, port in ports.items() if port})


def _changed_ns(config_map: Mapping[str, object]) -> int:
    metadata = config_map.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    times = [entry.get("time") for entry in metadata.get("managedFields") or ()]
    times.append(metadata.get("creationTimestamp"))
    stamps = []
    for time in times:
        try:
            stamps.append(parse_time(time) if isinstance(time, str) else 0)
        except ValueError:
            continue
    return max(stamps, default=0)


def domain_of(cluster: ClusterFacts, corefiles: tuple[CorefileFacts, ...]) -> str:
    """The cluster's domain: as kubelets say it, else the first zone of a `kubernetes` plugin that is no
    reverse zone, else the usual one."""
    kubelets = () if isinstance(cluster.kubelets, Unread) else cluster.kubelets
    said = (kubelet.domain for kubelet in kubelets)
    zones = (
        zone
        for facts in corefiles
        if not isinstance(facts.corefile, Unread)
        for block in facts.corefile.blocks
        for directive in block.named("kubernetes")
        for zone in directive.args or tuple(zone.name for zone in block.zones)
    )
    names = (name.rstrip(".").lower() for names in (said, zones) for name in names)
    return next((name for name in names if name and not name.endswith(".arpa")), "cluster.local")
