"""The data of record types that kdns has no rule for, by dnslib: slow, rare, and kept on a leash.

dnslib is imported when the first such record comes. It reads names through our reader (its own recurses on
pointers, and refuses labels that are not UTF-8), sees no byte behind the record, and what it prints is made
safe. Its work on one message is bounded: a type bitmap makes eight names of each byte.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from typing import Any

from kubectl_kdns.dns.reader import MalformedError, NameReader
from kubectl_kdns.dns.tables import type_name

_RECORD_COST = 64
_UNSAFE = re.compile(r"[^ -~]")


def foreign_text(reader: NameReader, type_: int, start: int, end: int) -> str:
    """`payload[start:end]` in dnslib's presentation form, "" where it has none or fails. Never raises."""
    types, new_buffer = _dnslib()
    record_type = types.get(type_name(type_))
    cost = end - start + _RECORD_COST
    if record_type is None or cost > reader.foreign_left:
        return ""
    reader.foreign_left -= cost
    buffer = new_buffer(reader, start, end)
    try:
        text = str(record_type.parse(buffer, end - start).toZone())
    except Exception:  # noqa: BLE001 - whatever dnslib trips over costs this record its text, not the message
        return ""
    if buffer.offset != end:
        return ""
    text = f" {text} "
    for name in reversed(buffer.decoded):
        before, found, behind = text.rpartition(f" {name}. ")
        if found:
            text = f"{before} {name} {behind}"
    return _UNSAFE.sub(_escape, text[1:-1])


def _escape(match: re.Match[str]) -> str:
    return "".join(f"\\{byte:03d}" for byte in match[0].encode("utf-8", "surrogatepass"))


@cache
def _dnslib() -> tuple[dict[str, Any], Callable[[NameReader, int, int], Any]]:
    """dnslib's record types by name, and its buffer, made to read names by ours."""
    from dnslib import RDMAP, DNSBuffer, DNSLabel

    class Buffer(DNSBuffer):  # type: ignore[misc]
        def __init__(self, reader: NameReader, start: int, end: int) -> None:
            super().__init__(reader.payload[:end])
            self.offset = start
            self.reader = reader
            self.decoded: list[str] = []

        def decode_name(self, last: int = -1) -> Any:  # noqa: ARG002
            text, self.offset = self.reader.name(self.offset)
            if self.offset > len(self.data):
                raise MalformedError("the name ends behind its record")
            self.decoded.append(text)
            # One label that needs no more escapes: dnslib prints it with a dot behind it.
            return DNSLabel((text.encode("ascii"),) if text != "." else ())

    return RDMAP, Buffer
