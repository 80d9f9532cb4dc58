"""kdns JSON lines come back as the records that were written; what is no record is told, never raised."""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, to_builtins

from kdns_replay import BACKEND, jsonlines
from kubectl_kdns.backend import Plan, Scope
from kubectl_kdns.errors import InputError
from kubectl_kdns.model import Answer, Client, Dns, Lookup, Loss, Notice, Record, Summary
from support.records import HOSTILE, records

ENCODER = msgspec.json.Encoder()
LOOKUP = Lookup(time="2026-11-23T10:00:00.000000000Z", backend="ebpf", dns=Dns(name="a.b", type="A"))
LINE = ENCODER.encode(LOOKUP)
HEAD = b'{"apiVersion":"kdns/v1","kind":"notice"}\n'


def read(data: bytes | Iterable[bytes]) -> tuple[list[Record], dict[str, int]]:
    chunks = [data] if isinstance(data, bytes) else data
    source = jsonlines.JsonLinesSource(io.BytesIO(), chunks)
    found = [record for batch in source for record in batch]
    return found, dict(source.counters)


@given(st.lists(records(), max_size=8), st.integers(1, 400))
def test_what_was_written_is_read_and_written_again_byte_for_byte(written: list[Record], piece: int) -> None:
    data = ENCODER.encode_lines(written)
    found, counters = read(data[at : at + piece] for at in range(0, len(data), piece))
    assert found == written
    assert ENCODER.encode_lines(found) == data
    assert counters == {"lines_read": len(written), "lines_unknown": 0, "lines_invalid": 0}


def test_a_summary_comes_back() -> None:
    summary = Summary(time="2026-11-23T10:00:00.000000000Z", seen=3, loss=[Loss(reason="queue")])
    assert read(ENCODER.encode(summary) + b"\n")[0] == [summary]


def test_unknown_fields_and_values_are_taken() -> None:
    line = b'{"apiVersion":"kdns/v1","kind":"lookup","new":{"deep":[1]},"status":"odd","dns":{"x":null}}\n'
    assert read(line)[0] == [Lookup(status="odd", dns=Dns())]


def test_keys_in_another_order_and_spaces() -> None:
    line = b' { "dns" : {"type":"A", "name":"a.b"}, "kind":"lookup", "apiVersion": "kdns/v1" } \r\n'
    assert read(line)[0] == [Lookup(dns=Dns(name="a.b", type="A"))]


def test_blank_lines_and_a_byte_order_mark() -> None:
    found, counters = read(b"\xef\xbb\xbf" + LINE + b"\n\n  \n" + LINE + b"\n")
    assert found == [LOOKUP, LOOKUP]
    assert counters["lines_invalid"] == 0


def test_kinds_of_a_newer_kdns_are_counted_and_told_once() -> None:
    found, counters = read(
        b'{"apiVersion":"kdns/v1","kind":"dream"}\n{"apiVersion":"kdns/v2","kind":"lookup"}\n' * 3 + LINE
    )
    assert found == [
        LOOKUP,
        Notice(
            backend="replay",
            code="unknown_kinds",
            message="the input: 6 records are of kinds unknown to this kdns: dream of kdns/v1, lookup of "
            "kdns/v2. Try: a newer kubectl-kdns",
        ),
    ]
    assert counters["lines_unknown"] == 6


# As msgspec 0.23 says it; those before let Python's decoder say it.
NO_UTF8 = ("Invalid UTF-8 encoded string", "'utf-8' codec can't decode byte 0xff in position 0")
INVALID: dict[str, tuple[bytes, str | tuple[str, str]]] = {
    "no JSON": (b"hello", "JSON is malformed: invalid character (byte 0)"),
    "no object": (b"[1]", "Expected `object`, got `array`"),
    "no kind": (b'{"apiVersion":"kdns/v1"}', "Object missing required field `kind`"),
    "a number as a name": (LINE.replace(b'"a.b"', b"7"), "Expected `str`, got `int` - at `$.dns.name`"),
    "null": (LINE.replace(b'"a.b"', b"null"), "Expected `str`, got `null` - at `$.dns.name`"),
    "no UTF-8": (LINE.replace(b"a.b", b"\xff"), NO_UTF8),
    "a control character as it is": (LINE.replace(b"a.b", b"\x1b"), "JSON is malformed: invalid character"),
    "half a surrogate": (LINE.replace(b"a.b", rb"\ud800"), "JSON is malformed: unexpected end of escaped"),
}


@pytest.mark.parametrize("case", INVALID)
def test_a_line_that_is_no_record_is_a_loss_with_its_number(case: str) -> None:
    line, causes = INVALID[case]
    found, counters = read(LINE + b"\n\n" + line + b"\n" + LINE + b"\n")
    assert found[:2] == [LOOKUP, LOOKUP]
    assert isinstance(found[2], Loss)
    assert (found[2].reason, found[2].unit, found[2].count) == ("malformed", "lines", 1)
    cause = str(found[2].message).removeprefix("the input: line 3 is no kdns record: ")
    assert cause.startswith(causes)
    assert len(found) == 3
    assert counters == {"lines_read": 4, "lines_unknown": 0, "lines_invalid": 1}


@pytest.mark.parametrize("depth", [5_000, 1_000_000])
def test_no_depth_breaks_it(depth: int) -> None:
    """How deep a field may be that is passed over differs between Pythons: it is read, or a loss."""
    deep = LINE[:-1] + b',"x":' + b"[" * depth + b"]" * depth + b"}"
    found, counters = read(LINE + b"\n" + deep + b"\n" + LINE + b"\n")
    assert found[:2] == [LOOKUP, LOOKUP]
    (last,) = found[2:]
    assert last == LOOKUP or (isinstance(last, Loss) and "deserializing an object" in str(last.message))
    assert counters["lines_invalid"] == isinstance(last, Loss)


def test_many_such_lines_are_one_loss() -> None:
    found, counters = read(b"bad\n" * 1000 + LINE)
    assert len(found) == 2
    assert isinstance(found[0], Loss)
    assert found[0].count == 1000
    assert str(found[0].message).endswith("(1000 such lines)")
    assert counters["lines_invalid"] == 1000


def test_the_last_line_may_lack_its_newline() -> None:
    assert read(LINE + b"\n" + LINE)[0] == [LOOKUP, LOOKUP]


@pytest.mark.parametrize("size", range(1, len(LINE)))
def test_a_file_that_ends_inside_a_line_keeps_all_before(size: int) -> None:
    found, _ = read(LINE + b"\n" + LINE[:size])
    assert found == [
        LOOKUP,
        Loss(
            backend="replay",
            reason="truncated",
            unit="lines",
            message="the input: the file ends inside line 2. All before it was read",
        ),
    ]


def test_a_line_without_an_end_takes_bounded_memory() -> None:
    found, _ = read([LINE + b"\n", *[b"x" * 1_000_000] * 20, b"\n" + LINE + b"\n"])
    assert found[0] == found[1] == LOOKUP
    assert isinstance(found[2], Loss)
    assert found[2].reason == "malformed"


def visible(text: str) -> bool:
    return all(unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in text)


def texts_of(value: object) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts_of(item)


hostile = st.text(st.sampled_from(HOSTILE.replace("\ud800", "") + "a\\n027é"), max_size=12)


@given(hostile, hostile, hostile, st.booleans())
def test_no_text_of_a_file_reaches_a_terminal_unsafe(one: str, other: str, third: str, escaped: bool) -> None:
    lookup = Lookup(
        node=one,
        client=Client(pod=other),
        dns=Dns(name=third, answers=[Answer(one, other, UNSET, third)], flags=[other]),
    )
    summary = Summary(counters={one: 1})
    line = ENCODER.encode_lines([lookup, summary])
    if escaped:
        line = line.decode().encode("ascii", "backslashreplace").replace(b"\\x", b"\\u00")
    found, _ = read(line)
    assert len(found) == 2
    for record in found:
        assert all(map(visible, texts_of(to_builtins(record))))


def test_escapes_that_are_already_safe_are_kept() -> None:
    lookup = Lookup(dns=Dns(name=r"a\027b\\.c", answers=[Answer("bücher.example", "TXT", 5, '"a\\"b"')]))
    data = ENCODER.encode(lookup) + b"\n"
    assert read(data)[0] == [lookup]


@given(st.lists(st.one_of(st.binary(max_size=60), st.just(LINE)), max_size=6), st.integers(1, 50))
def test_no_bytes_raise(lines: list[bytes], piece: int) -> None:
    data = HEAD + b"\n".join(lines)
    read(data[at : at + piece] for at in range(0, len(data), piece))


@pytest.mark.parametrize(
    ("head", "known"),
    [
        (LINE, True),
        (LINE[:24], True),
        (b"\xef\xbb\xbf\n  " + LINE, True),
        (b'{"kind":"lookup", "apiVersion" : "kdns/v9"}', True),
        (b'{"flow":{"l7":{"dns":{"query":"apiVersion kdns/"}}}}', False),
        (b'{"apiVersion":"v1","kind":"List"}\n' + LINE, False),
        (b"", False),
        (b"[INFO] 10.0.0.1:53", False),
    ],
)
def test_sniff(head: bytes, known: bool) -> None:
    assert jsonlines.sniff(head) == known
    assert BACKEND.sniff(head) == known


def test_the_backend_reads_them() -> None:
    source = BACKEND.decode(io.BytesIO(LINE + b"\n"), Scope(), Plan())
    assert list(source) == [[LOOKUP], []]
    assert source.description == "the records in the input"


def test_the_backend_refuses_other_data() -> None:
    with pytest.raises(InputError, match="neither a capture"):
        BACKEND.decode(io.BytesIO(b"hello\n" * 10), Scope(), Plan())
