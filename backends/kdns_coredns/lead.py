"""What stands before the text of a log line: times of several makers, and names put there by log readers.

2026-11-23T10:00:00.123456789Z                         kubelet, timestamps=true (and of any other zone)
2026-11-23T10:00:00.123456789Z stdout F                a node's file, as the container runtime writes it
[pod/coredns-abc/coredns]                              kubectl logs --prefix
coredns-abc coredns, kube-system coredns-abc coredns   stern, stern -A
2019-01-14T17:57:42.000Z, 2018/11/08 10:03:28          CoreDNS itself, up to 1.6
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

from kubectl_kdns.times import NS_PER_S, format_time, parse_time

_STAMP = re.compile(
    r"(\d{4})[-/](\d\d)[-/](\d\d)[T ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9}))?\d* ?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_KUBECTL = re.compile(r"\[pod/([a-z0-9.-]+)/([a-z0-9.-]+)\] ?")
_STERN = re.compile(r"(?:([a-z0-9.-]+) )?([a-z0-9.-]+) ([a-z0-9.-]+) ")


class Lead(Struct, frozen=True):
    """`second` is the time down to the second, `2026-11-23T10:00:00` in UTC, "" when there is none."""

    second: str = ""
    fraction_ns: int = 0
    namespace: str = ""
    pod: str = ""

    @property
    def time_ns(self) -> int | None:
        return time_ns(self.second, self.fraction_ns) if self.second else None


_NOTHING = Lead()


def lead_of(text: str) -> Lead:
    """What the text before a line's level says; never raises."""
    if not text:
        return _NOTHING
    namespace, pod = "", ""
    if match := _KUBECTL.match(text):
        pod = match[1]
    elif match := _STERN.match(text):
        namespace, pod = match[1] or "", match[2]
    stamp = _STAMP.search(text)
    if not stamp:
        return Lead("", 0, namespace, pod)
    year, month, day, clock, fraction, zone = stamp.groups()
    second = utc_second(f"{year}-{month}-{day}T{clock}", zone or "Z")
    return Lead(second, int((fraction or "0").ljust(9, "0")) if second else 0, namespace, pod)


def time_ns(second: str, fraction_ns: int) -> int:
    """Nanoseconds since the epoch of a second in UTC and what goes beyond it."""
    return _second_ns(second) + fraction_ns


@lru_cache(maxsize=1024)
def _second_ns(second: str) -> int:
    return parse_time(second)


@lru_cache(maxsize=1024)
def utc_second(second: str, zone: str) -> str:
    """`2026-11-23T10:00:00` in a zone (`Z`, `+01:00`) as the same in UTC; "" when there is no such time."""
    try:
        since_epoch_ns = parse_time(second + zone)
        # A year at the edge of the calendar would leave it when a duration is taken off.
        return format_time(since_epoch_ns)[:19] if since_epoch_ns > NS_PER_S * 86400 * 365 else ""
    except (ValueError, OverflowError):
        return ""


@lru_cache(maxsize=1024)
def when_second(text: str) -> str:
    """`14/Jan/2019:17:57:42 +0000`, as CoreDNS 1.2 writes it, as a second in UTC; "" when it is not that."""
    try:
        return datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z").astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    except (ValueError, OverflowError):
        return ""
