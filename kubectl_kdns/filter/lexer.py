"""Cuts the text of a filter into tokens; literals are values already.

The literals are CEL's (https://github.com/google/cel-spec, "Lexis"): strings with CEL's escapes, raw
strings, 64-bit integers, doubles. Texts in three quotes, bytes and null are not part of the subset.
"""

from __future__ import annotations

import re
from typing import Any

from msgspec import Struct

from kubectl_kdns.errors import FilterError

MAX_LENGTH = 1 << 18
"""Characters; twice the longest argument that Linux passes to a program."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\f]+|//[^\n]*)
    |(?P<string>[rR]"[^"\r\n]*"|[rR]'[^'\r\n]*'|"(?:[^"\\\r\n]|\\[^\r\n])*"|'(?:[^'\\\r\n]|\\[^\r\n])*')
    |(?P<number>0x[0-9a-fA-F]+[uU]?|(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[uU]?)
    |(?P<word>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<op>==|!=|<=|>=|&&|\|\||[<>!()\[\],.-])""",
    re.VERBOSE,
)
_NUMBER_TAIL = r"[\w.:]*"
_ESCAPE = r"""(?x)\\(?:(?P<char>[abfnrtv\\?"'`])
    |[xX](?P<hex2>[0-9a-fA-F]{2})|u(?P<hex4>[0-9a-fA-F]{4})|U(?P<hex8>[0-9a-fA-F]{8})
    |(?P<octal>[0-3][0-7]{2})|(?P<bad>.))"""
_CHARS = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}
_WRONG_OPERATORS = {
    "=": "to compare, write ==",
    "&": "write && for and",
    "|": "write || for or",
    "?": "there is no a ? b : c; write (a && b) || (!a && c)",
    "+": "filters compare, they do not calculate",
    "*": "filters compare, they do not calculate; for a pattern use .matches(...) or --name",
    "/": "filters compare, they do not calculate; a regex is a text: .matches(\"...\")",
    "%": "filters compare, they do not calculate",
    "{": "lists are written [a, b]",
    "~": 'to match a regex, write .matches("...")',
    "\u201c": 'write plain quotes: "',
    "\u201d": 'write plain quotes: "',
    "\u2018": "write plain quotes: '",
    "\u2019": "write plain quotes: '",
}  # fmt: skip


class Token(Struct, frozen=True):
    """`kind` is string, number, word, op or end; `text` is the source, `value` that of a literal."""

    kind: str
    text: str
    position: int
    value: Any = None


def tokens_of(source: str) -> list[Token]:
    """All tokens, the last being of kind `end`. Raises FilterError."""
    if len(source) > MAX_LENGTH:
        raise FilterError(
            f"the filter is longer than {MAX_LENGTH} characters", source=source[:80], position=0
        )
    tokens: list[Token] = []
    position = 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise _unexpected(source, position)
        kind, text = match.lastgroup or "", match[0]
        if kind == "string":
            tokens.append(Token(kind, text, position, _string_value(text, source, position)))
        elif kind == "number":
            tokens.append(Token(kind, text, position, _number_value(text, source, position)))
        elif kind != "space":
            tokens.append(Token(kind, text, position))
        position = match.end()
    tokens.append(Token("end", "", len(source.rstrip())))
    return tokens


def _unexpected(source: str, position: int) -> FilterError:
    char = source[position]
    if char in "\"'":
        return FilterError("this text has no closing quote", source=source, position=position)
    return FilterError(
        f"a filter cannot have {char!a} here",
        source=source,
        position=position,
        hint=_WRONG_OPERATORS.get(char, ""),
    )


def _number_value(text: str, source: str, position: int) -> int | float:
    tail = re.compile(_NUMBER_TAIL).match(source, position + len(text))
    if tail and tail[0]:
        raise FilterError(
            f"{text + tail[0]} is not a number",
            source=source,
            position=position,
            hint="a text needs quotes; a duration is written as a number: latency_ms counts milliseconds",
        )
    digits = text.rstrip("uU")
    unsigned = digits != text
    value: int | float
    if not digits.startswith("0x") and not digits.isdecimal():
        value = float(digits)
        in_range = not unsigned and value != float("inf")
    elif len(digits) > 40:  # Python refuses to read thousands of digits
        value, in_range = 0, False
    else:
        value = int(digits, 16 if digits.startswith("0x") else 10)
        # 2^63 itself is right behind a minus sign only; the parser looks at that.
        in_range = value <= ((1 << 64) - 1 if unsigned else 1 << 63)
    if not in_range:
        raise FilterError(f"{text[:40]} is not a number of 64 bits", source=source, position=position)
    return value


def _string_value(text: str, source: str, position: int) -> str:
    if text[0] in "rR":
        return text[2:-1]

    def character(match: re.Match[str]) -> str:
        if match["char"]:
            return _CHARS.get(match["char"], match["char"])
        digits = match["hex2"] or match["hex4"] or match["hex8"]
        code = int(digits, 16) if digits else int(match["octal"], 8) if match["octal"] else -1
        if not 0 <= code <= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
            raise FilterError(
                f"{match[0]} is not an escape of a character",
                source=source,
                position=position + 1 + match.start(),
                hint=r'a backslash itself is written \\; a regex is easier as r"\d+\.example"',
            )
        return chr(code)

    return re.sub(_ESCAPE, character, text[1:-1])
