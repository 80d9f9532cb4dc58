"""Literals that a field can never hold: a filter with one would silently select nothing, so it is refused.

Each rule returns why, and what to write instead; None when the literal is possible. Sets that are open
(backends, verdicts, kinds of workloads beyond the known) are not judged.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from kubectl_kdns.dns import tables
from kubectl_kdns.dns.names import label_text, name_of_text
from kubectl_kdns.errors import did_you_mean
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter.regex import escapes_next

Complaint = tuple[str, str]
"""What is wrong, and the hint."""

WORKLOAD_KINDS = (
    "Deployment",
    "ReplicaSet",
    "DaemonSet",
    "StatefulSet",
    "Job",
    "CronJob",
    "ReplicationController",
    "Rollout",
)
_ADDRESSES = ("client.ip", "server.ip", "server.backend.ip", "upstream.ip", "dns.resolved_ips")
_TIME_PREFIX = r"\d{4}(-\d\d(-\d\d(T(\d\d(:(\d\d(:(\d\d(\.\d{0,9})?)?)?)?)?)?)?)?)?"
_DNS_TABLES = {
    "dns.rcode": (tables.rcode_number, tables.rcode_name, tables.RCODES),
    "dns.type": (tables.type_number, tables.type_name, tables.TYPES),
    "dns.class": (tables.class_number, tables.class_name, tables.CLASSES),
    "dns.opcode": (tables.opcode_number, tables.opcode_name, tables.OPCODES),
}


def never_equal(path: str, value: str) -> Complaint | None:
    """Why the string field (or an element of the list field) at `path` can never be `value`."""
    if path in _DNS_TABLES:
        return _not_in_table(path, value)
    if path in _ADDRESSES:
        return _not_an_address(value)
    if path in _RULES:
        return _RULES[path](value)
    values = BY_PATH[path].values
    return None if not values or value in values else _not_among(value, values, f"{path} is never")


def never_ordered(path: str, value: str) -> Complaint | None:
    """Why comparing the string field at `path` with `value` by < or > would mislead."""
    return _not_a_time(value) if path == "time" and not re.fullmatch(_TIME_PREFIX, value) else None


def never_part(path: str, method: str, part: str) -> Complaint | None:
    """Why no value of the string field at `path` can startsWith, endsWith or contain `part`."""
    if path in _DNS_TABLES and part != part.upper():
        return f"{path} is upper case", f'did you mean "{part.upper()}"?'
    if path != "dns.name":
        return None
    possible = "".join(c if c == "\\" else "." if c == "." else label_text(c.encode()) for c in part)
    if possible != part:
        return "names are lower case ASCII, other bytes are \\DDD", f"did you mean {_shown(possible)}?"
    if method == "endsWith" and part != "." and part.endswith(".") and not escapes_next(part[:-1]):
        return "names have no trailing dot", f"did you mean {_shown(part[:-1])}?"
    return None


def address_text(text: str) -> str:
    """An IP address in the form that records hold; "" when the text is none."""
    import socket

    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    try:
        return socket.inet_ntop(family, socket.inet_pton(family, text))
    except (OSError, ValueError):
        return ""


def number_hint(path: str, number: int) -> str:
    """What to write instead of a DNS number; "" where numbers mean nothing."""
    if path not in _DNS_TABLES or not 0 <= number <= 0xFFFF:
        return ""
    return f'it holds names: did you mean "{_DNS_TABLES[path][1](number)}"?'


def _shown(text: str) -> str:
    return f'r"{text}"' if "\\" in text else f'"{text}"'


def _not_among(value: str, values: tuple[str, ...], what: str) -> Complaint:
    near = did_you_mean(value.lower(), values)
    return f'{what} "{value}"', near or f"values are: {', '.join(values)}"


def _not_in_table(path: str, value: str) -> Complaint | None:
    number_of, name_of, names = _DNS_TABLES[path]
    number = number_of(value)
    if number is None:
        near = did_you_mean(value.upper(), list(names.values()))
        return f'{path} is never "{value}"', near or f"names are: {', '.join(list(names.values())[:12])}, ..."
    name = name_of(number)
    return None if name == value else (f'{path} is never "{value}"', f'did you mean "{name}"?')


def _not_an_address(value: str) -> Complaint | None:
    address = address_text(value)
    if not address:
        hint = 'for a range of addresses: .startsWith("10.96.")' if "/" in value else ""
        return f'"{value}" is not an IP address', hint
    return None if address == value else ("addresses are in their short form", f'did you mean "{address}"?')


def _not_a_name(value: str) -> Complaint | None:
    name = name_of_text(value)
    if name == value:
        return None
    if not value:
        what = "no name is empty"
    elif value.lower() == name + ".":
        what = "names have no trailing dot"
    else:
        what = "names are lower case ASCII, other bytes are \\DDD"
    return what, f"did you mean {_shown(name)}?"


def _not_a_time(value: str) -> Complaint | None:
    from kubectl_kdns.times import format_time, parse_time

    try:
        exact = format_time(parse_time(value))
    except (ValueError, OverflowError):
        hint = 'times look like "2026-01-31T09:00:00.000000000Z"'
        if re.fullmatch(_TIME_PREFIX, value):
            hint = f'write time.startsWith("{value}")'
        return f'"{value}" is not a time', hint
    if exact == value:
        return None
    return "times are compared as text: UTC, nine decimals", f'did you mean "{exact}"?'


def _not_a_kind(value: str) -> Complaint | None:
    for kind in WORKLOAD_KINDS:
        if value.lower() == kind.lower() and value != kind:
            return f'kinds are written as in a manifest, never "{value}"', f'did you mean "{kind}"?'
    return None


def _not_a_flag(value: str) -> Complaint | None:
    flags = tuple(name for _mask, name in tables.FLAGS)
    return None if value in flags else _not_among(value, flags, "a flag is never")


def _not_a_path(value: str) -> Complaint | None:
    if value in BY_PATH:
        return None
    return f'there is no field "{value}"', did_you_mean(value, list(BY_PATH))


_RULES: dict[str, Callable[[str], Complaint | None]] = {
    "dns.name": _not_a_name,
    "time": _not_a_time,
    "client.workload.kind": _not_a_kind,
    "server.workload.kind": _not_a_kind,
    "dns.flags": _not_a_flag,
    "inferred": _not_a_path,
}
