"""Number tables: total, one name for a number, and what tools print understood."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.dns import tables

TABLES = [
    (tables.TYPES, tables.type_name, tables.type_number, 0x10000),
    (tables.CLASSES, tables.class_name, tables.class_number, 0x10000),
    (tables.OPCODES, tables.opcode_name, tables.opcode_number, 0x10),
    (tables.RCODES, tables.rcode_name, tables.rcode_number, 0x1000),
]
each_table = pytest.mark.parametrize(
    ("names", "to_name", "to_number", "limit"), TABLES, ids=["type", "class", "opcode", "rcode"]
)
ToName = Callable[[int], str]
ToNumber = Callable[[str], int | None]


@each_table
def test_every_number_has_a_name_that_leads_back(
    names: Mapping[int, str], to_name: ToName, to_number: ToNumber, limit: int
) -> None:
    back = {number: to_number(to_name(number)) for number in range(limit)}
    assert back == {number: number for number in range(limit)}
    assert all(number < limit for number in names)
    assert len(set(names.values())) == len(names)


@given(st.text())
def test_any_word_is_a_number_or_none(word: str) -> None:
    for _, _, to_number, limit in TABLES:
        number = to_number(word)
        assert number is None or 0 <= number < limit


def test_case_does_not_matter() -> None:
    for names, _, to_number, _ in TABLES:
        assert {to_number(name.lower()): name for name in names.values()} == names


@pytest.mark.parametrize(
    ("function", "text", "number"),
    [
        (tables.type_number, "a", 1),
        (tables.type_number, "Https", 65),
        (tables.type_number, "*", 255),
        (tables.type_number, "any", 255),
        (tables.type_number, "TYPE65280", 65280),
        (tables.type_number, "type1", 1),
        (tables.type_number, "65", 65),
        (tables.type_number, "None", 0),
        (tables.type_number, "Reserved", 65535),
        (tables.type_number, "NSAP-PTR", 23),
        (tables.type_number, "TYPE65536", None),
        (tables.type_number, "TYPE", None),
        (tables.type_number, "TYPE-1", None),
        (tables.type_number, "TYPE１", None),
        (tables.type_number, "9" * 5000, None),
        (tables.type_number, "", None),
        (tables.type_number, "AAAAA", None),
        (tables.class_number, "in", 1),
        (tables.class_number, "CHAOS", 3),
        (tables.class_number, "CLASS77", 77),
        (tables.class_number, "none", 254),
        (tables.opcode_number, "notify", 4),
        (tables.opcode_number, "0", 0),
        (tables.opcode_number, "OPCODE16", None),
        (tables.rcode_number, "nxdomain", 3),
        (tables.rcode_number, "BADSIG", 16),
        (tables.rcode_number, "BADVERS", 16),
        (tables.rcode_number, "NOTIMPL", 4),
        (tables.rcode_number, "RCODE4095", 4095),
        (tables.rcode_number, "RCODE4096", None),
        (tables.rcode_number, "12", 12),
        (tables.rcode_number, "-", None),
    ],
)
def test_what_people_and_tools_write(function: ToNumber, text: str, number: int | None) -> None:
    assert function(text) == number


@pytest.mark.parametrize(
    ("function", "number", "name"),
    [
        (tables.type_name, 65280, "TYPE65280"),
        (tables.type_name, 0, "TYPE0"),
        (tables.type_name, 54, "TYPE54"),
        (tables.type_name, 255, "ANY"),
        (tables.class_name, 77, "CLASS77"),
        (tables.opcode_name, 3, "OPCODE3"),
        (tables.rcode_name, 23, "BADCOOKIE"),
        (tables.rcode_name, 24, "RCODE24"),
        (tables.rcode_name, 16, "BADVERS"),
    ],
)
def test_the_one_name_of_a_number(function: ToName, number: int, name: str) -> None:
    assert function(number) == name


def test_types_agree_with_dnslib() -> None:
    # dnslib 0.9.26 gives 53, which is SMIMEA, the name of 55.
    theirs = {number: name for number, name in dnslib.QTYPE.forward.items() if number != 53}
    assert {number: tables.TYPES[number] for number in theirs} == theirs


def test_flags_are_the_bits_of_the_header() -> None:
    header = dnslib.DNSHeader(bitmap=0)
    for bit, name in tables.FLAGS:
        setattr(header, name, 1)
        assert header.bitmap & bit == bit
    assert header.bitmap == sum(bit for bit, _ in tables.FLAGS)
