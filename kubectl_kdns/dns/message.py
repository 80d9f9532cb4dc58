"""One DNS message from its bytes: header, question, answers, EDNS, and what is wrong with it."""

from __future__ import annotations

import struct
from bisect import bisect_right
from functools import cache

from msgspec import UNSET, Struct

from kubectl_kdns.dns.cache import Cache
from kubectl_kdns.dns.rdata import ADDRESS_TYPES, IN, OPT, SOA, rdata_text
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
    additional = answer_count + authority_count
    is_response = bits >= 0x8000
    message = DecodedMessage(
        size, is_response, _OPCODES[bits >> 11 & 15], _flags(bits & _FLAG_BITS), bits & 0x0200 != 0
    )
    message.questions = questions
    problem = f"{questions} questions: only the first is shown" if questions > 1 else ""
    rcode = bits & 15
    has_soa = False
    complete = False
    reader = NameReader(payload)
    ttl_offsets: list[int] = []
    answers: list[Answer] = []
    addresses: list[str] = []
    record = -1  # counted through all sections
    try:
        offset = HEADER_BYTES
        if questions:
            (message.name, message.type, message.class_), offset = _question(payload)
            reader.known[HEADER_BYTES] = message.name
            for _ in range(1, questions):
                offset = skip_name(payload, offset) + 4

        for record in range(answer_count):
            name, offset = reader.name(offset)
            type_, class_, ttl, length = _RECORD(payload, offset)
            ttl_offsets.append(offset + 4)
            start = offset + _RECORD_BYTES
            offset = start + length
            if offset > size:
                raise IndexError
            type_text = type_name(type_)
            data, fits = rdata_text(reader, type_, class_, start, offset)
            answers.append(Answer(name, type_text, ttl, data))
            if not fits:
                problem = (
                    problem or f"answer {record + 1} of {answer_count}: its data does not fit {type_text}"
                )
            elif type_ in ADDRESS_TYPES and class_ == IN:
                addresses.append(data)

        for record in range(answer_count, additional + additional_count):
            offset = skip_name(payload, offset)
            type_, class_, ttl, length = _RECORD(payload, offset)
            if type_ != OPT or record < additional:
                ttl_offsets.append(offset + 4)
                has_soa = has_soa or (type_ == SOA and record < additional)
            elif message.edns is UNSET:
                # RFC 6891, section 6.1.3: the class is a size, the TTL holds bits of the rcode and flags.
                message.edns = Edns(class_, ttl & 0x8000 != 0)
                rcode |= ttl >> 20 & 0xFF0
            else:
                problem = problem or "more than one OPT record"
            offset += _RECORD_BYTES + length
        if offset > size:
            raise IndexError
        complete = True
    except (MalformedError, IndexError, struct.error) as error:
        message.cut = not isinstance(error, MalformedError)
        place = _place(record, answer_count, authority_count, additional_count)
        problem = f"{place}: {f'the message ends at byte {size}' if message.cut else error}"

    if is_response:
        message.rcode = rcode_name(rcode)
        message.response_class = _response_class(
            rcode, answer_count, has_soa, complete or record >= additional
        )
    if answers or (is_response and not answer_count):
        message.answers, message.resolved_ips = answers, addresses
    if problem:
        message.malformed = problem
    elif _apart(reader.walked, ttl_offsets):
        return message, ttl_offsets
    return message, []


def _place(record: int, answer_count: int, authority_count: int, additional_count: int) -> str:
    if record < 0:
        return "question"
    for section, count in (("answer", answer_count), ("authority", authority_count)):
        if record < count:
            return f"{section} {record + 1} of {count}"
        record -= count
    return f"additional {record + 1} of {additional_count}"


def _question(payload: bytes) -> tuple[tuple[str, str, str], int]:
    """(name, type, class) of the first question, and the offset behind it. Raises as `NameReader.name`."""
    key = payload[HEADER_BYTES : payload.find(0, HEADER_BYTES) + 5]
    question = _QUESTIONS.recent.get(key) or _QUESTIONS.get(key)
    if question:
        return question, HEADER_BYTES + len(key)
    name, offset = NameReader(payload).name(HEADER_BYTES)
    type_, class_ = _QUESTION(payload, offset)
    offset += 4
    question = (name, type_name(type_), class_name(class_))
    # A zero byte may also stand inside a label: then the key is not the whole question.
    if offset == HEADER_BYTES + len(key):
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
    for start, end in spans:
        first = bisect_right(ttl_offsets, start - 4)
        if first < len(ttl_offsets) and ttl_offsets[first] < end:
            return False
    return True
