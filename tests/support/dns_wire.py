"""DNS messages built by hand, so that they may be wrong in any way."""

from __future__ import annotations

import re
import struct
from typing import Any

import msgspec

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, SRV, OPT, HTTPS = 1, 2, 5, 6, 12, 15, 16, 28, 33, 41, 65
IN, CH = 1, 3
QUERY, RESPONSE = 0x0100, 0x8580
QNAME = b"\xc0\x0c"
"""A pointer to the first question's name."""

_SAFE = re.compile(r"[ -~]*")


def name(*labels: bytes) -> bytes:
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def pointer(offset: int) -> bytes:
    return (0xC000 | offset).to_bytes(2, "big")


def question(owner: bytes, type_: int = A, class_: int = IN) -> bytes:
    return owner + struct.pack(">HH", type_, class_)


def record(
    owner: bytes, type_: int, data: bytes, ttl: int = 30, class_: int = IN, length: int | None = None
) -> bytes:
    """A resource record; `length` lies about the data's."""
    return owner + struct.pack(">HHIH", type_, class_, ttl, len(data) if length is None else length) + data


def opt(udp_size: int = 1232, ttl: int = 0, options: bytes = b"") -> bytes:
    return record(b"\0", OPT, options, ttl, udp_size)


def message(
    bits: int,
    questions: list[bytes],
    answers: list[bytes] | None = None,
    authority: list[bytes] | None = None,
    additional: list[bytes] | None = None,
    id_: int = 0x1234,
) -> bytes:
    sections = (questions, answers or [], authority or [], additional or [])
    head = struct.pack(">HHHHHH", id_, bits, *map(len, sections))
    return head + b"".join(part for section in sections for part in section)


def all_text(decoded: Any) -> list[str]:
    """Every piece of text in a decoded message."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        elif isinstance(value, dict):
            for item in value.values():
                walk(item)

    walk(msgspec.to_builtins(decoded))
    return found


def unsafe_text(decoded: Any) -> list[str]:
    """Text that a terminal could take for more than text."""
    return [text for text in all_text(decoded) if not _SAFE.fullmatch(text)]
