"""The health of upstreams as a table, the busiest first; below it what failed last, and where it is set."""

from __future__ import annotations

from collections.abc import Sequence

from kubectl_kdns.model import UpstreamHealth
from kubectl_kdns.output.clock import Clock
from kubectl_kdns.output.options import BOLD, RED, OutputOptions, paint
from kubectl_kdns.output.phrases import ABSENT, address
from kubectl_kdns.times import format_duration

_TITLES = ("SERVER", "UPSTREAM", "QUERIES", "TIMEOUTS", "RETRIES", "P50", "P95", "P99", "TCP", "RCODES")
_PERCENTILES = ("p50", "p95", "p99")


def upstreams_text(records: Sequence[UpstreamHealth], options: OutputOptions, clock: Clock) -> str:
    """Lines; a sentence where nothing was asked."""
    if not records:
        return "no DNS server asked an upstream meanwhile\n"
    from tabulate import tabulate

    table = tabulate([_row(record) for record in records], headers=_TITLES, tablefmt="plain").splitlines()
    lines = [paint(table[0], BOLD if options.color else "")] if options.headers else []
    for line, record in zip(table[1:], records, strict=True):
        lines.append(paint(line, RED if options.color and record.unanswered else ""))
    for record in records:
        error = record.last_error
        if error:
            when = f" at {clock.text(error.time)}" if error.time else ""
            lines.append(f"{record.server} {_upstream(record)}: last failure{when}: {error.message}")
        if record.checks:
            lines.append(
                f"{record.server} {_upstream(record)}: {record.checks} health checks, for it had failed"
            )
    for place in dict.fromkeys(f"{_upstream(r)} is set in {r.configured}" for r in records if r.configured):
        lines.append(place)
    return "\n".join(lines) + "\n"


def _row(record: UpstreamHealth) -> list[str]:
    rcodes = " ".join(f"{rcode} {count}" for rcode, count in record.rcodes.items())
    latencies = [
        format_duration(round(record.latency_ms[name] * 1e6)) if name in record.latency_ms else ABSENT
        for name in _PERCENTILES
    ]
    share = f"{100 * record.tcp / record.queries:.0f}%" if record.queries else ABSENT
    retries = record.tries - record.queries
    return [
        *(record.server or ABSENT, _upstream(record), str(record.queries), str(record.unanswered)),
        *(str(retries), *latencies, share, rcodes or ABSENT),
    ]


def _upstream(record: UpstreamHealth) -> str:
    return address(record.upstream.ip, record.upstream.port) if record.upstream else ABSENT
