"""Resolves a name as a pod's libc does: search list, ndots, time-outs and attempts, A beside AAAA.

After resolv.conf(5) and glibc's `res_search`/`res_send`. Pure but for the transport that it is given.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence
from random import Random
from struct import pack
from typing import Protocol

from msgspec import Struct

from kubectl_kdns.dns.names import name_of_text
from kubectl_kdns.dns.tables import type_number
from kubectl_kdns.dns.wire import decode_message
from kubectl_kdns.errors import UsageError

DNS_PORT = 53
MAX_LABEL, MAX_NAME = 63, 255
EDNS_BYTES = 1232
PADDING, OPT_BYTES, OPTION_BYTES = 12, 11, 4
MAX_NDOTS, MAX_TIMEOUT_S, MAX_ATTEMPTS, MAX_NAMESERVERS = 15, 30, 5, 3
_RETRIED = ("SERVFAIL", "REFUSED", "NOTIMP")
"""glibc goes on to the next nameserver with these."""


class ResolvConf(Struct, frozen=True):
    nameservers: tuple[str, ...] = ("127.0.0.1",)
    search: tuple[str, ...] = ()
    ndots: int = 1
    timeout_s: float = 5.0
    attempts: int = 2
    use_tcp: bool = False
    one_by_one: bool = False
    edns: bool = False

    @classmethod
    def parse(cls, text: str) -> ResolvConf:
        """Unknown lines and options are passed over; limits are glibc's."""
        nameservers: list[str] = []
        search: tuple[str, ...] = ()
        options: dict[str, str] = {}
        for line in text.splitlines():
            words = line.split()
            if not words or words[0].startswith(("#", ";")):
                continue
            if words[0] == "nameserver" and len(words) > 1 and _is_address(words[1]):
                nameservers.append(words[1])
            elif words[0] in ("search", "domain"):
                search = tuple(word.lower().rstrip(".") or "." for word in words[1:])
            elif words[0] == "options":
                for word in words[1:]:
                    name, _, value = word.partition(":")
                    options[name] = value
        return cls(
            nameservers=tuple(nameservers[:MAX_NAMESERVERS]) or ("127.0.0.1",),
            search=search,
            ndots=_limited(options.get("ndots"), 1, MAX_NDOTS),
            timeout_s=_limited(options.get("timeout"), 5, MAX_TIMEOUT_S),
            attempts=max(_limited(options.get("attempts"), 2, MAX_ATTEMPTS), 1),
            use_tcp="use-vc" in options,
            one_by_one="single-request" in options or "single-request-reopen" in options,
            edns="edns0" in options,
        )


class Question(Struct, frozen=True):
    """One query that is to be sent."""

    name: str
    type: str
    id: int
    server: str
    over_tcp: bool
    message: bytes
    port: int = DNS_PORT


class Reply(Struct, frozen=True):
    """What became of a question: an rcode, or why there is none (`timed out`, `connection refused`).
    `size_bytes` is the message's."""

    rcode: str = ""
    has_answers: bool = False
    is_truncated: bool = False
    addresses: tuple[str, ...] = ()
    problem: str = ""
    size_bytes: int = 0


class Tried(Struct, frozen=True):
    question: Question
    reply: Reply


class Transport(Protocol):
    def exchange(self, questions: Sequence[Question], timeout_s: float) -> list[Reply]:
        """Sends all, and waits for what comes; one reply for each question, in their order."""


def candidates(name: str, conf: ResolvConf) -> list[str]:
    """The names that are asked one after the other, without their last dot."""
    bare = name_of_text(name.rstrip(".")) if name.rstrip(".") else "."
    if name.endswith(".") or bare == ".":
        return [bare]
    searched = [bare if suffix == "." else f"{bare}.{suffix}" for suffix in conf.search]
    names = [bare, *searched] if bare.count(".") >= conf.ndots else [*searched, bare]
    return list(dict.fromkeys(names))


def look_up(
    name: str, types: Sequence[str], conf: ResolvConf, transport: Transport, random: Random
) -> Iterator[Tried]:
    """Every query with what became of it, until a name has data or there is none left.

    Raises UsageError for what is no name or no type.
    """
    check(name, types)
    for candidate in candidates(name, conf):
        replies: dict[str, Reply] = {}
        for tried in _resolve(candidate, types, conf, transport, random):
            replies[tried.question.type] = tried.reply
            yield tried
        if any(reply.rcode == "NOERROR" and reply.has_answers for reply in replies.values()):
            return


def check(name: str, types: Sequence[str]) -> None:
    """Raises UsageError."""
    for type_ in types:
        if type_number(type_) is None:
            raise UsageError(f"--type {type_}: not a type of DNS records", hint="--type A,AAAA")
    encoded_name(name_of_text(name.rstrip(".")) if name.rstrip(".") else ".")


def _resolve(
    name: str, types: Sequence[str], conf: ResolvConf, transport: Transport, random: Random
) -> Iterator[Tried]:
    left = list(types)
    for _ in range(conf.attempts):
        for server in conf.nameservers:
            for together in [[each] for each in left] if conf.one_by_one else [left]:
                for tried in _ask(name, together, server, conf, transport, random):
                    yield tried
                    reply = tried.reply
                    if reply.rcode and reply.rcode not in _RETRIED and not reply.is_truncated:
                        left = [type_ for type_ in left if type_ != tried.question.type]
            if not left:
                return


def _ask(
    name: str, types: Sequence[str], server: str, conf: ResolvConf, transport: Transport, random: Random
) -> Iterator[Tried]:
    """Over UDP, and over TCP what was truncated."""
    over_tcp = conf.use_tcp
    while types:
        questions = [
            question(name, type_, random.randrange(65536), server, over_tcp=over_tcp, edns=conf.edns)
            for type_ in types
        ]
        truncated = []
        for asked, reply in zip(questions, transport.exchange(questions, conf.timeout_s), strict=True):
            yield Tried(asked, reply)
            if reply.is_truncated and not over_tcp:
                truncated.append(asked.type)
        types, over_tcp = truncated, True


def question(
    name: str,
    type_: str,
    id_: int,
    server: str,
    *,
    port: int = DNS_PORT,
    over_tcp: bool = False,
    edns: bool = False,
    padded_to: int = 0,
) -> Question:
    """A query with recursion desired (RFC 1035 section 4.1); with `edns` and `padded_to` of so many bytes by
    the option Padding (RFC 7830)."""
    number = type_number(type_)
    assert number is not None
    head = pack(">HHHHHH", id_, 0x0100, 1, 0, 0, int(edns))
    message = head + encoded_name(name) + pack(">HH", number, 1)
    if edns:
        room = padded_to - len(message) - OPT_BYTES - OPTION_BYTES
        padding = pack(">HH", PADDING, room) + bytes(room) if room >= 0 else b""
        message += pack(">BHHIH", 0, 41, EDNS_BYTES, 0, len(padding)) + padding
    return Question(name, type_, id_, server, over_tcp, message, port)


def encoded_name(name: str) -> bytes:
    """A name as labels. Raises UsageError for what is no name (RFC 1035 section 3.1)."""
    if name == ".":
        return b"\0"
    out = b""
    for label in name.split("."):
        try:
            data = label.encode() if label.isascii() else label.encode("idna")
        except UnicodeError:
            data = b""
        if not 0 < len(data) <= MAX_LABEL:
            raise UsageError(f"{name}: not a name", hint="labels have 1 to 63 bytes")
        out += bytes((len(data),)) + data
    if len(out) >= MAX_NAME:
        raise UsageError(f"{name}: not a name", hint="names have up to 253 characters")
    return out + b"\0"


def reply_of(message: bytes) -> Reply:
    """What a response says."""
    decoded = decode_message(message)
    flags = decoded.flags or []
    return Reply(
        rcode=decoded.rcode or "FORMERR",
        has_answers=bool(decoded.answers),
        is_truncated="tc" in flags,
        addresses=tuple(decoded.resolved_ips or ()),
        size_bytes=len(message),
    )


def _is_address(text: str) -> bool:
    """Whether glibc takes it for a nameserver; an IPv6 address may name its interface."""
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    return True


def _limited(text: str | None, default: int, most: int) -> int:
    return min(int(text), most) if text and text.isdecimal() else default
