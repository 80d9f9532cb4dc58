"""The figures of agents for the summary."""

from __future__ import annotations

from collections.abc import Iterable

from kdns_ebpf.agent_stream import AgentStream


def counters_of(streams: Iterable[AgentStream]) -> dict[str, int]:
    """Messages: seen = sent + filtered + lost + over_rate + pending, of all agents together."""
    total = dict.fromkeys(("messages_seen", "messages_sent", "messages_filtered", "messages_lost"), 0)
    total |= dict.fromkeys(("messages_over_rate", "messages_pending", "late_responses"), 0)
    for stream in streams:
        if stats := stream.stats:
            total["messages_seen"] += stats.seen + stats.ring_lost
            total["messages_sent"] += stats.sent
            total["messages_filtered"] += stats.filtered
            total["messages_lost"] += stats.lost + stats.ring_lost
            total["messages_over_rate"] += stats.over_rate
            total["messages_pending"] += stats.pending
            total["late_responses"] += stats.late
    return total
