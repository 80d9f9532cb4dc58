"""Columns of a table: what they show, how wide they are, how a text that is too long is cut."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kubectl_kdns.output.cells import Cell

Shorten = Callable[[str, str], str]

_CLUSTER_DOMAIN = ".cluster.local"
# What a ReplicaSet and its pod append to the Deployment's name, in the alphabet of SafeEncodeString.
_POD_HASHES = re.compile(r"-[bcdfghjklmnpqrstvwxz2456789]{6,10}-([bcdfghjklmnpqrstvwxz2456789]{5})")


@dataclass(frozen=True, slots=True)
class Column:
    """`width` is enough for most texts; `least` is what it gets at worst, 0 means `width`, it never shrinks.

    Of the columns for which a terminal has no room those with the highest `rank` go first; those of rank 0
    never go. `shorten` leaves
    out of a text that is too long what tells least, before it is cut. `color` gives the SGR parameters for
    a text.
    """

    title: str
    cell: Cell
    width: int
    least: int = 0
    rank: int = 0
    shorten: Shorten | None = None
    color: Callable[[str], str] | None = None


def fit(columns: Sequence[Column], width: int, gap: int) -> list[tuple[Column, int]] | None:
    """The columns that `width` has room for, each with its share; None when those of rank 0 do not fit.

    The least that a column needs comes first, the rest is shared in proportion to what each could use;
    the last column takes what is left over.
    """
    chosen = list(columns)
    while _least_width(chosen, gap) > width:
        last_needed = max(chosen, key=lambda column: column.rank)
        if last_needed.rank == 0:
            return None
        chosen.remove(last_needed)
    room = width - _least_width(chosen, gap)
    wanted = sum(column.width - _least(column) for column in chosen)
    share = min(1.0, room / wanted) if wanted else 0.0
    widths = [_least(column) + int((column.width - _least(column)) * share) for column in chosen]
    widths[-1] = width - gap * (len(chosen) - 1) - sum(widths[:-1])
    return list(zip(chosen, widths, strict=True))


def _least(column: Column) -> int:
    return column.least or column.width


def _least_width(columns: Sequence[Column], gap: int) -> int:
    return sum(map(_least, columns)) + gap * (len(columns) - 1)


def shorten_pod(text: str, ellipsis: str) -> str:
    """`shop/cart-7d9f8b6c5-x2x4v` as `shop/cart…x2x4v`: the ReplicaSet's hash tells least."""
    match = _POD_HASHES.search(text)
    return f"{text[: match.start()]}{ellipsis}{match[1]}" if match and match.end() == len(text) else text


def shorten_name(text: str, ellipsis: str) -> str:
    """`cart.shop.svc.cluster.local` as `cart.shop.svc…`."""
    return text.removesuffix(_CLUSTER_DOMAIN) + ellipsis if text.endswith(_CLUSTER_DOMAIN) else text


def cut_middle(text: str, width: int, ellipsis: str) -> str:
    """The ends of an ASCII text, more of its beginning, in exactly `width` columns: `api.exam…p.svc`."""
    kept = width - len(ellipsis)
    if kept < 2:
        return text[:width]
    tail = kept // 3
    return text[: kept - tail] + ellipsis + text[len(text) - tail :]


def cut_end(text: str, width: int, ellipsis: str) -> str:
    """The beginning of a text that takes at most `width` columns; wide letters (UAX #11) take two."""
    if text.isascii():
        return text if len(text) <= width else text[: max(0, width - len(ellipsis))] + ellipsis[:width]
    if display_width(text) <= width:
        return text
    room, kept = width - len(ellipsis), 0
    for character in text:
        room -= _columns(character)
        if room < 0:
            break
        kept += 1
    return text[:kept] + ellipsis[:width]


def display_width(text: str) -> int:
    """Terminal columns of a text without control characters."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
