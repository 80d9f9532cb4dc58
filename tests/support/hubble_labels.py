"""Label selectors as Hubble reads them: Kubernetes' syntax, with a source before a key ("k8s:app=client").

Follows `labelparser.go` and `labels.go` of Cilium's `pkg/hubble/filters`, and Kubernetes' parser. Labels of
source "cidr" are compared as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

Labels = Sequence[str]
_TOKEN = re.compile(r"\s*(?:(==|=|!=|!|\(|\)|,|<|>)|([^=!(),<>\s]+))")
_NAME = re.compile(r"[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*")


def selector(text: str) -> Callable[[Labels], bool]:
    """A predicate on a flow's labels; ValueError says what is wrong with the selector."""
    tokens = _tokens(text)
    requirements = []
    while tokens:
        requirements.append(_requirement(tokens))
        if tokens:
            _expect(tokens, ",")
            if not tokens:
                raise ValueError("unable to parse requirement: found '', expected: identifier after ','")
    return lambda labels: all(meets(labels) for meets in requirements)


def _tokens(text: str) -> list[str]:
    found, at = [], 0
    text = text.strip()
    while at < len(text):
        token = _TOKEN.match(text, at)
        assert token is not None  # every character is of one of its two classes
        found.append(token.group().strip())
        at = token.end()
    return found


def _requirement(tokens: list[str]) -> Callable[[Labels], bool]:
    negated = tokens[0] == "!"
    if negated:
        tokens.pop(0)
    source, key = _key(tokens.pop(0) if tokens else "")

    def value_of(labels: Labels) -> str | None:
        """The first match by key, as Cilium sorts labels by key only; None without one."""
        parsed = (_label(label) for label in labels)
        return next((v for s, k, v in parsed if k == key and source in ("any", s)), None)

    if negated or not tokens or tokens[0] == ",":
        return lambda labels: (value_of(labels) is None) == negated
    operator = tokens.pop(0)
    if operator in ("in", "notin"):
        wanted = _values(tokens)
    elif operator in ("=", "==", "!="):
        wanted = {_value(tokens.pop(0) if tokens and tokens[0] != "," else "")}
    elif operator in ("<", ">"):
        return _compared(operator, int(_value(tokens.pop(0) if tokens else "")), value_of)
    else:
        raise ValueError(
            f"unable to parse requirement: found '{operator}', expected: in, notin, =, ==, !=, gt, lt"
        )
    if operator in ("notin", "!="):
        return lambda labels: value_of(labels) not in wanted
    return lambda labels: value_of(labels) in wanted


def _compared(
    operator: str, limit: int, value_of: Callable[[Labels], str | None]
) -> Callable[[Labels], bool]:
    def match(labels: Labels) -> bool:
        try:
            value = int(value_of(labels) or "")
        except ValueError:
            return False
        return value > limit if operator == ">" else value < limit

    return match


def _values(tokens: list[str]) -> set[str]:
    _expect(tokens, "(")
    wanted = set[str]()
    while True:
        wanted.add("" if tokens[:1] in ([","], [")"]) else _value(tokens.pop(0) if tokens else ""))
        if tokens[:1] != [","]:
            break
        tokens.pop(0)
    _expect(tokens, ")")
    return wanted


def _key(token: str) -> tuple[str, str]:
    """(source, key); a key without a source is of any."""
    dotted = token.replace(":", ".", 1) if ":" in token else f"any.{token}"
    prefix, slash, name = dotted.rpartition("/")
    if not _NAME.fullmatch(name) or (slash and not (_PREFIX.fullmatch(prefix) and len(prefix) <= 253)):
        raise ValueError(f"unable to parse requirement: Invalid value: {dotted}")
    source, _, key = dotted.partition(".")
    return source, key


def _value(token: str) -> str:
    if token and not _NAME.fullmatch(token):
        raise ValueError(f"unable to parse requirement: values: Invalid value: {token}")
    return token


def _label(text: str) -> tuple[str, str, str]:
    """(source, key, value) of a flow's label, "source:key=value"."""
    source, colon, rest = text.partition(":")
    if text.startswith("$"):
        source, rest = "reserved", text[1:]
    elif not colon:
        reserved = text.startswith("reserved.")
        source, rest = ("reserved", text.removeprefix("reserved.")) if reserved else ("", text)
    key, equals, value = rest.partition("=")
    if source == "reserved" and equals and not key:
        key, value = value, ""
    return source or "unspec", key, value


def _expect(tokens: list[str], wanted: str) -> None:
    found = tokens.pop(0) if tokens else ""
    if found != wanted:
        raise ValueError(f"unable to parse requirement: found '{found}', expected: '{wanted}'")
