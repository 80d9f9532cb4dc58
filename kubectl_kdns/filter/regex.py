"""What a regex of a filter means: RE2's dialect, unanchored as in CEL, and the literal text that it demands.

A pattern that is plain text, or `^`text, or text`$`, needs no regex engine; that saves importing re2 (25 ms)
for what globs and simple patterns compile to.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Literal

from msgspec import Struct

CACHED_RESULTS = 4096

# One item of the simplest regexes: a literal character, an escaped sign, or a dot; and how often.
_ITEM = r"(?:\\([^A-Za-z0-9\s_\x80-\U0010ffff])|([^\\.+*?()|\[\]{}^$])|(\.))([*+?]?)"


class Needle(Struct, frozen=True):
    """Text that must be there: the whole value (exact), its beginning, its end, or anywhere in it."""

    kind: Literal["exact", "prefix", "suffix", "substring"]
    text: str


def needle_of(pattern: str) -> tuple[Needle, bool] | None:
    """The longest text that every match has, and whether having it is all that the pattern asks.

    None when the pattern has none or is beyond the simplest regexes (groups, classes, alternatives).
    """
    body = pattern.removeprefix("^")
    anchored_start = body != pattern
    anchored_end = body.endswith("$") and not escapes_next(body[:-1])
    if anchored_end:
        body = body[:-1]
    next_item = re.compile(_ITEM, re.DOTALL).match
    runs, position = [""], 0
    while position < len(body):
        item = next_item(body, position)
        if item is None:
            return None
        position = item.end()
        if item[3] or item[4]:
            runs.append("")
        else:
            runs[-1] += item[1] or item[2]
    if len(runs) == 1:
        kinds = {
            (True, True): "exact",
            (True, False): "prefix",
            (False, True): "suffix",
            (False, False): "substring",
        }
        kind: Any = kinds[anchored_start, anchored_end]
        return Needle(kind, runs[0]), True
    best = max(range(len(runs)), key=lambda index: len(runs[index]))
    if not runs[best]:
        return None
    first, last = anchored_start and best == 0, anchored_end and best == len(runs) - 1
    return Needle("prefix" if first else "suffix" if last else "substring", runs[best]), False


def quote(text: str) -> str:
    """A regex that matches this text."""
    return re.sub(r"[\\.+*?()|\[\]{}^$]", r"\\\g<0>", text)


def escapes_next(text: str) -> bool:
    """Whether `text` ends in a backslash that is not itself escaped."""
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def mistake_in(pattern: str) -> str:
    """What RE2 says against the pattern; "" when it is fine."""
    return _compile(pattern)[1]


def search_function(pattern: str) -> Callable[[str], bool]:
    """Whether the pattern matches somewhere in a text, in time linear in the text's length.

    The newest results are kept: names repeat, and re2's wrapper makes 0.4 M searches/s, the cache 10 M.
    """
    search = _compile(pattern)[0].search

    @lru_cache(CACHED_RESULTS)
    def found(text: str) -> bool:
        # Of bytes re2 does not convert the positions of the match, which nobody reads: twice as fast.
        return search(text.encode()) is not None

    return found


def _compile(pattern: str) -> tuple[Any, str]:
    """The compiled pattern; or None, and what is wrong with it."""
    import re2  # type: ignore[import-untyped]

    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        return re2.compile(pattern, options), ""
    except re2.error as error:
        return None, error.args[0].decode("utf-8", "replace")
