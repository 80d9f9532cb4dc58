"""The caches: what comes from them is what decoding gives, and they stay small."""

from __future__ import annotations

import random
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.dns import message as message_module
from kubectl_kdns.dns import wire
from kubectl_kdns.dns.cache import Cache
from kubectl_kdns.dns.message import DecodedMessage, parse_message
from kubectl_kdns.dns.wire import decode_message, decode_part
from support.dns_wire import (
    AAAA,
    CNAME,
    HTTPS,
    MX,
    QNAME,
    QUERY,
    RESPONSE,
    SOA,
    SRV,
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
SOA_DATA = name(b"ns") + name(b"admin") + bytes(20)
FIRST_RECORD = 12 + len(question(WEB))


@pytest.fixture(autouse=True)
def _fresh_caches() -> None:
    for cache in (wire._messages, wire._templates, wire._layouts, message_module._QUESTIONS):
        cache.clear()


def with_id(payload: bytes, id_: int) -> bytes:
    return id_.to_bytes(2, "big") + payload[2:]


def lookup(ttl: int, data: bytes = b"\x0a\0\0\1") -> bytes:
    return message(
        RESPONSE, [question(WEB)], [record(QNAME, A, data, ttl)], [record(WEB, SOA, SOA_DATA, ttl)]
    )


def test_messages_that_differ_by_their_id_are_one_object() -> None:
    for payload in (message(QUERY, [question(WEB)]), lookup(30)):
        assert decode_message(payload) is decode_message(with_id(payload, 7))


def test_a_ttl_that_counts_down_is_shown() -> None:
    decoded = [decode_message(lookup(ttl)) for ttl in (30, 29, 28, 0, 0xFFFFFFFF)]
    assert decoded == [parse_message(lookup(ttl))[0] for ttl in (30, 29, 28, 0, 0xFFFFFFFF)]
    assert [one.answers[0].ttl for one in decoded if one.answers] == [30, 29, 28, 0, 0xFFFFFFFF]
    assert len(wire._templates) == 1


def test_other_data_of_the_same_shape_is_another_message() -> None:
    addresses = [bytes([10, 0, 0, last]) for last in (1, 2, 1)]
    assert [decode_message(lookup(30 - i, data)).resolved_ips for i, data in enumerate(addresses)] == [
        ["10.0.0.1"],
        ["10.0.0.2"],
        ["10.0.0.1"],
    ]


def test_the_flags_of_an_opt_record_are_no_ttl() -> None:
    def with_flags(flags: int) -> bytes:
        return message(
            RESPONSE, [question(WEB)], [record(QNAME, A, b"\x0a\0\0\1")], additional=[opt(512, flags)]
        )

    decoded = [decode_message(with_flags(flags)) for flags in (0, 0x8000, 0x01000000)]
    assert [(one.rcode, one.edns and one.edns.do) for one in decoded] == [
        ("NOERROR", False),
        ("NOERROR", True),
        ("BADVERS", False),
    ]


@pytest.mark.parametrize(
    "owner",
    [pointer(FIRST_RECORD + 6), b"\x01x" + pointer(FIRST_RECORD + 6), b"\x01x" + pointer(FIRST_RECORD + 4)],
    ids=["the TTL's first byte", "behind a label", "the class, and on into the TTL"],
)
def test_a_name_read_from_a_ttl_is_read_again(owner: bytes) -> None:
    def with_ttl(label: bytes) -> bytes:
        first = record(QNAME, 65280, b"", int.from_bytes(b"\1" + label + b"\0\0", "big"), 1)
        return message(RESPONSE, [question(WEB)], [first, record(owner, A, b"\x0a\0\0\1")])

    for label in (b"a", b"b", b"c"):
        payload = with_ttl(label)
        decoded = decode_message(payload)
        assert decoded == parse_message(payload)[0]
        assert label.decode() in str(decoded.answers)


def test_which_names_and_ttls_are_apart() -> None:
    ttls = [20, 30]
    touched = {*range(20, 24), *range(30, 34)}
    for start in range(15, 40):
        for end in range(start + 1, 41):
            apart = not touched & set(range(start, end))
            assert message_module._apart([(0, 3), (start, end)], ttls) == apart
    assert message_module._apart([(0, 99)], [])


def test_messages_without_ttls_to_share() -> None:
    many = message(RESPONSE, [question(WEB)], [record(QNAME, A, bytes([10, 0, 0, n]), n) for n in range(129)])
    for payload in (
        many,
        lookup(30)[:-1],
        message(RESPONSE, [question(WEB)]),
        b"",
        b"\1",
        b"\1\2",
        b"\1\2\x80",
    ):
        assert decode_message(payload) == decode_message(with_id(payload, 5)[: len(payload)])
        assert decode_message(payload) == parse_message(payload)[0]
    assert len(wire._templates) == 0


def test_big_messages_are_not_kept() -> None:
    answers = [record(QNAME, TXT, b"\xff" + b"x" * 255) for _ in range(20)]
    payload = message(RESPONSE, [question(WEB)], answers)
    assert decode_message(payload) == decode_message(payload)
    assert decode_message(payload) is not decode_message(payload)
    assert len(wire._messages) == 0


OWNERS = st.sampled_from([QNAME, WEB, b"\x02lb" + pointer(16), b"\0"])
RECORDS = st.one_of(
    st.builds(record, OWNERS, st.just(A), st.binary(min_size=4, max_size=4), st.integers(0, 3)),
    st.builds(record, OWNERS, st.just(AAAA), st.binary(min_size=16, max_size=16), st.integers(0, 3)),
    st.builds(record, OWNERS, st.just(CNAME), OWNERS, st.integers(0, 3)),
    st.builds(
        record, OWNERS, st.sampled_from([TXT, MX, SRV, HTTPS, 46]), st.binary(max_size=9), st.integers(0, 3)
    ),
    st.builds(record, OWNERS, st.just(SOA), st.just(SOA_DATA), st.integers(0, 3)),
)
SECTION = st.lists(RECORDS, max_size=2)
MESSAGES = st.builds(
    message,
    st.sampled_from([QUERY, RESPONSE, 0x8183, 0x8000]),
    st.lists(st.sampled_from([question(WEB), question(name(b"db"), AAAA)]), max_size=2),
    SECTION,
    SECTION,
    st.one_of(SECTION, st.builds(lambda ttl: [opt(512, ttl)], st.integers(0, 3))),
    st.integers(0, 3),
)


@given(st.lists(MESSAGES, max_size=12))
def test_cached_is_decoded(payloads: list[bytes]) -> None:
    for payload in payloads:
        assert decode_message(payload) == parse_message(payload)[0]


def test_threads_share_the_caches() -> None:
    chance = random.Random(7)
    payloads = [with_id(lookup(chance.randrange(5), bytes([10, 0, 0, n % 50])), n) for n in range(2000)]
    expected = [parse_message(payload)[0] for payload in payloads]
    results: list[list[DecodedMessage]] = [[] for _ in range(4)]

    def work(mine: list[DecodedMessage]) -> None:
        mine += [decode_message(payload) for payload in payloads]

    threads = [threading.Thread(target=work, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 4


def test_common_messages_do_not_import_dnslib() -> None:
    code = (
        "import sys; from kubectl_kdns.dns.wire import decode_message as decode;"
        f"decoded = decode({lookup(30)!r}); print(decoded.resolved_ips, 'dnslib' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['10.0.0.1'] False\n"


# --- the cache itself ----------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 25))))
def test_a_cache_never_holds_more_than_its_cost_and_one_entry(entries: list[tuple[int, int]]) -> None:
    cache: Cache[int, int] = Cache(100, lambda _, value: value)
    for key, value in entries:
        cache.put(key, value)
        assert cache.get(key) == value
        held = list(cache.recent.values()) + list(cache._older.values())
        assert len(cache) == len(held)
        assert sum(held) <= 100 + 2 * 25


def test_what_is_used_survives() -> None:
    cache: Cache[str, int] = Cache(10, lambda _key, _value: 1)
    cache.put("kept", 1)
    cache.put("dropped", 2)
    for number in range(100):
        cache.put(f"other {number}", number)
        assert cache.get("kept") == 1
    assert cache.get("dropped") is None
    cache.clear()
    assert (cache.get("kept"), len(cache)) == (None, 0)


def test_a_flood_of_names_leaves_the_caches_within_their_cost() -> None:
    for number in range(12_000):
        label = f"{number:08d}".encode()
        decode_message(
            message(RESPONSE, [question(name(label * 7, label))], [record(QNAME, A, b"\x0a\0\0\1")])
        )
    for cache, limit in ((wire._messages, 8 << 20), (wire._templates, 8 << 20), (wire._layouts, 2 << 20)):
        held = {**cache._older, **cache.recent}  # type: ignore[dict-item]
        spent = sum(cache._cost(key, value) for key, value in held.items())  # type: ignore[arg-type]
        assert 0 < spent <= limit + 4096


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_a_part_of_a_buffer_is_the_message_in_it(before: bytes, payload: bytes) -> None:
    buffer = before + payload + b"behind"
    end = len(before) + len(payload)
    for _ in range(2):
        assert decode_part(buffer, len(before), end) == decode_message(payload)
