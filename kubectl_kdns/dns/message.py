"""One DNS message from its bytes: header, question, answers, EDNS, and what is wrong with it."""

from __future__ import annotations

import struct
from functools import cache
from socket import inet_ntoa

from msgspec import UNSET, Struct

from kubectl_kdns.dns.cache import Cache
from kubectl_kdns.dns.rdata import AAAA, IN, OPT, SOA, A, rdata_text
from kubectl_kdns.dns.reader import HEADER_BYTES, MalformedError, NameReader, skip_name
from kubectl_kdns.dns.tables import FLAGS, class_name, opcode_name, rcode_name, type_name
from kubectl_kdns.model import Answer, Edns, Maybe


class DecodedMessage(Struct, gc=False):
    """A query or a response as `model.Dns` wants it; UNSET is unknown. Never change one: caches share them.

    The message's id is not here (`message_id`), so that equal messages are one object. `questions` is the
    count in the header; name, type and class are the first one's. `flags` of a response begin with "qr", as
    in CoreDNS's log. `rcode` (with its EDNS bits) and `response_class` are a response's; so are `answers` and
    `resolved_ips`, unless a query carries any (NOTIFY). `malformed` says what is wrong and where, and what
    could be read is there. `cut`: only because the bytes end too early, as those of a capture may.
    """

    size: int
    is_response: bool = False
    opcode: Maybe[str] = UNSET
    flags: Maybe[list[str]] = UNSET
    truncated: bool = False
    rcode: Maybe[str] = UNSET
    response_class: Maybe[str] = UNSET
    questions: int = 0
    name: Maybe[str] = UNSET
    type: Maybe[str] = UNSET
    class_: Maybe[str] = UNSET
    answers: Maybe[list[Answer]] = UNSET
    resolved_ips: Maybe[list[str]] = UNSET
    edns: Maybe[Edns] = UNSET
    malformed: str | None = None
    cut: bool = False


_HEADER = struct.Struct(">HHHHH").unpack_from
_QUESTION = struct.Struct(">HH").unpack_from
_RECORD = struct.Struct(">HHIH").unpack_from
_RECORD_BYTES = 10
_FLAG_BITS = sum(bit for bit, _ in FLAGS)
_OPCODES = tuple(opcode_name(number) for number in range(16))

# (name, type, class) by a question's bytes. An entry takes about 250 bytes beside its texts (measured).
_QUESTIONS: Cache[bytes, tuple[str, str, str]] = Cache(
    4 << 20, lambda key, question: 250 + len(key) + len(question[0])
)


def message_id(payload: bytes) -> int | None:
    """The message's id; None when there are not even two bytes."""
    return payload[0] << 8 | payload[1] if len(payload) >= 2 else None


def parse_message(payload: bytes) -> tuple[DecodedMessage, list[int]]:
    """The message, and the offsets of its TTLs if nothing else in it depends on their bytes, else none.

    Never raises. Its work is bounded by the payload's length: `reader` and `foreign` say how.
    """
    size = len(payload)
    if size < HEADER_BYTES:
        return DecodedMessage(size, malformed=f"{size} bytes are less than a header", cut=True), []
    bits, questions, answer_count, authority_count, additional_count = _HEADER(payload, 2)
    is_response = bits >= 0x8000
    message = DecodedMessage(
        size, is_response, _OPCODES[bits >> 11 & 15], _flags(bits & _FLAG_BITS), bits & 0x0200 != 0
    )
    message.questions = questions
    problem = f"{questions} questions: only the first is shown" if questions > 1 else None
    rcode = bits & 15
    has_soa = False
    ttl_offsets: list[int] = []
    walked: list[tuple[int, int]] = []
    section, count, done = "question", questions, 0
    offset = HEADER_BYTES
    try:
        if questions:
            (message.name, message.type, message.class_), offset = _question(payload)
            for done in range(1, questions):  # noqa: B007 - counted for the error
                offset = skip_name(payload, offset) + 4

        section, count, done = "answer", answer_count, 0
        if is_response or answer_count:
            answers: list[Answer] = []
            addresses: list[str] = []
            message.answers, message.resolved_ips = answers, addresses
        if answer_count:
            reader = NameReader(payload)
            known, walked = reader.known, reader.walked
            if message.name is not UNSET:
                known[HEADER_BYTES] = message.name
            for done in range(answer_count):
                # Most owners are a pointer to a name that has been read.
                name = known.get((payload[offset] & 0x3F) << 8 | payload[offset + 1])
                if name is not None and payload[offset] >= 0xC0:
                    offset += 2
                else:
                    name, offset = reader.name(offset)
                type_, class_, ttl, length = _RECORD(payload, offset)
                ttl_offsets.append(offset + 4)
                start = offset + _RECORD_BYTES
                offset = start + length
                if offset > size:
                    raise IndexError
                if type_ == A and length == 4 and class_ == IN:
                    data = inet_ntoa(payload[start:offset])
                    addresses.append(data)
                    answers.append(Answer(name, "A", ttl, data))
                    continue
                type_text = type_name(type_)
                data, fits = rdata_text(reader, type_, class_, start, offset)
                if not fits:
                    problem = problem or f"answer {done + 1} of {count}: its data is no {type_text} data"
                elif type_ == AAAA and class_ == IN and length:
                    addresses.append(data)
                answers.append(Answer(name, type_text, ttl, data))

        section, count, done = "authority record", authority_count, 0
        for done in range(authority_count):  # noqa: B007
            offset = skip_name(payload, offset)
            type_, _, _, length = _RECORD(payload, offset)
            has_soa = has_soa or type_ == SOA
            ttl_offsets.append(offset + 4)
            offset += _RECORD_BYTES + length
            if offset > size:
                raise IndexError

        section, count, done = "additional record", additional_count, 0
        for done in range(additional_count):  # noqa: B007
            offset = skip_name(payload, offset) if payload[offset] else offset + 1
            type_, class_, ttl, length = _RECORD(payload, offset)
            if type_ != OPT:
                ttl_offsets.append(offset + 4)
            elif message.edns is UNSET:
                # RFC 6891, section 6.1.3: the class is a size, the TTL is bits of the rcode and flags.
                message.edns = Edns(class_, ttl & 0x8000 != 0)
                rcode |= ttl >> 20 & 0xFF0
            else:
                problem = problem or "more than one OPT record"
            offset += _RECORD_BYTES + length
            if offset > size:
                raise IndexError
    except MalformedError as error:
        problem = f"{section} {done + 1} of {count}: {error}"
    except (IndexError, struct.error):
        problem = f"{section} {done + 1} of {count}: the message ends at byte {size}"
        message.cut = True
    message.malformed = problem
    if is_response:
        message.rcode = rcode_name(rcode)
        message.response_class = _response_class(rcode, answer_count, has_soa, section == "additional record")
    if not message.answers and answer_count:
        message.answers = message.resolved_ips = UNSET
    if problem or not _apart(walked, ttl_offsets):
        ttl_offsets = []
    return message, ttl_offsets


def _question(payload: bytes) -> tuple[tuple[str, str, str], int]:
    """(name, type, class) of the first question, and the offset behind it. Raises as `NameReader.name`."""
    key = payload[HEADER_BYTES : payload.find(0, HEADER_BYTES) + 5]
    question = _QUESTIONS.recent.get(key) or _QUESTIONS.get(key)
    if question:
        return question, HEADER_BYTES + len(key)
    reader = NameReader(payload)
    name, offset = reader.name(HEADER_BYTES)
    type_, class_ = _QUESTION(payload, offset)
    offset += 4
    question = (name, type_name(type_), class_name(class_))
    # The first zero byte may stand inside a label, or be half of a pointer: then the key is not the question.
    if offset == HEADER_BYTES + len(key) and len(reader.walked) == 1:
        _QUESTIONS.put(key, question)
    return question, offset


@cache
def _flags(bits: int) -> list[str]:
    return [name for bit, name in FLAGS if bits & bit]


def _response_class(rcode: int, answer_count: int, has_soa: bool, authority_read: bool) -> Maybe[str]:
    """The class that CoreDNS gives the response (its plugin/pkg/response), told from the rcode where that is
    all a log line has: NXDOMAIN is denial also without a SOA record, and NOTIFY, UPDATE and transfers have no
    class of their own. As there, an answer section with any record in it is success."""
    if rcode == 3:
        return "denial"
    if rcode:
        return "error"
    if not answer_count and has_soa:
        return "denial"
    return "success" if answer_count or authority_read else UNSET


def _apart(spans: list[tuple[int, int]], ttl_offsets: list[int]) -> bool:
    """Whether no name was read from the bytes of a TTL: a pointer may lead anywhere before it."""
    return not any(start < ttl + 4 and ttl < end for start, end in spans for ttl in ttl_offsets)
