"""What of a filter the agents do themselves: outcomes, types, names and latency. Sound, never complete.

Whatever an agent cannot judge it sends: messages without a readable question, extended response codes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from msgspec import Struct

from kdns_ebpf import wire
from kubectl_kdns.dns.tables import rcode_name, type_number
from kubectl_kdns.filter import Filter, Needle, implied_minimum, implied_needles
from kubectl_kdns.filter.nodes import Compare, Expr, Field, In, ListOf, Literal, walk
from kubectl_kdns.filter.possible import fields_of, may_hold
from kubectl_kdns.model import Dns, Lookup

_NS_PER_MS = 1_000_000
_MAX_NS = 1 << 62
_MAX_NAMES = 200
_PLAIN = re.compile(r"[a-z0-9_.-]{1,255}")
_KINDS = {
    "exact": wire.NAME_EXACT,
    "suffix": wire.NAME_SUFFIX,
    "prefix": wire.NAME_PREFIX,
    "substring": wire.NAME_SUBSTRING,
}
_OTHER_TYPE = "TYPE64999"  # one that no filter means


class Selection(Struct, frozen=True):
    """In the terms of wire.h. `takes` says it in words."""

    outcomes: int = wire.ALL_OUTCOMES
    types_mode: int = wire.TYPES_ANY
    types: tuple[int, ...] = ()
    names: tuple[tuple[int, bytes], ...] = ()
    slower_than_ns: int = 0
    takes: tuple[str, ...] = ()

    def config(
        self,
        session: bytes,
        *,
        messages: bool,
        max_rate: int,
        clients: Iterable[tuple[int, bytes]] = (),
    ) -> bytes:
        """The CONFIG frame. Of a message one knows neither how its lookup ends nor when, so with `messages`
        an agent must not look at that."""
        return wire.config(
            session,
            messages=messages,
            outcomes=wire.ALL_OUTCOMES if messages else self.outcomes,
            slower_than_ns=0 if messages else self.slower_than_ns,
            max_rate=max_rate,
            types_mode=self.types_mode,
            types=self.types,
            names=self.names,
            clients=clients,
        )


def select(filter_: Filter) -> Selection:
    """What agents can drop on behalf of a filter."""
    expr = filter_.expr
    if expr is None:
        return Selection()
    outcomes = _outcomes(expr)
    types_mode, types = _types(expr)
    names = _names(implied_needles(expr, "dns.name"))
    slower_than_ns = _floor_ns(implied_minimum(expr, "latency_ms"))
    takes = []
    if outcomes != wire.ALL_OUTCOMES:
        takes.append(f"sends only lookups that end with {_outcome_words(outcomes)}")
    if types_mode != wire.TYPES_ANY:
        takes.append(f"sends {'only' if types_mode == wire.TYPES_ONLY else 'no'} lookups of some types")
    if names:
        takes.append(f"sends only names with {' or '.join(text.decode() for _, text in names)}")
    if slower_than_ns:
        takes.append(f"sends only lookups of at least {slower_than_ns / _NS_PER_MS:g} ms")
    return Selection(outcomes, types_mode, types, names, slower_than_ns, tuple(takes))


def _outcomes(expr: Expr) -> int:
    """A bit for each response code, and one for no answer."""
    mask = 0
    for code in range(16):
        record = Lookup(status="answered", dns=Dns(rcode=rcode_name(code)))
        mask |= may_hold(expr, record, {"status", "dns.rcode"}) << code
    for status in ("unanswered", "pending"):
        absent = {"status", "dns.rcode", "latency_ms", "dns.response_class", "dns.response_bytes"}
        if may_hold(expr, Lookup(status=status, dns=Dns()), absent):
            mask |= wire.OUTCOME_NO_ANSWER
    return mask


def _types(expr: Expr) -> tuple[int, tuple[int, ...]]:
    """The mode and the numbers. Only where types are compared as a whole: one type that is not mentioned then
    stands for all others."""
    mentioned: set[str] = set()
    for node in walk(expr):
        if isinstance(node, Compare | In) and "dns.type" in fields_of(node):
            texts = _compared(node)
            if texts is None:
                return wire.TYPES_ANY, ()
            mentioned.update(texts)
    whole = sum(isinstance(node, Compare | In) and "dns.type" in fields_of(node) for node in walk(expr))
    if not mentioned or whole != sum(isinstance(n, Field) and n.path == "dns.type" for n in walk(expr)):
        return wire.TYPES_ANY, ()
    known = {name: type_number(name) for name in sorted(mentioned)}
    wanted = {name for name in known if _may_be_type(expr, name)}
    if not _may_be_type(expr, _OTHER_TYPE):
        return wire.TYPES_ONLY, tuple(number for name in wanted if (number := known[name]) is not None)
    numbers = tuple(number for name in known if name not in wanted and (number := known[name]) is not None)
    return (wire.TYPES_NOT, numbers) if numbers else (wire.TYPES_ANY, ())


def _compared(node: Compare | In) -> list[str] | None:
    """What dns.type is compared with for equality; None when it is something else."""
    if isinstance(node, In):
        if isinstance(node.item, Field) and isinstance(node.container, ListOf):
            return [str(item.value) for item in node.container.items]
        return None
    sides = (node.left, node.right)
    literals = [side.value for side in sides if isinstance(side, Literal)]
    if node.op not in ("==", "!=") or len(literals) != 1 or not any(isinstance(s, Field) for s in sides):
        return None
    return [str(literals[0])]


def _may_be_type(expr: Expr, name: str) -> bool:
    return may_hold(expr, Lookup(dns=Dns(type=name)), {"dns.type"})


def _names(needles: Sequence[Needle] | None) -> tuple[tuple[int, bytes], ...]:
    """None of them where one has more than letters, digits, `-`, `_` and dots: others may be escaped in one
    way here and in another way there."""
    if not needles or len(needles) > _MAX_NAMES:
        return ()
    if not all(_PLAIN.fullmatch(needle.text) and needle.kind in _KINDS for needle in needles):
        return ()
    return tuple((_KINDS[needle.kind], needle.text.encode()) for needle in needles)


def _floor_ns(least_ms: float | None) -> int:
    if least_ms is None or least_ms <= 0:
        return 0
    return int(min(least_ms * _NS_PER_MS, _MAX_NS))


def _outcome_words(outcomes: int) -> str:
    codes = [rcode_name(code) for code in range(16) if outcomes >> code & 1]
    words = [*codes] if len(codes) <= 4 else [f"{len(codes)} of the response codes"]
    if outcomes & wire.OUTCOME_NO_ANSWER:
        words.append("no answer")
    return " or ".join(words) or "nothing"
