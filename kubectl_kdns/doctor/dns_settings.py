"""Checks of what pods ask for in their specs: dnsPolicy, ndots, search lists, name servers of their own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator

from kubectl_kdns.doctor.facts import DNS_SERVER_LABELS, ClusterFacts, PodFacts, ServiceFacts, dns_service
from kubectl_kdns.doctor.finding import (
    CLUSTER,
    Target,
    Unread,
    Verdict,
    check,
    counted,
    info,
    known,
    ok,
    warning,
)

TOPIC = "Pods"
USUAL_NDOTS = 5
OLD_SEARCH_LIMIT = 6
"""glibc before 2.26 and musl before 1.1.13 cut a longer search list."""
_PATCHABLE = ("deployment", "daemonset", "statefulset")


@check(
    "pods-host-network",
    topic=TOPIC,
    help="Pods in their node's network ask the cluster's DNS if they mean to",
    worst="warning",
    needs=("pods",),
    fix="dnsPolicy: ClusterFirstWithHostNet",
)
def pods_host_network(facts: ClusterFacts) -> Iterator[Verdict]:
    pods = [pod for pod in known(facts.pods) if pod.host_network and pod.dns_policy == "ClusterFirst"]
    # Those of the system must work before there is a cluster DNS, and static ones know no cluster.
    system = [pod for pod in pods if pod.static or pod.namespace.startswith("kube-")]
    others = [pod for pod in pods if pod not in system]
    why = "in the node's network dnsPolicy ClusterFirst means the node's resolv.conf"
    for owner, count in _by_owner(others):
        yield warning(
            owner, f"{counted(count, 'pod')} cannot resolve names of Services: {why}", _patch(owner)
        )
    if system:
        yield info(CLUSTER, f"{why}: {_of(system)} of the system")
    if not pods:
        yield ok(CLUSTER, "no pod in its node's network has dnsPolicy ClusterFirst")


def _patch(owner: Target) -> str:
    if owner.kind not in _PATCHABLE:
        return "dnsPolicy: ClusterFirstWithHostNet, where the pod's spec is made"
    patch = '{"spec":{"template":{"spec":{"dnsPolicy":"ClusterFirstWithHostNet"}}}}'
    return f"kubectl -n {owner.namespace} patch {owner.kind} {owner.name} -p '{patch}'"


@check(
    "pods-dns-policy",
    topic=TOPIC,
    help="How many pods do not ask the cluster's DNS, by dnsPolicy Default or None",
    worst="info",
    needs=("pods", "services", "kubelets"),
    fix="None is needed, if those pods are meant to",
)
def pods_dns_policy(facts: ClusterFacts) -> Iterator[Verdict]:
    pods = known(facts.pods)
    service = None if isinstance(facts.services, Unread) else dns_service(facts, facts.services)
    # DNS servers must not ask themselves.
    chosen = [pod for pod in pods if pod.dns_policy == "Default" and not _is_dns_server(pod, service)]
    if chosen:
        yield info(CLUSTER, f"dnsPolicy Default, so the servers of their node: {_of(chosen)}")
    own = [pod for pod in pods if pod.dns_policy == "None"]
    if own:
        yield info(CLUSTER, f"dnsPolicy None, so only the servers that they name: {_of(own)}")
    if not chosen and not own:
        yield ok(CLUSTER, f"of {counted(len(pods), 'pod')} none has dnsPolicy Default or None")


@check(
    "pods-ndots",
    topic=TOPIC,
    help="Pods whose options make more lookups of one name than usual",
    worst="info",
    needs=("pods",),
    fix="A lower ndots, or a dot at the end of names that are whole",
)
def pods_ndots(facts: ClusterFacts) -> Iterator[Verdict]:
    pods = known(facts.pods)
    yield from _info_or_ok(
        [pod for pod in pods if (pod.ndots or 0) > USUAL_NDOTS],
        lambda found: (
            f"ndots above {USUAL_NDOTS}, up to {max(pod.ndots or 0 for pod in found)}, so names with fewer "
            f"dots go through the whole search list first: {_of(found)}"
        ),
        f"no pod has ndots above {USUAL_NDOTS}",
    )


@check(
    "pods-search-domains",
    topic=TOPIC,
    help="Pods that add more search domains than old resolvers take",
    worst="info",
    needs=("pods",),
    fix="Fewer searches in the pod's dnsConfig",
)
def pods_search_domains(facts: ClusterFacts) -> Iterator[Verdict]:
    yield from _info_or_ok(
        [pod for pod in known(facts.pods) if pod.searches > OLD_SEARCH_LIMIT],
        lambda found: (
            f"up to {max(pod.searches for pod in found)} search domains of their own, and each may cost a "
            f"lookup; old resolvers take {OLD_SEARCH_LIMIT} in all: {_of(found)}"
        ),
        f"no pod adds more than {OLD_SEARCH_LIMIT} search domains",
    )


@check(
    "pods-name-servers",
    topic=TOPIC,
    help="Pods that name other name servers than the cluster's",
    worst="info",
    needs=("pods", "services", "kubelets"),
    fix="None is needed, if those pods are meant to; else take dnsConfig.nameservers away",
)
def pods_name_servers(facts: ClusterFacts) -> Iterator[Verdict]:
    pods, services = known(facts.pods), known(facts.services)
    own = facts.dns_servers.union(*(service.ips for service in services))
    foreign = sorted({ip for pod in pods for ip in pod.nameservers} - own)
    yield from _info_or_ok(
        [pod for pod in pods if not own.issuperset(pod.nameservers)],
        lambda found: f"servers that are not the cluster's ({', '.join(foreign[:3])}): {_of(found)}",
        "no pod names a server that is not the cluster's",
    )


def _is_dns_server(pod: PodFacts, service: ServiceFacts | None) -> bool:
    return bool(service and service.selects(pod)) or pod.labels.get("k8s-app") in DNS_SERVER_LABELS


def _info_or_ok(
    found: list[PodFacts], say: Callable[[list[PodFacts]], str], nothing: str
) -> Iterator[Verdict]:
    yield info(CLUSTER, say(found)) if found else ok(CLUSTER, nothing)


def _by_owner(pods: Iterable[PodFacts]) -> list[tuple[Target, int]]:
    counts: dict[Target, int] = defaultdict(int)
    for pod in pods:
        counts[pod.owner] += 1
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def _of(pods: list[PodFacts], at_most: int = 3) -> str:
    """How many, and the owners of most of them."""
    owners = [str(owner) for owner, _ in _by_owner(pods)]
    names = ", ".join(owners[:at_most]) + (f" and {len(owners) - at_most} more" if owners[at_most:] else "")
    return f"{counted(len(pods), 'pod')} ({names})"


CHECKS = (pods_host_network, pods_dns_policy, pods_ndots, pods_search_domains, pods_name_servers)
