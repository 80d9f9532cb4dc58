"""The summary for people, on stderr: what was seen, how it went, what took longest, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET

from kubectl_kdns.model import OLDER, Group, NameCount, SlowLookup, Summary
from kubectl_kdns.output.clock import Clock
from kubectl_kdns.output.columns import cut_end
from kubectl_kdns.output.options import BOLD, YELLOW, OutputOptions, paint
from kubectl_kdns.output.phrases import ABSENT, loss_line
from kubectl_kdns.times import format_duration

_LABEL_WIDTH = 9
_NS_PER_MS = 1_000_000


def summary_text(summary: Summary, options: OutputOptions, clock: Clock) -> str:
    """Lines of `label figures`: some fifteen for up to three groups, four more for each further one.

    Only of the largest group, which comes first, the slowest lookups, names and clients are listed; json
    has those of all.
    """
    depth = max(1, 4 - len(summary.groups))
    lines = [("", _headline(summary))]
    for group in summary.groups:
        lines.append((BOLD, _group_title(group)))
        lines += [("", line) for line in _group_lines(group, depth, clock)]
        depth = 0
    lines += [(YELLOW, loss_line(loss, clock)) for loss in summary.loss]
    if figures := {name: n for name, n in summary.counters.items() if n and name != OLDER}:
        texts = [f"{name.replace('_', ' ')} {n:,}" for name, n in figures.items()]
        lines.append(("", f"counters: {', '.join(texts)}"))
    if not summary.seen:
        lines.append(("", "Try: kubectl kdns backends (says whether each backend can see DNS here)"))
    ellipsis = "…" if options.unicode else "..."
    shown = [
        (color, text if options.width is None else cut_end(text, options.width, ellipsis))
        for color, text in lines
    ]
    return "".join(f"{paint(text, color if options.err_color else '')}\n" for color, text in shown)


def _headline(summary: Summary) -> str:
    text = f"{_count(summary.shown, 'lookup')}" if summary.shown else "No lookups"
    if summary.duration_ms is not UNSET and summary.duration_ms > 0:
        text += f" in {_duration(summary.duration_ms)}"
        if summary.shown and summary.duration_ms >= 1000:
            text += f" ({_rate(summary.shown * 1000 / summary.duration_ms)}/s)"
    older = summary.counters.get(OLDER, 0)
    if summary.filtered > older:
        text += f"; {summary.filtered - older:,}{' more' if summary.shown else ''} did not match the filter"
    if older:
        text += f"; {older:,} more were left out by --last"
    if summary.pending:
        text += f"; {summary.pending:,} pending"
    return text


def _group_title(group: Group) -> str:
    words = [
        f"{label} {value}"
        for label, value in (("hop", group.hop), ("side", group.side))
        if value is not UNSET
    ]
    where = f" ({', '.join(words)})" if words else ""
    names = f" of {_count(group.distinct_names, 'name')}" if group.distinct_names else ""
    return f"{group.backend or 'unknown backend'}{where}: {_count(group.lookups, 'lookup')}{names}"


def _group_lines(group: Group, depth: int, clock: Clock) -> list[str]:
    lines = []
    if set(group.statuses) - {"answered"}:
        lines.append(_labelled("status", _shares(group.statuses, group.lookups)))
    if group.rcodes:
        lines.append(_labelled("rcode", _shares(group.rcodes, group.lookups)))
    if group.latency_ms:
        figures = "  ".join(f"{name} {_duration(value)}" for name, value in group.latency_ms.items())
        lines.append(_labelled("latency", figures))
    lines += _block("slowest", [_slow_text(slow, clock) for slow in group.slowest[:depth]])
    lines += _block("names", _top_texts(group.top_names[:depth], group.lookups))
    lines += _block("clients", _top_texts(group.top_clients[:depth], group.lookups))
    return lines


def _labelled(label: str, text: str) -> str:
    return f"  {label:<{_LABEL_WIDTH}}{text}"


def _block(label: str, texts: Sequence[str]) -> list[str]:
    return [_labelled("" if index else label, text) for index, text in enumerate(texts)]


def _shares(counts: Mapping[str, int], lookups: int) -> str:
    return "  ".join(f"{word} {n:,} ({_percent(n, lookups)})" for word, n in counts.items())


def _top_texts(top: Sequence[NameCount], lookups: int) -> list[str]:
    """The counts come in falling order, so the first is the widest."""
    width = len(f"{top[0].count:,}") if top else 0
    return [f"{item.count:>{width},} {f'({_percent(item.count, lookups)})':<8} {item.name}" for item in top]


def _slow_text(slow: SlowLookup, clock: Clock) -> str:
    words = [_duration(slow.latency_ms), clock.text(slow.time), slow.name or ABSENT, slow.type or ABSENT]
    return "  ".join([*words, slow.client or ABSENT])


def _duration(duration_ms: float) -> str:
    return format_duration(round(duration_ms * _NS_PER_MS))


def _percent(n: int, total: int) -> str:
    """One decimal; what is there is never 0.0 %, and what is not all is never 100 %."""
    share = 100 * n / total if total else 0.0
    if 0 < share < 0.1:
        return "<0.1%"
    if 99.9 < share < 100:
        return ">99.9%"
    return f"{share:.1f}%"


def _rate(per_s: float) -> str:
    return f"{per_s:,.0f}" if per_s >= 10 else f"{per_s:.2g}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
