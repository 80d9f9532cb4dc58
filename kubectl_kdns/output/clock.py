"""Times of records as rows and status lines show them: wall clock or relative to the first event."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Protocol

from msgspec import UNSET

from kubectl_kdns.model import Maybe
from kubectl_kdns.output.options import OutputOptions
from kubectl_kdns.times import NS_PER_S, format_time, parse_time

_REMEMBERED_SECONDS = 4096
_NORMAL_LENGTH = len("2026-11-23T10:00:00.000000001Z")


class Clock(Protocol):
    """Text of a record's time. `width` is the columns it needs; it grows when `dated` becomes true."""

    dated: bool

    @property
    def width(self) -> int: ...
    def text(self, time: Maybe[str]) -> str: ...


def make_clock(options: OutputOptions, *, short: bool = False) -> Clock | None:
    """The clock that the options ask for, None for none; `short` leaves milliseconds and the year out."""
    if options.time == "none":
        return None
    return RelativeClock() if options.time == "relative" else WallClock(options, short=short)


class WallClock:
    """`10:00:01.204`; `2026-11-23T10:00:01.204` from the first time of another day than today on."""

    def __init__(self, options: OutputOptions, *, short: bool = False) -> None:
        self._zone = UTC if options.time == "utc" else options.zone
        self._today: date | None = None
        if options.now_ns is not None:
            self._today = datetime.fromtimestamp(options.now_ns // NS_PER_S, self._zone).date()
        self.dated = self._today is None
        self._short = short
        self._seconds: dict[str, str] = {}

    @property
    def width(self) -> int:
        if self._short:
            return len("11-23T10:00:00" if self.dated else "10:00:00")
        return len("2026-11-23T10:00:00.000" if self.dated else "10:00:00.000")

    def text(self, time: Maybe[str]) -> str:
        if time is UNSET:
            return "-"
        if len(time) != _NORMAL_LENGTH:
            time = _normal(time)
        try:
            text = self._seconds[time[:19]]
        except KeyError:
            text = self._remember(time[:19])
        return text if self._short else text + time[19:23]

    def _remember(self, second: str) -> str:
        try:
            moment = datetime.fromtimestamp(parse_time(second) // NS_PER_S, self._zone)
        except (ValueError, OverflowError, OSError):
            return second  # not a time: it is shown as it came
        if not self.dated and moment.date() != self._today:
            self.dated = True
            self._seconds.clear()
        form = "%H:%M:%S"
        if self.dated:
            form = "%m-%dT%H:%M:%S" if self._short else "%Y-%m-%dT%H:%M:%S"
        if len(self._seconds) >= _REMEMBERED_SECONDS:
            self._seconds.clear()
        text = self._seconds[second] = moment.strftime(form)
        return text


class RelativeClock:
    """`+1.204s` since the first time it was asked for; negative for earlier events that completed later."""

    dated = False
    width = len("+1234.567s")

    def __init__(self) -> None:
        self._first_ns: int | None = None

    def text(self, time: Maybe[str]) -> str:
        if time is UNSET:
            return "-"
        try:
            time_ns = parse_time(time)
        except (ValueError, OverflowError):
            return time
        if self._first_ns is None:
            self._first_ns = time_ns
        return f"{(time_ns - self._first_ns) / NS_PER_S:+.3f}s"


def _normal(time: str) -> str:
    """A time of another writer (another zone, fewer decimals) in the schema's form, if it is a time."""
    try:
        return format_time(parse_time(time))
    except (ValueError, OverflowError, OSError):
        return time
