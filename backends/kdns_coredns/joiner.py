"""Joins the `[ERROR] plugin/errors` lines of one CoreDNS to the lookups that they belong to.

An error line has no client and no id: it belongs to the oldest lookup near it, of the same pod, with the same
name and type, that may have failed. CoreDNS writes it right after the lookup's line; the other order is taken
too. A lookup waits for its line until WINDOW_NS of log time and WINDOW_LINES have passed, because a throttled
process may stop between the two, but never over LONGEST_NS; for a quiet log the caller has a clock (`drain`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

from msgspec import UNSET, Struct

from kdns_coredns.notes import LoggedError
from kubectl_kdns.dns.tables import rcode_name
from kubectl_kdns.model import Lookup, Maybe

WINDOW_NS = 50_000_000
WINDOW_LINES = 32
LONGEST_NS = 1_000_000_000
MAX_WAITING = 4096
SHORTEST_TIMEOUT_MS = 100.0
# The server itself answers with these when a plugin only returns the code (coredns `plugin.ClientWrite`).
WRITTEN_BY_SERVER = (1, 2, 4, 5)

_Key = tuple[Maybe[str], Maybe[str], Maybe[str]]
T = TypeVar("T")


class Joiner:
    """Lookups and error lines of one log, in its order; `line` counts them. Times are of the log."""

    def __init__(self) -> None:
        self.joined = 0
        self.alone = 0
        self._lookups: _Queue[Lookup] = _Queue()
        self._errors: _Queue[LoggedError] = _Queue()

    @property
    def idle(self) -> bool:
        """Whether nothing waits."""
        return not self._lookups and not self._errors

    def lookup(self, lookup: Lookup, time_ns: int | None, line: int) -> list[Lookup]:
        """A lookup that may have an error line; returns the lookups that are ready now."""
        ready = self.expire(time_ns, line)
        dns, server = lookup.dns, lookup.server
        key = (server.pod if server else UNSET, dns.name if dns else UNSET, dns.type if dns else UNSET)
        error = self._errors.take(key, lambda error: _plausible(lookup, error))
        if error:
            self._join(lookup, error)
            return [*ready, lookup]
        return ready + self._lookups.put(_Entry(key, lookup, time_ns, line))

    def error(self, error: LoggedError, pod: Maybe[str], time_ns: int | None, line: int) -> list[Lookup]:
        """An error line of that pod; returns the lookups that are ready now."""
        ready = self.expire(time_ns, line)
        key = (pod, error.name, error.type)
        lookup = self._lookups.take(key, lambda lookup: _plausible(lookup, error))
        if lookup:
            self._join(lookup, error)
            return [*ready, lookup]
        self.alone += len(self._errors.put(_Entry(key, error, time_ns, line)))
        return ready

    def expire(self, time_ns: int | None, line: int) -> list[Lookup]:
        """The lookups whose error line cannot come any more, at this place of the log."""
        self.alone += len(self._errors.expire(time_ns, line))
        return self._lookups.expire(time_ns, line)

    def drain(self) -> list[Lookup]:
        """All lookups that wait, because nothing has come for a while, or at the end of the log."""
        self.alone += len(self._errors.drain())
        return self._lookups.drain()

    def _join(self, lookup: Lookup, error: LoggedError) -> None:
        self.joined += 1
        lookup.error = error.error
        if error.upstream:
            lookup.upstream = error.upstream
        if lookup.status == "unwritten" and error.rcode in WRITTEN_BY_SERVER and lookup.dns:
            lookup.status = "answered"
            lookup.dns.rcode = rcode_name(error.rcode)
            lookup.inferred = [*(lookup.inferred or ()), "status", "dns.rcode"]


def _plausible(lookup: Lookup, error: LoggedError) -> bool:
    """Whether the one may be about the other: nothing times out at once."""
    return error.error.type != "timeout" or not lookup.latency_ms or lookup.latency_ms >= SHORTEST_TIMEOUT_MS


class _Entry(Struct, Generic[T], frozen=True):
    key: _Key
    item: T
    time_ns: int | None
    line: int

    def may_meet(self, time_ns: int | None, line: int) -> bool:
        """Whether what it waits for may stand at this place of the log."""
        if time_ns is None or self.time_ns is None:
            return line - self.line <= WINDOW_LINES
        passed_ns = time_ns - self.time_ns
        return passed_ns <= WINDOW_NS or (line - self.line <= WINDOW_LINES and passed_ns <= LONGEST_NS)


class _Queue(Generic[T]):
    """What waits, oldest first, and the same by pod, name and type."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry[T]] = {}
        self._by_key: dict[_Key, deque[int]] = {}
        self._count = 0

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, entry: _Entry[T]) -> list[T]:
        """Adds one; returns what has to leave for it."""
        self._count += 1
        self._entries[self._count] = entry
        self._by_key.setdefault(entry.key, deque()).append(self._count)
        return [self._leave(next(iter(self._entries)))] if len(self._entries) > MAX_WAITING else []

    def take(self, key: _Key, fits: Callable[[T], bool]) -> T | None:
        """The oldest with that pod, name and type that fits."""
        for number in self._by_key.get(key, ()):
            if fits(self._entries[number].item):
                return self._leave(number)
        return None

    def expire(self, time_ns: int | None, line: int) -> list[T]:
        """Those whose time is over, oldest first."""
        over: list[T] = []
        while self._entries:
            number, entry = next(iter(self._entries.items()))
            if entry.may_meet(time_ns, line):
                break
            over.append(self._leave(number))
        return over

    def drain(self) -> list[T]:
        items = [entry.item for entry in self._entries.values()]
        self._entries.clear()
        self._by_key.clear()
        return items

    def _leave(self, number: int) -> T:
        entry = self._entries.pop(number)
        numbers = self._by_key[entry.key]
        numbers.remove(number)
        if not numbers:
            del self._by_key[entry.key]
        return entry.item
