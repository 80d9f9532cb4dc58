r"""The names that a filter wants as RE2 patterns for Hubble's `dns_query`.

Hubble searches each pattern in the name as Cilium's DNS proxy has it: lower case, with the trailing dot, and
escaped as the library miekg/dns does it. There a space is `\ ` (for kdns `\032`), and each of `'@;()"` has a
backslash (for kdns none).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kubectl_kdns.filter import Needle
from kubectl_kdns.filter.regex import quote

MAX_PATTERNS = 64

_PLAIN = re.compile(r"[!-\[\]-~]+")  # escapes are not translated
_ESCAPED_BY_HUBBLE = re.compile(r"""\\?(['@;()"])""")
_IN_SPACE = {"suffix": re.compile("032|32|2"), "substring": re.compile("032|32|2|(?:03|3|0)$")}
_ANCHORS = {"exact": ("^", r"\.?$"), "prefix": ("^", ""), "suffix": ("", r"\.?$"), "substring": ("", "")}


def query_patterns(needles: Sequence[Needle]) -> tuple[str, ...]:
    """One of these is found in every query whose name fits one of the needles; none: it cannot be told."""
    if len(needles) > MAX_PATTERNS or not all(_PLAIN.fullmatch(needle.text) for needle in needles):
        return ()
    return tuple(sorted(set(map(_pattern, needles))))


def says_it_all(needle: Needle) -> bool:
    """Whether the pattern is found in no other query: the trailing dot is not part of a name for kdns."""
    return needle == Needle("exact", ".") or not needle.text.endswith(".")


def _pattern(needle: Needle) -> str:
    start, end = _ANCHORS[needle.kind]
    text = needle.text
    space = _IN_SPACE[needle.kind].match(text) if needle.kind in _IN_SPACE else None
    if space:  # what looks like digits may be part of kdns's \032
        start, text = f"(?:{space[0]}| )", text[space.end() :]
    return start + _ESCAPED_BY_HUBBLE.sub(r"\\\\?\g<0>", quote(text)) + end
