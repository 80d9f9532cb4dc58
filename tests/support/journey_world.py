"""A small cluster that answers lookups by chance and knows which of them belong together.

Nodes have clocks of their own; CoreDNS pods answer from a cache or ask an upstream, which may be silent;
NodeLocal may stand before them. Records come in the order of their completion, as from agents.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

from kubectl_kdns.model import Client, Dns, Lookup, Server, ServerBackend
from kubectl_kdns.times import NS_PER_S, format_time, ms

START_NS = 1_770_000_000 * NS_PER_S
MS = 1_000_000
TIMEOUT_NS = 5 * NS_PER_S
UPSTREAM = "192.0.2.53"
SERVICE = "10.96.0.10"


class Truth(Struct):
    """A lookup and those that its server asked for it, by number; numbers are message ids."""

    number: int
    children: list[int]


class World:
    """`ask` lets a client ask once; `records` are what all agents told, in the order of completion."""

    def __init__(self, random: Random, *, skew_ns: int = 0, nodelocal: bool = False) -> None:
        self.random, self.nodelocal = random, nodelocal
        self.skew_ns = {"n1": 0, "n2": skew_ns}
        self.truth: dict[int, Truth] = {}
        self._told: list[tuple[int, Lookup]] = []
        self._next = 0

    @property
    def records(self) -> list[Lookup]:
        return [lookup for _, lookup in self.told]

    @property
    def told(self) -> list[tuple[int, Lookup]]:
        """When each was told (nanoseconds after START_NS), and the lookup."""
        return sorted(self._told, key=lambda item: item[0])

    def ask(self, at_ns: int, name: str, *, cached: float = 0.3, silent: float = 0.0) -> int:
        """One lookup by a pod on a node of chance, at a time; returns its number."""
        node = self.random.choice(["n1", "n2"])
        client = Client(ip=f"10.0.{node[1]}.{self.random.randrange(2, 22)}", pod=f"app-{node}")
        if self.nodelocal:
            server, server_node = f"nodelocal-{node}", node
        else:
            server_node = self.random.choice(["n1", "n2"])
            server = f"coredns-{server_node}"
        number, _, _ = self._lookup(
            at_ns, name, "client", client, node, server, server_node, cached=cached, silent=silent
        )
        return number

    def _lookup(
        self,
        at_ns: int,
        name: str,
        hop: str,
        client: Client,
        node: str,
        server: str,
        server_node: str,
        *,
        cached: float,
        silent: float,
    ) -> tuple[int, int | None, str]:
        """Returns its number, when the answer was back (None: never), and the answer."""
        number = self._number()
        own = self.truth[number] = Truth(number, [])
        network_ns = self.random.randrange(20_000, 300_000)
        arrived_ns = at_ns + network_ns
        begin_ns = arrived_ns + self.random.randrange(20_000, 200_000)
        done_ns: int | None = begin_ns
        rcode = "NOERROR"
        if self.random.random() >= cached:
            done_ns, rcode = self._forward(own, begin_ns, name, server, server_node, cached, silent)
        answered_ns = None if done_ns is None else done_ns + self.random.randrange(10_000, 150_000)
        back_ns = None if answered_ns is None else answered_ns + self.random.randrange(20_000, 300_000)
        port = 20_000 + number
        self._tell(
            at_ns, back_ns, number, name, rcode, hop, "client", client, port, node, server, server_node
        )
        self._tell(
            arrived_ns, answered_ns, number, name, rcode, hop, "server", client, port, server_node, server,
            server_node,
        )  # fmt: skip
        return number, back_ns, rcode

    def _forward(
        self, own: Truth, at_ns: int, name: str, server: str, node: str, cached: float, silent: float
    ) -> tuple[int | None, str]:
        asker = Client(ip=f"10.1.{node[1]}.{2 if 'core' in server else 3}", pod=server)
        hop = "coredns" if "core" in server else "nodelocal"
        if hop == "nodelocal":
            to = self.random.choice(["n1", "n2"])
            number, back_ns, rcode = self._lookup(
                at_ns, name, hop, asker, node, f"coredns-{to}", to, cached=cached, silent=silent
            )
            own.children.append(number)
            return back_ns, rcode
        for attempt in range(3):
            number = self._number()
            self.truth[number] = Truth(number, [])
            own.children.append(number)
            start_ns = at_ns + attempt * (2 * NS_PER_S + 1 * MS)
            is_silent = self.random.random() < silent
            back_ns = None if is_silent else start_ns + self.random.randrange(200_000, 30 * MS)
            self._tell(
                start_ns, back_ns, number, name, "NOERROR", hop, "client", asker, 20_000 + number, node, "",
                "",
            )  # fmt: skip
            if back_ns is not None:
                return back_ns, "NOERROR"
        return None, ""

    def _number(self) -> int:
        self._next += 1
        return self._next

    def _tell(
        self,
        start_ns: int,
        end_ns: int | None,
        number: int,
        name: str,
        rcode: str,
        hop: str,
        side: str,
        client: Client,
        port: int,
        node: str,
        server: str,
        server_node: str,
    ) -> None:
        """`server` "" is the upstream. What is told comes up to 100 ms later, as agents send batches."""
        if not server:
            to = Server(ip=UPSTREAM, kind="external")
        elif side == "client":
            to = Server(ip=SERVICE, kind="service", backend=ServerBackend(pod=server, node=server_node))
        else:
            to = Server(ip=f"10.1.{server_node[1]}.2", kind="coredns", pod=server)
        lookup = Lookup(
            time=format_time(START_NS + start_ns + self.skew_ns[node]),
            backend="ebpf",
            node=node,
            hop=hop,
            side=side,
            status="unanswered" if end_ns is None else "answered",
            transport="udp",
            client=Client(ip=client.ip, port=port, pod=client.pod),
            server=to,
            dns=Dns(id=number, name=name, type="A"),
        )
        told_ns = start_ns + TIMEOUT_NS + NS_PER_S
        if end_ns is not None:
            assert lookup.dns
            lookup.latency_ms, lookup.dns.rcode = ms(end_ns - start_ns), rcode
            told_ns = end_ns
        self._told.append((told_ns + self.random.randrange(100 * MS), lookup))
