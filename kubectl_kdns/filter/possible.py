"""Whether a filter can be true of a record of which only some fields are known: Kleene's three values.

A condition whose fields are all known is asked of the compiled filter itself, so that there is one meaning of
the language and not two; any other may be true or false.
"""

from __future__ import annotations

from collections.abc import Set
from functools import lru_cache
from typing import Any

from kubectl_kdns.filter.compile import Predicate, compile_filter
from kubectl_kdns.filter.nodes import And, Expr, Field, Literal, Not, Or, walk
from kubectl_kdns.model import Lookup, Message


def may_hold(expr: Expr | None, record: Lookup | Message, known: Set[str], env: Any = None) -> bool:
    """`known` are the paths of which the record tells the truth, be it that they are absent; with an `env`
    (expression.Environment), `client` among them says that labels and Services can be asked for.

    Never False when the filter accepts some record that agrees with this one there.
    """
    return expr is None or _value(expr, record, known, env) is not False


def _value(expr: Expr, record: Lookup | Message, known: Set[str], env: Any) -> bool | None:
    """True, False, or None where it depends on what is not known."""
    match expr:
        case And() | Or():
            decisive = isinstance(expr, Or)
            values = [_value(operand, record, known, env) for operand in expr.operands]
            if decisive in values:
                return decisive
            return None if None in values else not decisive
        case Not():
            value = _value(expr.operand, record, known, env)
            return None if value is None else not value
        case Literal():
            return bool(expr.value)
        case _:
            if not fields_of(expr) <= known:
                return None
            return _predicate(expr, env)(record)


@lru_cache(maxsize=1024)
def fields_of(expr: Expr) -> frozenset[str]:
    """The paths that an expression looks at."""
    return frozenset(node.path for node in walk(expr) if isinstance(node, Field))


@lru_cache(maxsize=1024)
def _predicate(expr: Expr, env: Any) -> Predicate:
    return compile_filter(expr, env)
