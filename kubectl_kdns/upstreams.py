"""Health of the upstreams: what every DNS server of the cluster asked whom, and what came of it. Pure.

A server's own queries are lookups of hop coredns or nodelocal; a log tells of them by `upstream` alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

from msgspec import UNSET, Struct, field

from kubectl_kdns.backend import Forward
from kubectl_kdns.legs import FINAL
from kubectl_kdns.model import SERVERS, LastError, Lookup, Maybe, Record, Upstream, UpstreamHealth
from kubectl_kdns.summary import Histogram

DNS_PORT = 53
_HEALTH_CHECK = (".", "NS")
"""What plugin/forward asks an upstream that failed, until it answers again; not a client's question."""


class Key(NamedTuple):
    """Who asks whom."""

    server: str
    ip: str
    port: int


class Pair(Struct):
    """Figures of one pair. `queries` counts lookups, `tries` transmissions; latencies are milliseconds of
    those that were answered; `checks` are health checks, which are counted apart."""

    key: Key
    hop: str
    queries: int = 0
    tries: int = 0
    unanswered: int = 0
    over_tcp: int = 0
    checks: int = 0
    rcodes: Counter[str] = field(default_factory=Counter)
    latencies_ms: Histogram = field(default_factory=Histogram)
    last_error: str = ""
    last_error_time: Maybe[str] = UNSET

    def record(self, time: str, duration_ms: float, forwards: Iterable[Forward]) -> UpstreamHealth:
        """As a record, with where it is configured."""
        error = LastError(self.last_error_time, self.last_error) if self.last_error else UNSET
        return UpstreamHealth(
            time=time,
            duration_ms=duration_ms,
            server=self.key.server,
            hop=self.hop,
            upstream=Upstream(self.key.ip, self.key.port),
            configured=configured(forwards, self.hop, self.key.ip, self.key.port) or UNSET,
            queries=self.queries,
            tries=self.tries,
            unanswered=self.unanswered,
            tcp=self.over_tcp,
            checks=self.checks,
            rcodes=dict(self.rcodes.most_common()),
            latency_ms=self.latencies_ms.figures(),
            last_error=error,
        )


class Upstreams:
    """Adds up lookups; `all` is every pair that was seen, the busiest first."""

    def __init__(self) -> None:
        self._by_key: dict[Key, Pair] = {}

    def add(self, records: Iterable[Record]) -> None:
        for record in records:
            if not isinstance(record, Lookup):
                continue
            if record.hop in SERVERS and record.side != "server":
                self._add_query(record)
            elif record.upstream and record.upstream.ip:
                self._add_logged(record)

    @property
    def all(self) -> list[Pair]:
        return sorted(self._by_key.values(), key=lambda each: (-each.queries, each.key))

    def _add_query(self, lookup: Lookup) -> None:
        client, server, dns = lookup.client, lookup.server, lookup.dns
        if not client or not server or server.kind in SERVERS or server.kind == "service":
            return  # a NodeLocal that asks CoreDNS asks no upstream
        entry = self._entry(str(client.pod or client.ip), server.ip, server.port, str(lookup.hop))
        if dns and (dns.name, dns.type) == _HEALTH_CHECK:
            entry.checks += 1
            return
        entry.queries += 1
        entry.tries += lookup.tries or 1
        entry.over_tcp += lookup.transport == "tcp"
        if lookup.status != "answered":
            entry.unanswered += 1
            self._note(entry, lookup, "no answer")
            return
        rcode = self._add_answer(entry, lookup)
        if rcode not in FINAL:
            self._note(entry, lookup, rcode)

    def _add_logged(self, lookup: Lookup) -> None:
        """A line of a log that names the upstream: the time is that of the whole lookup."""
        assert lookup.upstream
        server = lookup.server
        who = str((server.pod if server else UNSET) or "?")
        kind = str((server.kind if server else UNSET) or "coredns")
        entry = self._entry(who, lookup.upstream.ip, lookup.upstream.port, kind)
        entry.queries += 1
        entry.tries += 1
        if lookup.error:
            entry.unanswered += lookup.error.type == "timeout"
            self._note(entry, lookup, str(lookup.error.message or lookup.error.type))
            if lookup.error.type == "timeout":
                return
        self._add_answer(entry, lookup)

    def _add_answer(self, entry: Pair, lookup: Lookup) -> str:
        """Counts it; returns its response code."""
        rcode = str((lookup.dns.rcode if lookup.dns else UNSET) or "?")
        entry.rcodes[rcode] += 1
        if lookup.latency_ms is not UNSET:
            entry.latencies_ms.add((lookup.latency_ms,))
        return rcode

    def _entry(self, server: str, ip: Maybe[str], port: Maybe[int], hop: str) -> Pair:
        key = Key(server, ip or "?", port or DNS_PORT)
        entry = self._by_key.get(key)
        if entry is None:
            entry = self._by_key[key] = Pair(key, hop)
        return entry

    def _note(self, entry: Pair, lookup: Lookup, what: str) -> None:
        name = f"{lookup.dns.name} {lookup.dns.type}" if lookup.dns else ""
        entry.last_error, entry.last_error_time = f"{what} ({name})" if name else what, lookup.time


def configured(forwards: Iterable[Forward], hop: str, ip: str, port: int) -> str:
    """What says that servers of this kind ask there: the Corefile's line, or its file of nameservers."""
    mine = [each for each in forwards if each.server == hop]
    for each in mine:
        if (each.to, each.port) == (ip, port):
            return f"{each.where} (zone {each.zone})"
    for each in mine:
        if each.to.startswith("/"):
            return f"{each.to} of the node, by {each.where} (zone {each.zone})"
    return ""
