"""The IANA names of DNS numbers and back, total: an unassigned number is `TYPE65280`, `RCODE12` and the like.

`*_name` gives the one name that kdns prints; `*_number` takes any case, any alias that a DNS server or tool
prints, and any number, bare or in its generic form (`77`, `CLASS77`; RFC 3597), and is None for other words.

Source: IANA "Domain Name System (DNS) Parameters". Type and class 255 are `*` there and ANY here, as in
every tool. Code 16 is BADVERS in a message and BADSIG in a TSIG record (RFC 6895): BADVERS here. CoreDNS,
by miekg/dns, logs code 16 as BADSIG, unassigned codes as bare numbers and, in old versions, NOTIMP as
NOTIMPL: put logged names through `rcode_number` and `rcode_name`.
"""

from __future__ import annotations

from collections.abc import Mapping

TYPES: Mapping[int, str] = {
    1: "A",
    2: "NS",
    3: "MD",
    4: "MF",
    5: "CNAME",
    6: "SOA",
    7: "MB",
    8: "MG",
    9: "MR",
    10: "NULL",
    11: "WKS",
    12: "PTR",
    13: "HINFO",
    14: "MINFO",
    15: "MX",
    16: "TXT",
    17: "RP",
    18: "AFSDB",
    19: "X25",
    20: "ISDN",
    21: "RT",
    22: "NSAP",
    23: "NSAP-PTR",
    24: "SIG",
    25: "KEY",
    26: "PX",
    27: "GPOS",
    28: "AAAA",
    29: "LOC",
    30: "NXT",
    31: "EID",
    32: "NIMLOC",
    33: "SRV",
    34: "ATMA",
    35: "NAPTR",
    36: "KX",
    37: "CERT",
    38: "A6",
    39: "DNAME",
    40: "SINK",
    41: "OPT",
    42: "APL",
    43: "DS",
    44: "SSHFP",
    45: "IPSECKEY",
    46: "RRSIG",
    47: "NSEC",
    48: "DNSKEY",
    49: "DHCID",
    50: "NSEC3",
    51: "NSEC3PARAM",
    52: "TLSA",
    53: "SMIMEA",
    55: "HIP",
    56: "NINFO",
    57: "RKEY",
    58: "TALINK",
    59: "CDS",
    60: "CDNSKEY",
    61: "OPENPGPKEY",
    62: "CSYNC",
    63: "ZONEMD",
    64: "SVCB",
    65: "HTTPS",
    66: "DSYNC",
    67: "HHIT",
    68: "BRID",
    99: "SPF",
    100: "UINFO",
    101: "UID",
    102: "GID",
    103: "UNSPEC",
    104: "NID",
    105: "L32",
    106: "L64",
    107: "LP",
    108: "EUI48",
    109: "EUI64",
    128: "NXNAME",
    249: "TKEY",
    250: "TSIG",
    251: "IXFR",
    252: "AXFR",
    253: "MAILB",
    254: "MAILA",
    255: "ANY",
    256: "URI",
    257: "CAA",
    258: "AVC",
    259: "DOA",
    260: "AMTRELAY",
    261: "RESINFO",
    262: "WALLET",
    263: "CLA",
    264: "IPN",
    32768: "TA",
    32769: "DLV",
}
CLASSES: Mapping[int, str] = {1: "IN", 2: "CS", 3: "CH", 4: "HS", 254: "NONE", 255: "ANY"}
OPCODES: Mapping[int, str] = {0: "QUERY", 1: "IQUERY", 2: "STATUS", 4: "NOTIFY", 5: "UPDATE", 6: "DSO"}
RCODES: Mapping[int, str] = {
    0: "NOERROR",
    1: "FORMERR",
    2: "SERVFAIL",
    3: "NXDOMAIN",
    4: "NOTIMP",
    5: "REFUSED",
    6: "YXDOMAIN",
    7: "YXRRSET",
    8: "NXRRSET",
    9: "NOTAUTH",
    10: "NOTZONE",
    11: "DSOTYPENI",
    16: "BADVERS",
    17: "BADKEY",
    18: "BADTIME",
    19: "BADMODE",
    20: "BADNAME",
    21: "BADALG",
    22: "BADTRUNC",
    23: "BADCOOKIE",
}
FLAGS: tuple[tuple[int, str], ...] = (
    (0x8000, "qr"),
    (0x0400, "aa"),
    (0x0200, "tc"),
    (0x0100, "rd"),
    (0x0080, "ra"),
    (0x0040, "z"),
    (0x0020, "ad"),
    (0x0010, "cd"),
)
"""The header's flags as (mask of the second 16-bit word, name), in the order in which CoreDNS logs them."""


def _numbers(names: Mapping[int, str], aliases: Mapping[str, int]) -> Mapping[str, int]:
    return {name: number for number, name in names.items()} | dict(aliases)


# None and Reserved are what miekg/dns calls types 0 and 65535.
_TYPE_NUMBERS = _numbers(TYPES, {"*": 255, "ALL": 255, "NONE": 0, "RESERVED": 65535})
_CLASS_NUMBERS = _numbers(CLASSES, {"*": 255, "INTERNET": 1, "CHAOS": 3, "HESIOD": 4})
_OPCODE_NUMBERS = _numbers(OPCODES, {"STATEFUL": 6})
_RCODE_NUMBERS = _numbers(RCODES, {"BADSIG": 16, "NOTIMPL": 4})


def _number(text: str, numbers: Mapping[str, int], prefix: str, limit: int) -> int | None:
    word = text.upper()
    number = numbers.get(word)
    if number is None:
        digits = word.removeprefix(prefix)
        # isdecimal alone would take the digits of every script, and int() thousands of them.
        if digits.isascii() and digits.isdecimal() and len(digits) <= 5 and int(digits) < limit:
            return int(digits)
    return number


def type_name(number: int) -> str:
    return TYPES.get(number) or f"TYPE{number}"


def type_number(text: str) -> int | None:
    return _number(text, _TYPE_NUMBERS, "TYPE", 0x10000)


def class_name(number: int) -> str:
    return CLASSES.get(number) or f"CLASS{number}"


def class_number(text: str) -> int | None:
    return _number(text, _CLASS_NUMBERS, "CLASS", 0x10000)


def opcode_name(number: int) -> str:
    return OPCODES.get(number) or f"OPCODE{number}"


def opcode_number(text: str) -> int | None:
    return _number(text, _OPCODE_NUMBERS, "OPCODE", 0x10)


def rcode_name(number: int) -> str:
    """`number` with the upper eight bits of EDNS, if there are any (RFC 6891, section 6.1.3)."""
    return RCODES.get(number) or f"RCODE{number}"


def rcode_number(text: str) -> int | None:
    return _number(text, _RCODE_NUMBERS, "RCODE", 0x1000)
