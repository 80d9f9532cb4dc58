"""Frames as an agent writes them."""

from __future__ import annotations

from typing import Any

from kdns_ebpf import wire
from support.dns_wire import QNAME, QUERY, RESPONSE, A, message, name, question, record

UID = "0f0e0d0c-0001-0002-0003-000000000004"
CONTAINER = "ab" * 32
PATH = f"/kubepods/besteffort/pod{UID}/{CONTAINER}"
WEB_SHOP = question(name(b"web", b"shop"))
ASKED = message(QUERY, [WEB_SHOP], id_=7)
ANSWERED = message(RESPONSE, [WEB_SHOP], [record(QNAME, A, b"\x0a\x60\x00\x14")], id_=7)
T0_NS = 1_795_000_000_000_000_000


def hello(can: int = 15) -> bytes:
    head = wire.HELLO_HEAD.pack(wire.MAGIC, wire.VERSION, can, T0_NS, 2, 5000, b"6.18.0")
    return wire.frame(wire.HELLO, head)


def cgroup(id_: int, path: str = PATH) -> bytes:
    return wire.frame(wire.CGROUP, wire.CGROUP_HEAD.pack(id_) + path.encode())


def stats(seconds: int = 1, **figures: int) -> bytes:
    return wire.frame(wire.STATS, wire.STATS_HEAD.pack(*_figures(seconds, figures)))


def bye(reason: int, seconds: int = 2, **figures: int) -> bytes:
    return wire.frame(wire.BYE, wire.BYE_HEAD.pack(reason, *_figures(seconds, figures)))


def log(level: int, text: str) -> bytes:
    return wire.frame(wire.LOG, wire.LOG_HEAD.pack(level) + text.encode())


def lookup(
    query: bytes = ASKED, response: bytes = ANSWERED, *, frame_type: int = wire.LOOKUP, **changes: Any
) -> bytes:
    """An answered A lookup of web.shop by a pod, 2 ms; `changes` are fields of the head."""
    head = wire.WireLookup(
        sequence=0,
        query_ns=T0_NS,
        last_ns=T0_NS,
        response_ns=T0_NS + 2_000_000,
        cookie=99,
        cgroup=5,
        netns=3,
        pid=77,
        tries=1,
        query_size=len(query),
        response_size=len(response),
        query_captured=len(query),
        response_captured=len(response),
        messages=2,
        id=7,
        client_port=40000,
        client_ip=bytes((10, 244, 1, 9)) + bytes(12),
        server_ip=bytes((10, 96, 0, 10)) + bytes(12),
        backend_ip=bytes(16),
        server_port=53,
        backend_port=0,
        family=4,
        protocol=17,
        side=wire.SIDE_CLIENT,
        status=wire.ANSWERED,
        flags=0,
        process=b"curl",
    )._replace(**changes)
    return wire.frame(frame_type, wire.LOOKUP_HEAD.pack(*head) + query + response)


def _figures(seconds: int, figures: dict[str, int]) -> list[int]:
    known = dict.fromkeys(wire.Stats._fields, 0) | {"time_ns": T0_NS + seconds * 1_000_000_000} | figures
    return [known[name] for name in wire.Stats._fields]
