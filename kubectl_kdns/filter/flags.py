"""Turns the filter flags of the command line into one expression of the filter language.

Each flag narrows: the flags are joined by &&, the values of one flag by ||, and what a flag excludes (`!`)
by && again. The expression is all that the rest of kdns sees.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

from msgspec import Struct

from kubectl_kdns import model
from kubectl_kdns.dns import tables
from kubectl_kdns.errors import FilterError, UsageError, did_you_mean
from kubectl_kdns.filter.check import check
from kubectl_kdns.filter.expression import parse_filter
from kubectl_kdns.filter.globs import glob_condition, name_condition, name_regex_condition
from kubectl_kdns.filter.nodes import (
    Call,
    Compare,
    Expr,
    Field,
    In,
    ListOf,
    Literal,
    Not,
    Or,
    conjunction,
    disjunction,
    to_text,
)
from kubectl_kdns.filter.targets import client_condition, server_condition
from kubectl_kdns.times import ms, parse_duration

Condition = Callable[[str], Expr]


class FilterFlags(Struct, frozen=True):
    """The flags as they were written; their names are those of `cli.groups.SelectionOptions`.

    `namespace`, `selector`, `pod`, `container`, `node` and `targets` choose the client, `to` the server.
    Lists may hold commas where the flag allows it; empty means that the flag was not given.
    """

    targets: tuple[str, ...] = ()
    namespace: tuple[str, ...] = ()
    selector: str = ""
    pod: tuple[str, ...] = ()
    container: tuple[str, ...] = ()
    node: tuple[str, ...] = ()
    to: tuple[str, ...] = ()
    name: tuple[str, ...] = ()
    type: tuple[str, ...] = ()
    rcode: tuple[str, ...] = ()
    response_class: tuple[str, ...] = ()
    slower_than: str = ""
    unanswered: bool = False
    failed: bool = False
    hop: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    status: tuple[str, ...] = ()
    filter: tuple[str, ...] = ()


def flags_expression(flags: FilterFlags) -> str:
    """The canonical text of the expression, "" for everything.

    Raises UsageError naming the flag and what it allows; FilterError for a mistake in an expression of -F.
    """
    _refuse_contradictions(flags)
    response_classes = _one_of("dns.response_class", model.RESPONSE_CLASSES)
    parts: list[Expr | None] = [
        _any("target", flags.targets, client_condition, excludes=False),
        _any("--namespace", _split(flags.namespace), _namespace),
        _selector(flags.selector),
        _any("--pod", _split(flags.pod), lambda glob: glob_condition("client.pod", glob)),
        _any("--container", _split(flags.container), lambda glob: glob_condition("client.container", glob)),
        _any("--node", _split(flags.node), lambda glob: glob_condition("client.node", glob)),
        _any("--to", _split(flags.to), server_condition),
        _any("--name", flags.name, _name),
        _any("--type", _split(flags.type), _type),
        _any("--rcode", _split(flags.rcode), _rcode),
        _any("--class", _split(flags.response_class), response_classes),
        _slower_than(flags.slower_than),
        _is("status", "unanswered") if flags.unanswered else None,
        _FAILED if flags.failed else None,
        _any("--hop", _split(flags.hop), _one_of("hop", model.HOPS)),
        _any("--side", _split(flags.side), _one_of("side", model.SIDES)),
        _any("--status", _split(flags.status), _one_of("status", model.STATUSES)),
    ]
    parts += [_expression(text) for text in flags.filter]
    expr = conjunction(parts)
    return to_text(expr) if expr is not None else ""


def _refuse_contradictions(flags: FilterFlags) -> None:
    """An unanswered lookup has no response: asking for one as well selects nothing, which nobody means."""
    if not flags.unanswered:
        return
    for flag, values in (
        ("--rcode", _split(flags.rcode)),
        ("--class", _split(flags.response_class)),
        ("--slower-than", (flags.slower_than,)),
        ("--status", tuple(status for status in _split(flags.status) if status.lower() != "unanswered")),
    ):
        if any(value and not value.startswith("!") for value in values):
            raise UsageError(
                f"--unanswered and {flag} exclude each other: no lookup is both",
                hint="""-F 'status == "unanswered" || dns.rcode == "SERVFAIL"' for either of two""",
            )


def _any(flag: str, values: Sequence[str], condition: Condition, *, excludes: bool = True) -> Expr | None:
    """One of the values fits, and none of those behind a `!`; None when there are no values."""
    wanted: list[Expr] = []
    unwanted: list[Expr] = []
    for value in dict.fromkeys(values):
        excluded = excludes and value.startswith("!")
        text = value[1:] if excluded else value
        (unwanted if excluded else wanted).append(_checked(flag, text, condition))
    none_of = _one_condition(unwanted)
    return conjunction([_one_condition(wanted), None if none_of is None else Not(none_of)])


def _checked(flag: str, text: str, condition: Condition) -> Expr:
    """The condition of one value; whatever is wrong with it becomes a UsageError that names the flag."""
    if not text.strip():
        raise UsageError(f"{flag}: the value is empty", hint=f"leave {flag} out for no restriction")
    try:
        expr = condition(text)
        check(expr, to_text(expr))
    except FilterError as error:
        # What helps with an expression is a remark here, unless it is a suggestion: it is nothing to try.
        suggests = error.hint.startswith("did you mean")
        remark = f" ({error.hint})" if error.hint and not suggests else ""
        hint = error.hint if suggests else ""
        raise UsageError(f"{flag} {text}: {error.what}{remark}", hint=hint) from None
    except UsageError as error:
        raise UsageError(f"{flag} {text}: {error.what}", hint=error.hint) from None
    return expr


def _one_condition(conditions: Sequence[Expr]) -> Expr | None:
    """The conditions, each once, joined by ||; equalities of one field become `in`."""
    conditions = list(dict.fromkeys(conditions))
    equal = [c for c in conditions if isinstance(c, Compare) and isinstance(c.right, Literal)]
    if len(equal) == len(conditions) > 1 and len({c.left for c in equal}) == 1:
        return In(equal[0].left, ListOf(tuple(c.right for c in equal if isinstance(c.right, Literal))))
    return disjunction(conditions)


def _split(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(part.strip() for value in values for part in value.split(","))


def _is(path: str, value: str) -> Expr:
    return Compare("==", Field(path), Literal(value))


_FAILED = Or(
    (
        Compare("!=", Field("status"), Literal("answered")),
        Compare("!=", Field("dns.rcode"), Literal("NOERROR")),
    )
)


def _namespace(text: str) -> Expr:
    if not re.fullmatch(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", text) or len(text) > 63:
        raise UsageError("not the name of a namespace", hint="-n shop -n web, or -A for all")
    return _is("client.namespace", text)


def _selector(text: str) -> Expr | None:
    if not text:
        return None
    condition = Call("hasLabels", Field("client"), Literal(text))
    return _checked("--selector", text, lambda _text: condition)


def _expression(text: str) -> Expr | None:
    if not text.strip():
        raise UsageError("--filter: the value is empty", hint="leave --filter out for no restriction")
    return parse_filter(text).expr


def _name(text: str) -> Expr:
    return name_regex_condition(text[1:]) if text.startswith("~") else name_condition(text)


def _type(text: str) -> Expr:
    return _is("dns.type", _dns_name(text, "TYPE", tables.type_number, tables.type_name, tables.TYPES))


def _rcode(text: str) -> Expr:
    return _is("dns.rcode", _dns_name(text, "RCODE", tables.rcode_number, tables.rcode_name, tables.RCODES))


def _dns_name(
    text: str,
    prefix: str,
    number_of: Callable[[str], int | None],
    name_of: Callable[[int], str],
    names: Mapping[int, str],
) -> str:
    """A name, a number or a generic name as the one name that records hold."""
    number = number_of(f"{prefix}{text}" if text.isdecimal() else text)
    if number is None:
        near = did_you_mean(text.upper(), list(names.values()))
        raise UsageError(
            f"there is no such {prefix.lower()}",
            hint=near or f"a name such as {name_of(1)} or {name_of(5)}, a number, or {prefix}1234",
        )
    return name_of(number)


def _one_of(path: str, values: Sequence[str]) -> Condition:
    def condition(text: str) -> Expr:
        value = text.lower()
        if value not in values:
            near = did_you_mean(value, values)
            raise UsageError("not one of its values", hint=near or f"one of: {', '.join(values)}")
        return _is(path, value)

    return condition


def _slower_than(text: str) -> Expr | None:
    if not text:
        return None
    try:
        limit_ms = ms(parse_duration(text))
    except ValueError as error:
        raise UsageError(f"--slower-than {text}: {error}") from None
    return Compare(">", Field("latency_ms"), Literal(limit_ms))
