"""The data of records as text: by rule, as dnslib has it, or as bytes; always safe."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

import dnslib
import pytest
from dnslib import QTYPE, RR, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.dns.foreign import foreign_text
from kubectl_kdns.dns.message import parse_message
from kubectl_kdns.dns.rdata import rdata_text
from kubectl_kdns.dns.reader import NameReader
from kubectl_kdns.model import Answer
from support.dns_wire import RESPONSE, message, name, pointer, question, record, unsafe_text

OWNER = name(b"web", b"svc")
HEX = re.compile(r"\\# (\d+)(?: ([0-9A-F]+))?")


def text_of(type_: int, data: bytes, class_: int = 1) -> tuple[str, bool]:
    return rdata_text(NameReader(data), type_, class_, 0, len(data))


def params(*pairs: tuple[int, bytes]) -> bytes:
    return b"".join(key.to_bytes(2, "big") + len(value).to_bytes(2, "big") + value for key, value in pairs)


FITTING = [
    (1, bytes([10, 96, 0, 10]), "10.96.0.10"),
    (28, bytes(16), "::"),
    (28, bytes.fromhex("20010db8000000000001000000000001"), "2001:db8::1:0:0:1"),
    (5, name(b"LB", b"Example"), "lb.example"),
    (2, b"\0", "."),
    (12, name(b"a.b", b"\x1b[2J"), r"a\.b.\027[2j"),
    (39, name(b"new"), "new"),
    (15, b"\0\x0a" + name(b"Mail"), "10 mail"),
    (15, b"\0\0\0", "0 ."),
    (33, bytes([0, 1, 0, 2, 0x1F, 0x90]) + name(b"pod-0", b"db"), "1 2 8080 pod-0.db"),
    (
        6,
        name(b"NS")
        + name(b"admin")
        + b"".join(n.to_bytes(4, "big") for n in (2026112301, 7200, 1800, 86400, 30)),
        "ns admin 2026112301 7200 1800 86400 30",
    ),
    (16, b"\x05v=one\x00\x03two", '"v=one" "" "two"'),
    (16, b'\x09a"b\\c\0\x1b\x7f\xff', r'"a\"b\\c\000\027\127\255"'),
    (99, b"\x06v=spf1", '"v=spf1"'),
    (13, b"\x07RFC8482\x00", '"RFC8482" ""'),
    (257, b"\x00\x05issueletsencrypt.org", '0 issue "letsencrypt.org"'),
    (257, b"\x80\x05iodef", '128 iodef ""'),
    (257, b'\x00\x05issue"\xe2\x80\xae', r'0 issue "\"\226\128\174"'),
    (65, b"\0\0" + name(b"Svc", b"Example"), "0 svc.example"),
    (65, b"\0\x01\0", "1 ."),
    (
        65,
        b"\0\x01\0"
        + params(
            (0, b"\0\x01\0\x04\x03\xe7"),
            (1, b"\x02h2\x02h3"),
            (2, b""),
            (3, b"\x01\xbb"),
            (4, bytes([1, 2, 3, 4, 5, 6, 7, 8])),
            (5, b"\0\x01\x02"),
            (6, bytes(15) + b"\x01"),
            (7, b"/dns-query{?dns}"),
            (8, b""),
            (999, b"x\0"),
            (1000, b""),
        ),
        r'1 . mandatory=alpn,ipv4hint,key999 alpn="h2,h3" no-default-alpn port=443 ipv4hint=1.2.3.4,5.6.7.8'
        r' ech=AAEC ipv6hint=::1 dohpath="/dns-query{?dns}" ohttp key999="x\000" key1000',
    ),
    # RFC 9460, appendix D.2, figure 10: a comma and backslashes inside an id.
    (64, b"\0\x10" + name(b"foo") + params((1, b"\x08f\\oo,bar\x02h2")), r'16 foo alpn="f\\\\oo\\,bar,h2"'),
]


@pytest.mark.parametrize(("type_", "data", "text"), FITTING)
def test_data_that_fits(type_: int, data: bytes, text: str) -> None:
    assert text_of(type_, data) == (text, True)


@pytest.mark.parametrize(("type_", "data", "text"), FITTING)
def test_data_that_is_cut_or_followed_by_more_never_reads_beyond(type_: int, data: bytes, text: str) -> None:
    for end in range(len(data)):
        shorter, _ = rdata_text(NameReader(data), type_, 1, 0, end)
        assert shorter == text_of(type_, data[:end])[0]
    longer, fits = rdata_text(NameReader(data + bytes(40)), type_, 1, 0, len(data))
    assert (longer, fits) == (text, True)


@pytest.mark.parametrize(
    ("type_", "data"),
    [
        (1, b"\x01\x02\x03"),
        (1, b"\x01\x02\x03\x04\x05"),
        (28, bytes(15)),
        (5, b"\x03ab"),
        (5, name(b"a") + b"\0"),
        (5, b"\xc0\x0c"),
        (15, b"\0"),
        (33, bytes(6)),
        (6, name(b"a") + name(b"b") + bytes(19)),
        (16, b"\x05abc"),
        (16, b""),
        (257, b"\0"),
        (257, b"\0\x00value"),
        (257, b"\0\x03a b"),
        (257, b"\0\x09tag"),
        (65, b"\0"),
        (65, b"\0\x01\0" + params((4, b"\x01\x02\x03"))),
        (65, b"\0\x01\0" + params((6, bytes(17)))),
        (65, b"\0\x01\0" + params((3, b"\x01"))),
        (65, b"\0\x01\0" + params((2, b"x"))),
        (65, b"\0\x01\0" + params((0, b"\0"))),
        (65, b"\0\x01\0" + params((1, b"\x05h2"))),
        (65, b"\0\x01\0\0\x01\0\xff"),
    ],
)
def test_data_that_does_not_fit_is_shown_as_bytes(type_: int, data: bytes) -> None:
    text = f"\\# {len(data)} {data.hex().upper()}" if data else r"\# 0"
    assert text_of(type_, data) == (text, False)


@pytest.mark.parametrize("type_", [1, 28])
def test_addresses_of_another_class_are_bytes(type_: int) -> None:
    assert text_of(type_, b"\x01", 3) == (r"\# 1 01", True)


# --- as dnslib has it ---------------------------------------------------------------------------

LABEL = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789-_", min_size=1, max_size=12)
NAME = st.lists(LABEL, min_size=1, max_size=5).map(".".join)
U16 = st.integers(0, 0xFFFF)
U32 = st.integers(0, 0xFFFFFFFF)
# dnslib quotes neither " nor \, and prints other bytes in octal.
STRING = st.text("abcdefghijklmnop =;:,.<>()@~!#$", min_size=1, max_size=40).map(str.encode)
V4 = st.ip_addresses(v=4).map(str)
V6 = st.ip_addresses(v=6)
ALPN = st.sampled_from(["h2", "h3", "http/1.1"])

RECORDS = st.one_of(
    V4.map(lambda ip: (QTYPE.A, dnslib.A(ip))),
    V6.map(lambda ip: (QTYPE.AAAA, dnslib.AAAA(tuple(ip.packed)))),
    NAME.map(lambda n: (QTYPE.CNAME, dnslib.CNAME(n))),
    NAME.map(lambda n: (QTYPE.NS, dnslib.NS(n))),
    NAME.map(lambda n: (QTYPE.PTR, dnslib.PTR(n))),
    st.tuples(NAME, U16).map(lambda t: (QTYPE.MX, dnslib.MX(*t))),
    st.tuples(U16, U16, U16, NAME).map(lambda t: (QTYPE.SRV, dnslib.SRV(*t))),
    st.tuples(NAME, NAME, st.tuples(U32, U32, U32, U32, U32)).map(lambda t: (QTYPE.SOA, dnslib.SOA(*t))),
    st.lists(STRING, min_size=1, max_size=3).map(lambda t: (QTYPE.TXT, dnslib.TXT(t))),
    st.tuples(st.integers(0, 255), st.sampled_from(["issue", "iodef"]), STRING).map(
        lambda t: (QTYPE.CAA, dnslib.CAA(t[0], t[1], t[2].decode()))
    ),
    st.tuples(
        U16, st.lists(st.sampled_from(["h2", "h3", "http/1.1"]), min_size=1), st.lists(V4, min_size=1)
    ).map(
        lambda t: (
            QTYPE.HTTPS,
            dnslib.HTTPS.fromZone([str(t[0]), ".", f"alpn={','.join(t[1])}", f"ipv4hint={','.join(t[2])}"]),
        )
    ),
)


def as_kdns_prints(answer: RR) -> str:
    """dnslib's text in our form: names lower case without the last dot, RFC 5952 addresses, quoted alpn."""
    text: str = answer.rdata.toZone()
    type_ = QTYPE[answer.rtype]
    if type_ == "AAAA":
        return str(ipaddress.ip_address(text))
    if type_ == "HTTPS":
        return re.sub("alpn=(.*) ip", r'alpn="\1" ip', text)
    if type_ in ("TXT", "CAA", "A"):
        return text
    return " ".join(word.rstrip(".").lower() or "." for word in text.split(" "))


def same_address(text: str) -> str:
    """inet_ntop writes an IPv4 address inside ::/96 with dots."""
    return str(ipaddress.ip_address(text)) if re.fullmatch(r"[0-9a-f:.]*:[0-9a-f:.]*", text) else text


@given(NAME, st.lists(st.tuples(NAME, U32, RECORDS), max_size=6))
def test_the_fast_path_says_what_dnslib_says(asked: str, records: list[tuple[str, int, Any]]) -> None:
    reply = DNSRecord.question(asked).reply()
    for owner, ttl, (type_, data) in records:
        reply.add_answer(RR(owner, type_, rdata=data, ttl=ttl))
    payload = bytes(reply.pack())
    mine, _ = parse_message(payload)
    theirs = DNSRecord.parse(payload)
    assert mine.malformed is None
    assert mine.name == str(theirs.q.qname).lower().rstrip(".")
    assert [(a.name, a.type, a.ttl, same_address(a.data)) for a in mine.answers or []] == [
        (str(a.rname).lower().rstrip("."), QTYPE[a.rtype], a.ttl, as_kdns_prints(a)) for a in theirs.rr
    ]


ZONE = [
    ("RP", "Mail.Example.com. txt.example.com.", "mail.example.com txt.example.com"),
    ("LOC", "37 14 12.094 N 115 48 14.649 W 1381.00m", "37 14 12.094 N 115 48 14.649 W 1381.00m"),
    (
        "NAPTR",
        '100 10 "u" "E2U+sip" "!^ Rep.example.com. !" Rep.Example.com.',
        '100 10 "u" "E2U+sip" "!^ Rep.example.com. !" rep.example.com',
    ),
    ("NAPTR", '1 2 "" "" "" .', '1 2 "" "" "" .'),
    ("DS", "1 2 3 abcdef", "1 2 3 ABCDEF"),
    ("SSHFP", "1 2 abcdef", "1 2 ABCDEF"),
    ("TLSA", "1 2 3 abcdef", "1 2 3 ABCDEF"),
    ("DNSKEY", "256 3 8 aGVsbG8=", "256 3 8 aGVsbG8="),
    (
        "RRSIG",
        "A 13 2 300 20220919092245 20220917072245 34505 Example.COM. aGVsbG8=",
        "A 13 2 300 20220919092245 20220917072245 34505 example.com aGVsbG8=",
    ),
    ("NSEC", "\\000.Example.com. A MX RRSIG TYPE1234", "\\000.example.com A MX RRSIG TYPE1234"),
]


@pytest.mark.parametrize(("type_", "zone", "text"), ZONE)
def test_other_types_are_dnslibs(type_: str, zone: str, text: str) -> None:
    reply = DNSRecord.question("example.com", type_).reply()
    reply.add_answer(*RR.fromZone(f"example.com. 60 IN {type_} {zone}"))
    decoded, _ = parse_message(bytes(reply.pack()))
    assert decoded.malformed is None
    assert decoded.answers == [Answer("example.com", type_, 60, text)]


@pytest.mark.parametrize("type_", [17, 29, 35, 43, 44, 46, 47, 48, 52, 10, 65280])
@given(data=st.binary(max_size=60))
def test_whatever_dnslib_makes_of_it_is_safe_or_bytes(type_: int, data: bytes) -> None:
    text, fits = text_of(type_, data)
    assert fits
    assert re.fullmatch("[ -~]+", text)
    match = HEX.fullmatch(text)
    assert match is None or (int(match[1]), bytes.fromhex(match[2] or "")) == (len(data), data)


def test_dnslib_may_not_read_behind_a_record() -> None:
    # An RRSIG whose signer's name runs five bytes beyond its end, so that dnslib's arithmetic comes out even.
    data = bytes(18) + b"\x03abc"
    payload = data + bytes(20)
    assert text_of(46, data)[0].startswith("\\#")
    assert rdata_text(NameReader(payload), 46, 1, 0, len(data))[0] == f"\\# {len(data)} {data.hex().upper()}"


def test_dnslib_must_read_all_of_a_record() -> None:
    data = name(b"mail") + name(b"txt")
    assert text_of(17, data) == ("mail txt", True)
    assert text_of(17, data + b"!") == (f"\\# {len(data) + 1} {(data + b'!').hex().upper()}", True)


def test_dnslibs_share_of_a_message_is_bounded() -> None:
    # A type bitmap in full: each of its bytes becomes eight names.
    bitmap = b"".join(bytes([window, 255]) + b"\xff" * 255 for window in range(8))
    data = b"\0" + bitmap
    payload = message(RESPONSE, [question(OWNER)], [record(b"\xc0\x0c", 47, data) for _ in range(30)])
    decoded, _ = parse_message(payload)
    texts = [answer.data for answer in decoded.answers or []]
    assert [text.startswith("\\#") for text in texts] == [False] * 3 + [True] * 27


def test_a_name_that_needs_escapes_survives_dnslib() -> None:
    data = name(b"a.b", b"\xff\x1b") + name(b"c")
    reader = NameReader(data)
    assert foreign_text(reader, 17, 0, len(data)) == r"a\.b.\255\027 c"


def test_pointers_inside_data() -> None:
    at = 12 + len(question(OWNER)) + 12
    payload = message(
        RESPONSE,
        [question(OWNER)],
        [
            record(b"\xc0\x0c", 46, bytes(18) + b"\x01a" + pointer(16) + b"sig"),
            record(b"\xc0\x0c", 5, b"\x01b" + pointer(at + 18)),
        ],
    )
    decoded, _ = parse_message(payload)
    assert [answer.data for answer in decoded.answers or []] == [
        "0 0 0 0 19700101000000 19700101000000 0 a.svc c2ln",
        "b.a.svc",
    ]
    assert unsafe_text(decoded) == []
