r"""Globs as conditions: `*` is any run of characters, `?` is one, a backslash makes either plain.

A glob that needs no regex becomes ==, startsWith, endsWith or contains: those are what backends can take
over, and what people can read.
"""

from __future__ import annotations

import re

from kubectl_kdns.dns.names import name_of_text
from kubectl_kdns.filter.nodes import Call, Compare, Expr, Field, Has, Literal
from kubectl_kdns.filter.regex import escapes_next, needle_of, quote

_PART = r"([*?]+)|((?:\\[0-9]{3}|\\.|[^*?\\])+)"

Part = tuple[bool, str]
"""Whether it is wild, and the wildcards or the literal text."""


def glob_condition(path: str, glob: str) -> Expr:
    """The string field at `path` fits the glob."""
    parts = [(wild, text if wild else re.sub(r"(?s)\\(.)", r"\1", text)) for wild, text in _parts(glob)]
    return _condition(path, parts)


def name_condition(glob: str) -> Expr:
    r"""`dns.name` fits the glob; case and a trailing dot do not matter, escapes are those of names."""
    parts = [(wild, text if wild else _name_part(text)) for wild, text in _parts(glob)]
    if parts and not parts[-1][0] and glob != ".":
        last = parts[-1][1]
        stem = last.removesuffix(".")
        parts[-1] = False, last if escapes_next(stem) else stem
    return _condition("dns.name", parts)


def name_regex_condition(pattern: str) -> Expr:
    r"""`dns.name` matches the regex; case does not matter, and neither does a dot before the closing `$`."""
    for dot in (r"\.$", "[.]$"):
        stem = pattern.removesuffix(dot)
        if stem != pattern and not escapes_next(stem):
            pattern = stem + r"\.?$"
    if pattern != pattern.lower():
        # Where no letter is an operator, lower case says the same, and backends can take it over.
        pattern = pattern.lower() if needle_of(pattern) else f"(?i){pattern}"
    return Call("matches", Field("dns.name"), Literal(pattern))


def _parts(glob: str) -> list[Part]:
    """A backslash that ends the glob is one that is meant."""
    whole = glob + "\\" if escapes_next(glob) else glob
    return [(bool(wild), wild or text) for wild, text in re.findall(_PART, whole, re.DOTALL)]


def _name_part(text: str) -> str:
    # Between two letters, name_of_text takes no dot away and sees no root.
    return name_of_text(f"x{text}x")[1:-1]


def _condition(path: str, parts: list[Part]) -> Expr:
    field = Field(path)
    parts = [part for part in parts if part[1]]
    if any(wild and "?" in text for wild, text in parts):
        return Call("matches", field, Literal(_regex(parts)))
    match ["*" if wild else text for wild, text in parts], [wild for wild, _text in parts]:
        case _, [True]:
            return Has(field)
        case [text], _:
            return Compare("==", field, Literal(text))
        case [text, _], [False, True]:
            return Call("startsWith", field, Literal(text))
        case [_, text], [True, False]:
            return Call("endsWith", field, Literal(text))
        case [_, text, _], [True, False, True]:
            return Call("contains", field, Literal(text))
        case _:
            return Call("matches", field, Literal(_regex(parts)))


def _regex(parts: list[Part]) -> str:
    """Anchored, but for an end that is open."""
    body = "".join(_wildcards(text) if wild else quote(text) for wild, text in parts)
    start = body.removeprefix(".*")
    end = start.removesuffix(".*")
    return ("^" if start == body else "") + end + ("$" if end == start else "")


def _wildcards(text: str) -> str:
    return "." * text.count("?") + (".*" if "*" in text else "")
