"""The live logs of a cluster's CoreDNS: what their Corefiles say about them, then what is in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from msgspec import UNSET

from kdns_coredns.configs import read_corefiles
from kdns_coredns.corefile import COMMON, CorefileError, parse_corefile
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.discover import Discovered
from kdns_coredns.follow import Follower
from kdns_coredns.log_settings import LogSettings, Problem, log_settings
from kdns_coredns.pods import ConfigSource, CorednsPod
from kdns_coredns.selection import Selection
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.model import Notice, Record, Server
from kubectl_kdns.times import format_time


@dataclass(frozen=True)
class ConfigState:
    """One Corefile as it is now; `settings` is None when it cannot be read, `reason` says why."""

    source: ConfigSource
    settings: LogSettings | None
    reason: str = ""

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        return self.settings.problems if self.settings else ()


def read_settings(cluster: Cluster, found: Discovered) -> dict[ConfigSource, ConfigState]:
    """What each Corefile says about the log; never raises for one that cannot be read."""
    states = {}
    for source, text in read_corefiles(cluster, found.pods).items():
        state = ConfigState(source, None, text.reason)
        if text.text is not None:
            try:
                corefile = parse_corefile(text.text, resolve=text.resolve)
                state = ConfigState(source, log_settings(corefile))
            except CorefileError as error:
                state = ConfigState(source, None, str(error))
        states[source] = state
    return states


class LiveLogs:
    """A Source: first notices of what keeps lookups out of the logs, then the logs of all pods."""

    in_history = False

    def __init__(
        self,
        cluster: Cluster,
        found: Discovered,
        states: Mapping[ConfigSource, ConfigState],
        scope: Scope,
        selection: Selection,
        now_ns: int,
    ) -> None:
        self._cluster, self._found = cluster, found
        self._states, self._selection, self._raw = states, selection, scope.raw
        self._now = format_time(now_ns)
        self._follower = Follower(cluster, found, scope, self._make_decoder)
        self.description = self._follower.description

    @property
    def counters(self) -> Mapping[str, int]:
        return self._follower.counters

    def close(self) -> None:
        self._follower.close()

    def __iter__(self) -> Iterator[list[Record]]:
        if notices := self._notices():
            yield notices
        yield from self._follower

    def _notices(self) -> list[Record]:
        notices: list[Record] = []
        for state in self._states.values():
            where = f"configmap {state.source.namespace}/{state.source.name}"
            texts = [(problem.code, str(problem)) for problem in state.problems]
            if state.settings is None:
                texts = [
                    ("corefile_unread", f"the log's format is taken to be the common one: {state.reason}")
                ]
            elif not state.settings.has_errors:
                texts.append(("errors_off", "no plugin `errors`: why lookups fail is not in the log"))
            notices += [
                Notice(time=self._now, backend="coredns", code=code, message=f"{where}: {text}")
                for code, text in texts
            ]
        return notices

    def _make_decoder(self, pod: CorednsPod, _container: str) -> LogDecoder:
        state = self._states.get(pod.config) if pod.config else None
        settings = state.settings if state else None
        server = Server(
            # NodeLocal DNSCache answers at addresses that its log does not say, not at its node's.
            ip=(pod.kind != "nodelocal" and pod.ip) or UNSET,
            port=(settings.port if settings else None) or UNSET,
            kind=pod.kind,
            namespace=pod.namespace,
            pod=pod.name,
            workload=pod.workload,
            node=pod.node or UNSET,
        )
        formats = settings.formats if settings else (COMMON,)

        def formats_now() -> tuple[str, ...]:
            try:
                state = read_settings(self._cluster, self._found).get(pod.config) if pod.config else None
            except KdnsError:
                state = None
            return state.settings.formats if state and state.settings else formats

        return LogDecoder(
            server, pod.node or None, formats, self._selection, self._raw, formats_now=formats_now
        )
