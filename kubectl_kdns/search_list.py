"""Names that a search list makes of one: whether two can be of one list, and what they have in common."""

from __future__ import annotations

import re

CLUSTER_SUFFIX = re.compile(r"\.svc(\.|$)|\.cluster\.[^.]+$")
"""How names end that a pod's search list makes; the domain of the cluster is cluster.local nearly always."""


def is_search(one: str, other: str) -> bool:
    """Whether both names can be of one search list: the same first labels, then another suffix or none."""
    base = common(one, other)
    if not base:
        return False
    suffixes = sorted((name[len(base) :].removeprefix(".") for name in (one, other)), key=len)
    short, long = suffixes
    return not short or long.endswith(f".{short}") or CLUSTER_SUFFIX.search(f".{long}") is not None


def common(one: str, other: str) -> str:
    """The first labels that both names have."""
    labels = []
    for a, b in zip(one.split("."), other.split("."), strict=False):
        if a != b:
            break
        labels.append(a)
    return ".".join(labels)


def base_name(names: list[str]) -> str:
    base = names[0]
    for name in names[1:]:
        base = common(base, name) or base
    return base
