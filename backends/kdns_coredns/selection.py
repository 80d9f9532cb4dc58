"""What of a filter is searched for in the bytes of a log, before any line is read: sound, never complete.

Lines that the filter cannot want are skipped by searching whole blocks for a text that every wanted line has.
What belongs together stays together: a lookup and its [ERROR] line are both kept or the filter wants neither,
so a record is the same whether lines were skipped or not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence, Set

from msgspec import Struct

from kdns_coredns.facts import PROBE_TYPES
from kdns_coredns.formats import VOLATILE, Stretch, Template, is_placeholder
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.dns.tables import rcode_number, type_number
from kubectl_kdns.filter import Filter, Needle, implied_minimum, implied_needles, implied_values

# Lines that are no queries but matter all the same: errors of lookups, and reloads.
ALWAYS = (rb"plugin/", rb"Reloading complete")
MIN_NAME = 4
MIN_LATENCY_MS = 1.0
COMMON_TYPES = frozenset({"A", "AAAA"})
SERVER_WRITES = frozenset({"FORMERR", "SERVFAIL", "NOTIMP", "REFUSED"})
"""Codes that the server answers with in place of a plugin: many versions log `- - 0` for them."""

Search = bytes | re.Pattern[bytes]

_PLAIN_NAME = re.compile(r"[a-z0-9_.-]+")
_CLASS_OF_CODE = {"NXDOMAIN": "denial", "NOERROR": "success"}  # all others are errors
_OTHER_NAMES = {"TYPE0": "None", "TYPE65535": "Reserved", "BADVERS": "BADSIG"}  # those of miekg/dns


class Selection(Struct, frozen=True):
    """What a filter implies about a lookup; None is no constraint."""

    names: tuple[str, ...] | None = None
    rcodes: frozenset[str] | None = None
    classes: frozenset[str] | None = None
    types: frozenset[str] | None = None
    unwritten: bool = False
    slower_than_ms: float = 0.0

    @property
    def shows_probes(self) -> bool:
        """Whether CoreDNS's own questions are asked for by their type."""
        return self.types is not None and not self.types.isdisjoint(PROBE_TYPES)

    def searches(self, templates: Sequence[Template]) -> tuple[Search, ...]:
        """One of these is found in every line that may be wanted; none: read every line."""
        for search in (self._names, self._responses, self._types, self._latencies):
            found = search(templates)
            if found:
                return (*map(_search, dict.fromkeys(found)), *ALWAYS)
        return ()

    def takes(self, templates: Sequence[Template]) -> tuple[str, ...]:
        """What `searches` do, in words."""
        for search, what in (
            (self._names, f"names with {_listed(self.names)}"),
            (self._responses, self._response_words()),
            (self._types, f"type {_listed(self.types)}"),
            (self._latencies, f"durations of at least {_round_down(self.slower_than_ms):g} ms"),
        ):
            if search(templates):
                return (f"searches the log for {what}, and reads only those lines",)
        return ()

    def _names(self, _templates: Sequence[Template]) -> list[str]:
        return [re.escape(name) for name in self.names or ()]

    def _types(self, _templates: Sequence[Template]) -> list[str]:
        if self.types is None or not COMMON_TYPES.isdisjoint(self.types):
            return []  # nearly every line has those
        numbered = [f"TYPE{number}" for name in self.types if (number := type_number(name)) is not None]
        spelled = [*self.types, *numbered]
        return [re.escape(name) for name in spelled + [_OTHER_NAMES[n] for n in spelled if n in _OTHER_NAMES]]

    def _responses(self, templates: Sequence[Template]) -> list[str]:
        return _for_all(templates, self._response)

    def _response(self, template: Template) -> str:
        """The pattern of this template's lines; "" when it has none."""
        place = _ResponsePlace.of(template)
        if place is None:
            return ""
        if self.unwritten:
            return place.held
        if self.rcodes is not None:
            return place.codes(self.rcodes, held=not self.rcodes.isdisjoint(SERVER_WRITES))
        if self.classes is not None and not _has_own_class(template):
            return place.of_classes(self.classes)
        return ""

    def _latencies(self, templates: Sequence[Template]) -> list[str]:
        if self.slower_than_ms < MIN_LATENCY_MS:
            return []
        # A lookup that may have an [ERROR] line stays even when it was fast, to keep the lines paired.
        held = _for_all(templates, _held)
        slow = _for_all(templates, lambda template: _duration(template, self.slower_than_ms))
        return [*held, *slow] if held and slow else []

    def _response_words(self) -> str:
        if self.unwritten:
            return "queries without an answer"
        if self.rcodes is not None:
            return f"rcode {_listed(self.rcodes)}"
        return f"responses of class {_listed(self.classes)}"


class _ResponsePlace(Struct, frozen=True):
    """Where a template shows the response code: behind `before`; `old` is what follows NOERROR when versions
    up to 1.8 mean that nothing was written, "" when the flags do not stand there."""

    before: str
    old: str

    @classmethod
    def of(cls, template: Template) -> _ResponsePlace | None:
        if "{rcode}" not in template.nodes:
            return None
        before, after, follower = template.around("{rcode}")
        if not before:
            return None
        return cls(re.escape(before), re.escape(f"{after}-") if follower == "{>rflags}" else "")

    @property
    def held(self) -> str:
        """Lookups that may have an [ERROR] line (facts.Kind.HELD)."""
        return f"{self.before}(?:{'|'.join(self._held)})"

    @property
    def _held(self) -> tuple[str, ...]:
        return ("SERVFAIL", "-", f"NOERROR{self.old}")

    def codes(self, names: Iterable[str], *, held: bool = False) -> str:
        spelled = [re.escape(spelling) for name in sorted(names) for spelling in _spellings(name)]
        return f"{self.before}(?:{'|'.join([*spelled, *(self._held if held else ())])})"

    def of_classes(self, classes: Set[str]) -> str:
        if "error" not in classes:
            codes = [
                code for code, name in (("NXDOMAIN", "denial"), ("NOERROR", "success")) if name in classes
            ]
            return self.codes(codes) if len(codes) == 1 else ""
        if "success" not in classes and not self.old:
            return ""
        others = [] if "denial" in classes else ["NXDOMAIN"]
        others += [] if "success" in classes else [f"NOERROR(?!{self.old})"]
        return f"{self.before}(?!{'|'.join(others)})" if others else ""


def _search(pattern: str) -> Search:
    """A text to look for as it is, which is twice as fast, or a regex."""
    plain = pattern.replace("\\", "")
    return plain.encode() if re.escape(plain) == pattern else re.compile(pattern.encode())


def select(filter_: Filter) -> Selection:
    """What can be searched for on behalf of a filter."""
    expr = filter_.expr

    def texts(path: str) -> frozenset[str] | None:
        values = implied_values(expr, path)
        if values is None:
            return None
        # What is not ASCII is in no log, and would be in the way in a regex for bytes.
        return frozenset(value for value in values if isinstance(value, str) and value.isascii())

    statuses = texts("status")
    return Selection(
        names=_name_parts(implied_needles(expr, "dns.name")),
        rcodes=texts("dns.rcode"),
        classes=texts("dns.response_class"),
        types=texts("dns.type"),
        unwritten=statuses == frozenset({"unwritten"}),
        slower_than_ms=implied_minimum(expr, "latency_ms") or 0.0,
    )


def _name_parts(needles: Sequence[Needle] | None) -> tuple[str, ...] | None:
    """Parts of names as CoreDNS logs them, with the dot at the end; None when one of them cannot be told."""
    if not needles:
        return None
    parts = []
    for needle in needles:
        whole = needle.kind in ("exact", "suffix")
        if len(needle.text) < MIN_NAME or not _PLAIN_NAME.fullmatch(needle.text):
            return None
        parts.append(f"{needle.text}." if whole else needle.text)
    return tuple(parts)


def _duration(template: Template, at_least_ms: float) -> str:
    """Durations from the power of ten below `at_least_ms`; "" when the template does not allow it."""
    if "{duration}" not in template.nodes:
        return ""
    end = template.nodes.index("{duration}")
    starts = [
        at for at in range(end) if len(template.nodes[at]) > 1 and not is_placeholder(template.nodes[at])
    ]
    if not starts or any(node in VOLATILE for node in template.nodes[starts[-1] : end]):
        return ""
    lead = Stretch(template.nodes[starts[-1] : end]).pattern(capture=False)
    zeros = {1.0: r"0\.000", 10.0: r"0\.00", 100.0: r"0\.0", 1000.0: r"0\."}[_round_down(at_least_ms)]
    return f"{lead}(?!{zeros})[0-9]"


def _held(template: Template) -> str:
    place = _ResponsePlace.of(template)
    return place.held if place else ""


def _round_down(ms: float) -> float:
    return max((step for step in (1.0, 10.0, 100.0, 1000.0) if step <= ms), default=0.0)


def _for_all(templates: Sequence[Template], pattern_of: Callable[[Template], str]) -> list[str]:
    """The patterns of all templates; none when one of them has none."""
    patterns = [pattern_of(template) for template in templates]
    return patterns if all(patterns) else []


def _has_own_class(template: Template) -> bool:
    return "{/log/class}" in template.nodes or "{/log/type}" in template.nodes


def _spellings(rcode: str) -> Iterator[str]:
    number = rcode_number(rcode)
    yield rcode
    yield from [_OTHER_NAMES[rcode]] if rcode in _OTHER_NAMES else []
    yield from [] if number is None else [str(number)]


def _listed(words: Iterable[str] | None) -> str:
    return " or ".join(sorted(map(safe_text, words or ())))
