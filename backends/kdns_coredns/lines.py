"""Log lines to lookups, a block of lines at a time: the hot path.

Columns are worked on by C loops where that is simple; one Python loop makes the records. Blocks are small
enough to stay in the processor's cache.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from itertools import chain, repeat
from operator import sub, truediv
from typing import Any

from msgspec import UNSET, Struct

from kdns_coredns.facts import remembered
from kdns_coredns.formats import LEGACY, Template, template_of
from kdns_coredns.lead import Lead, lead_of, utc_second, when_second
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import API_VERSION, Client, Dns, Lookup, Maybe, Server
from kubectl_kdns.times import format_time, parse_time

BLOCK_BYTES = 32_768
STAMP = ("second", "fraction", "zone")
LEAD = ("lead",)

_KUBELET = r"^([0-9T:-]{19})\.([0-9]{9})(Z|[+-].{5}) "
_ANY = r"^(.{0,256}?)"
_LEVEL = r"\[INFO\] "
_MAX_ADDRESSES = 65_536
_PLAIN_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+")
_ABSENT: Any = repeat(UNSET)

Row = tuple[str, ...]


class LineForm(Struct, frozen=True, dict=True):
    """A template behind one kind of lead. `stamped`: with the kubelet's timestamps, and nothing else."""

    template: Template
    stamped: bool
    level: bool = True

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """What the groups of both regexes hold; "" is a stretch of the template."""
        return (STAMP if self.stamped else LEAD) + self.template.columns

    @cached_property
    def fast(self) -> re.Pattern[str]:
        """For `findall` on a block of lines."""
        return self._compile(strict=False)

    @cached_property
    def strict(self) -> re.Pattern[str]:
        """For `match` on one line; also right where the fast one splits a line in the wrong place."""
        return self._compile(strict=True)

    def _compile(self, *, strict: bool) -> re.Pattern[str]:
        lead = (_KUBELET if self.stamped else _ANY) + (_LEVEL if self.level else "")
        return re.compile(f"{lead}{self.template.pattern(strict=strict)}$", re.MULTILINE | re.ASCII)


@lru_cache(maxsize=64)
def forms_of(formats: tuple[str, ...], timestamps: bool) -> tuple[LineForm, ...]:
    """The forms in which lines of these log formats may come, the likeliest first."""
    templates = [template for template in map(template_of, formats) if not template.problem]
    stamped = [LineForm(template, stamped=True) for template in templates]
    free = [LineForm(template, stamped=False) for template in templates]
    old = LineForm(template_of(LEGACY), stamped=False, level=False)
    return (*stamped, *free, old) if timestamps else (*free, *stamped, old)


class Vantage(Struct, frozen=True):
    """Who wrote the lines; `server` is shared by all records of a stream."""

    server: Maybe[Server] = UNSET
    node: Maybe[str] = UNSET


def read_rows(
    form: LineForm, rows: Sequence[Row], vantage: Vantage
) -> tuple[list[Lookup], list[tuple[int, int]]]:
    """The lookups of what a regex of `form` found, one a row, and (position, Kind) of those not plain.

    UnreadableError when a line is not what it seemed.
    """
    columns, stretches = _columns(form, rows)
    facts = list(map(remembered(form.template).__getitem__, stretches))
    latencies: list[int] = []
    if "{duration}" in columns:
        latencies = [int(float(text) * 1e9 + 0.5) for text in columns["{duration}"]]
    servers: Iterable[Maybe[Server]] = repeat(vantage.server)
    if form.stamped:
        seconds, fractions = _utc_seconds(columns), list(map(int, columns["fraction"]))
    else:
        leads = _leads(columns)
        seconds, fractions = [lead.second for lead in leads], [lead.fraction_ns for lead in leads]
        if not vantage.server:
            servers = [_server(lead.namespace, lead.pod) for lead in leads]
    times = _query_times(seconds, fractions, latencies)
    milliseconds: Iterable[Maybe[float]] = map(truediv, latencies, repeat(1e6)) if latencies else _ABSENT
    ports: Iterable[Maybe[int]] = map(int, columns["{port}"]) if "{port}" in columns else _ABSENT
    ids: Iterable[Maybe[int]] = map(int, columns["{>id}"]) if "{>id}" in columns else _ABSENT
    clients: Iterable[Maybe[Client]] = _ABSENT
    if "{remote}" in columns:
        clients = map(Client, map(_addresses.__getitem__, columns["{remote}"]), ports)
    node = vantage.node
    lookups: list[Lookup] = []
    special: list[tuple[int, int]] = []
    # Arguments by position, as keywords cost a third more: the order is that of model.py.
    for fact, time, latency_ms, client, server, id_ in zip(
        facts, times, milliseconds, clients, servers, ids, strict=False
    ):
        (name, type_, class_, rcode, response_class, flags, query_bytes, response_bytes, edns, opcode,
         transport, status, inferred, upstream, unusual) = fact  # fmt: skip
        dns = Dns(
            id_, opcode, name, type_, class_, rcode, response_class, flags, UNSET, UNSET,
            query_bytes, response_bytes, edns,
        )  # fmt: skip
        lookup = Lookup(
            API_VERSION, "lookup", time, "coredns", node, "client", "server", status, latency_ms, UNSET,
            UNSET, transport, inferred, client, server, dns, upstream,
        )  # fmt: skip
        if unusual:
            unusual.apply(lookup)
            if unusual.kind:
                special.append((len(lookups), unusual.kind))
        lookups.append(lookup)
    if not latencies:
        for lookup in lookups:
            lookup.inferred = [*(lookup.inferred or ()), *(["time"] if lookup.time else ())]
    return lookups, special


class _Addresses(dict[str, str]):
    """The address that a record shows for one that a line shows, remembered within bounds."""

    def __missing__(self, text: str) -> str:
        address = text[1:-1] if text.startswith("[") else text
        if not _PLAIN_ADDRESS.fullmatch(address):
            address = safe_text(address)
        if len(self) >= _MAX_ADDRESSES:
            self.clear()
        self[text] = address
        return address


_addresses = _Addresses()


def _columns(form: LineForm, rows: Sequence[Row]) -> tuple[dict[str, Sequence[str]], Iterable[str]]:
    """The columns by name, and the stretches of each row in one text."""
    columns: dict[str, Sequence[str]] = {}
    stretches: list[Sequence[str]] = []
    for name, column in zip(form.columns, zip(*rows, strict=True), strict=True):
        if name:
            columns[name] = column
        else:
            stretches.append(column)
    joined = stretches[0] if len(stretches) == 1 else map("\n".join, zip(*stretches, strict=True))
    return columns, joined


def _utc_seconds(columns: dict[str, Sequence[str]]) -> Sequence[str]:
    seconds, zones = columns["second"], columns["zone"]
    first, zone = seconds[0], zones[0]
    # Most blocks are of one second: counting is five times as fast as looking at each.
    if seconds.count(first) == len(seconds) and zones.count(zone) == len(zones):
        return [utc_second(first, zone)] * len(seconds)
    return list(map(utc_second, seconds, zones))


def _leads(columns: dict[str, Sequence[str]]) -> list[Lead]:
    leads = list(map(lead_of, columns["lead"]))
    if "{when}" in columns:
        return [
            lead if lead.second else Lead(when_second(when), 0, lead.namespace, lead.pod)
            for lead, when in zip(leads, columns["{when}"], strict=True)
        ]
    return leads


def _query_times(
    seconds: Sequence[str], fractions: Sequence[int], latencies: Sequence[int]
) -> list[Maybe[str]]:
    """RFC 3339 times of the queries. A line is written when the query ends: the duration comes off."""
    starts = list(map(sub, fractions, latencies)) if latencies else fractions
    # One % for the whole block takes half the time of one for each line, and most blocks are of one second.
    if seconds.count(seconds[0]) == len(seconds):
        text = f"{seconds[0]}.%09dZ\n" * len(starts) % tuple(starts)
    else:
        text = "%s.%09dZ\n" * len(starts) % tuple(chain.from_iterable(zip(seconds, starts, strict=True)))
    times: list[Any] = text.split("\n")[:-1]
    if min(starts) < 0:
        for index, start in enumerate(starts):
            if start < 0 and seconds[index]:
                times[index] = format_time(parse_time(seconds[index]) + start)
    if "" in seconds:
        for index, second in enumerate(seconds):
            if not second:
                times[index] = UNSET
    return times


@lru_cache(maxsize=1024)
def _server(namespace: str, pod: str) -> Maybe[Server]:
    """The server as the lead of its line names it."""
    if not pod:
        return UNSET
    nodelocal = pod.startswith(("node-local-dns", "nodelocaldns"))
    return Server(kind="nodelocal" if nodelocal else "coredns", namespace=namespace or UNSET, pod=pod)
