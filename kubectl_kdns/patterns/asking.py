"""Patterns of how clients ask: search lists, AAAA in vain, names that never exist, other servers."""

from __future__ import annotations

from kubectl_kdns.model import Insight, Lookup
from kubectl_kdns.output.phrases import server_name
from kubectl_kdns.patterns.pattern import (
    DENIED,
    Pattern,
    Recent,
    example_of,
    is_searched,
    most_frequent,
    share,
)
from kubectl_kdns.summary import Frequent
from kubectl_kdns.times import NS_PER_S, parse_time


class SearchList(Pattern):
    """Names from outside that go through the search list first."""

    code = "search_list"
    help = "Names of the outside world are asked with each suffix of the search list first, in vain (ndots:5)"
    fix = "a dot at the end of the name, `ndots: 2` in the pods' dnsConfig, or plugin autopath"
    LEAST, SHARE = 20, 0.3

    def see(self, lookup: Lookup) -> None:
        if lookup.hop != "client" or not lookup.dns:
            return
        self.total += 1
        if lookup.dns.rcode in DENIED and is_searched(str(lookup.dns.name)):
            self.hit(lookup)

    def find(self) -> Insight | None:
        if self.count < max(self.LEAST, self.SHARE * self.total):
            return None
        return self.insight(
            f"search lists: {share(self.count, self.total)} were for names that only they make"
        )


class AaaaWaste(Pattern):
    """AAAA that never has data where A has."""

    code = "aaaa_waste"
    help = "AAAA is asked beside A for names that have no IPv6 address: half of the lookups are in vain"
    fix = "no harm by itself; plugin template answers AAAA at once: `template IN AAAA . { rcode NOERROR }`"
    LEAST, SHARE = 20, 0.3

    def __init__(self) -> None:
        super().__init__()
        self._with_a: Recent[str, None] = Recent()
        self._without: Recent[str, int] = Recent()
        """Of which nobody has seen an A yet: how often."""

    def see(self, lookup: Lookup) -> None:
        dns = lookup.dns
        if lookup.hop != "client" or not dns or not dns.name or dns.rcode != "NOERROR":
            return
        self.total += 1
        name = dns.name
        if dns.type == "A" and dns.response_class != "denial":
            self._with_a.put(name, None)
            self.count += self._without.pop(name, 0)
        elif dns.type == "AAAA" and dns.response_class == "denial":
            self.example = self.example or example_of(lookup)
            if name in self._with_a:
                self._with_a.move_to_end(name)
                self.count += 1
            else:
                self._without.put(name, self._without.get(name, 0) + 1)

    def find(self) -> Insight | None:
        if self.count < max(self.LEAST, self.SHARE * self.total):
            return None
        return self.insight(
            f"AAAA in vain: {share(self.count, self.total)} asked for IPv6 where only IPv4 is"
        )


class Race(Pattern):
    """A and AAAA from one port at once, of which one comes seconds late or never."""

    code = "port_race"
    help = (
        "A and AAAA leave from one port at once, and one is lost: a race in connection tracking (5 s delays)"
    )
    fix = "NodeLocal DNSCache, or `options single-request-reopen` in the pods' dnsConfig"
    LEAST, PAIR_NS = 3, NS_PER_S // 50

    def __init__(self) -> None:
        super().__init__()
        self._open: Recent[tuple[object, ...], tuple[int, bool]] = Recent()

    def see(self, lookup: Lookup) -> None:
        client, dns = lookup.client, lookup.dns
        if lookup.hop != "client" or not client or not dns or dns.type not in ("A", "AAAA"):
            return
        if not lookup.time or not client.port or lookup.side == "server":
            return
        self.total += 1
        slow = lookup.status == "unanswered" or (lookup.tries or 1) > 1 or (lookup.latency_ms or 0) > 2400
        key = client.ip, client.port, dns.name
        start_ns = parse_time(lookup.time)
        other = self._open.pop(key, None)
        if other is None or abs(other[0] - start_ns) > self.PAIR_NS:
            self._open.put(key, (start_ns, slow))
        elif other[1] != slow:
            self.hit(lookup)

    def find(self) -> Insight | None:
        if self.count < self.LEAST:
            return None
        return self.insight(
            f"A beside AAAA from one port: {self.count} times one of the two was lost or came seconds late"
        )


class Truncated(Pattern):
    """Truncated answers that nobody asked for again over TCP."""

    code = "truncated"
    help = "Answers are cut to fit into UDP, and the client does not ask again over TCP"
    fix = "TCP port 53 must be open to the DNS pods; plugin bufsize 1232; a client that retries over TCP"
    LEAST = 3

    def __init__(self) -> None:
        super().__init__()
        self._cut: Recent[tuple[object, ...], Lookup] = Recent()

    def see(self, lookup: Lookup) -> None:
        client, dns = lookup.client, lookup.dns
        if lookup.hop != "client" or not client or not dns or lookup.side == "server":
            return
        self.total += 1
        key = client.ip, dns.name, dns.type
        if lookup.transport == "tcp":
            self._cut.pop(key, None)
        elif dns.flags and "tc" in dns.flags and (gone := self._cut.put(key, lookup)):
            self.hit(gone)

    def find(self) -> Insight | None:
        for lookup in self._cut.values():
            self.hit(lookup)
        if self.count < self.LEAST:
            return None
        return self.insight(f"truncated: {self.count} answers were cut, and were not asked for over TCP")


def _is_meant(name: str) -> bool:
    """Whether an application means this very name, and not what a search list makes of it or leaves of it."""
    return "." in name and not is_searched(name)


class NeverResolves(Pattern):
    """Names that are asked again and again and never exist."""

    code = "never_resolves"
    help = "A name is asked for again and again and never exists: a typo, or what was taken away"
    fix = "kubectl kdns explain NAME --in POD names the nearest Service"
    LEAST = 5

    def __init__(self) -> None:
        super().__init__()
        self._denied = Frequent()
        self._exist: Recent[str, None] = Recent()

    def see(self, lookup: Lookup) -> None:
        dns = lookup.dns
        if lookup.hop != "client" or not dns or not dns.name or lookup.status != "answered":
            return
        self.total += 1
        if dns.rcode == "NOERROR":
            self._exist.put(dns.name, None)
        elif dns.rcode in DENIED and _is_meant(dns.name):
            self._denied.add((dns.name,))

    def find(self) -> Insight | None:
        denied = sorted(self._denied.items().items(), key=lambda item: -item[1])
        never = [(n, c) for n, c in denied if c >= self.LEAST and n not in self._exist]
        self.count = sum(count for _, count in never)
        if not never:
            return None
        names = ", ".join(f"{name} ({count})" for name, count in never[:3])
        more = f" and {len(never) - 3} more names" if len(never) > 3 else ""
        return self.insight(f"never found: {names}{more}")


class ByPass(Pattern):
    """Clients that do not ask the cluster's DNS."""

    code = "by_pass"
    help = "Pods ask DNS servers outside of the cluster: no Service names, no cache, no policy there"
    fix = "those pods' dnsPolicy and dnsConfig, or a resolver in the program (Go, Java, DoH proxies)"
    LEAST = 5

    def __init__(self) -> None:
        super().__init__()
        self._whom = Frequent()

    def see(self, lookup: Lookup) -> None:
        client, server = lookup.client, lookup.server
        if lookup.hop != "client" or not client or client.kind != "pod" or not server:
            return
        self.total += 1
        if server.kind == "external":
            self._whom.add((server_name(server),))
            self.hit(lookup)

    def find(self) -> Insight | None:
        if self.count < self.LEAST:
            return None
        whom = most_frequent(self._whom, 3)
        return self.insight(f"by-passed: {share(self.count, self.total)} of pods went to {whom}")
