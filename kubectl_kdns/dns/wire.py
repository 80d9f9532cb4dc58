"""Decodes DNS messages from the wire, fast: what was decoded before is not decoded again.

Three steps, each bounded in memory: the same bytes but for the id; the same bytes but for the id and the TTLs
that a cache counts down (then only the answers are made anew); `message.parse_message`.
"""

from __future__ import annotations

import struct
from copy import copy

from msgspec import UNSET

from kubectl_kdns.dns.cache import Cache
from kubectl_kdns.dns.message import DecodedMessage, message_id, parse_message
from kubectl_kdns.dns.reader import HEADER_BYTES
from kubectl_kdns.model import Answer

__all__ = ["DecodedMessage", "decode_message", "decode_part", "message_id"]

_MAX_CACHED_BYTES = 4096
_MAX_CACHED_TTLS = 128
_CACHE_BYTES = 8 << 20


def _message_cost(_: object, message: DecodedMessage) -> int:
    """About what an entry takes, in bytes (measured)."""
    cost = 350 + message.size
    for answer in message.answers or ():
        cost += 150 + len(answer.data)
    return cost


# By the bytes behind the id.
_messages: Cache[bytes, DecodedMessage] = Cache(_CACHE_BYTES, _message_cost)
# By the pieces of the message between its id and TTLs.
_templates: Cache[tuple[bytes, ...], DecodedMessage] = Cache(_CACHE_BYTES, _message_cost)
# How to take a message of that size, header and question apart: into pieces and TTLs in turn.
_layouts: Cache[tuple[int, bytes], struct.Struct] = Cache(
    2 << 20, lambda shape, layout: 250 + len(shape[1]) + layout.__sizeof__()
)


def decode_message(payload: bytes) -> DecodedMessage:
    """The message that `payload` is, without the two bytes of length that TCP puts before it.

    Never raises, in bounded work. Equal messages are one object: do not change it.
    """
    return _messages.recent.get(payload[2:]) or _decode(payload)


def decode_part(buffer: bytes, start: int, end: int) -> DecodedMessage:
    """`decode_message(buffer[start:end])`, but a message that is known is not cut out of the buffer."""
    return _messages.recent.get(buffer[start + 2 : end]) or _decode(buffer[start:end])


def _decode(payload: bytes) -> DecodedMessage:
    if not HEADER_BYTES <= len(payload) <= _MAX_CACHED_BYTES:
        return parse_message(payload)[0]
    key = payload[2:]
    message = _messages.get(key)
    if message is None:
        is_response = payload[2] & 0x80
        message = _decode_by_template(payload) if is_response else parse_message(payload)[0]
        _messages.put(key, message)
    return message


def _decode_by_template(payload: bytes) -> DecodedMessage:
    shape = (len(payload), payload[2 : payload.find(0, 12) + 5])
    layout = _layouts.get(shape)
    if layout is not None:
        parts = layout.unpack(payload)
        template = _templates.get(parts[::2])
        if template is not None:
            return _with_ttls(template, parts[1::2])
    message, ttl_offsets = parse_message(payload)
    if 0 < len(ttl_offsets) <= _MAX_CACHED_TTLS:
        layout = _layout(len(payload), ttl_offsets)
        _layouts.put(shape, layout)
        _templates.put(layout.unpack(payload)[::2], message)
    return message


def _layout(size: int, ttl_offsets: list[int]) -> struct.Struct:
    code = ">2x"
    start = 2
    for offset in ttl_offsets:
        code += f"{offset - start}sI"
        start = offset + 4
    return struct.Struct(f"{code}{size - start}s")


def _with_ttls(template: DecodedMessage, ttls: tuple[int, ...]) -> DecodedMessage:
    """`ttls` are those of all records, the answers' first."""
    if template.answers is UNSET or not template.answers:
        return template
    message = copy(template)
    message.answers = [
        Answer(a.name, a.type, ttl, a.data) for a, ttl in zip(template.answers, ttls, strict=False)
    ]
    return message
