"""Reads the lines of a CoreDNS log that are no queries: errors of lookups, reloads, words of the kubelet."""

from __future__ import annotations

import json
import re
from functools import lru_cache

from msgspec import UNSET, Struct

from kdns_coredns.facts import upstream_of
from kubectl_kdns.dns.names import name_of_text, safe_text
from kubectl_kdns.dns.tables import type_name, type_number
from kubectl_kdns.model import Error, Maybe, Upstream

RELOADED = "corefile_reloaded"
REJECTED = "corefile_rejected"

_ERROR = re.compile(r"plugin/errors: (-?[0-9]{1,5}) ((?:\\.|[^\s\\])+) ([A-Za-z0-9-]+): (.*)$")
_CONSOLIDATED = re.compile(r"plugin/errors: ([0-9]{1,10}) errors like '(.*)' occurred in last (\S+)")
_RELOAD = re.compile(
    rb"\[INFO\] Reloading complete|plugin/reload: (?:Corefile (?:changed but|parse failed)[^\n]*)"
)
_UPSTREAM = re.compile(r"(?:->|\bdial (?:udp|tcp)\S* )(\[[^\]\s]{0,80}\]:[0-9]+|[0-9.]+:[0-9]+)")
_KUBELET = re.compile(
    r"unable to retrieve container logs for |rpc error: code = |Error grabbing logs: |context cancell?ed"
    r"|failed to (?:watch|open|read|tail|seek|create|try resolving|get)\b"
)
# A duration, a transport or response flags: what a query's line has and CoreDNS's other lines have not.
_LIKE_A_QUERY = re.compile(r"\b[0-9]{1,6}\.[0-9]{1,16}s\b|\b(?:udp|tcp)\b|\bqr,")
_LONGEST_QUERY = 2048
_CAUSE = re.compile(
    r"(?P<timeout>i/o timeout|context deadline exceeded|timed out)|(?P<refused>connection refused)"
    r"|(?P<network>(?:network|host) is (?:unreachable|down)|no route to host|connection reset|broken pipe"
    r"|operation not permitted|permission denied|\bEOF\b)|(?P<malformed>\bdns: |unpack|overflow)"
)


class LoggedError(Struct, frozen=True):
    """What the errors plugin says of one lookup (coredns `plugin/errors/errors.go`)."""

    rcode: int
    name: str
    type: str
    error: Error
    upstream: Maybe[Upstream]


def logged_error(text: str) -> LoggedError | None:
    """`plugin/errors: 2 cart.shop. A: read udp 10.0.0.1:5->10.0.0.2:53: i/o timeout`."""
    match = _ERROR.match(text)
    if not match:
        return None
    rcode, name, type_, cause = match.groups()
    error = Error(cause_type(cause), safe_text(cause))
    upstreams = _UPSTREAM.findall(cause)
    upstream = upstream_of(upstreams[-1]) if upstreams else UNSET
    return LoggedError(int(rcode), *_question(name, type_), error, upstream)


@lru_cache(maxsize=4096)
def _question(name: str, type_: str) -> tuple[str, str]:
    number = type_number(type_)
    return name_of_text(name), type_ if number is None else type_name(number)


def cause_type(cause: str) -> str:
    """One of model.ERROR_TYPES for the words of a Go program."""
    match = _CAUSE.search(cause)
    return (match and match.lastgroup) or "other"


def consolidated(text: str) -> tuple[int, str] | None:
    """(how many errors, what to say) of a line that `errors { consolidate }` wrote instead of single ones."""
    match = _CONSOLIDATED.search(text)
    if not match:
        return None
    said = (
        f"{match[1]} errors like '{match[2]}' in {match[3]}: the Corefile consolidates them, so their lookups"
    )
    return int(match[1]), f"{safe_text(said)} cannot be told"


def reload_event(line: bytes) -> str | None:
    """Whether a line proves that CoreDNS took a new Corefile (RELOADED) or refused it (REJECTED)."""
    match = _RELOAD.search(line)
    if not match:
        return None
    return REJECTED if match[0].startswith(b"plugin/") else RELOADED


def kubelet_message(line: str) -> str | None:
    """What the kubelet itself put into a log stream, made safe; None for anything else."""
    return safe_text(line) if _KUBELET.match(line) else None


def is_like_a_query(text: str) -> bool:
    """Whether what stands behind [INFO], in no known format, is a query all the same."""
    return not text.startswith("plugin/") and bool(_LIKE_A_QUERY.search(text, 0, _LONGEST_QUERY))


def classic_line(line: str) -> str:
    r"""A line of `-log-format=json` (coredns#8553) as it is without that; any other line as it is.

    `TIME {"level":"INFO","msg":"10.0.0.1:5 - 7 \"A IN ...","plugin":"errors"}` becomes `TIME [INFO] 10.0...`.
    """
    start = line.find("{")
    if start < 0 or '"msg":' not in line:
        return line
    try:
        entry = json.loads(line[start:])
        message = entry["msg"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return line
    if not isinstance(message, str):
        return line
    lead = line[:start] or f"{entry.get('time', '')} "
    plugin = entry.get("plugin")
    name = f"plugin/{plugin.removeprefix('plugin/')}: " if isinstance(plugin, str) and plugin else ""
    message = message.replace("\n", "\\010")
    return f"{lead.replace(chr(10), ' ')}[{entry.get('level', 'INFO')}] {name}{message}".replace("\n", " ")
