"""The sentence about one lookup and its hops: how far it came, who answered, and what that means.

A sentence that says "not" needs proof of coverage; without it, it says "not seen".
"""

from __future__ import annotations

from msgspec import UNSET

from kubectl_kdns.coverage import Coverage
from kubectl_kdns.legs import FINAL, Leg
from kubectl_kdns.model import Lookup, Maybe
from kubectl_kdns.output.phrases import address, error_text, server_name
from kubectl_kdns.times import NS_PER_S, format_duration, ms, parse_time

SLOW_NS = NS_PER_S
PATIENCE_NS = NS_PER_S
"""No client gives up sooner; one that has is not there any more to see the answer."""
TRUNCATED = "truncated"
Conclusion = tuple[str, str]
"""A stable code and the sentence."""


def conclude(leg: Leg, coverage: Coverage) -> Conclusion:
    """What became of a request."""
    nearest = leg.nearest
    if nearest.status == "denied":
        policy = nearest.policy.name if nearest.policy and nearest.policy.name else "a network policy"
        return "denied", f"denied by {policy} before any DNS server saw it"
    if nearest.status == "pending":
        return "pending", "still without an answer when kdns ended"
    if nearest.status == "answered":
        return _answered(leg, coverage)
    return _lost(leg, coverage)


def _answered(leg: Leg, coverage: Coverage) -> Conclusion:
    nearest = leg.nearest
    rcode = leg.rcode or "an answer"
    late = ", too late: the client had given up" if nearest.late is True else ""
    last = leg.children[-1] if leg.children else None
    through = server_text(leg)
    late = _truncated(nearest) + late
    if rcode not in FINAL:
        return _failed(leg, coverage, rcode, late)
    word = rcode if rcode != "NOERROR" else _answer_word(nearest)
    if last is not None:
        code = "upstream" if rcode == "NOERROR" else "upstream_nxdomain"
        whom = server_text(_deepest(leg))
        return code, f"{word} from {whom}, through {through}{_where_the_time_went(leg)}{late}"
    if nearest.upstream is not UNSET:
        whom = address(nearest.upstream.ip, nearest.upstream.port)
        return "upstream", f"{rcode} from {whom}, through {through}{late}"
    server = nearest.server
    if server and server.kind in ("external", "unknown"):
        return (
            "outside",
            f"{word} from {address(server.ip, server.port)}, which is not the cluster's DNS{late}",
        )
    if leg.at_server is not None and not leg.may_have_more and coverage.saw_forwards(*_window(leg)):
        return "own", f"{word} from {through} itself (its zone or its cache){late}"
    return "answered", f"{word} from {through}; whether it asked others was not seen{late}"


def _failed(leg: Leg, coverage: Coverage, rcode: str, late: str) -> Conclusion:
    through = server_text(leg)
    deepest = _deepest(leg)
    if deepest is not leg:
        whom = server_text(deepest)
        if not deepest.is_answered:
            silent = len([child for child in _siblings(leg, deepest) if not child.is_answered])
            return (
                "upstream_silent",
                f"{rcode} from {through}, because {whom} did not answer ({_times(silent)} asked){late}",
            )
        if deepest.rcode == rcode:
            return "upstream_failed", f"{rcode} came from {whom}; {through} passed it on{late}"
        return "upstream_failed", f"{rcode} from {through} after {deepest.rcode} from {whom}{late}"
    cause = _cause(leg)
    if cause:
        return "server_failed", f"{rcode} from {through}: {cause}{late}"
    if leg.at_server is not None and not leg.may_have_more and coverage.saw_forwards(*_window(leg)):
        return "server_failed", f"{rcode} was made by {through} itself: it asked nobody for it{late}"
    return "failed", f"{rcode} from {through}; why was not seen{late}"


def _lost(leg: Leg, coverage: Coverage) -> Conclusion:
    at_server = leg.at_server
    through = server_text(leg)
    if at_server is None:
        return _never_arrived(leg, coverage)
    if at_server.status == "answered":
        took = _ms(at_server.latency_ms or 0)
        if (at_server.latency_ms or 0) >= ms(PATIENCE_NS):
            answer = f"{through} answered {leg.rcode or ''} after {took}".replace("  ", " ")
            return "too_late", f"{answer}, when the client had given up{_why(leg)}"
        return (
            "answer_lost",
            f"{through} answered {leg.rcode or ''} in {took}, and that never reached the client: lost on the "
            "way back".replace("  ", " "),
        )
    deepest = _deepest(leg)
    arrived = f"arrived at {through}" + (f" on {at_server.node}" if at_server.node else "")
    if deepest is not leg and not deepest.is_answered:
        silent = len(_siblings(leg, deepest))
        asked = f"{server_text(deepest)} ({_times(silent)})"
        return "upstream_silent", f"{arrived}, which asked {asked} and got no answer"
    if deepest is not leg:
        got = f"{deepest.rcode} from {server_text(deepest)}"
        return "server_silent", f"{arrived}, which got {got} and did not answer"
    cause = _cause(leg)
    because = f": {cause}" if cause else ""
    if leg.apart:
        fit = f"{leg.apart} forwards fit this lookup and others of the same name"
        return "not_sure", f"{arrived}; {fit}{because}"
    if not leg.may_have_more and coverage.saw_forwards(*_window(leg)):
        return "dropped", f"{arrived}; neither forwarded nor answered: dropped at {through}{because}"
    return "server_silent", f"{arrived}; no answer, and no forward was seen{because}"


def _never_arrived(leg: Leg, coverage: Coverage) -> Conclusion:
    nearest = leg.nearest
    server = nearest.server
    whom = address(server.ip, server.port) if server else "an unknown server"
    if server and server.kind in ("external", "unknown"):
        return "outside_silent", f"no answer from {whom}, which is not the cluster's DNS"
    backend = server.backend if server else UNSET
    start_ns = parse_time(str(nearest.time))
    if backend:
        to = backend.pod or backend.ip or whom
        node = backend.node
        if coverage.saw_all(node, start_ns - NS_PER_S, start_ns + NS_PER_S):
            return (
                "lost_before_server",
                f"sent to {whom}, which became {to} on {node}; it never arrived there: lost on the way "
                "(a network policy, the nodes' network, or a pod that does not listen)",
            )
        return "not_seen", f"sent to {whom}, which became {to}; it was not seen there, and got no answer"
    covered = coverage.saw_all(nearest.node, start_ns, start_ns + NS_PER_S)
    if server and server.kind == "service" and covered:
        return (
            "lost_before_server",
            f"sent to {whom}, which became no pod's address: no DNS server is behind that Service (or this "
            "node's NodeLocal DNSCache is gone), or a policy on the client's node dropped it",
        )
    return "not_seen", f"no answer from {whom}; it was not seen at any DNS server"


def server_text(leg: Leg) -> str:
    """`coredns-7f4`, or an address; of a leg seen at its server, that pod."""
    views = [view for view in (leg.at_server, leg.nearest) if view is not None]
    for view in views:
        server = view.server
        if server and (server.pod or (server.backend and server.backend.pod)):
            return server_name(server)
    return server_name(leg.nearest.server)


def _deepest(leg: Leg) -> Leg:
    while leg.children:
        leg = leg.children[-1]
    return leg


def _siblings(leg: Leg, deepest: Leg) -> tuple[Leg, ...]:
    """All that were asked at the same place as the deepest."""
    while leg.children and leg.children[-1] is not deepest:
        leg = leg.children[-1]
    return leg.children


def _window(leg: Leg) -> tuple[Maybe[str], int, int]:
    """Where and when its server could have asked others."""
    view = leg.at_server
    return view.node if view else UNSET, leg.served.start_ns, leg.open_until_ns()


def _answer_word(view: Lookup) -> str:
    dns = view.dns
    if not dns:
        return "an answer"
    if dns.resolved_ips:
        more = f" and {len(dns.resolved_ips) - 1} more" if len(dns.resolved_ips) > 1 else ""
        return f"{dns.resolved_ips[0]}{more}"
    if dns.answers == []:
        return "NOERROR without data"
    return "an answer"


def _truncated(view: Lookup) -> str:
    flags = view.dns.flags if view.dns else UNSET
    return f", {TRUNCATED}" if flags and "tc" in flags and view.transport == "udp" else ""


def _why(leg: Leg) -> str:
    """What its server waited for, as far as that is known."""
    deepest, cause = _deepest(leg), _cause(leg)
    if deepest is not leg and not deepest.is_answered:
        return f": {server_text(deepest)} did not answer it ({_times(len(_siblings(leg, deepest)))} asked)"
    return f": {cause}" if cause else ""


def _cause(leg: Leg) -> str:
    return next((error_text(view.error, view.upstream) for view in leg.views if view.error), "")


def _where_the_time_went(leg: Leg) -> str:
    if leg.asked.end_ns - leg.asked.start_ns < SLOW_NS // 10:
        return ""
    waited_ns = sum(child.asked.end_ns - child.asked.start_ns for child in leg.children)
    total = format_duration(leg.asked.end_ns - leg.asked.start_ns)
    silent = sum(not child.is_answered for child in leg.children)
    if silent:
        return f" after {_times(silent)} without an answer ({total})"
    return f"; {format_duration(waited_ns)} of {total} were spent there"


def _times(number: int) -> str:
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def _ms(latency_ms: float) -> str:
    return format_duration(round(latency_ms * 1e6))
