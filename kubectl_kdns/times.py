"""Times and durations as text and as integer nanoseconds, without a clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

NS_PER_S = 1_000_000_000

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?|\.\d+)(ns|us|µs|ms|s|m|h|d)")
_UNIT_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": NS_PER_S,
    "m": 60 * NS_PER_S,
    "h": 3600 * NS_PER_S,
    "d": 86400 * NS_PER_S,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:[.,](\d{1,9})\d*)?([Zz]|[+-]\d\d:?\d\d)?",
)


@lru_cache(maxsize=4096)
def _second_text(second: int) -> str:
    # Windows' fromtimestamp knows no second before 1970 or after 3000.
    return (_EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S.")


# Most times are of the second that the last one was of: (the start of the second before it, its text).
_latest = (0, "")


@lru_cache(maxsize=4096)
def _second_value(date: str, clock: str, zone: str) -> int:
    offset = "+00:00" if zone in ("Z", "z", "") else zone
    return int(datetime.fromisoformat(f"{date}T{clock}{offset}").timestamp())


def format_time(time_ns: int) -> str:
    """Nanoseconds since the epoch as RFC 3339 UTC with nine decimals: 2026-11-23T10:00:00.000000001Z."""
    global _latest
    start_ns, text = _latest
    rest_ns = time_ns - start_ns
    if not NS_PER_S <= rest_ns < 2 * NS_PER_S:
        second = time_ns // NS_PER_S
        start_ns, text = _latest = (second - 1) * NS_PER_S, _second_text(second)
        rest_ns = time_ns - start_ns
    return f"{text}{str(rest_ns)[1:]}Z"


@lru_cache(maxsize=4096)
def _start_ns(second: str) -> int | None:
    """Of a second as `format_time` writes it; None for what is none."""
    match = _RFC3339.fullmatch(second)
    return _second_value(match[1], match[2], "") * NS_PER_S if match else None


def parse_time(text: str) -> int:
    """An RFC 3339 time as nanoseconds since the epoch; no zone means UTC. Raises ValueError."""
    if len(text) == 30 and text[19] == "." and text[29] == "Z" and text[20:29].isdecimal():
        start_ns = _start_ns(text[:19])  # nearly always: it is ours, and of a second that others were of
        if start_ns is not None:
            return start_ns + int(text[20:29])
    match = _RFC3339.fullmatch(text)
    if not match:
        raise ValueError(f"not an RFC 3339 time: {text!r}")
    date, clock, fraction, zone = match.groups()
    return _second_value(date, clock, zone or "") * NS_PER_S + int((fraction or "0").ljust(9, "0"))


def parse_duration(text: str) -> int:
    """A duration in Go's form (100ms, 1.5s, 10m, 1h30m; also 2d) as nanoseconds. Raises ValueError."""
    position, total = 0, 0
    for match in _DURATION_PART.finditer(text):
        if match.start() != position:
            break
        total += round(float(match[1]) * _UNIT_NS[match[2]])
        position = match.end()
    if not text or position != len(text):
        raise ValueError(f"not a duration: {text!r} (examples: 100ms, 5s, 10m, 1h30m)")
    return total


def format_duration(duration_ns: int) -> str:
    """A duration for people, three significant digits: 41µs, 1.23ms, 702ms, 5.01s, 10m0s."""
    if duration_ns < 1_000:
        return f"{duration_ns}ns"
    for unit, size in (("µs", 1_000), ("ms", 1_000_000), ("s", NS_PER_S)):
        value = duration_ns / size
        if value < (59.5 if unit == "s" else 999.5):
            digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
            text = f"{value:.{digits}f}"
            return (text.rstrip("0").rstrip(".") if "." in text else text) + unit
    minutes, seconds = divmod(round(duration_ns / NS_PER_S), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h{minutes}m{seconds}s" if hours else f"{minutes}m{seconds}s"


def ms(duration_ns: int) -> float:
    """Nanoseconds as milliseconds with at most six decimals (exact: the division rounds correctly)."""
    return duration_ns / 1_000_000
