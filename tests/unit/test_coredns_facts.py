"""What the repeating part of a line says: codes, classes, flags, EDNS, kinds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from msgspec import UNSET

from kdns_coredns import facts as facts_module
from kdns_coredns.corefile import COMBINED, COMMON
from kdns_coredns.facts import Facts, FactsOf, Kind, UnreadableError, Unusual, facts_of, upstream_of
from kdns_coredns.formats import template_of
from kubectl_kdns.model import Edns, Upstream
from support.coredns_log import Query, queries

VALUES = {
    "{type}": "A",
    "{class}": "IN",
    "{name}": "cart.shop.svc.cluster.local.",
    "{proto}": "udp",
    "{size}": "45",
    "{>do}": "false",
    "{>bufsize}": "512",
    "{rcode}": "NXDOMAIN",
    "{>rflags}": "qr,aa,rd",
    "{rsize}": "138",
}


def facts(**changes: str | None) -> Facts:
    """The facts of VALUES with changes; None takes a placeholder out, `__` stands for >."""
    values = dict(VALUES)
    for name, value in changes.items():
        key = "{" + name.replace("__", ">").replace("_s_", "/") + "}"
        values.pop(key, None)
        if value is not None:
            values[key] = value
    return facts_of(values)


def test_whole() -> None:
    assert facts() == Facts(
        name="cart.shop.svc.cluster.local",
        type="A",
        class_="IN",
        rcode="NXDOMAIN",
        response_class="denial",
        flags=["qr", "aa", "rd"],
        query_bytes=45,
        response_bytes=138,
        edns=UNSET,
        opcode=UNSET,
        transport="udp",
        status="answered",
        inferred=UNSET,
        upstream=UNSET,
        unusual=None,
    )


HELD = Unusual(Kind.HELD, "", "", "")


PROBE = Unusual(Kind.PROBE, "", "", "")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"rcode": "SERVFAIL"}, {"rcode": "SERVFAIL", "response_class": "error", "unusual": HELD}),
        ({"rcode": "24"}, {"rcode": "RCODE24", "response_class": "error"}),
        ({"rcode": "BADSIG"}, {"rcode": "BADVERS", "response_class": "error"}),
        ({"rcode": "NOTIMPL"}, {"rcode": "NOTIMP", "response_class": "error"}),
        ({"rcode": "NEWCODE"}, {"rcode": "NEWCODE", "response_class": "error"}),
        ({"rcode": None}, {"rcode": UNSET, "response_class": UNSET}),
        ({"type": "TYPE65"}, {"type": "HTTPS"}),
        ({"type": "Reserved"}, {"type": "TYPE65535"}),
        ({"class": "CLASS4"}, {"class_": "HS"}),
        ({"__rflags": ""}, {"flags": []}),
        ({"__bufsize": "1232"}, {"edns": Edns(1232, False)}),
        ({"__do": "true"}, {"edns": Edns(512, True)}),
        ({"proto": "tcp", "__bufsize": "65535"}, {"transport": "tcp"}),
        (
            {"proto": "tcp", "__bufsize": "65535", "__do": "true"},
            {"transport": "tcp", "edns": Edns(65535, True)},
        ),
        ({"proto": None, "__bufsize": "65535"}, {"transport": UNSET}),
        ({"__do": None, "__bufsize": "1232"}, {}),
        ({"proto": "sctp"}, {"transport": UNSET}),
        ({"__opcode": "5"}, {"opcode": "UPDATE"}),
        ({"__opcode": "7"}, {"opcode": "OPCODE7"}),
        ({"_s_forward_s_upstream": "[2001:db8::1]:53"}, {"upstream": Upstream("2001:db8::1", 53)}),
        ({"_s_forward_s_upstream": "-"}, {}),
        ({"name": "47.81.", "type": "HINFO"}, {"name": "47.81", "type": "HINFO", "unusual": PROBE}),
        (
            {"name": ".", "type": "NS", "size": "17"},
            {"name": ".", "type": "NS", "query_bytes": 17, "unusual": PROBE},
        ),
        ({"name": ".", "type": "NS"}, {"name": ".", "type": "NS"}),
        ({"local": "10.244.0.3"}, {"unusual": Unusual(Kind.PLAIN, "", "", "10.244.0.3")}),
        ({"local": "[fd00::3]"}, {"unusual": Unusual(Kind.PLAIN, "", "", "fd00::3")}),
        ({"local": "[::]"}, {}),
    ],
)
def test_one_value(changes: dict[str, str | None], expected: dict[str, Any]) -> None:
    assert facts(**changes)._asdict() == facts()._asdict() | expected


def test_a_format_without_the_response() -> None:
    found = facts(rcode=None, __rflags=None, rsize=None)
    assert found[3:8] == (UNSET, UNSET, UNSET, 45, UNSET)
    assert found.status is UNSET


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"rcode": "-", "__rflags": "-", "rsize": "0"}, "as it is logged by 1.9 and later"),
        ({"rcode": "NOERROR", "__rflags": "-", "rsize": "0"}, "as it is logged up to 1.8"),
        ({"rcode": "-", "__rflags": None, "rsize": None}, "a format with nothing but the code"),
        ({"rcode": None, "__rflags": None, "rsize": "0"}, "a format with nothing but the size"),
    ],
)
def test_nothing_written(changes: dict[str, str | None], why: str) -> None:
    found = facts(**changes)
    assert found[3:8] == (UNSET, "error", UNSET, 45, UNSET), why
    assert (found.status, found.inferred, found.unusual) == ("unwritten", UNSET, HELD), why


@pytest.mark.parametrize(
    ("label", "value", "response_class"),
    [
        ("class", "denial", "denial"),
        ("class", "-", "success"),
        ("class", "new", "success"),
        ("type", "NODATA", "denial"),
        ("type", "NXDOMAIN", "denial"),
        ("type", "DELEGATION", "success"),
        ("type", "SERVERERROR", "error"),
        ("type", "-", "success"),
    ],
)
def test_response_class_of_metadata(label: str, value: str, response_class: str) -> None:
    """Exact where CoreDNS says it; NOERROR alone may as well be NODATA."""
    found = facts_of(VALUES | {"{rcode}": "NOERROR", f"{{/log/{label}}}": value})
    assert found.response_class == response_class
    assert found.inferred == (["dns.response_class"] if value in ("-", "new") else UNSET)


def test_client_of_metadata() -> None:
    values = VALUES | {
        "{/kubernetes/client-namespace}": "shop",
        "{/kubernetes/client-pod-name}": "cart\x1b-1",
    }
    assert facts_of(values).unusual == Unusual(Kind.PLAIN, "shop", r"cart\027-1", "")


@pytest.mark.parametrize("text", ["", "-", "10.0.0.1", "10.0.0.1:x", "tls://10.0.0.1:853", "[::1]", "h:53"])
def test_what_is_no_upstream(text: str) -> None:
    assert upstream_of(text) is UNSET


def test_facts_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts_module, "MAX_REMEMBERED", 3)
    known = FactsOf(template_of(COMMON))
    texts = [f'A IN {name}. udp 33 false 512" NOERROR qr 100' for name in "abcde"]
    first = known[texts[0]]
    assert known[texts[0]] is first
    for text in texts:
        assert known[text].name == text.split()[2].rstrip(".")
        assert len(known) <= 3


@pytest.mark.parametrize("text", ["", "A IN a", 'A IN a. udp 33 maybe 512" NOERROR qr 100'])
def test_what_is_no_stretch(text: str) -> None:
    with pytest.raises(UnreadableError):
        FactsOf(template_of(COMMON))[text]


@given(queries())
def test_any_query(query: Query) -> None:
    values = {name: value for name in template_of(COMBINED).nodes if (value := query.value(name)) is not None}
    found = facts_of(values)
    assert (found.status == "unwritten") is (query.rcode == "-")
    assert (found.rcode is UNSET) is (query.rcode == "-")
    assert found.unusual is None or found.unusual.kind in (Kind.HELD, Kind.PROBE)
