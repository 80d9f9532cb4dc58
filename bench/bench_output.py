"""Printing lookups: rows a second of each format, beside tabulate and the json module in the same run.

`rows()` measures; as a script it prints them. Speeds are per second of CPU time (the machine may be shared),
the best of a few passes over batches of 256; the sink throws the bytes away.
"""

from __future__ import annotations

import io
import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec
import yaml
from row import Row
from tabulate import tabulate

from kubectl_kdns.model import Answer, Client, Dns, Edns, Lookup, Server, ServerBackend, Workload
from kubectl_kdns.output import make_output
from kubectl_kdns.output.options import OutputOptions
from kubectl_kdns.summary import Summarizer
from kubectl_kdns.times import NS_PER_S, format_time

_PASSES = 10
_LOOKUPS = 4_096  # few, because those of a live stream are still in the processor's cache
_BATCH = 256
_NAMES = 2_000
_PODS = 200
_PEER_LOOKUPS = 1_000
_START_NS = 1_795_428_000 * NS_PER_S

_TITLES = ("TIME", "CLIENT", "NAME", "TYPE", "STATUS", "LATENCY", "SERVER", "DETAIL")

Batches = Sequence[Sequence[Lookup]]


class _Nowhere(io.RawIOBase):
    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return len(data)


def rows() -> Iterator[Row]:
    batches = lookups(_LOOKUPS)
    few = lookups(_PEER_LOOKUPS)
    row_a_call = _per_s(few, _tabulate_each)
    whole_batches = _per_s(few, _tabulate_batches)
    json_module = _per_s(few, _json_module)
    yield Row("table, terminal of 120 columns, colour", _format(batches, "table", 120), "goal", 200_000)
    yield Row("table, no terminal", _format(batches, "table", None), "tabulate, row a call", row_a_call)
    yield Row("table, no terminal", _format(batches, "table", None), "tabulate, batches", whole_batches)
    yield Row("wide", _format(batches, "wide", None), "tabulate, batches", whole_batches)
    yield Row("csv, 28 columns", _format(batches, "csv", None), "tabulate, batches", whole_batches)
    yield Row("json", _format(batches, "json", None), "json module, dicts", json_module)
    yield Row("yaml", _format(few, "yaml", None), "PyYAML without C", _per_s(few[:1], _yaml_in_python))
    yield Row("summary, added up", _per_s(batches, _summarize), "goal", 2_000_000)


def lookups(number: int) -> Batches:
    """Lookups of many pods and names by Zipf's law, as packets show them; one in ten fails."""
    chance = random.Random(1)
    ranks = chance.choices(range(_NAMES), weights=[1 / (rank + 1) for rank in range(_NAMES)], k=number)
    all_lookups = [_lookup(chance, index, rank) for index, rank in enumerate(ranks)]
    return [all_lookups[start : start + _BATCH] for start in range(0, number, _BATCH)]


def _lookup(chance: random.Random, index: int, rank: int) -> Lookup:
    pod, failed = chance.randrange(_PODS), rank % 10 == 9
    name = f"service-{rank}.shop.svc.cluster.local"
    address = f"10.96.{rank >> 8}.{rank & 255}"
    return Lookup(
        time=format_time(_START_NS + index * 100_000),
        backend="ebpf",
        node="worker-1",
        hop="client",
        side="client",
        status="answered",
        latency_ms=round(chance.expovariate(1), 6),
        tries=1,
        transport="udp",
        client=Client(
            ip=f"10.244.1.{pod}",
            port=40_000 + index % 20_000,
            kind="pod",
            namespace="shop",
            pod=f"cart-7d9f8b6c5-{pod:05d}",
            workload=Workload("Deployment", "cart"),
            node="worker-1",
        ),
        server=Server(
            ip="10.96.0.10",
            port=53,
            kind="service",
            namespace="kube-system",
            service="kube-dns",
            backend=ServerBackend("10.244.0.5", 53, "coredns-5d78c9869d-8kq2m"),
        ),
        dns=Dns(
            id=index & 0xFFFF,
            opcode="QUERY",
            name=name,
            type="A",
            class_="IN",
            rcode="NXDOMAIN" if failed else "NOERROR",
            response_class="denial" if failed else "success",
            flags=["qr", "aa", "rd"],
            answers=[] if failed else [Answer(name, "A", 30, address)],
            resolved_ips=[] if failed else [address],
            query_bytes=45,
            response_bytes=88,
            edns=Edns(1232, False),
        ),
    )


def _format(batches: Batches, name: str, width: int | None) -> float:
    out: Any = _Nowhere()
    options = OutputOptions(width=width, color=width is not None, now_ns=_START_NS)
    output = make_output(name, out, io.StringIO(), options)

    def write_all(all_batches: Batches) -> None:
        for batch in all_batches:
            output.write(batch)

    return _per_s(batches, write_all)


def _summarize(batches: Batches) -> None:
    summarizer = Summarizer()
    for batch in batches:
        summarizer.add(batch)


def _cells(lookup: Lookup) -> list[Any]:
    """What a table made with tabulate would get: the fields, without any of our care for form."""
    client, server, dns = lookup.client, lookup.server, lookup.dns
    assert client
    assert server
    assert dns
    answers = ", ".join([answer.data for answer in dns.answers]) if dns.answers else ""
    name = f"{client.namespace}/{client.pod}"
    return [lookup.time, name, dns.name, dns.type, dns.rcode, lookup.latency_ms, server.service, answers]


def _tabulate_each(batches: Batches) -> None:
    for batch in batches:
        for lookup in batch:
            tabulate([_cells(lookup)], tablefmt="plain")


def _tabulate_batches(batches: Batches) -> None:
    for batch in batches:
        tabulate([_cells(lookup) for lookup in batch], _TITLES, tablefmt="plain")


def _json_module(batches: Batches) -> None:
    for batch in batches:
        for lookup in batch:
            json.dumps(msgspec.to_builtins(lookup))


def _yaml_in_python(batches: Batches) -> None:
    for batch in batches:
        yaml.safe_dump_all([msgspec.to_builtins(lookup) for lookup in batch])


def _per_s(batches: Batches, run: Callable[[Batches], None]) -> float:
    number = sum(map(len, batches))
    best_s = float("inf")
    for _ in range(_PASSES):
        start_s = time.process_time()
        run(batches)
        best_s = min(best_s, time.process_time() - start_s)
    return number / best_s


if __name__ == "__main__":
    for row in rows():
        print(row.line())
