"""The edge of the CoreDNS checks: reads pods, controllers, Corefiles and logs, and has the pods asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from kdns_coredns import (
    doctor_corefile,
    doctor_inside,
    doctor_lookups,
    doctor_nodelocal,
    doctor_paths,
    doctor_plugins,
    doctor_pods,
    doctor_routes,
)
from kdns_coredns.configs import read_corefiles
from kdns_coredns.discover import KubeDnsError, discover
from kdns_coredns.doctor_facts import (
    COREDNS,
    ControllerFacts,
    CorednsFacts,
    CorefileFacts,
    InsideFacts,
    LookupFacts,
    dns_ports,
    domain_of,
    read_corefile,
)
from kdns_coredns.notes import reload_event
from kdns_coredns.pods import CorednsPod
from kubectl_kdns.doctor import Check, ClusterFacts, Target, Unread
from kubectl_kdns.doctor.facts import SYSTEM_NAMESPACES, dns_service
from kubectl_kdns.doctor.finding import INSIDE, NOT_ASKED
from kubectl_kdns.doctor.inside import Inside
from kubectl_kdns.doctor.parallel import attempt, each
from kubectl_kdns.errors import BackendError, ClusterError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import NS_PER_S, format_time

CHECKS: tuple[Check[CorednsFacts], ...] = (
    *doctor_pods.CHECKS,
    *doctor_corefile.CHECKS,
    *doctor_plugins.CHECKS,
    *doctor_routes.CHECKS,
    *doctor_nodelocal.CHECKS,
    *doctor_lookups.CHECKS,
    *doctor_paths.CHECKS,
)
MAX_PODS = 20
"""So many are asked: each takes a websocket of its own."""
LOG_BYTES = 16 << 20


class _Meta(Struct):
    name: str = ""
    namespace: str = ""


class _Spec(Struct):
    replicas: int | None = None


class _Status(Struct, rename="camel"):
    replicas: int = 0
    ready_replicas: int = 0


class _Deployment(Struct):
    metadata: _Meta
    spec: _Spec
    status: _Status


def read_facts(
    cluster: Cluster,
    options: Mapping[str, Any],
    general: Callable[[], ClusterFacts],
    needs: frozenset[str],
    inside: Inside,
) -> CorednsFacts:
    """What the checks need, `general` facts included."""
    now_ns = time.time_ns()
    try:
        # What is being deleted has had its successor made, and gets no lookups any more.
        found = tuple(pod for pod in discover(cluster, options).pods if not pod.condition.is_ending)
    except BackendError as error:
        return _without_coredns(cluster, general(), now_ns, error)
    except ClusterError as error:
        why = Unread.of(error)
        return CorednsFacts(
            general(), now_ns, why, controllers=why, corefiles=why, lookups=why, reloads=why, inside=why
        )
    with ThreadPoolExecutor(3, "kdns-doctor") as pool:
        texts = pool.submit(read_corefiles, cluster, found)
        controllers = pool.submit(attempt, lambda: _controllers(cluster, found))
        # The general facts are on their way meanwhile.
        facts = general()
        pods = _of_cluster(found, facts)
        corefiles = tuple(
            read_corefile(source, text, own)
            for source, text in texts.result().items()
            if (own := tuple(pod for pod in pods if pod.config == source))
        )
        question = _question(corefiles, facts)
        asked = (
            pool.submit(attempt, lambda: _inside(inside, options, pods, corefiles, facts, question))
            if INSIDE in needs
            else None
        )
        lookups = pool.submit(_lookups, cluster, pods, corefiles, question) if "lookups" in needs else None
        return CorednsFacts(
            cluster=facts,
            now_ns=now_ns,
            pods=pods,
            others=len(found) - len(pods),
            controllers=_owning(pods, controllers.result()),
            corefiles=corefiles,
            reloads=_reloads(cluster, corefiles) if "reloads" in needs else {},
            lookups=lookups.result() if lookups else (),
            inside=asked.result() if asked else NOT_ASKED,
        )


def _without_coredns(cluster: Cluster, facts: ClusterFacts, now_ns: int, error: BackendError) -> CorednsFacts:
    why = Unread.of(error)
    absent = CorednsFacts(
        facts, now_ns, (), absent=why, corefiles=(), lookups=(), reloads={}, inside=InsideFacts((), ())
    )
    if isinstance(error, KubeDnsError):
        return replace(absent, is_kube_dns=True, controllers=())
    # Its Deployment may be there, scaled to 0.
    return replace(absent, controllers=attempt(lambda: _named(cluster, SYSTEM_NAMESPACES[:1], {COREDNS})))


def _of_cluster(found: tuple[CorednsPod, ...], facts: ClusterFacts) -> tuple[CorednsPod, ...]:
    """Those of the cluster's own DNS: behind its Service, or in the usual place. Others run CoreDNS, too."""
    service = None
    if not isinstance(facts.services, Unread):
        service = dns_service(facts, facts.services)
    selector = (service and service.selector) or {}
    behind = {
        pod.uid
        for pod in found
        if service
        and selector
        and pod.namespace == service.namespace
        and selector.items() <= pod.labels.items()
    }
    homes = (service.namespace,) if service else SYSTEM_NAMESPACES
    usual = {pod.uid for pod in found if pod.namespace in homes}
    chosen = behind or usual or {pod.uid for pod in found}
    return tuple(pod for pod in found if pod.uid in chosen or pod.kind != COREDNS)


def _controllers(cluster: Cluster, pods: tuple[CorednsPod, ...]) -> tuple[ControllerFacts, ...]:
    names = {str(pod.workload.name) for pod in pods if pod.workload}
    return _named(cluster, dict.fromkeys(pod.namespace for pod in pods), names)


def _named(cluster: Cluster, namespaces: Iterable[str], names: set[str]) -> tuple[ControllerFacts, ...]:
    return tuple(
        ControllerFacts(
            Target("deployment", item.metadata.name, item.metadata.namespace),
            1 if item.spec.replicas is None else item.spec.replicas,
            item.status.replicas,
            item.status.ready_replicas,
        )
        for namespace in namespaces
        for page in cluster.pages(f"/apis/apps/v1/namespaces/{namespace}/deployments", _Deployment)
        for item in page.items or ()
        if item.metadata.name in names
    )


def _owning(
    pods: tuple[CorednsPod, ...], controllers: tuple[ControllerFacts, ...] | Unread
) -> tuple[ControllerFacts, ...] | Unread:
    if isinstance(controllers, Unread):
        return controllers
    owners = {(pod.namespace, str(pod.workload.name)) for pod in pods if pod.workload}
    return tuple(one for one in controllers if (one.target.namespace, one.target.name) in owners)


def _question(corefiles: tuple[CorefileFacts, ...], facts: ClusterFacts) -> tuple[str, str]:
    """A name that every cluster has, and the type that its addresses have."""
    services = () if isinstance(facts.services, Unread) else facts.services
    service = dns_service(facts, services)
    # The Service of the API server has the families that the cluster has.
    type_ = "AAAA" if service and service.ips and all(":" in ip for ip in service.ips) else "A"
    return f"kubernetes.default.svc.{domain_of(facts, corefiles)}", type_


def _lookups(
    cluster: Cluster,
    pods: tuple[CorednsPod, ...],
    corefiles: tuple[CorefileFacts, ...],
    question: tuple[str, str],
) -> tuple[LookupFacts, ...]:
    asked = [pod for pod in pods if pod.kind == COREDNS and pod.ready][:MAX_PODS]
    ports = dns_ports(corefiles)
    return tuple(each(lambda pod: doctor_lookups.ask_pod(cluster, pod, ports[pod.uid], *question), asked))


def _inside(
    inside: Inside,
    options: Mapping[str, Any],
    pods: tuple[CorednsPod, ...],
    corefiles: tuple[CorefileFacts, ...],
    facts: ClusterFacts,
    question: tuple[str, str],
) -> InsideFacts:
    nodes = doctor_inside.nodes_of(pods, facts, options)
    if not nodes:
        raise BackendError("no ready node for an agent, or none fits --agent-node", hint="kubectl get nodes")
    inside.open(nodes)
    return doctor_inside.ask_inside(inside, nodes, pods, corefiles, facts, *question)


def _reloads(cluster: Cluster, corefiles: tuple[CorefileFacts, ...]) -> dict[str, str | Unread]:
    stale = [(one, pod) for one in corefiles for pod in doctor_corefile.stale_pods(one)][:MAX_PODS]
    events = each(lambda pair: attempt(lambda: _last_reload(cluster, *pair)), stale)
    return {pod.uid: event for (_, pod), event in zip(stale, events, strict=True)}


def _last_reload(cluster: Cluster, corefile: CorefileFacts, pod: CorednsPod) -> str:
    """What the log says last of a new Corefile, since that was changed; "" when nothing."""
    # Managed fields have whole seconds.
    since = format_time(corefile.changed_ns // NS_PER_S * NS_PER_S)
    log = cluster.open(
        f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}/log",
        container=pod.container,
        sinceTime=since,
        limitBytes=LOG_BYTES,
    )
    rest, last = b"", ""
    try:
        while part := log.read1():
            *lines, rest = (rest + part).split(b"\n")
            last = next((event for line in reversed(lines) if (event := reload_event(line))), last)
    finally:
        log.close()
    return reload_event(rest) or last
