"""What every pattern is: `see` takes one lookup, `find` tells at the end, with its evidence.

Evidence is how many, of how many, and an example; of a few lookups no pattern tells anything.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from typing import ClassVar, Generic, TypeVar

from msgspec import UNSET

from kubectl_kdns.model import Insight, Lookup
from kubectl_kdns.output.phrases import client_name
from kubectl_kdns.summary import Frequent

MAX_REMEMBERED = 20_000
"""A run may go on for days, and see any number of names: what comes later counts as much."""
DENIED = ("NXDOMAIN",)
_SUFFIX = re.compile(r"\.(svc\.)?cluster\.[^.]+$")


Key = TypeVar("Key")
Value = TypeVar("Value")


class Recent(OrderedDict[Key, Value], Generic[Key, Value]):
    """The last MAX_REMEMBERED that were put."""

    def put(self, key: Key, value: Value) -> Value | None:
        """What had to go for it."""
        self[key] = value
        self.move_to_end(key)
        return self.popitem(last=False)[1] if len(self) > MAX_REMEMBERED else None


def most_frequent(counts: Frequent, number: int) -> str:
    """`a (7), b (2)`"""
    return ", ".join(f"{key} ({count})" for key, count in Counter(counts.items()).most_common(number))


def is_searched(name: str) -> bool:
    """Whether only a pod's search list makes such a name: a suffix of the cluster behind what is no Service
    of a namespace. Of BASE.svc.cluster.local with a BASE of two labels nobody can tell: not."""
    suffix = _SUFFIX.search(name)
    if suffix is None:
        return False
    return not suffix[1] or name.count(".", 0, suffix.start()) != 1


def share(count: int, total: int) -> str:
    return f"{count:,} of {total:,} lookups ({100 * count / total:.0f}%)"


def is_failed(lookup: Lookup) -> bool:
    if lookup.status != "answered":
        return lookup.status != "pending"
    return bool(lookup.dns and lookup.dns.rcode in ("SERVFAIL", "REFUSED"))


def example_of(lookup: Lookup) -> str:
    asked = f"{lookup.dns.name} {lookup.dns.type}" if lookup.dns else ""
    return f"{asked} by {client_name(lookup.client)}"


class Pattern:
    """`code` is stable; `help` is what docs/insights.md says of it."""

    code: ClassVar[str] = ""
    help: ClassVar[str] = ""
    fix: ClassVar[str] = ""

    def __init__(self) -> None:
        self.total = self.count = 0
        self.example = ""

    def see(self, lookup: Lookup) -> None:
        raise NotImplementedError

    def find(self) -> Insight | None:
        raise NotImplementedError

    def hit(self, lookup: Lookup) -> None:
        self.count += 1
        self.example = self.example or example_of(lookup)

    def insight(self, message: str, fix: str = "") -> Insight:
        return Insight(
            code=self.code,
            message=message,
            count=self.count,
            total=self.total,
            example=self.example or UNSET,
            fix=fix or self.fix or UNSET,
        )
