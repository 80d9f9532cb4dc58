"""Hubble as a backend: live flows with their history, and recorded ones, give the same records."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, BinaryIO

from msgspec import Struct

from kdns_hubble.selection import Selection, select
from kubectl_kdns.backend import Plan, Probe, Scope, Source
from kubectl_kdns.filter import implied_values

if TYPE_CHECKING:
    from kubectl_kdns.change import Change, Leftover
    from kubectl_kdns.filter import Filter
    from kubectl_kdns.kube import Cluster


class Work(Struct, frozen=True):
    """What of a filter is for Hubble, and the only namespaces that it wants (none: all)."""

    selection: Selection
    namespaces: tuple[str, ...]


class HubbleBackend:
    """Asks hubble-relay, or every Cilium agent; pairs what they saw."""

    name = "hubble"

    def probe(self, cluster: Cluster, options: Mapping[str, Any]) -> Probe:
        from kdns_hubble.probe import probe

        return probe(cluster, options)

    def plan(self, filter_: Filter) -> Plan:
        selection = select(filter_)
        namespaces = sorted(map(str, implied_values(filter_.expr, "client.namespace") or ()))
        return Plan(takes=selection.takes, work=Work(selection, tuple(namespaces)))

    def open(self, scope: Scope, plan: Plan) -> Source:
        from kdns_hubble.advice import advice
        from kdns_hubble.dial import Dialer
        from kdns_hubble.live_flows import LiveFlows
        from kdns_hubble.options import HubbleOptions

        work: Work = plan.work
        options = HubbleOptions.of(scope.options)
        return LiveFlows(
            Dialer(scope.cluster, options, work.selection.filters, raw=scope.raw),
            scope,
            exact=work.selection.exact,
            advise=partial(advice, scope.cluster, work.namespaces),
        )

    def sniff(self, head: bytes) -> bool:
        from kdns_hubble.recorded import looks_like_flows

        return looks_like_flows(head)

    def decode(self, stream: BinaryIO, scope: Scope, plan: Plan) -> Source:  # noqa: ARG002 - all is read
        from kdns_hubble.recorded import RecordedFlows

        return RecordedFlows(stream, scope)

    def change(self, cluster: Cluster, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Change:
        from kdns_hubble.policy_change import make_change

        return make_change(cluster, settings, options)

    def leftovers(self, cluster: Cluster) -> list[Leftover]:
        from kdns_hubble.policy_change import left_policies

        return [*left_policies(cluster)]


BACKEND = HubbleBackend()
