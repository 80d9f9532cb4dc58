"""Starts agents in a cluster: which nodes, which clients, and what is said about it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kdns_ebpf.agents import ClusterAgents
from kdns_ebpf.clients import Clients, clients_of, narrows
from kdns_ebpf.deployment import Deployment
from kdns_ebpf.images import images_in_use
from kdns_ebpf.nodes import Choice, Node, choose
from kdns_ebpf.options import AgentOptions
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import BackendError, KdnsError, UsageError
from kubectl_kdns.filter import Filter
from kubectl_kdns.kube import Cluster

DIRECTORY_WAIT_S = 10.0


def start_agents(
    scope: Scope, options: AgentOptions, filter_: Filter, config: Callable[..., bytes]
) -> ClusterAgents:
    """Agents where the filter's clients are. `config` makes a CONFIG frame, of `clients` if given.

    Raises KdnsError when no agent can be started; nothing is left then.
    """
    if scope.history and not scope.follow:
        raise UsageError(
            "packets have no past: an agent sees what comes", hint="leave out --since, --last and --no-follow"
        )
    cluster = scope.cluster
    assert cluster is not None
    clients = clients_in(scope, filter_)
    choice = choose_nodes(cluster, options, clients.nodes)
    deployment = Deployment(cluster, options, options.arguments(scope.timeout_ns))
    current = [clients]

    def configure() -> bytes:
        return config(clients=current[0].listed)

    def look() -> Choice | None:
        """What has changed among clients and nodes, None for nothing."""
        assert scope.directory is not None
        now = clients_of(filter_, scope.directory)
        if now == current[0]:
            return None
        current[0] = now
        return choose_nodes(cluster, options, now.nodes)

    agents = ClusterAgents(
        cluster,
        deployment,
        options.namespace,
        configure,
        look if narrows(filter_) else None,
        raw=scope.raw,
        directory=scope.directory,
        ports=options.ports,
        progress=scope.progress,
    )
    agents.start(choice.placements, choice.skipped)
    deployment.follow_nodes(lambda nodes: _choice(cluster, nodes, options, current[0].nodes))
    return agents


def choose_nodes(cluster: Cluster, options: AgentOptions, only: frozenset[str] | None) -> Choice:
    """Where agents go. Raises BackendError, with each node's reason, when that is nowhere."""
    nodes = [node for page in cluster.pages("/api/v1/nodes", Node) for node in page.items or ()]
    choice = _choice(cluster, nodes, options, only)
    if choice.placements:
        return choice
    if choice.skipped:
        reasons = "; ".join(f"{node}: {why}" for node, why in sorted(choice.skipped.items()))
        raise BackendError("no node can run an agent", cause=reasons)
    if only is not None:
        raise BackendError(
            "no node needs an agent", cause="no pod that runs now fits the filter", hint="kubectl get pods -A"
        )
    raise BackendError(
        "no node fits --agent-node and --agent-node-selector", hint="kubectl get nodes --show-labels"
    )


def _choice(
    cluster: Cluster, nodes: Sequence[Node], options: AgentOptions, only: frozenset[str] | None
) -> Choice:
    images = {} if options.image else images_in_use(cluster, nodes)
    return choose(nodes, options, only=only, pod_images=images)


def clients_in(scope: Scope, filter_: Filter) -> Clients:
    if not narrows(filter_) or scope.directory is None:
        return Clients()
    if not scope.directory.ready.wait(DIRECTORY_WAIT_S):
        raise KdnsError(
            f"the filter needs the names of pods, and they were not listed within {DIRECTORY_WAIT_S:.0f} s",
            hint="time kubectl get pods -A >/dev/null, or leave out what chooses clients",
        )
    return clients_of(filter_, scope.directory)
