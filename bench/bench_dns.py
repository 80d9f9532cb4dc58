"""Decoding DNS messages, beside dnslib on the same messages in the same run.

`rows()` measures; as a script it prints them. Speeds are messages per second of CPU time (the machine may be
shared), the best of a few passes.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from row import Row

from kubectl_kdns.dns import message, wire

_PASSES = 3
_DNSLIB_SAMPLE = 1000
_LOOKUPS = 50_000
_LOOKUPS_PER_S = 2_000
_NAMES = 2_000
_TTL_S = 30

Decode = Callable[[bytes], Any]


def rows() -> Iterator[Row]:
    stream = realistic_stream()
    queries = [payload for payload in stream[::2] if payload[10:12] == b"\0\0"][:10_000]
    again = wire.decode_message
    alone = message.parse_message
    yield _row("decode: the same query again", [stream[0]] * 100_000, again)
    yield _row("decode: the same response again", [stream[1]] * 100_000, again)
    yield _row(f"decode: stream of {_NAMES} names, cold", stream, again, clear_caches)
    yield _row(f"decode: stream of {_NAMES} names, warm", stream, again)
    yield _row("decode: that stream without message caches", stream[:20_000], alone)
    yield _row("decode: its queries without message caches", queries, alone)
    yield _row("decode: 1 A without message caches", [stream[1]] * 10_000, alone)
    yield _row("decode: its longest without message caches", [max(stream, key=len)] * 5_000, alone)


def clear_caches() -> None:
    for cache in (wire._messages, wire._templates, wire._layouts, message._QUESTIONS):
        cache.clear()


def realistic_stream() -> list[bytes]:
    """Queries and responses in turn: names by Zipf's law, TTLs that a cache counts down, ids at random."""
    chance = random.Random(1)
    kinds = [_lookup(chance, number) for number in range(_NAMES)]
    chosen = chance.choices(kinds, weights=[1 / (rank + 1) for rank in range(_NAMES)], k=_LOOKUPS)
    stream: list[bytes] = []
    for number, (query, response, ttl_offsets, phase) in enumerate(chosen):
        id_ = chance.randbytes(2)
        ttl = _TTL_S - (number // _LOOKUPS_PER_S + phase) % _TTL_S
        answer = bytearray(response)
        answer[:2] = id_
        for offset in ttl_offsets:
            answer[offset : offset + 4] = ttl.to_bytes(4, "big")
        stream += (id_ + query[2:], bytes(answer))
    return stream


def _lookup(chance: random.Random, number: int) -> tuple[bytes, bytes, list[int], int]:
    """(query, response, where its TTLs are, at which second its TTLs begin) of one kind of lookup."""
    from dnslib import AAAA, CNAME, EDNS0, QTYPE, RR, SOA, SRV, A, DNSRecord

    service = f"svc-{number}.team-{number % 40}.svc.cluster.local"
    host = f"api{number}.example{number % 90}.com"
    soa = SOA("ns.dns.cluster.local", "hostmaster.cluster.local", (number, 7200, 1800, 86400, 30))
    kind = number % 10
    type_ = "AAAA" if kind in (3, 4) else "SRV" if kind == 9 else "A"
    name = (
        host
        if kind in (7, 8)
        else f"{host}.team-{number % 40}.svc.cluster.local"
        if kind in (5, 6)
        else service
    )
    query = DNSRecord.question(name, type_)
    if number % 2:
        query.add_ar(EDNS0(udp_len=1232))
    reply = query.reply()
    if kind in (0, 1, 2):
        reply.add_answer(RR(name, QTYPE.A, rdata=A(f"10.96.{number % 256}.{number // 256}"), ttl=_TTL_S))
    elif kind == 3:
        reply.add_answer(RR(name, QTYPE.AAAA, rdata=AAAA(f"fd00::{number + 1:x}"), ttl=_TTL_S))
    elif kind in (4, 5, 6):
        reply.header.rcode = 0 if kind == 4 else 3
        reply.add_auth(RR("cluster.local", QTYPE.SOA, rdata=soa, ttl=_TTL_S))
    elif kind in (7, 8):
        for hop in (f"edge{number}.cdn.net", f"pop{number % 7}.edge{number}.cdn.net"):
            reply.add_answer(RR(name, QTYPE.CNAME, rdata=CNAME(hop), ttl=_TTL_S))
            name = hop
        for last in range(1 + number % 4):
            reply.add_answer(RR(name, QTYPE.A, rdata=A(f"203.0.113.{last}"), ttl=_TTL_S))
    else:
        for pod in range(2):
            reply.add_answer(RR(name, QTYPE.SRV, rdata=SRV(0, 50, 8080, f"pod-{pod}.{name}"), ttl=_TTL_S))
    if number % 2:
        reply.add_ar(EDNS0(udp_len=1232))
    payload = bytes(reply.pack())
    _, ttl_offsets = message.parse_message(payload)
    return bytes(query.pack()), payload, ttl_offsets, chance.randrange(_TTL_S)


def _nothing() -> None:
    pass


def _row(what: str, payloads: Sequence[bytes], decode: Decode, before: Callable[[], None] = _nothing) -> Row:
    from dnslib import DNSRecord

    sample = payloads[:: max(1, len(payloads) // _DNSLIB_SAMPLE)]
    return Row(what, _per_s(payloads, decode, before), "dnslib", _per_s(sample, DNSRecord.parse, _nothing))


def _per_s(payloads: Sequence[bytes], decode: Decode, before: Callable[[], None]) -> float:
    best = float("inf")
    for _ in range(_PASSES):
        before()
        start = time.process_time()
        for payload in payloads:
            decode(payload)
        best = min(best, time.process_time() - start)
    return len(payloads) / best


if __name__ == "__main__":
    for row in rows():
        print(row.line())
