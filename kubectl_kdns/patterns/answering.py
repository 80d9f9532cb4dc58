"""Patterns of how servers answer: one that fails, one node that loses, upstreams, SERVFAIL, denials."""

from __future__ import annotations

from collections import Counter

from msgspec import UNSET

from kubectl_kdns.model import SERVERS, Insight, Lookup
from kubectl_kdns.output.phrases import address
from kubectl_kdns.patterns.pattern import (
    DENIED,
    Pattern,
    example_of,
    is_failed,
    most_frequent,
    share,
)
from kubectl_kdns.summary import Frequent


class BadServer(Pattern):
    """One DNS pod that fails more often than the others."""

    code = "bad_server"
    help = "One CoreDNS or NodeLocal pod fails far more often than the others"
    LEAST, FACTOR, SHARE = 20, 5, 0.05

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def see(self, lookup: Lookup) -> None:
        server = lookup.server
        if lookup.hop != "client" or not server:
            return
        name = (server.backend.pod if server.backend else UNSET) or (
            server.pod if server.kind in SERVERS else ""
        )
        if not name:
            return
        self.total += 1
        self._seen[name] += 1
        self._failed[name] += is_failed(lookup)

    def find(self) -> Insight | None:
        if len(self._seen) < 2:
            return None
        shares = {
            name: self._failed[name] / count for name, count in self._seen.items() if count >= self.LEAST
        }
        worst = max(shares, key=lambda name: shares[name], default="")
        others = [name for name in self._seen if name != worst]
        rest = sum(self._failed[name] for name in others) / max(sum(self._seen[name] for name in others), 1)
        if not worst or shares[worst] < max(self.SHARE, self.FACTOR * rest):
            return None
        self.count = self._failed[worst]
        return self.insight(
            f"{worst} fails: {share(self.count, self._seen[worst])}, the other DNS pods {100 * rest:.1f}%",
            f"kubectl -n kube-system logs {worst}; kubectl kdns doctor",
        )


class OneNode(Pattern):
    """Unanswered lookups from one node only."""

    code = "one_node"
    help = "All unanswered lookups come from pods of one node"
    LEAST = 5

    def __init__(self) -> None:
        super().__init__()
        self._seen: Counter[str] = Counter()
        self._lost: Counter[str] = Counter()

    def see(self, lookup: Lookup) -> None:
        if lookup.hop != "client" or not lookup.client or not lookup.client.node:
            return
        self.total += 1
        self._seen[lookup.client.node] += 1
        if lookup.status == "unanswered":
            self._lost[lookup.client.node] += 1
            self.hit(lookup)

    def find(self) -> Insight | None:
        others = sum(count for node, count in self._seen.items() if node not in self._lost)
        if len(self._lost) != 1 or self.count < self.LEAST or others < 4 * self.LEAST:
            return None
        (node,) = self._lost
        return self.insight(
            f"only node {node} loses lookups: {share(self.count, self._seen[node])}, none on the others",
            f"conntrack and the CNI of {node}: conntrack -S there; kubectl describe node {node}",
        )


class SilentUpstream(Pattern):
    """Upstreams that do not answer."""

    code = "upstream_timeouts"
    help = "An upstream does not answer the DNS servers"
    fix = "kubectl kdns upstreams --for 30s"
    LEAST = 3

    def __init__(self) -> None:
        super().__init__()
        self._silent = Frequent()

    def see(self, lookup: Lookup) -> None:
        server = lookup.server
        if lookup.hop in SERVERS and lookup.side != "server" and server and server.kind not in SERVERS:
            self.total += 1
            if lookup.status == "unanswered":
                self._silent.add((address(server.ip, server.port),))
                self.hit(lookup)
        elif lookup.error and lookup.error.type == "timeout" and lookup.upstream:
            self.total += 1
            self._silent.add((address(lookup.upstream.ip, lookup.upstream.port),))
            self.hit(lookup)

    def find(self) -> Insight | None:
        if self.count < self.LEAST:
            return None
        whom = most_frequent(self._silent, 3)
        return self.insight(f"upstreams were silent {self.count} times of {self.total}: {whom}")


class Servfail(Pattern):
    """Why SERVFAIL was answered."""

    code = "servfail"
    help = "SERVFAIL by cause, as far as CoreDNS's log or the packets tell it"
    fix = "kubectl kdns trace --rcode SERVFAIL --journeys --backend ebpf"
    LEAST = 3

    def __init__(self) -> None:
        super().__init__()
        self._causes: Counter[str] = Counter()

    def see(self, lookup: Lookup) -> None:
        if lookup.hop != "client" or not lookup.dns:
            return
        self.total += 1
        if lookup.dns.rcode != "SERVFAIL":
            return
        self.hit(lookup)
        cause = "cause not seen"
        if lookup.error:
            where = f" {address(lookup.upstream.ip, lookup.upstream.port)}" if lookup.upstream else ""
            cause = f"{lookup.error.type}{where}"
        self._causes[cause] += 1

    def find(self) -> Insight | None:
        if self.count < self.LEAST:
            return None
        causes = ", ".join(f"{cause} {count}" for cause, count in self._causes.most_common(3))
        return self.insight(f"SERVFAIL: {share(self.count, self.total)}: {causes}")


class NegativeMisses(Pattern):
    """Names that do not exist and are asked upstream again and again."""

    code = "negative_misses"
    help = (
        "What does not exist is asked upstream again and again: denials are cached too short, or not at all"
    )
    fix = "plugin cache: `denial` with a higher least TTL"
    LEAST = 10

    def __init__(self) -> None:
        super().__init__()
        self._denied = Frequent()

    def see(self, lookup: Lookup) -> None:
        dns = lookup.dns
        if lookup.hop not in SERVERS or lookup.side == "server" or not dns or dns.name == ".":
            return
        self.total += 1
        if dns.rcode in DENIED:
            self._denied.add(((lookup.client.pod if lookup.client else UNSET, dns.name, dns.type),))
            self.example = self.example or example_of(lookup)

    def find(self) -> Insight | None:
        again = [count for count in self._denied.items().values() if count >= self.LEAST]
        self.count = sum(again)
        if not again:
            return None
        return self.insight(
            f"denials not cached: {self.count} of {self.total} forwards were for {len(again)} names"
        )
