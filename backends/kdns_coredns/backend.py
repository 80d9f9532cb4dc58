"""CoreDNS's log as a backend: live pods and recorded text give the same records."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

from kdns_coredns.corefile import COMMON
from kdns_coredns.discover import discover
from kdns_coredns.formats import template_of
from kdns_coredns.live_logs import ConfigState, LiveLogs, read_settings
from kdns_coredns.log_settings import SWITCH_ON
from kdns_coredns.recorded import RecordedLog, formats_of_options, looks_like_log
from kdns_coredns.selection import Selection, select
from kubectl_kdns.backend import Forward, Plan, Probe, Scope, ServerPod, Source
from kubectl_kdns.errors import BackendError, ClusterError, KdnsError

if TYPE_CHECKING:
    from kubectl_kdns.change import Change, Leftover
    from kubectl_kdns.doctor import Check, ClusterFacts
    from kubectl_kdns.doctor.inside import Inside
    from kubectl_kdns.filter import Filter
    from kubectl_kdns.kube import Cluster

NAME = "coredns"


class CorednsBackend:
    """Follows every CoreDNS and NodeLocal DNSCache pod; knows their formats from their Corefiles."""

    name = NAME

    def probe(self, cluster: Cluster, options: Mapping[str, Any]) -> Probe:
        try:
            found = discover(cluster, options)
        except KdnsError as error:
            if isinstance(error, ClusterError) and error.status in (0, 401):
                raise  # nobody can tell: the cluster was not reached, or does not know us
            return Probe(False, error.what + (f": {error.cause}" if error.cause else ""), error.hint)
        states = list(read_settings(cluster, found).values())
        pods = f"{len(found.pods)} CoreDNS pods"
        if _all_off(states):
            return Probe(False, f"{pods}, and their log is off", SWITCH_ON)
        for problem in (problem for state in states for problem in state.problems):
            return Probe(True, f"{pods}; {problem.message}", problem.fix)
        for state in states:
            if state.settings is None:
                return Probe(True, f"{pods}; whether their log is on is not known: {state.reason}")
        return Probe(True, f"{pods}, and their log is on")

    def plan(self, filter_: Filter) -> Plan:
        selection = select(filter_)
        return Plan(takes=selection.takes([template_of(COMMON)]), work=selection)

    def open(self, scope: Scope, plan: Plan) -> Source:
        cluster = scope.cluster
        if cluster is None:
            raise BackendError("the coredns backend needs a cluster", hint="--from FILE reads a recorded log")
        found = discover(cluster, scope.options)
        states = read_settings(cluster, found)
        if _all_off(list(states.values())) and not scope.history:
            raise BackendError(
                "CoreDNS's log is off, so nothing would ever show",
                cause=", ".join(f"configmap {s.namespace}/{s.name} has no `log`" for s in states),
                hint=SWITCH_ON,
            )
        return LiveLogs(cluster, found, states, scope, plan.work or Selection(), time.time_ns())

    def sniff(self, head: bytes) -> bool:
        return looks_like_log(head)

    def decode(self, stream: BinaryIO, scope: Scope, plan: Plan) -> Source:
        return RecordedLog(stream, formats_of_options(scope.options), plan.work or Selection(), scope.raw)

    def change(self, cluster: Cluster, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Change:
        from kdns_coredns.enable import make_switch

        return make_switch(cluster, settings, options)

    def leftovers(self, cluster: Cluster) -> list[Leftover]:
        from kdns_coredns.enable import left_switches

        return [*left_switches(cluster, time.time_ns())]

    def forwards(self, cluster: Cluster, options: Mapping[str, Any]) -> list[Forward]:
        from kdns_coredns.forwards import read_forwards

        return read_forwards(cluster, options)

    def servers(self, cluster: Cluster, options: Mapping[str, Any]) -> list[ServerPod]:
        from kdns_coredns.servers import read_servers

        return read_servers(cluster, options)

    @property
    def checks(self) -> Sequence[Check[Any]]:
        from kdns_coredns.doctor import CHECKS

        return CHECKS

    def facts(
        self,
        cluster: Cluster,
        options: Mapping[str, Any],
        general: Callable[[], ClusterFacts],
        needs: frozenset[str],
        inside: Inside,
    ) -> Any:
        from kdns_coredns.doctor import read_facts

        return read_facts(cluster, options, general, needs, inside)


def _all_off(states: list[ConfigState]) -> bool:
    return bool(states) and all(state.settings is not None and state.settings.is_off for state in states)


BACKEND = CorednsBackend()
