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

REQUESTS_PER_S = 10_000
WARM_S, SECONDS = 11, 4
"""Until as much is forgotten as comes: before that it is a quarter faster."""
BATCH = 100
LIMIT_PER_S = 50_000
_START_NS = 1_770_000_000 * NS_PER_S
# One object for each text, as decoders (which decode nothing twice) and the directory have it.
_TEN_NAMES = [f"n{i}.example.com" for i in range(10)]
_CLIENTS = [f"10.0.1.{i + 2}" for i in range(200)]
_SERVERS = [(f"coredns-{i}", f"10.0.2.{i}") for i in range(4)]


def rows() -> Iterator[Row]:
    yield Row("journeys, distinct names", per_s(lambda i: f"n{i}.example.com"), "limit", LIMIT_PER_S)
    yield Row("journeys, ten names", per_s(lambda i: _TEN_NAMES[i % 10]), "limit", LIMIT_PER_S)


def per_s(name: Callable[[int], str]) -> float:
    """Lookups a second of CPU time, of a run that has gone on for a while."""
    now_ns = _START_NS
    stage, journeys, lookups, took_s = Journeys(5 * NS_PER_S, now=lambda: now_ns), 0, 0, 0.0
    warm, requests = WARM_S * REQUESTS_PER_S, (WARM_S + SECONDS) * REQUESTS_PER_S
    for i in range(0, requests, BATCH):
        batch = [lookup for k in range(i, i + BATCH) for lookup in _request(k, name(k))]
        now_ns = _START_NS + i * NS_PER_S // REQUESTS_PER_S
        begun_s = time.process_time()
        made = stage.add(batch)
        if i >= warm:
            took_s += time.process_time() - begun_s
            lookups += len(batch)
        journeys += sum(isinstance(each, Journey) for each in made)
    assert journeys > warm  # the rest is of the last second
    assert journeys + len(stage.rest(at_end=True)) == requests
    return lookups / took_s


def _request(number: int, name: str) -> list[Lookup]:
    at_ns = _START_NS + number * NS_PER_S // REQUESTS_PER_S
    client = Client(ip=_CLIENTS[number % 200], port=1024 + number % 60_000, kind="pod", pod="web")
    pod, address = _SERVERS[number % 4]
    asker = Client(ip=address, port=40_000, kind="coredns", pod=pod)
    service = Server(ip="10.96.0.10", port=53, kind="service", backend=ServerBackend(address, 53, pod))
    upstream = Server(ip="192.0.2.53", port=53, kind="external")
    forward = _lookup(at_ns + 200_000, 600_000, "n2", "coredns", "client", asker, upstream, name, number + 7)
    at_server = Server(ip=address, port=53, kind="coredns", pod=pod)
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
