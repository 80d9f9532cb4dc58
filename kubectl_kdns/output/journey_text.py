"""A journey as a small tree: the request, its lookups, who asked whom, and the conclusion."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby

from msgspec import UNSET

from kubectl_kdns.legs import FINAL
from kubectl_kdns.model import Attempt, Journey, JourneyHop, Maybe
from kubectl_kdns.output.clock import Clock
from kubectl_kdns.output.options import BOLD, YELLOW, OutputOptions, paint
from kubectl_kdns.output.phrases import ABSENT, address, client_name, error_text, process_name, server_name
from kubectl_kdns.output.table import result_color
from kubectl_kdns.times import format_duration

_SURE = {"exact": "", "unique": "", "likely": " (likely)"}


def journey_text(journey: Journey, options: OutputOptions, clock: Clock) -> str:
    """Its lines; the last one, behind `=`, is the conclusion."""
    arrow = "\u2192" if options.unicode else "->"
    color = options.color
    lines = [_head(journey, clock, color)]
    one = len(journey.attempts) == 1
    for attempt in journey.attempts:
        indent = "  " if one else "    "
        if not one:
            lines.append(f"  {_attempt(attempt, color)}")
        hops = [f"{'  ' * hop.depth}{_hop(hop, arrow, color)}" for hop in attempt.hops]
        if one or _is_worth(attempt):
            for text, same in groupby(hops):
                times = len(list(same))
                lines.append(f"{indent}{text}" + (f"  {times} times" if times > 1 else ""))
        if attempt.apart:
            note = f"{attempt.apart} forwards fit this lookup and others of the same name: left apart"
            lines.append(f"{indent}  {paint(note, YELLOW if color else '')}")
    lines.append(f"  = {paint(str(journey.conclusion or ABSENT), BOLD if color else '')}")
    return "\n".join(lines) + "\n"


def _head(journey: Journey, clock: Clock, color: bool) -> str:
    words = [
        clock.text(journey.time),
        client_name(journey.client),
        process_name(journey.client),
        f"{journey.name} {','.join(journey.types)}",
        _result(journey.status, journey.rcode, color),
        _duration(journey.latency_ms),
        ", ".join(journey.resolved_ips or ()),
    ]
    return "  ".join(word for word in words if word and word != ABSENT)


def _attempt(attempt: Attempt, color: bool) -> str:
    words = [
        f"{attempt.name} {attempt.type or ''}".rstrip(),
        _result(attempt.status, attempt.rcode, color),
        _duration(attempt.latency_ms),
        ", ".join(attempt.resolved_ips or ()),
    ]
    return "  ".join(word for word in words if word and word != ABSENT)


def _is_worth(attempt: Attempt) -> bool:
    """A name of a search list that the first server denies needs no more lines."""
    return len(attempt.hops) > 1 or attempt.status != "answered" or attempt.rcode not in FINAL


def _hop(hop: JourneyHop, arrow: str, color: bool) -> str:
    who = client_name(hop.client)
    whom = server_name(hop.server)
    server = hop.server
    if server and server.ip and server.kind == "service" and whom != address(server.ip, server.port):
        whom = f"{address(server.ip, server.port)} = {whom}"
    node = _server_node(hop)
    where = f" on {node}" if node else ""
    tries = f"  {hop.tries} tries" if hop.tries is not UNSET and hop.tries > 1 else ""
    tcp = "  tcp" if hop.transport == "tcp" else ""
    words = [
        f"{who} {arrow} {whom}{where}{tcp}{_SURE.get(hop.sure or '', '')}",
        _result(hop.status, hop.rcode, color) + tries,
        _duration(hop.latency_ms),
        _parts(hop),
        error_text(hop.error, hop.upstream),
    ]
    return "  ".join(word for word in words if word and word != ABSENT)


def _server_node(hop: JourneyHop) -> Maybe[str]:
    at_server = [sight.node for sight in hop.seen if sight.side == "server" and sight.node]
    server = hop.server
    if at_server:
        return at_server[0]
    return (server.backend.node or server.node) if server and server.backend else UNSET


def _parts(hop: JourneyHop) -> str:
    parts = list(_named_parts(hop))
    return f"({', '.join(parts)})" if parts else ""


def _named_parts(hop: JourneyHop) -> Iterator[str]:
    if hop.network_ms is not UNSET:
        yield f"network {_duration(hop.network_ms)}"
    if hop.server_ms is not UNSET:
        yield f"server {_duration(hop.server_ms)}"


def _result(status: Maybe[str], rcode: Maybe[str], color: bool) -> str:
    word = str((rcode if status == "answered" else status) or status or ABSENT)
    return paint(word, result_color(word) if color else "")


def _duration(latency_ms: Maybe[float]) -> str:
    return ABSENT if latency_ms is UNSET else format_duration(round(latency_ms * 1e6))
