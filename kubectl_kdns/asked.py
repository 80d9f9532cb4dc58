"""A journey of what was asked of one DNS server directly: its answers, and no hop behind it."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from kubectl_kdns.backend import ServerPod
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.legs import FINAL
from kubectl_kdns.model import Attempt, Journey, JourneyHop, Server
from kubectl_kdns.outcome import all_addresses, conclusion_of, deciding
from kubectl_kdns.resolver import Reply, Tried
from kubectl_kdns.search_list import base_name
from kubectl_kdns.target import Target
from kubectl_kdns.times import format_time, ms

HOW = "asked over TCP through the API server"


def journey_of(
    tried: Sequence[Tried], times: Sequence[tuple[int, int]], pod: ServerPod, target: Target
) -> Journey:
    """`times` are the start and the duration of each question, in nanoseconds. The client is the `target`, by
    whose search list it was asked."""
    client = target.client(UNSET)
    server = Server(ip=pod.ip, port=pod.port, kind="coredns", namespace=pod.namespace,
                    pod=safe_text(pod.name), node=pod.node)  # fmt: skip
    attempts = [
        _attempt(each, start_ns, took_ns, server)
        for each, (start_ns, took_ns) in zip(tried, times, strict=True)
    ]
    for attempt in attempts:
        attempt.hops[0].client = client
    last = deciding(attempts)
    start_ns, (last_ns, took_ns) = times[0][0], times[-1]
    return Journey(
        time=format_time(start_ns),
        name=base_name([each.question.name for each in tried]),
        types=list(dict.fromkeys(each.question.type for each in tried)),
        client=client,
        status=last.status,
        rcode=last.rcode,
        latency_ms=ms(last_ns + took_ns - start_ns),
        resolved_ips=all_addresses(attempts, last),
        code=last.code,
        conclusion=conclusion_of(attempts, last),
        attempts=attempts,
    )


def _word(reply: Reply) -> str:
    if reply.rcode != "NOERROR":
        return reply.rcode
    return "an answer" if reply.has_answers else "NODATA"


def _attempt(tried: Tried, start_ns: int, took_ns: int, server: Server) -> Attempt:
    question, reply = tried.question, tried.reply
    status = "answered" if reply.rcode else "unanswered"
    latency_ms = ms(took_ns) if reply.rcode else UNSET
    if not reply.rcode:
        code, conclusion = "server_silent", f"no answer from {server.pod}, {HOW}: {reply.problem}"
    else:
        code = "answered" if reply.rcode in FINAL else "failed"
        conclusion = f"{', '.join(reply.addresses) or _word(reply)} from {server.pod}, {HOW}"
    return Attempt(
        time=format_time(start_ns),
        name=question.name,
        type=question.type,
        status=status,
        rcode=reply.rcode or UNSET,
        latency_ms=latency_ms,
        resolved_ips=list(reply.addresses) or UNSET,
        code=code,
        conclusion=conclusion,
        hops=[
            JourneyHop(
                depth=0,
                hop="client",
                sure="exact",
                time=format_time(start_ns),
                server=server,
                transport="tcp",
                status=status,
                rcode=reply.rcode or UNSET,
                tries=1,
                latency_ms=latency_ms,
            )
        ],
    )
