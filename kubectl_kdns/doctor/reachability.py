"""Checks of NetworkPolicies: whether every pod may ask the DNS pods, as far as these policies decide it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping

from msgspec import Struct

from kubectl_kdns.doctor.facts import NODELOCAL_LABELS, ClusterFacts, PodFacts, ServiceFacts, dns_service
from kubectl_kdns.doctor.finding import CLUSTER, Target, Verdict, check, counted, failure, known, ok, warning
from kubectl_kdns.doctor.policy import End, Policy, lets_pass, rules_for

TOPIC = "Network policies"
_NEEDS = ("pods", "services", "kubelets", "endpoints", "namespaces", "policies")


class _Obstacle(Struct, frozen=True):
    """The policies that keep pods from asking, by which protocols, and how many of the DNS pods."""

    policies: tuple[Policy, ...]
    protocols: tuple[str, ...]
    servers: int


class _Paths:
    """From which pods to which: clients, the DNS pods, and the ports at which those listen."""

    def __init__(self, facts: ClusterFacts) -> None:
        pods, services = known(facts.pods), known(facts.services)
        self.policies = known(facts.policies)
        self._by_namespace: dict[str, list[Policy]] = {}
        for policy in self.policies:
            self._by_namespace.setdefault(policy.namespace, []).append(policy)
        self._namespaces = known(facts.namespaces)
        service = dns_service(facts, services)
        self.servers = [pod for pod in pods if service and service.selects(pod) and not pod.host_network]
        self.ends = [self._end(pod, service) for pod in self.servers]
        self.clients = [pod for pod in pods if not pod.host_network]
        self.has_nodelocal = any(pod.labels.get("k8s-app") in NODELOCAL_LABELS for pod in pods)
        self.ports = _dns_ports(facts, service)

    def _end(self, pod: PodFacts, service: ServiceFacts | None = None) -> End:
        ips = pod.ips + (service.ips if service else ())
        return End(pod.namespace, pod.labels, self._namespaces.get(pod.namespace, {}), ips, pod.ports)

    def closed(self, direction: str) -> dict[tuple[str, _Obstacle], list[PodFacts]]:
        """The clients that cannot ask every DNS pod, by namespace and by what is in their way.

        A lookup goes to any of those pods, so that one of them is closed is enough."""
        closed: dict[tuple[str, _Obstacle], list[PodFacts]] = {}
        seen: dict[tuple[str, frozenset[tuple[str, str]]], _Obstacle | None] = {}
        for pod in self.clients:
            alike = pod.namespace, frozenset(pod.labels.items())
            if alike not in seen:
                seen[alike] = self._obstacle(self._end(pod), direction)
            if obstacle := seen[alike]:
                closed.setdefault((pod.namespace, obstacle), []).append(pod)
        return closed

    def _obstacle(self, client: End, direction: str) -> _Obstacle | None:
        shut: dict[str, int] = {}
        guilty: dict[Policy, None] = {}
        for server in self.ends:
            peer = server if direction == "egress" else client
            pod = client if direction == "egress" else server
            isolating = rules_for(self._by_namespace.get(pod.namespace, ()), pod, direction)
            for protocol, ports in self.ports.items():
                if isolating and not any(
                    lets_pass(policy, rules, peer, server, protocol, port)
                    for policy, rules in isolating
                    for port in ports
                ):
                    shut[protocol] = shut.get(protocol, 0) + 1
                    guilty |= dict.fromkeys(policy for policy, _ in isolating)
        return _Obstacle(tuple(guilty), tuple(shut), max(shut.values())) if shut else None

    def words(self, obstacle: _Obstacle) -> str:
        some = "the" if obstacle.servers == len(self.ends) else f"{obstacle.servers} of {len(self.ends)}"
        return f"cannot ask {some} DNS pods by {' or '.join(obstacle.protocols)}"


def _dns_ports(facts: ClusterFacts, service: ServiceFacts | None) -> Mapping[str, frozenset[int]]:
    """Protocol to port, behind the Service: OpenShift's DNS pods listen at 5353."""
    seen = [
        port
        for each in known(facts.endpoints)
        if service and (each.namespace, each.service) == (service.namespace, service.name)
        for port in each.dns_ports
    ]
    return {
        protocol: frozenset(number for name, number in seen if name == protocol) or frozenset({53})
        for protocol in ("UDP", "TCP")
    }


@check(
    "policy-egress",
    topic=TOPIC,
    help="Egress policies let their pods ask the DNS pods, by UDP and TCP",
    worst="failure",
    needs=_NEEDS,
    fix="A policy for the same pods that allows egress to the DNS pods' port",
)
def policy_egress(facts: ClusterFacts) -> Iterator[Verdict]:
    paths = _Paths(facts)
    closed = paths.closed("egress")
    for (namespace, obstacle), pods in closed.items():
        evidence = (
            f"{counted(len(pods), 'pod')} ({_owners(pods)}) {paths.words(obstacle)}: no rule of "
            f"{_names(obstacle.policies)} lets them"
        )
        fix = _allow(paths, obstacle.policies[0], "egress", _peer_of(paths.servers[0]))
        yield _verdict(paths, obstacle, Target("namespace", namespace), evidence, fix)
    if not closed:
        count = sum(policy.egress is not None for policy in paths.policies)
        objects = counted(count, "NetworkPolicy object")
        yield ok(CLUSTER, f"{objects} for egress: the way to the DNS pods is open")


@check(
    "policy-ingress",
    topic=TOPIC,
    help="Ingress policies of the DNS pods let all pods ask them",
    worst="failure",
    needs=_NEEDS,
    fix="A policy for the DNS pods that allows ingress to their port",
)
def policy_ingress(facts: ClusterFacts) -> Iterator[Verdict]:
    paths = _Paths(facts)
    closed: dict[_Obstacle, list[PodFacts]] = {}
    for (_, obstacle), pods in paths.closed("ingress").items():
        closed.setdefault(obstacle, []).extend(pods)
    for obstacle, pods in closed.items():
        namespaces = Counter(pod.namespace for pod in pods)
        places = ", ".join(name for name, _ in namespaces.most_common(3))
        evidence = (
            f"{counted(len(pods), 'pod')} of {counted(len(namespaces), 'namespace')} ({places}) "
            f"{paths.words(obstacle)}: no rule of {_names(obstacle.policies)} lets them in"
        )
        fix = _allow(paths, obstacle.policies[0], "ingress", {"namespaceSelector": {}})
        yield _verdict(paths, obstacle, _target(obstacle.policies[0]), evidence, fix)
    if not closed:
        count = sum(
            policy.ingress is not None and any(policy.namespace == pod.namespace for pod in paths.servers)
            for policy in paths.policies
        )
        objects = counted(count, "NetworkPolicy object")
        yield ok(CLUSTER, f"{objects} for ingress beside the DNS pods: every pod may ask them")


def _verdict(paths: _Paths, obstacle: _Obstacle, on: Target, evidence: str, fix: str) -> Verdict:
    if paths.has_nodelocal:
        return warning(
            on, f"{evidence}; NodeLocal DNSCache, on the pod's own node, may answer all the same", fix
        )
    if "UDP" not in obstacle.protocols:
        return warning(on, f"{evidence}; answers too long for UDP are lost", fix)
    return failure(on, evidence, fix)


def _target(policy: Policy) -> Target:
    return Target("networkpolicy", policy.name, policy.namespace)


def _names(policies: tuple[Policy, ...]) -> str:
    return ", ".join(str(_target(policy)) for policy in policies)


def _owners(pods: list[PodFacts]) -> str:
    names = list(dict.fromkeys(f"{pod.owner.kind}/{pod.owner.name}" for pod in pods))
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


def _peer_of(server: PodFacts) -> dict[str, object]:
    # The label that every namespace has, since Kubernetes 1.22.
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": server.namespace}}}


def _allow(paths: _Paths, policy: Policy, direction: str, peer: object) -> str:
    """A policy for the very same pods: others, which are not isolated now, stay as they are."""
    rule = {
        "to" if direction == "egress" else "from": [peer],
        "ports": [
            {"protocol": protocol, "port": number}
            for protocol, numbers in paths.ports.items()
            for number in sorted(numbers)
        ],
    }
    # Applying it must not overwrite another that has the name already.
    taken = {other.name for other in paths.policies if other.namespace == policy.namespace}
    name = f"allow-dns-{policy.name}"[:240]
    while name in taken:
        name += "-too"
    manifest = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": policy.namespace},
        "spec": {
            "podSelector": json.loads(policy.selector),
            "policyTypes": [direction.capitalize()],
            direction: [rule],
        },
    }
    return f"kubectl apply -f - <<'EOF'\n{json.dumps(manifest)}\nEOF"


CHECKS = (policy_egress, policy_ingress)
