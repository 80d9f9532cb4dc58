"""A resolver as in libc: which names, in which order, when again, and when over TCP."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.errors import UsageError
from kubectl_kdns.resolver import Question, Reply, ResolvConf, candidates, check, look_up, question, reply_of

CONF = ResolvConf(
    nameservers=("10.96.0.10",),
    search=("shop.svc.cluster.local", "svc.cluster.local", "cluster.local"),
    ndots=5,
)
FOUND = Reply(rcode="NOERROR", has_answers=True)
DENIED = Reply(rcode="NXDOMAIN")


class Script:
    """Answers by a function; remembers what was asked, a list for each exchange."""

    def __init__(self, answer: Callable[[Question], Reply]) -> None:
        self.answer = answer
        self.asked: list[list[Question]] = []

    def exchange(self, questions: Sequence[Question], timeout_s: float) -> list[Reply]:
        assert timeout_s > 0
        self.asked.append(list(questions))
        return [self.answer(each) for each in questions]

    @property
    def names(self) -> list[str]:
        return [asked[0].name for asked in self.asked]


def run(
    script: Script, name: str = "www.example.com", conf: ResolvConf = CONF, types: str = "A AAAA"
) -> None:
    for _ in look_up(name, types.split(), conf, script, Random(1)):
        pass


def test_resolv_conf_of_a_pod() -> None:
    text = (
        "search shop.svc.cluster.local svc.cluster.local cluster.local\n"
        "nameserver 10.96.0.10\n# a comment\noptions ndots:5 timeout:2 attempts:3 edns0 unknown:7\n"
    )
    conf = ResolvConf.parse(text)
    assert conf == ResolvConf(
        nameservers=("10.96.0.10",), search=CONF.search, ndots=5, timeout_s=2, attempts=3, edns=True
    )


def test_limits_and_defaults_are_those_of_glibc() -> None:
    assert ResolvConf.parse("") == ResolvConf(("127.0.0.1",), (), 1, 5, 2)
    many = "".join(f"nameserver 10.0.0.{i}\n" for i in range(9)) + "options ndots:99 timeout:999 attempts:99"
    conf = ResolvConf.parse(many)
    assert (len(conf.nameservers), conf.ndots, conf.timeout_s, conf.attempts) == (3, 15, 30, 5)


def test_a_line_that_is_no_address_is_passed_over() -> None:
    text = "nameserver dns.example.com\nnameserver \x1b[2J\nnameserver fe80::1%eth0\nnameserver 10.0.0.1\n"
    assert ResolvConf.parse(text).nameservers == ("fe80::1%eth0", "10.0.0.1")


@given(st.text())
def test_no_text_breaks_it(text: str) -> None:
    conf = ResolvConf.parse(text)
    assert conf.nameservers
    assert conf.attempts >= 1


@pytest.mark.parametrize(
    ("name", "ndots", "wanted"),
    [
        ("cart", 5, ["cart.a.b", "cart.b", "cart"]),
        ("www.example.com", 5, ["www.example.com.a.b", "www.example.com.b", "www.example.com"]),
        ("www.example.com", 2, ["www.example.com", "www.example.com.a.b", "www.example.com.b"]),
        ("www.example.com.", 5, ["www.example.com"]),
        ("WWW.Example.com.", 5, ["www.example.com"]),
        (".", 5, ["."]),
    ],
)
def test_the_names_of_a_search_list(name: str, ndots: int, wanted: list[str]) -> None:
    assert candidates(name, ResolvConf(search=("a.b", "b"), ndots=ndots)) == wanted


def test_it_goes_on_until_a_name_has_data_and_asks_both_types_at_once() -> None:
    script = Script(lambda q: FOUND if q.name == "www.example.com.svc.cluster.local" else DENIED)
    run(script)
    assert script.names == ["www.example.com.shop.svc.cluster.local", "www.example.com.svc.cluster.local"]
    assert all([each.type for each in asked] == ["A", "AAAA"] for asked in script.asked)


def test_one_type_with_data_is_enough() -> None:
    script = Script(lambda q: FOUND if q.type == "A" else Reply(rcode="NOERROR"))
    run(script)
    assert len(script.asked) == 1


def test_without_an_answer_all_nameservers_are_asked_as_often_as_it_says() -> None:
    script = Script(lambda _: Reply(problem="timed out"))
    conf = ResolvConf(nameservers=("10.0.0.1", "10.0.0.2"), attempts=2)
    run(script, "example.com.", conf, "A")
    assert [asked[0].server for asked in script.asked] == ["10.0.0.1", "10.0.0.2"] * 2


def test_a_failure_is_asked_of_the_next_nameserver_and_only_for_its_type() -> None:
    def answer(q: Question) -> Reply:
        return FOUND if q.type == "A" or q.server == "10.0.0.2" else Reply(rcode="SERVFAIL")

    script = Script(answer)
    run(script, "example.com.", ResolvConf(nameservers=("10.0.0.1", "10.0.0.2")))
    assert [[(q.type, q.server) for q in asked] for asked in script.asked] == [
        [("A", "10.0.0.1"), ("AAAA", "10.0.0.1")],
        [("AAAA", "10.0.0.2")],
    ]


def test_what_is_truncated_is_asked_for_over_tcp() -> None:
    script = Script(lambda q: FOUND if q.over_tcp else Reply(rcode="NOERROR", is_truncated=True))
    run(script, "example.com.", ResolvConf(), "TXT")
    assert [[q.over_tcp for q in asked] for asked in script.asked] == [[False], [True]]


def test_options_of_resolv_conf_are_followed() -> None:
    script = Script(lambda _: FOUND)
    run(script, "example.com.", ResolvConf(one_by_one=True, use_tcp=True, edns=True))
    assert [[(q.type, q.over_tcp) for q in asked] for asked in script.asked] == [
        [("A", True)],
        [("AAAA", True)],
    ]
    assert dnslib.DNSRecord.parse(script.asked[0][0].message).ar[0].rtype == dnslib.QTYPE.OPT


@given(
    labels=st.lists(st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=6),
    id_=st.integers(0, 65535),
    edns=st.booleans(),
)
def test_a_question_is_read_by_others(labels: list[str], id_: int, edns: bool) -> None:
    name = ".".join(labels)
    record = dnslib.DNSRecord.parse(question(name, "AAAA", id_, "10.0.0.1", edns=edns).message)
    assert (record.header.id, record.header.rd, str(record.q.qname).rstrip(".")) == (id_, 1, name)
    assert record.q.qtype == dnslib.QTYPE.AAAA


def test_a_reply_is_read() -> None:
    asked = dnslib.DNSRecord.question("example.com", "A")
    answer = asked.reply()
    answer.add_answer(*dnslib.RR.fromZone("example.com 60 A 192.0.2.1"))
    answer.header.tc = 1
    assert reply_of(bytes(answer.pack())) == Reply(
        rcode="NOERROR", has_answers=True, is_truncated=True, addresses=("192.0.2.1",), size_bytes=45
    )


@pytest.mark.parametrize("size", [60, 512, 1700])
def test_a_padded_question_is_as_long_as_was_asked_for(size: int) -> None:
    message = question("example.com", "A", 7, "192.0.2.1", port=5353, edns=True, padded_to=size).message
    assert len(message) == size
    (opt,) = dnslib.DNSRecord.parse(message).ar
    assert (opt.rtype, opt.rdata[0].code) == (dnslib.QTYPE.OPT, 12)


def test_a_question_that_is_longer_already_is_not_padded() -> None:
    plain = question("example.com", "A", 7, "192.0.2.1", edns=True)
    assert question("example.com", "A", 7, "192.0.2.1", edns=True, padded_to=20) == plain


@given(data=st.binary(max_size=600))
def test_no_reply_breaks_it(data: bytes) -> None:
    assert reply_of(data).rcode


@pytest.mark.parametrize("name", ["a..b", "x" * 64, ".".join(["x" * 60] * 5), "\u00e4" * 70])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="not a name"):
        check(name, ["A"])


def test_what_is_no_type_is_refused() -> None:
    with pytest.raises(UsageError, match="--type BOGUS"):
        check("example.com", ["BOGUS"])
