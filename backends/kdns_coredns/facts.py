"""What the part of a log line that repeats says of a lookup: worked out once, remembered within bounds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from typing import NamedTuple, TypeVar

from msgspec import UNSET, Struct

from kdns_coredns.formats import Template
from kubectl_kdns.dns.names import name_of_text, safe_text
from kubectl_kdns.dns.tables import (
    class_name,
    class_number,
    opcode_name,
    rcode_name,
    rcode_number,
    type_name,
    type_number,
)
from kubectl_kdns.model import TRANSPORTS, Edns, Lookup, Maybe, Server, Upstream

MAX_REMEMBERED = 16_384
CLASS_OF_TYPE = {"NOERROR": "success", "DELEGATION": "success", "NXDOMAIN": "denial", "NODATA": "denial"}
"""Response types that are no errors (coredns `plugin/pkg/response`)."""
NO_EDNS_SIZE = 512
TCP_SIZE = 65535
PROBE_TYPES = frozenset({"HINFO", "NS"})
"""Of these types CoreDNS's own questions are; which of them are is seen by the name."""

K = TypeVar("K")

_HOST_PORT = re.compile(r"\[?([0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]?:([0-9]{1,5})")
_LOOP_NAME = re.compile(r"[0-9]+\.[0-9]+")


class Kind:
    """What is done with a line: most are plain, which is false; one may have an [ERROR] line of its own, and
    is held for it; or CoreDNS asks itself, which is a probe."""

    PLAIN = 0
    HELD = 1
    PROBE = 2


class Facts(NamedTuple):
    """Values as the records have them; `unusual` is None for most lines."""

    name: Maybe[str]
    type: Maybe[str]
    class_: Maybe[str]
    rcode: Maybe[str]
    response_class: Maybe[str]
    flags: Maybe[list[str]]
    query_bytes: Maybe[int]
    response_bytes: Maybe[int]
    edns: Maybe[Edns]
    opcode: Maybe[str]
    transport: Maybe[str]
    status: Maybe[str]
    inferred: Maybe[list[str]]
    upstream: Maybe[Upstream]
    unusual: Unusual | None


class Unusual(Struct, frozen=True):
    """What is done with the line, and what metadata and {local} say of client and server; "" is unknown."""

    kind: int
    client_namespace: str
    client_pod: str
    local: str

    def apply(self, lookup: Lookup) -> None:
        if lookup.client and self.client_pod:
            lookup.client.namespace = self.client_namespace or UNSET
            lookup.client.pod = self.client_pod
        if self.local:
            lookup.server = copy(lookup.server) if lookup.server else Server()
            lookup.server.ip = self.local


NOTHING_UNUSUAL = Unusual(Kind.PLAIN, "", "", "")


class UnreadableError(ValueError):
    """Text that CoreDNS does not write with this template."""


class FactsOf(dict[str, Facts]):
    """The facts by the text of the stretches; raises UnreadableError. Several threads may use one."""

    def __init__(self, template: Template) -> None:
        super().__init__()
        self._pattern, self._names = template.stretches
        self._name_at = self._names.index("{name}")
        # The same, by all but the name: names may be new on every line, what is said about them is not.
        self._but_name: dict[tuple[str, ...], Facts] = {}

    def __missing__(self, stretches: str) -> Facts:
        match = self._pattern.fullmatch(stretches)
        if not match:
            raise UnreadableError(stretches)
        values, at = match.groups(), self._name_at
        others = values[:at] + values[at + 1 :]
        known = self._but_name.get(others)
        if known:
            facts = Facts._make((name_of_text(values[at]), *known[1:]))
        else:
            facts = facts_of(dict(zip(self._names, values, strict=True)))
            if facts.type not in PROBE_TYPES:
                _remember(self._but_name, others, facts)
        _remember(self, stretches, facts)
        return facts


def _remember(known: dict[K, Facts], key: K, facts: Facts) -> None:
    if len(known) >= MAX_REMEMBERED:
        known.clear()
    known[key] = facts


@lru_cache(maxsize=64)
def remembered(template: Template) -> FactsOf:
    """The facts of a template, shared by all pods that write it."""
    return FactsOf(template)


def facts_of(values: Mapping[str, str]) -> Facts:
    """The facts from the values of placeholders, `-` and all."""
    code, flags, size = values.get("{rcode}"), values.get("{>rflags}"), values.get("{rsize}")
    # Up to 1.8 an upstream that timed out is logged as `NOERROR - 0`: what counts is that nothing was sent.
    unwritten = code == "-" or flags == "-" or size == "0"
    rcode = UNSET if code is None or unwritten else _rcode(code)
    response_class, inferred = _response_class(values, rcode, unwritten)
    name, type_ = name_of_text(values["{name}"]), _type(values["{type}"])
    known = code is not None or flags is not None or size is not None
    return Facts(
        name=name,
        type=type_,
        class_=_class(values["{class}"]) if "{class}" in values else UNSET,
        rcode=rcode,
        response_class=response_class,
        flags=UNSET if unwritten or flags is None else _flags(flags),
        query_bytes=_number(values.get("{size}")),
        response_bytes=UNSET if unwritten else _number(size),
        edns=_edns(values),
        opcode=opcode_name(int(values["{>opcode}"])) if "{>opcode}" in values else UNSET,
        transport=values["{proto}"] if values.get("{proto}") in TRANSPORTS else UNSET,
        status=("unwritten" if unwritten else "answered") if known else UNSET,
        inferred=inferred,
        upstream=upstream_of(values.get("{/forward/upstream}", "")),
        unusual=_unusual(values, _kind(name, type_, values.get("{size}"), unwritten or rcode == "SERVFAIL")),
    )


def is_probe(name: Maybe[str], type_: Maybe[str]) -> bool:
    """Whether it is the question by which CoreDNS's `loop` plugin looks for itself."""
    return type_ == "HINFO" and bool(name) and _LOOP_NAME.fullmatch(str(name)) is not None


def upstream_of(text: str) -> Maybe[Upstream]:
    """`10.0.0.1:53` or `[2001:db8::1]:53`; absent for anything else."""
    match = _HOST_PORT.fullmatch(text)
    return Upstream(match[1].lower(), int(match[2])) if match else UNSET


def _kind(name: str, type_: str, size: str | None, may_have_error: bool) -> int:
    # `NS .` of 17 bytes, without EDNS, is the health check of the forward plugin of another CoreDNS.
    if is_probe(name, type_) or (name == "." and type_ == "NS" and size == "17"):
        return Kind.PROBE
    return Kind.HELD if may_have_error else Kind.PLAIN


def _response_class(
    values: Mapping[str, str], rcode: Maybe[str], unwritten: bool
) -> tuple[Maybe[str], Maybe[list[str]]]:
    logged = values.get("{/log/class}")
    if logged in ("success", "denial", "error"):
        return logged, UNSET
    logged = values.get("{/log/type}", "-")
    if logged not in ("-", ""):
        return CLASS_OF_TYPE.get(logged, "error"), UNSET
    if unwritten:
        return "error", UNSET  # CoreDNS, too, calls no response an error
    if rcode == "NOERROR":
        return "success", ["dns.response_class"]  # NODATA looks the same here
    if not rcode:
        return UNSET, UNSET
    return ("denial" if rcode == "NXDOMAIN" else "error"), UNSET


def _edns(values: Mapping[str, str]) -> Maybe[Edns]:
    """Absent where the query may as well have had none: 512 is what CoreDNS logs then, 65535 on TCP."""
    if "{>do}" not in values or "{>bufsize}" not in values:
        return UNSET
    size, do = int(values["{>bufsize}"]), values["{>do}"] == "true"
    if not do and (size in (NO_EDNS_SIZE, TCP_SIZE) or values.get("{proto}") == "tcp"):
        return UNSET
    return Edns(size, do)


def _unusual(values: Mapping[str, str], kind: int) -> Unusual | None:
    def label(name: str) -> str:
        text = values.get(name, "-")
        return "" if text == "-" else safe_text(text)

    local = label("{local}").strip("[]")
    unusual = Unusual(
        kind,
        label("{/kubernetes/client-namespace}"),
        label("{/kubernetes/client-pod-name}"),
        "" if local in ("::", "0.0.0.0") else local,
    )
    return None if unusual == NOTHING_UNUSUAL else unusual


def _rcode(text: str) -> str:
    number = rcode_number(text)
    return text if number is None else rcode_name(number)


def _type(text: str) -> str:
    number = type_number(text)
    return text if number is None else type_name(number)


def _class(text: str) -> str:
    number = class_number(text)
    return text if number is None else class_name(number)


@lru_cache(maxsize=256)
def _flags(text: str) -> list[str]:
    return text.split(",") if text else []


def _number(text: str | None) -> Maybe[int]:
    return int(text) if text and text != "-" else UNSET
