"""Journeys by their way: which DNS pod and which upstream, how many failed there, and how long they took."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from kubectl_kdns.legs import FINAL
from kubectl_kdns.model import Journey
from kubectl_kdns.output.phrases import server_name
from kubectl_kdns.times import format_duration


def paths_text(journeys: Iterable[Journey]) -> str:
    """A line a way: `9 of 10 fine, p50 0.4ms, p95 1.2ms: coredns-7f4, 8.8.8.8`; the worst first."""
    ways: dict[tuple[str, ...], list[tuple[bool, float]]] = {}
    for journey in journeys:
        for attempt in journey.attempts:
            way = tuple(dict.fromkeys(server_name(hop.server) for hop in attempt.hops))
            fine = attempt.status == "answered" and attempt.rcode in FINAL
            ways.setdefault(way, []).append((fine, attempt.latency_ms or 0.0))
    lines = ["lookups by their way:"]
    for way, lookups in sorted(
        ways.items(), key=lambda item: (sum(fine for fine, _ in item[1]) / len(item[1]), item[0])
    ):
        took = sorted(latency for fine, latency in lookups if fine)
        latencies = f", p50 {_at(took, 0.5)}, p95 {_at(took, 0.95)}" if took else ""
        lines.append(f"  {len(took)} of {len(lookups)} fine{latencies}: {', '.join(way)}")
    return "\n".join(lines)


def _at(values: Sequence[float], share: float) -> str:
    """By nearest rank, as those of the summary."""
    return format_duration(round(values[max(1, math.ceil(share * len(values))) - 1] * 1e6))
