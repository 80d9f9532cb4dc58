"""Looks for patterns in the lookups that a run shows, and tells at its end what was found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from kubectl_kdns.model import Insight, Journey, Lookup, Record
from kubectl_kdns.patterns.answering import BadServer, NegativeMisses, OneNode, Servfail, SilentUpstream
from kubectl_kdns.patterns.asking import AaaaWaste, ByPass, NeverResolves, Race, SearchList, Truncated
from kubectl_kdns.patterns.pattern import Pattern
from kubectl_kdns.summary import sightings_in

PATTERNS: tuple[type[Pattern], ...] = (
    SilentUpstream,
    Servfail,
    BadServer,
    OneNode,
    Race,
    Truncated,
    NeverResolves,
    SearchList,
    AaaaWaste,
    NegativeMisses,
    ByPass,
)


class Detector:
    """Takes the records that a run shows; `insights` is for its end, the gravest first."""

    def __init__(self) -> None:
        self._patterns = [pattern() for pattern in PATTERNS]

    def add(self, records: Iterable[Record]) -> None:
        for lookup in _lookups(records):
            for pattern in self._patterns:
                pattern.see(lookup)

    def insights(self, time: str) -> list[Insight]:
        """`time` is when the run ended (RFC 3339)."""
        found = [insight for pattern in self._patterns if (insight := pattern.find())]
        for insight in found:
            insight.time = time
        return found


def _lookups(records: Iterable[Record]) -> Iterator[Lookup]:
    for record in records:
        if isinstance(record, Lookup):
            yield record
        elif isinstance(record, Journey):
            yield from sightings_in(record, nearest_only=True)
