"""Whole messages, good and bad: what is known is there, what is wrong is said."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from kubectl_kdns.dns.message import DecodedMessage, message_id, parse_message
from kubectl_kdns.model import Answer, Edns
from support.dns_wire import (
    AAAA,
    CH,
    CNAME,
    MX,
    NS,
    OPT,
    QNAME,
    QUERY,
    RESPONSE,
    SOA,
    TXT,
    A,
    message,
    name,
    opt,
    pointer,
    question,
    record,
)

WEB = name(b"web", b"shop", b"svc")
ASK_A = question(WEB)
IP = bytes([10, 1, 2, 3])
WEB_A = Answer("web.shop.svc", "A", 30, "10.1.2.3")
SOA_DATA = name(b"ns") + name(b"admin") + bytes(20)
SOA_RECORD = record(name(b"svc"), SOA, SOA_DATA)


def decode(payload: bytes) -> DecodedMessage:
    return parse_message(payload)[0]


def response(size: int, **known: object) -> DecodedMessage:
    """A response to "web.shop.svc A"; `known` replaces."""
    fields = {
        "is_response": True,
        "opcode": "QUERY",
        "flags": ["qr", "aa", "rd", "ra"],
        "rcode": "NOERROR",
        "response_class": "success",
        "questions": 1,
        "name": "web.shop.svc",
        "type": "A",
        "class_": "IN",
        "answers": [],
        "resolved_ips": [],
    }
    return DecodedMessage(size, **(fields | known))  # type: ignore[arg-type]


def test_query() -> None:
    payload = message(QUERY | 0x10, [question(name(b"wEb", b"ShOp"), AAAA)], additional=[opt(4096, 0x8000)])
    assert decode(payload) == DecodedMessage(
        len(payload),
        opcode="QUERY",
        flags=["rd", "cd"],
        questions=1,
        name="web.shop",
        type="AAAA",
        class_="IN",
        edns=Edns(4096, True),
    )


def test_response_with_addresses() -> None:
    payload = message(
        RESPONSE,
        [ASK_A],
        [
            record(QNAME, CNAME, b"\x02lb" + pointer(16), 60),
            record(pointer(12 + len(ASK_A) + 12), A, IP, 5),
            record(QNAME, AAAA, bytes([0xFD] + [0] * 14 + [1]), 0),
        ],
        additional=[opt()],
    )
    assert decode(payload) == response(
        len(payload),
        answers=[
            Answer("web.shop.svc", "CNAME", 60, "lb.shop.svc"),
            Answer("lb.shop.svc", "A", 5, "10.1.2.3"),
            Answer("web.shop.svc", "AAAA", 0, "fd00::1"),
        ],
        resolved_ips=["10.1.2.3", "fd00::1"],
        edns=Edns(1232, False),
    )


@pytest.mark.parametrize(
    ("bits", "answers", "authority", "rcode", "response_class"),
    [
        (0x8000, [record(QNAME, A, IP)], [], "NOERROR", "success"),
        (0x8000, [], [], "NOERROR", "success"),
        (0x8000, [], [record(WEB, NS, name(b"ns"))], "NOERROR", "success"),
        (0x8000, [], [SOA_RECORD], "NOERROR", "denial"),
        (0x8000, [record(QNAME, CNAME, name(b"lb"))], [SOA_RECORD], "NOERROR", "success"),
        (0x8003, [], [SOA_RECORD], "NXDOMAIN", "denial"),
        (0x8003, [], [], "NXDOMAIN", "denial"),
        (0x8002, [], [], "SERVFAIL", "error"),
        (0x8005, [], [SOA_RECORD], "REFUSED", "error"),
        (0x800C, [], [], "RCODE12", "error"),
    ],
)
def test_response_class(
    bits: int, answers: list[bytes], authority: list[bytes], rcode: str, response_class: str
) -> None:
    decoded = decode(message(bits, [ASK_A], answers, authority))
    assert (decoded.rcode, decoded.response_class, decoded.malformed) == (rcode, response_class, None)


def test_the_soa_of_an_additional_section_denies_nothing() -> None:
    assert decode(message(0x8000, [ASK_A], additional=[SOA_RECORD])).response_class == "success"


@pytest.mark.parametrize(
    ("bits", "ttl", "rcode"),
    [(0x8000, 0x01000000, "BADVERS"), (0x8007, 0x01000000, "BADCOOKIE"), (0x800F, 0xFF000000, "RCODE4095")],
)
def test_edns_extends_the_rcode(bits: int, ttl: int, rcode: str) -> None:
    decoded = decode(message(bits, [ASK_A], additional=[opt(512, ttl)]))
    assert (decoded.rcode, decoded.response_class, decoded.edns) == (rcode, "error", Edns(512, False))


@pytest.mark.parametrize(
    ("bits", "flags", "truncated"),
    [
        (0x0000, [], False),
        (0x0100, ["rd"], False),
        (0x8780, ["qr", "aa", "tc", "rd", "ra"], True),
        (0x87F0, ["qr", "aa", "tc", "rd", "ra", "z", "ad", "cd"], True),
    ],
)
def test_flags(bits: int, flags: list[str], truncated: bool) -> None:
    decoded = decode(message(bits, [ASK_A]))
    assert (decoded.flags, decoded.truncated) == (flags, truncated)


@pytest.mark.parametrize(("number", "opcode"), [(0, "QUERY"), (4, "NOTIFY"), (5, "UPDATE"), (3, "OPCODE3")])
def test_opcode(number: int, opcode: str) -> None:
    assert decode(message(number << 11, [ASK_A])).opcode == opcode


def test_a_query_may_carry_answers() -> None:
    decoded = decode(message(4 << 11, [question(WEB, SOA)], [record(QNAME, SOA, SOA_DATA)]))
    assert decoded.answers == [Answer("web.shop.svc", "SOA", 30, "ns admin 0 0 0 0 0")]
    assert (decoded.rcode, decoded.response_class) == (UNSET, UNSET)


def test_an_update_names_records_without_data() -> None:
    decoded = decode(message(5 << 11, [question(WEB, SOA)], [record(QNAME, A, b"", 0, 255)]))
    assert (decoded.answers, decoded.malformed) == ([Answer("web.shop.svc", "A", 0, r"\# 0")], None)
    assert decoded.resolved_ips == []


def test_other_classes() -> None:
    version = name(b"version", b"bind")
    decoded = decode(message(0x8000, [question(version, TXT, CH)], [record(QNAME, TXT, b"\x03kdn", 0, CH)]))
    assert (decoded.class_, decoded.answers) == ("CH", [Answer("version.bind", "TXT", 0, '"kdn"')])
    chaos = decode(message(0x8000, [question(WEB, A, CH)], [record(QNAME, A, IP, 0, CH)]))
    assert (chaos.answers, chaos.resolved_ips) == ([Answer("web.shop.svc", "A", 0, r"\# 4 0A010203")], [])


def test_unknown_numbers() -> None:
    decoded = decode(message(0x8000, [question(WEB, 65280, 77)], [record(QNAME, 65280, b"\x0a\xff", 1, 77)]))
    assert (decoded.type, decoded.class_, decoded.malformed) == ("TYPE65280", "CLASS77", None)
    assert decoded.answers == [Answer("web.shop.svc", "TYPE65280", 1, r"\# 2 0AFF")]


def test_no_question() -> None:
    payload = message(0x8001, [])
    assert decode(payload) == response(
        len(payload),
        flags=["qr"],
        rcode="FORMERR",
        response_class="error",
        questions=0,
        name=UNSET,
        type=UNSET,
        class_=UNSET,
    )


def test_several_questions() -> None:
    decoded = decode(message(RESPONSE, [ASK_A, question(QNAME, AAAA)], [record(QNAME, A, IP)]))
    assert (decoded.questions, decoded.name, decoded.type) == (2, "web.shop.svc", "A")
    assert decoded.answers == [WEB_A]
    assert decoded.malformed == "2 questions: only the first is shown"


def test_bytes_behind_the_message_do_not_matter() -> None:
    payload = message(RESPONSE, [ASK_A], [record(QNAME, A, IP)]) + b"\0" * 7
    assert decode(payload) == response(
        len(payload),
        answers=[WEB_A],
        resolved_ips=["10.1.2.3"],
    )


@pytest.mark.parametrize("size", range(12))
def test_less_than_a_header(size: int) -> None:
    decoded = decode(message(RESPONSE, [ASK_A])[:size])
    assert decoded == DecodedMessage(size, malformed=f"{size} bytes are less than a header", cut=True)


LONG = [b"x" * 63] * 3 + [b"y" * 61]
BAD = [
    # (what, questions, answers, malformed, answers known)
    (
        "reserved label type",
        [b"\x40" + ASK_A],
        [],
        "question: byte 12 is no label: its type 1 is reserved",
        [],
    ),
    (
        "pointer to itself",
        [question(pointer(12))],
        [],
        "question: the pointer at byte 12 leads to byte 12, not to an earlier name",
        [],
    ),
    (
        "pointer into the header, where the id is",
        [question(b"\x01a" + pointer(0))],
        [],
        "question: the pointer at byte 14 leads to byte 0, not to an earlier name",
        [],
    ),
    (
        "loop within a name",
        [question(b"\x01a" + pointer(12))],
        [],
        "question: the pointer at byte 14 leads to byte 12, not to an earlier name",
        [],
    ),
    (
        "256 octets",
        [question(name(*LONG, b"z"))],
        [],
        "question: the name at byte 12 has more than 255 octets",
        [],
    ),
    (
        "pointer forwards",
        [ASK_A],
        [record(pointer(200), A, IP)],
        "answer 1 of 1: the pointer at byte 30 leads to byte 200, not to an earlier name",
        UNSET,
    ),
    (
        "the second answer is cut",
        [ASK_A],
        [record(QNAME, A, IP), record(QNAME, A, IP, length=400)],
        "answer 2 of 2: the message ends at byte 62",
        [WEB_A],
    ),
    (
        "data too short for its type",
        [ASK_A],
        [record(QNAME, A, IP[:3]), record(QNAME, A, IP)],
        "answer 1 of 2: its data does not fit A",
        [Answer("web.shop.svc", "A", 30, r"\# 3 0A0102"), WEB_A],
    ),
    (
        "a name that ends behind its record",
        [ASK_A],
        [record(QNAME, MX, b"\0\x0a\x05mail"), record(QNAME, A, IP)],
        "answer 1 of 2: its data does not fit MX",
        [
            Answer("web.shop.svc", "MX", 30, r"\# 7 000A056D61696C"),
            WEB_A,
        ],
    ),
    (
        "a name that ends before its record",
        [ASK_A],
        [record(QNAME, CNAME, name(b"lb") + b"!")],
        "answer 1 of 1: its data does not fit CNAME",
        [Answer("web.shop.svc", "CNAME", 30, r"\# 5 026C620021")],
    ),
    (
        "no data",
        [ASK_A],
        [record(QNAME, A, b"")],
        "answer 1 of 1: its data does not fit A",
        [Answer("web.shop.svc", "A", 30, r"\# 0")],
    ),
]


@pytest.mark.parametrize(
    ("questions", "answers", "malformed", "known"), [row[1:] for row in BAD], ids=[row[0] for row in BAD]
)
def test_malformed(questions: list[bytes], answers: list[bytes], malformed: str, known: object) -> None:
    decoded = decode(message(RESPONSE, questions, answers))
    assert (decoded.malformed, decoded.answers) == (malformed, known)
    assert (decoded.rcode, decoded.cut) == ("NOERROR", "ends at" in malformed)


@pytest.mark.parametrize(
    ("counts", "place", "response_class"),
    [
        ((2, 0, 0, 0), "question", UNSET),
        ((1, 1, 0, 0), "answer 1 of 1", "success"),
        ((1, 65535, 0, 0), "answer 1 of 65535", "success"),
        ((1, 0, 1, 0), "authority 1 of 1", UNSET),
        ((1, 0, 0, 65535), "additional 1 of 65535", "success"),
    ],
)
def test_counts_that_lie(counts: tuple[int, ...], place: str, response_class: object) -> None:
    payload = bytearray(message(RESPONSE, [ASK_A]))
    payload[4:12] = b"".join(count.to_bytes(2, "big") for count in counts)
    decoded = decode(bytes(payload))
    assert decoded.malformed == f"{place}: the message ends at byte {len(payload)}"
    assert (decoded.cut, decoded.response_class) == (True, response_class)


def test_a_cut_in_each_section_keeps_what_came_before() -> None:
    payload = message(
        RESPONSE, [ASK_A], [record(QNAME, A, IP)] * 2, [SOA_RECORD], [record(WEB, A, IP), opt()]
    )
    seen = {}
    for size in range(12, len(payload)):
        decoded = decode(payload[:size])
        assert decoded.cut
        place = str(decoded.malformed).split(":")[0]
        known = decoded.answers if decoded.answers is not UNSET else []
        seen[place] = (decoded.name, len(known), decoded.response_class)
    assert seen == {
        "question": (UNSET, 0, "success"),
        "answer 1 of 2": ("web.shop.svc", 0, "success"),
        "answer 2 of 2": ("web.shop.svc", 1, "success"),
        "authority 1 of 1": ("web.shop.svc", 2, "success"),
        "additional 1 of 2": ("web.shop.svc", 2, "success"),
        "additional 2 of 2": ("web.shop.svc", 2, "success"),
    }


def test_more_than_one_opt_record() -> None:
    decoded = decode(message(QUERY, [ASK_A], additional=[opt(512), opt(1232)]))
    assert (decoded.edns, decoded.malformed) == (Edns(512, False), "more than one OPT record")


def test_an_opt_record_in_the_answer_is_none() -> None:
    decoded = decode(message(RESPONSE, [ASK_A], [opt(512)]))
    assert (decoded.edns, decoded.answers) == (UNSET, [Answer(".", "OPT", 0, r"\# 0")])
    assert OPT == 41


def test_names_of_255_octets_and_127_labels() -> None:
    longest = name(*LONG)
    assert len(longest) == 255
    decoded = decode(message(QUERY, [question(longest)]))
    assert decoded.malformed is None
    many = decode(message(QUERY, [question(name(*[b"a"] * 127))]))
    assert many.name == ".".join(["a"] * 127)


def test_a_chain_of_pointers() -> None:
    chain = b"".join(
        b"\x01" + bytes([97 + i]) + pointer(12 + len(ASK_A) + 12 + 4 * (i - 1)) for i in range(1, 20)
    )
    first = name(b"z")[:2] + QNAME
    data = first + chain
    owner = 12 + len(ASK_A) + 12 + 4 * 19
    decoded = decode(message(RESPONSE, [ASK_A], [record(QNAME, 65280, data), record(pointer(owner), A, IP)]))
    assert decoded.malformed is None
    assert decoded.answers is not UNSET
    assert decoded.answers[1].name == ".".join("tsrqponmlkjihgfedcb") + ".z.web.shop.svc"


def test_a_zero_byte_inside_a_label_ends_no_question() -> None:
    # Equal up to four bytes behind the first zero, which is where the key of the question cache would end.
    for last in ("x", "y", "x"):
        owner = name(b"a\0\0\x01\0" + last.encode())
        assert decode(message(QUERY, [question(owner)])).name == rf"a\000\000\001\000{last}"


@pytest.mark.parametrize(("payload", "id_"), [(b"", None), (b"\x12", None), (b"\x12\x34", 0x1234)])
def test_message_id(payload: bytes, id_: int | None) -> None:
    assert message_id(payload) == id_
