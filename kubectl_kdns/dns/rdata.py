r"""The data of one resource record in presentation form, safe ASCII whatever the bytes.

Names in it are as everywhere in kdns: lower case, no trailing dot. TXT strings are quoted, `"` and `\` with
a backslash, other bytes outside 0x20..0x7E as `\DDD` (RFC 1035, section 5.1). SVCB and HTTPS are as in RFC
9460. Types without a rule here are dnslib's if it knows them, and `\# length hex` otherwise (RFC 3597), as is
data that does not fit its type.
"""

from __future__ import annotations

import re
import struct
from base64 import b64encode
from collections.abc import Callable
from socket import AF_INET6, inet_ntoa, inet_ntop

from kubectl_kdns.dns.foreign import foreign_text
from kubectl_kdns.dns.reader import MalformedError, NameReader

IN = 1
A, NS, CNAME, SOA, PTR, HINFO, MX, TXT = 1, 2, 5, 6, 12, 13, 15, 16
AAAA, SRV, DNAME, OPT, SVCB, HTTPS, SPF, CAA = 28, 33, 39, 41, 64, 65, 99, 257
ADDRESS_TYPES = (A, AAAA)

_PREFERENCE = struct.Struct(">H").unpack_from
_SRV = struct.Struct(">HHH").unpack_from
_SOA = struct.Struct(">IIIII").unpack_from
_PARAM = struct.Struct(">HH").unpack_from

_PLAIN = re.compile(rb"[ !#-\[\]-~]*")
_QUOTED = tuple(
    f"\\{chr(b)}" if chr(b) in '"\\' else chr(b) if 0x20 <= b <= 0x7E else f"\\{b:03d}" for b in range(256)
)
_PARAM_KEYS = (
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
)


class UnfitError(Exception):
    """Data that does not fit its type."""


def rdata_text(reader: NameReader, type_: int, class_: int, start: int, end: int) -> tuple[str, bool]:
    """`payload[start:end]` as text, and whether it fits its type (dnslib's types always do). Never raises."""
    payload = reader.payload
    rule = _RULES.get(type_)
    if rule is None:
        return foreign_text(reader, type_, start, end) or generic_text(payload[start:end]), True
    if class_ != IN and (start == end or type_ in ADDRESS_TYPES):
        # An UPDATE names records without their data (RFC 2136), and Chaosnet's A is another thing.
        return generic_text(payload[start:end]), True
    try:
        return rule(reader, start, end), True
    except (UnfitError, MalformedError, IndexError, struct.error):
        return generic_text(payload[start:end]), False


def generic_text(data: bytes) -> str:
    r"""Any data (RFC 3597, section 5): `\# 3 0A1B2C`."""
    return f"\\# {len(data)} {data.hex().upper()}" if data else "\\# 0"


def quoted(data: bytes) -> str:
    """A character string in quotes."""
    if _PLAIN.fullmatch(data):
        return f'"{data.decode("ascii")}"'
    return '"' + "".join([_QUOTED[byte] for byte in data]) + '"'


def _require(fits: bool) -> None:
    if not fits:
        raise UnfitError


def _last_name(reader: NameReader, offset: int, end: int) -> str:
    text, after = reader.name(offset)
    _require(after == end)
    return text


def _a(reader: NameReader, start: int, end: int) -> str:
    _require(end - start == 4)
    return inet_ntoa(reader.payload[start:end])


def _aaaa(reader: NameReader, start: int, end: int) -> str:
    _require(end - start == 16)
    return inet_ntop(AF_INET6, reader.payload[start:end])


def _mx(reader: NameReader, start: int, end: int) -> str:
    (preference,) = _PREFERENCE(reader.payload, start)
    return f"{preference} {_last_name(reader, start + 2, end)}"


def _srv(reader: NameReader, start: int, end: int) -> str:
    priority, weight, port = _SRV(reader.payload, start)
    return f"{priority} {weight} {port} {_last_name(reader, start + 6, end)}"


def _soa(reader: NameReader, start: int, end: int) -> str:
    primary, offset = reader.name(start)
    mailbox, offset = reader.name(offset)
    _require(offset + 20 == end)
    serial, refresh, retry, expire, minimum = _SOA(reader.payload, offset)
    return f"{primary} {mailbox} {serial} {refresh} {retry} {expire} {minimum}"


def _strings(data: bytes) -> list[bytes]:
    """Strings with a length byte each, to the end."""
    strings = []
    offset = 0
    while offset < len(data):
        after = offset + 1 + data[offset]
        _require(after <= len(data))
        strings.append(data[offset + 1 : after])
        offset = after
    return strings


def _txt(reader: NameReader, start: int, end: int) -> str:
    _require(start < end)
    return " ".join(map(quoted, _strings(reader.payload[start:end])))


def _caa(reader: NameReader, start: int, end: int) -> str:
    """RFC 8659, section 4.1: flags, a tag of letters and digits, and a value of any bytes."""
    payload = reader.payload
    value = start + 2 + payload[start + 1]
    tag = payload[start + 2 : value]
    _require(value <= end and tag.isalnum())
    return f"{payload[start]} {tag.decode('ascii')} {quoted(payload[value:end])}"


def _svcb(reader: NameReader, start: int, end: int) -> str:
    payload = reader.payload
    (priority,) = _PREFERENCE(payload, start)
    target, offset = reader.name(start + 2)
    words = [str(priority), target]
    while offset < end:
        key, length = _PARAM(payload, offset)
        offset += 4 + length
        _require(offset <= end)
        words.append(_param(key, payload[offset - length : offset]))
    _require(offset == end)
    return " ".join(words)


def _param(key: int, value: bytes) -> str:
    """One SvcParam (RFC 9460, sections 7 and 14.3.2; RFC 9461, 9540)."""
    name = _key_name(key)
    match name:
        case "mandatory":
            _require(len(value) % 2 == 0)
            return f"{name}={','.join(_key_name(int.from_bytes(v, 'big')) for v in _chunks(value, 2))}"
        case "alpn":
            # The comma separates: one inside an id has a backslash, which is then quoted (appendix A.1).
            ids = [i.replace(b"\\", b"\\\\").replace(b",", b"\\,") for i in _strings(value)]
            return f"{name}={quoted(b','.join(ids))}"
        case "no-default-alpn" | "ohttp":
            _require(not value)
            return name
        case "port":
            _require(len(value) == 2)
            return f"{name}={int.from_bytes(value, 'big')}"
        case "ipv4hint":
            _require(len(value) % 4 == 0)
            return f"{name}={','.join(map(inet_ntoa, _chunks(value, 4)))}"
        case "ech":
            return f"{name}={b64encode(value).decode('ascii')}"
        case "ipv6hint":
            _require(len(value) % 16 == 0)
            return f"{name}={','.join(inet_ntop(AF_INET6, v) for v in _chunks(value, 16))}"
        case _:
            return f"{name}={quoted(value)}" if value else name


def _key_name(key: int) -> str:
    return _PARAM_KEYS[key] if key < len(_PARAM_KEYS) else f"key{key}"


def _chunks(data: bytes, size: int) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


_RULES: dict[int, Callable[[NameReader, int, int], str]] = {
    A: _a,
    AAAA: _aaaa,
    CNAME: _last_name,
    NS: _last_name,
    PTR: _last_name,
    DNAME: _last_name,
    SOA: _soa,
    MX: _mx,
    TXT: _txt,
    HINFO: _txt,
    SPF: _txt,
    SRV: _srv,
    SVCB: _svcb,
    HTTPS: _svcb,
    CAA: _caa,
}
