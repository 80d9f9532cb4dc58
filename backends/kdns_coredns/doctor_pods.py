"""Checks of the CoreDNS pods: found, ready, restarts, placement, limits, versions, and their controller."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from kdns_coredns.doctor_facts import COREDNS, CorednsFacts, pod_target
from kdns_coredns.pods import CorednsPod
from kubectl_kdns.doctor import Target, Unread, Verdict, check, counted, failure, info, known, ok, warning
from kubectl_kdns.times import NS_PER_S, format_duration

TOPIC = "CoreDNS pods"
PODS = Target("pods", COREDNS)
RECENT_NS = 24 * 3600 * NS_PER_S
SMALL_CPU_LIMIT_M = 1000
"""A pod with less than a core stands still for most of every period of 100 ms as soon as it is busy."""


def _describe(pod: CorednsPod) -> str:
    return f"kubectl -n {pod.namespace} describe pod {pod.name}"


@check(
    "coredns-found",
    topic=TOPIC,
    help="The cluster has CoreDNS pods",
    worst="failure",
    needs=("services", "kubelets"),
    fix="Bring the Deployment back, or name where CoreDNS is (--coredns-namespace)",
)
def coredns_found(facts: CorednsFacts) -> Iterator[Verdict]:
    if facts.absent:
        kind = info if facts.is_kube_dns else failure
        yield kind(PODS, facts.absent.reason, facts.absent.fix)
        return
    count, others = len(facts.coredns), facts.others
    beside = f"; {counted(others, 'pod')} more with a CoreDNS that is not the cluster's DNS" if others else ""
    if count:
        yield ok(PODS, f"{counted(count, 'CoreDNS pod')}{beside}")
    else:
        there = "NodeLocal DNSCache" if facts.nodelocal else "CoreDNS pods that are being deleted"
        fix = "kubectl -n kube-system get deployment coredns"
        yield failure(PODS, f"only {there}, and no other CoreDNS{beside}", fix)


@check(
    "coredns-ready",
    topic=TOPIC,
    help="Every CoreDNS pod is ready",
    worst="failure",
    needs=("services", "kubelets"),
    fix="What `kubectl describe pod` says",
)
def coredns_ready(facts: CorednsFacts) -> Iterator[Verdict]:
    pods = facts.coredns
    waiting = [pod for pod in pods if not pod.ready]
    if pods and len(waiting) == len(pods):
        reasons = ", ".join(sorted({pod.condition.why or "running" for pod in pods}))
        yield failure(
            PODS, f"none of {len(pods)} pods is ready ({reasons}): no lookup is answered", _describe(pods[0])
        )
        return
    for pod in waiting:
        why = pod.condition.why or "it runs, but its readiness probe fails"
        yield warning(
            pod_target(pod),
            f"not ready: {why}; {len(pods) - len(waiting)} of {len(pods)} pods answer",
            _describe(pod),
        )
    if pods and not waiting:
        yield ok(PODS, f"{len(pods)} of {len(pods)} ready")


@check(
    "coredns-replicas",
    topic=TOPIC,
    help="CoreDNS has the replicas that it should have, and more than one",
    worst="failure",
    needs=("controllers", "services", "kubelets", "nodes"),
    fix="kubectl scale, or what keeps pods from being made",
)
def coredns_replicas(facts: CorednsFacts) -> Iterator[Verdict]:
    for controller in known(facts.controllers):
        on = controller.target
        scale = f"kubectl -n {on.namespace} scale {on.kind} {on.name} --replicas=2"
        if not controller.wanted:
            yield failure(on, "it is scaled to 0: no lookup is answered", scale)
        elif controller.made < controller.wanted:
            yield warning(
                on,
                f"{controller.made} of {controller.wanted} pods were made: a quota, or an admission webhook?",
                f"kubectl -n {on.namespace} describe replicaset",
            )
        elif controller.wanted == 1 and _node_count(facts) > 1:
            yield warning(on, f"1 replica on {_node_count(facts)} nodes: its restart is an outage", scale)
        else:
            yield ok(on, f"{controller.ready} of {controller.wanted} replicas ready")


def _node_count(facts: CorednsFacts) -> int:
    nodes = () if isinstance(facts.cluster.nodes, Unread) else facts.cluster.nodes
    return sum(node.ready for node in nodes)


@check(
    "coredns-restarts",
    topic=TOPIC,
    help="No CoreDNS container ended in the last 24 hours, or was killed for its memory",
    worst="warning",
    needs=("services", "kubelets"),
    fix="More memory, or what the log of the run before says",
)
def coredns_restarts(facts: CorednsFacts) -> Iterator[Verdict]:
    told = False
    for pod in facts.coredns:
        condition = pod.condition
        ago_ns = facts.now_ns - condition.last_end_ns
        killed = condition.last_end == "OOMKilled"
        if not condition.last_end or not condition.last_end_ns or (ago_ns > RECENT_NS and not killed):
            continue
        told = True
        evidence = f"{counted(pod.restarts, 'restart')}, the last {format_duration(max(ago_ns, 0))} ago"
        evidence += f": {condition.last_end}"
        fix = f"kubectl -n {pod.namespace} logs {pod.name} -c {pod.container} --previous"
        if killed:
            limit = condition.memory_limit or "none"
            evidence += f" (memory limit {limit})"
            owner = f"{pod.workload.kind.lower()} {pod.workload.name}" if pod.workload else f"pod {pod.name}"
            fix = f"kubectl -n {pod.namespace} set resources {owner} -c {pod.container} --limits=memory=MORE"
        yield (warning if ago_ns <= RECENT_NS else info)(pod_target(pod), evidence, fix)
    if facts.coredns and not told:
        total = sum(pod.restarts for pod in facts.coredns)
        yield ok(PODS, f"{counted(total, 'restart')}, none of them in the last 24 hours")


@check(
    "coredns-placement",
    topic=TOPIC,
    help="CoreDNS pods stand on several nodes, and in several zones where there are any",
    worst="warning",
    needs=("nodes", "services", "kubelets"),
    fix="topologySpreadConstraints for the Deployment, or one pod deleted so that it moves",
)
def coredns_placement(facts: CorednsFacts) -> Iterator[Verdict]:
    pods = [pod for pod in facts.coredns if pod.node]
    if len(pods) < 2:
        return  # coredns-replicas says so
    nodes = {node.name: node for node in known(facts.cluster.nodes)}
    used = Counter(pod.node for pod in pods)
    zones = {node.zone for node in nodes.values() if node.ready and node.zone}
    used_zones = {nodes[name].zone for name in used if name in nodes}
    spread = f"kubectl -n {pods[0].namespace} delete pod {pods[0].name} (its successor may go elsewhere)"
    if len(used) == 1 and _node_count(facts) > 1:
        yield warning(
            PODS, f"all {len(pods)} pods are on node {pods[0].node}, one of {_node_count(facts)}", spread
        )
    elif len(zones) > 1 and len(used_zones) == 1:
        yield warning(
            PODS, f"all {len(pods)} pods are in zone {used_zones.pop()}, one of {len(zones)}", spread
        )
    else:
        in_zones = f" in {len(used_zones)} zones" if len(zones) > 1 else ""
        yield ok(PODS, f"{counted(len(pods), 'pod')} on {counted(len(used), 'node')}{in_zones}")


@check(
    "coredns-resources",
    topic=TOPIC,
    help="CoreDNS has a memory limit, and no CPU limit that would throttle it",
    worst="warning",
    needs=("services", "kubelets"),
    fix="kubectl set resources",
)
def coredns_resources(facts: CorednsFacts) -> Iterator[Verdict]:
    told = False
    # Pods of one workload are alike: one stands for all.
    for pod in {
        (pod.namespace, pod.workload, pod.condition.cpu_limit): pod for pod in facts.coredns
    }.values():
        cpu, memory = pod.condition.cpu_limit, pod.condition.memory_limit
        on = (
            Target(pod.workload.kind.lower(), pod.workload.name, pod.namespace)
            if pod.workload
            else (pod_target(pod))
        )
        change = f"kubectl -n {pod.namespace} set resources {on.kind} {on.name} -c {pod.container} --limits="
        if cpu and _millicores(cpu) < SMALL_CPU_LIMIT_M:
            told = True
            yield warning(
                on,
                f"CPU limit {cpu}: the kernel stops it within every 100 ms when it is busy",
                f"{change}cpu=0",
            )
        if not memory:
            told = True
            yield info(
                on, "no memory limit: a flood of lookups may take its node's memory", f"{change}memory=170Mi"
            )
    if facts.coredns and not told:
        first = facts.coredns[0].condition
        yield ok(PODS, f"memory limit {first.memory_limit}, CPU limit {first.cpu_limit or 'none'}")


def _millicores(quantity: str) -> float:
    try:
        return float(quantity[:-1]) if quantity.endswith("m") else float(quantity) * 1000
    except ValueError:
        return SMALL_CPU_LIMIT_M


@check(
    "coredns-versions",
    topic=TOPIC,
    help="All CoreDNS pods run the same image",
    worst="warning",
    needs=("services", "kubelets"),
    fix="Finish the rollout",
)
def coredns_versions(facts: CorednsFacts) -> Iterator[Verdict]:
    images = Counter(pod.image for pod in facts.coredns)
    if len(images) > 1:
        pod = facts.coredns[0]
        counts = ", ".join(f"{count} of {image}" for image, count in images.most_common())
        yield warning(
            PODS,
            f"the pods run {len(images)} images: {counts}; a rollout that stands still?",
            f"kubectl -n {pod.namespace} rollout status "
            + (f"{pod.workload.kind.lower()} {pod.workload.name}" if pod.workload else "deployment coredns"),
        )
    elif images:
        yield ok(PODS, f"all run {next(iter(images))}")


CHECKS = (
    coredns_found,
    coredns_ready,
    coredns_replicas,
    coredns_restarts,
    coredns_placement,
    coredns_resources,
    coredns_versions,
)
