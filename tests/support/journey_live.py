"""A live run of journeys whose clock the test turns, and the three sightings of one request."""

from __future__ import annotations

from kubectl_kdns.journeys import Journeys
from kubectl_kdns.model import (
    PROGRESS,
    WATCHING,
    Client,
    Dns,
    Journey,
    Lookup,
    Notice,
    Record,
    Server,
    ServerBackend,
)
from kubectl_kdns.times import NS_PER_S, format_time

T = 1_770_000_000 * NS_PER_S
MS = NS_PER_S // 1000
POD = ServerBackend(ip="10.1.2.3", pod="coredns-b", node="n2")


class Live:
    """A run whose clock the test turns: `n1` has the application, `n2` the DNS server."""

    def __init__(self) -> None:
        self.now_ns = T
        self.stage = Journeys(5 * NS_PER_S, now=lambda: self.now_ns)
        start = format_time(T - NS_PER_S)
        self.told: list[Journey] = []
        self.add(
            *(Notice(time=start, node=node, code=WATCHING, ports=[53]) for node in ("n1", "n2")),
            Notice(time=start, code="forwards", ports=[53]),
        )

    def add(self, *records: Record) -> None:
        found = self.stage.add(records)
        if not any(isinstance(record, Notice) and record.code == PROGRESS for record in records):
            found += self.stage.rest()  # nothing comes just now; nodes that tell how far they are never pause
        self.told += [record for record in found if isinstance(record, Journey)]
        assert not any(isinstance(record, Notice) and record.code == PROGRESS for record in found)

    def known(self, node: str, seconds: float) -> Notice:
        return Notice(time=format_time(T + round(seconds * NS_PER_S)), node=node, code=PROGRESS)

    def turn(self, seconds: float, *nodes: str) -> None:
        """Time goes on; those nodes tell that they have told all."""
        end_ns = self.now_ns + round(seconds * NS_PER_S)
        while self.now_ns < end_ns:
            self.now_ns += 100 * MS
            self.add(*(self.known(node, (self.now_ns - T) / NS_PER_S) for node in nodes))

    def codes_and_hops(self) -> list[tuple[object, int]]:
        """Of each journey that was told: its code, and how many hops its first attempt has."""
        return [(journey.code, len(journey.attempts[0].hops)) for journey in self.told]


def telling() -> Live:
    """Both nodes tell how far they are."""
    live = Live()
    live.add(live.known("n1", 0), live.known("n2", 0))
    return live


def asked() -> Lookup:
    return seen("n1", "client", "client", 0, 5, Client(ip="10.1.1.1", port=4000, kind="pod", pod="web-1"))


def answered() -> Lookup:
    return seen("n2", "client", "server", 1, 3, Client(ip="10.1.1.1", port=4000))


def forwarded() -> Lookup:
    return seen("n2", "coredns", "client", 2, 1, Client(ip="10.1.2.3", port=5000, pod="coredns-b"))


def seen(node: str, hop: str, side: str, at_ms: int, took_ms: int, client: Client) -> Lookup:
    upstream = Server(ip="8.8.8.8", port=53, kind="external")
    at_server = Server(ip="10.1.2.3", kind="coredns", pod="coredns-b")
    service = Server(ip="10.96.0.10", kind="service", backend=POD)
    return Lookup(
        time=format_time(T + at_ms * MS),
        backend="ebpf",
        node=node,
        hop=hop,
        side=side,
        status="answered",
        latency_ms=float(took_ms),
        transport="udp",
        client=client,
        server=upstream if hop == "coredns" else service if node == "n1" else at_server,
        dns=Dns(id=9 if hop == "coredns" else 7, name="www.example.com", type="A", rcode="NOERROR"),
    )
