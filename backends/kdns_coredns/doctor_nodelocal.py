"""Checks of NodeLocal DNSCache, where there is one: on every node, ready, at an address that is asked."""

from __future__ import annotations

from collections.abc import Iterator

from kdns_coredns.doctor_facts import CorednsFacts, pod_target
from kubectl_kdns.doctor import Target, Verdict, check, failure, info, known, ok, warning

TOPIC = "NodeLocal DNSCache"
PODS = Target("pods", "nodelocal")


@check(
    "nodelocal-ready",
    topic=TOPIC,
    help="NodeLocal DNSCache, if there is one, is ready on every node",
    worst="failure",
    needs=("nodes",),
    fix="What `kubectl describe pod` says; tolerations for nodes that have none",
)
def nodelocal_ready(facts: CorednsFacts) -> Iterator[Verdict]:
    pods = facts.nodelocal
    if not pods:
        yield ok(PODS, "there is none, and none is needed")
        return
    for pod in pods:
        if not pod.ready:
            why = pod.condition.why or "it runs, but is not ready"
            yield failure(
                pod_target(pod),
                f"not ready on node {pod.node}: {why}; lookups of that node may go unanswered",
                f"kubectl -n {pod.namespace} describe pod {pod.name}",
            )
    nodes = [node.name for node in known(facts.cluster.nodes) if node.ready]
    without = sorted(set(nodes) - {pod.node for pod in pods})
    if without:
        yield warning(
            PODS,
            f"{len(without)} of {len(nodes)} ready nodes have none: {', '.join(without[:3])}",
            f"kubectl -n {pods[0].namespace} get daemonset -o wide (taints, node selector)",
        )
    elif all(pod.ready for pod in pods):
        yield ok(PODS, f"ready on {len(pods)} of {len(nodes)} nodes")


@check(
    "nodelocal-address",
    topic=TOPIC,
    help="Pods ask the address at which NodeLocal DNSCache listens",
    worst="info",
    needs=("services", "kubelets"),
    fix="That address as clusterDNS of the kubelets",
)
def nodelocal_address(facts: CorednsFacts) -> Iterator[Verdict]:
    pods = facts.nodelocal
    if not pods:
        return
    addresses = sorted({address for pod in pods for address in pod.addresses})
    asked = {server for kubelet in known(facts.cluster.kubelets) for server in kubelet.servers}
    if not addresses:
        yield info(PODS, "its flags do not say at which address it listens")
    elif asked.isdisjoint(addresses):
        yield info(
            PODS,
            f"it listens at {', '.join(addresses)}, but pods are told to ask {', '.join(sorted(asked))}: "
            "unless something redirects lookups, nobody asks it",
            f"clusterDNS: [{addresses[0]}] in the kubelets' configuration",
        )
    else:
        yield ok(PODS, f"it listens at {', '.join(addresses)}, which pods are told to ask")


CHECKS = (nodelocal_ready, nodelocal_address)
