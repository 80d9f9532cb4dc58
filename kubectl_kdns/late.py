"""Responses that came when their lookup had been told as unanswered: one notice for many of them."""

from __future__ import annotations

from kubectl_kdns.messages import Sighting
from kubectl_kdns.model import Notice
from kubectl_kdns.times import format_duration


class LateResponses:
    """Adds them up, and tells them every `every_ns` at most, on the clock of a pairing."""

    def __init__(self, every_ns: int) -> None:
        self._every_ns = every_ns
        self._count = 0
        self._slowest: tuple[int, Sighting] | None = None
        self._told: int | None = None

    def add(self, latency_ns: int, response: Sighting, clock: int) -> Notice | None:
        """One more; the notice of all since the last one, if that is long enough ago."""
        self._count += 1
        if self._slowest is None or latency_ns > self._slowest[0]:
            self._slowest = (latency_ns, response)
        return self.rest(clock) if self._told is None or clock - self._told >= self._every_ns else None

    def rest(self, clock: int) -> Notice | None:
        """The notice of all since the last one."""
        if self._slowest is None:
            return None
        latency_ns, (_, exchange, message, _, _) = self._slowest
        many = f"{self._count} responses came" if self._count > 1 else "a response came"
        asked = f"{message.name or 'unknown'} {message.type or ''}".rstrip()
        asked += f", from {exchange[2]}" if exchange[2] else ""
        self._count, self._slowest, self._told = 0, None, clock
        return Notice(
            code="late_responses",
            message=f"{many} after the lookup was told as unanswered; the slowest took "
            f"{format_duration(latency_ns)} ({asked}). The server is slow, not silent: "
            "try a longer --timeout",
        )
