"""Any bytes at all: never an exception, never unsafe text, never more work than the bytes are worth."""

from __future__ import annotations

import random
import struct
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.dns.message import parse_message
from kubectl_kdns.dns.wire import decode_message
from support.dns_wire import (
    AAAA,
    CNAME,
    HTTPS,
    MX,
    PTR,
    QNAME,
    QUERY,
    RESPONSE,
    SOA,
    SRV,
    TXT,
    A,
    message,
    name,
    opt,
    pointer,
    question,
    record,
    unsafe_text,
)

WEB = name(b"web", b"shop", b"svc")
SVCB = b"\0\1\0" + b"\0\1\0\6\2h2\2h3" + b"\0\4\0\4\1\2\3\4" + b"\3\xe7\0\1x"
SEEDS = [
    message(QUERY, [question(WEB, AAAA)], additional=[opt(1232, 0x8000, b"\0\x0a\0\x08cookie!!")]),
    message(
        RESPONSE,
        [question(WEB)],
        [record(QNAME, CNAME, b"\2lb" + pointer(16)), record(pointer(12 + 18 + 12), A, b"\x0a\1\2\3")],
        [record(name(b"svc"), SOA, name(b"ns") + pointer(16) + bytes(20))],
        [opt()],
    ),
    message(
        RESPONSE,
        [question(WEB, 255)],
        [
            record(QNAME, MX, b"\0\x0a\4mail" + QNAME),
            record(QNAME, SRV, bytes(6) + b"\5pod-0" + QNAME),
            record(QNAME, TXT, b"\5v=one\0\2\x1b["),
            record(QNAME, HTTPS, SVCB),
            record(QNAME, AAAA, bytes(15) + b"\1"),
        ],
    ),
    message(
        RESPONSE,
        [question(WEB, 255)],
        [
            record(QNAME, 257, b"\0\5issueca.example"),
            record(QNAME, 46, bytes(18) + QNAME + b"signature"),
            record(QNAME, 47, QNAME + b"\0\6\x40\1\0\0\0\3"),
            record(QNAME, 35, bytes(4) + b"\1u\3E2U\4!.*!\0"),
            record(QNAME, 29, bytes.fromhex("00121613") + bytes(12)),
            record(QNAME, 65280, b"\xde\xad"),
        ],
    ),
]


def check(payload: bytes) -> None:
    decoded = decode_message(payload)
    assert decoded == parse_message(payload)[0]
    assert decoded.size == len(payload)
    assert unsafe_text(decoded) == []
    msgspec.json.encode(decoded)


@given(st.binary(max_size=200))
def test_random_bytes(payload: bytes) -> None:
    check(payload)


@given(st.binary(min_size=8, max_size=8), st.binary(max_size=300))
def test_random_bytes_behind_a_sane_header(counts: bytes, body: bytes) -> None:
    check(b"\x12\x34\x81\x80" + bytes(n % 4 if i % 2 else 0 for i, n in enumerate(counts)) + body)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_seeds_are_good(seed: bytes) -> None:
    assert decode_message(seed).malformed is None
    check(seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_length(seed: bytes) -> None:
    for size in range(len(seed)):
        check(seed[:size])


@pytest.mark.parametrize("seed", SEEDS)
def test_every_bit_flipped(seed: bytes) -> None:
    for bit in range(len(seed) * 8):
        changed = bytearray(seed)
        changed[bit // 8] ^= 1 << bit % 8
        check(bytes(changed))


@pytest.mark.parametrize("seed", SEEDS)
def test_every_pair_of_bytes_replaced(seed: bytes) -> None:
    for pair in (b"\0\0", b"\xff\xff", b"\xc0\x0c", b"\xc0\x00", b"\x3f\x3f"):
        for at in range(len(seed) - 1):
            check(seed[:at] + pair + seed[at + 2 :])


def test_pieces_of_messages_put_together() -> None:
    chance = random.Random(2026)
    for _ in range(1500):
        pieces = []
        for _ in range(chance.randrange(1, 5)):
            seed = chance.choice(SEEDS)
            start = chance.randrange(len(seed))
            pieces.append(seed[start : start + chance.randrange(1, 60)])
        head = chance.choice(SEEDS)
        check(head[: chance.randrange(12, len(head))] + b"".join(pieces))


# --- work -----------------------------------------------------------------------------------------


def filled(answer: Callable[[int], bytes], size: int, head: bytes = b"") -> bytes:
    """A response of about `size` bytes of `answer(offset)` records, after one of `head`."""
    body = record(QNAME, 65280, head)
    start = 12 + len(question(WEB))
    count = 1
    while start + len(body) < size - 600:
        body += answer(start + len(body))
        count += 1
    return struct.pack(">HHHHHH", 1, RESPONSE, 1, count, 0, 0) + question(WEB) + body


def pointer_chain(size: int) -> bytes:
    """Pointers to pointers to ... the question's name."""
    start = 12 + len(question(WEB)) + 12
    chain = QNAME + b"".join(pointer(start + 2 * i) for i in range(size // 4))
    end = start + len(chain) - 2
    return filled(lambda _: record(pointer(end), CNAME, pointer(end)), size, chain)


def chains_entered_everywhere(size: int) -> bytes:
    start = 12 + len(question(WEB)) + 12
    chain = QNAME + b"".join(pointer(start + 2 * i) for i in range(size // 4))
    return filled(lambda at: record(pointer(start + at * 2 % len(chain) // 2 * 2), A, bytes(4)), size, chain)


def long_names_entered_everywhere(size: int) -> bytes:
    start = 12 + len(question(WEB)) + 12
    labels = (b"\1a" * 126 + b"\0") * 8
    return filled(lambda at: record(pointer(start + at % len(labels) // 2 * 2), CNAME, QNAME), size, labels)


NASTY: dict[str, Callable[[int], bytes]] = {
    "header and zeros": lambda size: message(RESPONSE, [question(WEB)]) + bytes(size),
    "all counts at most": lambda size: b"\0\1\x81\x80" + b"\xff" * 8 + bytes(size),
    "all pointers": lambda size: b"\0\1\x81\x80" + b"\0\1\xff\xff\0\0\0\0" + b"\xc0\x0c" * (size // 2),
    "all ones": lambda size: b"\xff" * size,
    "smallest records": lambda size: filled(lambda _: record(b"\0", 65280, b""), size),
    "addresses": lambda size: filled(lambda _: record(QNAME, A, bytes(4)), size),
    "inline names": lambda size: filled(lambda _: record(WEB, CNAME, WEB), size),
    "inline names of one letter": lambda size: filled(
        lambda _: record(name(*[b"a"] * 120), 65280, b""), size
    ),
    "chain of pointers": pointer_chain,
    "chains entered everywhere": chains_entered_everywhere,
    "long names entered everywhere": long_names_entered_everywhere,
    "start of authority": lambda size: filled(lambda _: record(QNAME, SOA, QNAME + QNAME + bytes(20)), size),
    "empty strings": lambda size: filled(lambda _: record(QNAME, TXT, bytes(500)), size),
    "unprintable strings": lambda size: filled(lambda _: record(QNAME, TXT, b"\xff" * 256), size),
    "empty protocol ids": lambda size: filled(
        lambda _: record(QNAME, HTTPS, b"\0\1\0\0\1\1\0" + bytes(256)), size
    ),
    "empty parameters": lambda size: filled(lambda _: record(QNAME, HTTPS, b"\0\1\0" + bytes(400)), size),
    "type bitmaps": lambda size: filled(lambda _: record(QNAME, 47, b"\0" + b"\0\xff" + b"\xff" * 255), size),
    "signatures": lambda size: filled(lambda _: record(QNAME, 46, bytes(18) + QNAME + b"x"), size),
}


def operations(payload: bytes) -> int:
    """Calls, of Python and of C, that decoding makes: the same in every run."""
    count = 0

    def on_event(_frame: object, event: str, _argument: Any) -> None:
        nonlocal count
        if event in ("call", "c_call"):
            count += 1

    sys.setprofile(on_event)
    try:
        parse_message(payload)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("kind", NASTY)
def test_work_is_bounded_by_size(kind: str) -> None:
    small, big = NASTY[kind](4_000), NASTY[kind](32_000)
    parse_message(small)  # what is done once in a process: dnslib, flags
    # The first number is for our code, the second for dnslib's share of a message, whatever its size.
    assert operations(small) <= 8 * len(small) + 150_000
    assert operations(big) <= 8 * len(big) + 250_000
    check(big)


def test_pointers_that_take_too_many_steps() -> None:
    decoded, _ = parse_message(chains_entered_everywhere(60_000))
    assert str(decoded.malformed).endswith("its names take more steps than any honest message")
    assert decoded.answers


def test_the_largest_honest_message() -> None:
    """A transfer of a reverse zone: the longest names with the shortest records."""
    zone = name(*[b"%x" % (nibble % 16) for nibble in range(24)], b"ip6", b"arpa")
    host = 12 + len(zone) + 4 + 2 + 10
    answers = [record(QNAME, PTR, b"\4host\4shop\3svc\0")]
    size = host + 20
    while size < 65_000:
        answers.append(record(b"\1a\1b\1c\1d" + QNAME, PTR, b"\4pod0" + pointer(host + 5)))
        size += len(answers[-1])
    decoded, _ = parse_message(message(RESPONSE, [question(zone, 252)], answers))
    assert decoded.malformed is None
    assert decoded.answers is not UNSET
    assert (len(decoded.answers), decoded.answers[-1].data) == (len(answers), "pod0.shop.svc")


def test_ten_thousand_answers_announced() -> None:
    payload = bytearray(message(RESPONSE, [question(WEB)], [record(QNAME, A, bytes(4))] * 4_000))
    payload[6:8] = (10_000).to_bytes(2, "big")
    decoded = decode_message(bytes(payload))
    assert decoded.answers is not UNSET
    assert (len(decoded.answers), decoded.cut) == (4_000, True)
    assert decoded.malformed == f"answer 4001 of 10000: the message ends at byte {len(payload)}"
