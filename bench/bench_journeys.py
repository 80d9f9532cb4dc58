"""Journeys of requests that agents on two nodes saw, beside the limit of issue 7.

Three sightings a request: the client's, the server's, and what CoreDNS asks upstream. All of it is in memory;
what is measured is joining, folding and the conclusion, as in a live run: each request is told as soon as it
is over, while others come.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from row import Row

from kubectl_kdns.journeys import Journeys
from kubectl_kdns.model import Client, Dns, Journey, Lookup, Server, ServerBackend
from kubectl_kdns.times import NS_PER_S, format_time

REQUESTS = 30_000
REQUESTS_PER_S = 10_000
BATCH = 300
LIMIT_PER_S = 50_000
_START_NS = 1_770_000_000 * NS_PER_S


def rows() -> Iterator[Row]:
    yield Row("journeys, distinct names", per_s(lambda i: f"n{i}.example.com"), "limit", LIMIT_PER_S)
    yield Row("journeys, ten names", per_s(lambda i: f"n{i % 10}.example.com"), "limit", LIMIT_PER_S)


def per_s(name: Callable[[int], str]) -> float:
    """Lookups a second of CPU time."""
    lookups = [lookup for i in range(REQUESTS) for lookup in _request(i, name(i))]
    now_ns = _START_NS
    stage, journeys = Journeys(5 * NS_PER_S, now=lambda: now_ns), 0
    begun_s = time.process_time()
    for i in range(0, len(lookups), BATCH):
        now_ns = _START_NS + i // 3 * NS_PER_S // REQUESTS_PER_S
        journeys += sum(isinstance(each, Journey) for each in stage.add(lookups[i : i + BATCH]))
    in_time = journeys
    journeys += len(stage.rest(at_end=True))
    took_s = time.process_time() - begun_s
    assert journeys == REQUESTS
    assert in_time > REQUESTS / 2  # the rest is of the last second
    return len(lookups) / took_s


def _request(number: int, name: str) -> list[Lookup]:
    at_ns = _START_NS + number * NS_PER_S // REQUESTS_PER_S
    client = Client(ip=f"10.0.1.{number % 200 + 2}", port=1024 + number % 60_000, kind="pod", pod="web")
    pod = f"coredns-{number % 4}"
    asker = Client(ip=f"10.0.2.{number % 4}", port=40_000, kind="coredns", pod=pod)
    service = Server(ip="10.96.0.10", port=53, kind="service", backend=ServerBackend("10.0.2.1", 53, pod))
    upstream = Server(ip="192.0.2.53", port=53, kind="external")
    forward = _lookup(at_ns + 200_000, 600_000, "n2", "coredns", "client", asker, upstream, name, number + 7)
    at_server = Server(ip="10.0.2.1", port=53, kind="coredns", pod=pod)
    served = _lookup(at_ns + 100_000, 800_000, "n2", "client", "server", client, at_server, name, number)
    asked = _lookup(at_ns, 1_000_000, "n1", "client", "client", client, service, name, number)
    return [forward, served, asked]


def _lookup(
    at_ns: int,
    took_ns: int,
    node: str,
    hop: str,
    side: str,
    client: Client,
    server: Server,
    name: str,
    number: int,
) -> Lookup:
    return Lookup(
        time=format_time(at_ns),
        backend="ebpf",
        node=node,
        hop=hop,
        side=side,
        status="answered",
        latency_ms=took_ns / 1e6,
        tries=1,
        transport="udp",
        client=client,
        server=server,
        dns=Dns(id=number % 65536, name=name, type="A", rcode="NOERROR", resolved_ips=["192.0.2.1"]),
    )
