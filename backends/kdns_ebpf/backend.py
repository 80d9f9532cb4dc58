"""Packets as a backend: our agent on each node, or on this machine."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from kubectl_kdns.backend import AgentProgram, Plan, Probe, Scope, Source
from kubectl_kdns.errors import InputError, UsageError

if TYPE_CHECKING:
    from kubectl_kdns.change import Change, Leftover
    from kubectl_kdns.filter import Filter
    from kubectl_kdns.kube import Cluster


class EbpfBackend:
    """Sees every DNS message at the sockets of a node, paired there."""

    name = "ebpf"

    def probe(self, cluster: Cluster, options: Mapping[str, Any]) -> Probe:
        from kdns_ebpf.probe import probe

        return probe(cluster, options)

    def plan(self, filter_: Filter) -> Plan:
        from kdns_ebpf.selection import select

        selection = select(filter_)
        return Plan(takes=selection.takes, work=(selection, filter_), sees_twice=True)

    def open(self, scope: Scope, plan: Plan) -> Source:
        from kdns_ebpf.options import AgentOptions

        selection, filter_ = plan.work
        options = AgentOptions.of(scope.options)
        config = partial(
            selection.config, secrets.token_bytes(16), messages=scope.messages, max_rate=options.max_rate
        )
        if scope.cluster is None:
            from kdns_ebpf.local import LocalAgent

            return LocalAgent(options.arguments(scope.timeout_ns), config(), raw=scope.raw)
        from kdns_ebpf.start import start_agents

        return start_agents(scope, options, filter_, config)

    def creates(self, scope: Scope, plan: Plan, *, server: bool) -> list[Any]:
        from kdns_ebpf.dry_run import would_create
        from kdns_ebpf.options import AgentOptions

        return would_create(scope, AgentOptions.of(scope.options), plan.work[1], server=server)

    def sniff(self, head: bytes) -> bool:  # noqa: ARG002
        return False

    def decode(self, stream: BinaryIO, scope: Scope, plan: Plan) -> Source:  # noqa: ARG002
        raise InputError("an agent's frames are not kept in files", hint="kubectl kdns record FILE")

    def change(self, cluster: Cluster, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Change:  # noqa: ARG002
        raise UsageError(
            "packets need no change to the cluster's configuration",
            hint="kubectl kdns trace --backend ebpf (--dry-run=client shows what it creates)",
        )

    def programs(self) -> list[AgentProgram]:
        from kdns_ebpf.local import agent_programs

        return agent_programs()

    def leftovers(self, cluster: Cluster) -> list[Leftover]:
        from kdns_ebpf.leftovers import left_agents

        return [*left_agents(cluster)]


BACKEND = EbpfBackend()
