"""Kubernetes label selectors: `app=web,tier in (front,back),!legacy`, parsed and matched here.

The grammar and its meaning are those of k8s.io/apimachinery/pkg/labels: all requirements must hold; `!=`
and `notin` also hold where the label is missing. `>` and `<`, which only node affinity uses, are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from msgspec import Struct

from kubectl_kdns.errors import FilterError

_TOKEN = r"\s*(==|!=|[=!(),]|[^\s=!(),<>]+|$)"
_NAME = r"(?=.{1,63}\Z)[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_PREFIX = r"(?=.{1,253}\Z)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_SYNTAX = "a selector is KEY=VALUE, KEY!=VALUE, KEY in (A,B), KEY notin (A,B), KEY or !KEY, joined by commas"


class Requirement(Struct, frozen=True):
    """`values` is None when only the presence of the label counts; `wanted` is False for != , notin and !."""

    key: str
    values: frozenset[str] | None
    wanted: bool

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        found = value is not None and (self.values is None or value in self.values)
        return found is self.wanted


class Selector(Struct, frozen=True):
    """No requirements: every set of labels matches."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return all(requirement.holds(labels) for requirement in self.requirements)


def parse_selector(text: str) -> Selector:
    """Raises FilterError, whose position is one in `text`."""
    parser = _Parser(text)
    requirements: list[Requirement] = []
    while parser.token or requirements:
        requirements.append(parser.requirement())
        if not parser.token:
            break
        parser.take_comma()
    return Selector(tuple(requirements))


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._end = 0
        self.token = ""
        self._advance()

    def _advance(self) -> str:
        """Goes to the next token ("" at the end); returns the one before."""
        before = self.token
        match = re.compile(_TOKEN).match(self._text, self._end)
        if match is None:
            at = self._end + len(self._text[self._end :]) - len(self._text[self._end :].lstrip())
            raise self._error(f"{self._text[at]} is not possible in a label selector", at)
        self.token, self._start, self._end = match[1], match.start(1), match.end()
        return before

    def _error(self, what: str, position: int | None = None) -> FilterError:
        at = self._start if position is None else position
        return FilterError(what, source=self._text, position=at, hint=_SYNTAX)

    def take_comma(self) -> None:
        if self.token != ",":
            raise self._error(f"expected a comma, found {self.token}")
        self._advance()

    def requirement(self) -> Requirement:
        if self.token == "!":
            self._advance()
            return Requirement(self._key(), None, False)
        key = self._key()
        if self.token in ("", ","):
            return Requirement(key, None, True)
        operator = self.token
        if operator in ("=", "==", "!="):
            self._advance()
            return Requirement(key, frozenset([self._value()]), operator != "!=")
        if operator in ("in", "notin"):
            self._advance()
            return Requirement(key, self._values(), operator == "in")
        raise self._error(f"expected = == != in or notin, found {operator}")

    def _key(self) -> str:
        prefix, slash, name = self.token.rpartition("/")
        if not re.fullmatch(_NAME, name) or (slash and not re.fullmatch(_PREFIX, prefix)):
            raise self._error(f"{self.token} is not the key of a label" if self.token else "a key is missing")
        return self._advance()

    def _value(self) -> str:
        if self.token in ("", ",", ")"):
            return ""
        if not re.fullmatch(_NAME, self.token):
            raise self._error(f"{self.token} is not the value of a label")
        return self._advance()

    def _values(self) -> frozenset[str]:
        if self.token != "(":
            raise self._error("the values stand in parentheses: in (a,b)")
        self._advance()
        if self.token == ")":
            raise self._error("the list of values is empty")
        values = {self._value()}
        while self.token != ")":
            if not self.token:
                raise self._error("the list of values is not closed")
            self.take_comma()
            values.add(self._value())
        self._advance()
        return frozenset(values)
