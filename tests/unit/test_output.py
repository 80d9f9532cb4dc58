"""What holds for every format: the registry, the streams, the order, and that nothing unsafe gets out."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.errors import InputError, UsageError
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.model import RECORD_TYPES, Dns, Lookup, Loss, Notice, Record, Summary
from kubectl_kdns.output import FORMATS, make_output, split_format
from kubectl_kdns.output.csv_rows import DEFAULT_COLUMNS
from kubectl_kdns.output.options import OutputOptions, use_color
from kubectl_kdns.summary import Summarizer
from support import records as make

TEMPLATE = "NAME:.dns.name,ANSWERS:.dns.answers[*].data,ERROR:.error.message,PROCESS:.client.process.name"
EVERY_FIELD = tuple(BY_PATH)


class Recorder(io.BytesIO):
    """A stream that remembers each write and flush."""

    def __init__(self, log: list[str]) -> None:
        super().__init__()
        self.log = log

    def write(self, data: Any) -> int:
        self.log.append(f"out {len(bytes(data).splitlines())}")
        return super().write(data)

    def flush(self) -> None:
        self.log.append("flush")


def printed(name: str, records: list[Record], **options: Any) -> tuple[str, str]:
    out, err = io.BytesIO(), io.StringIO()
    options = {"template": TEMPLATE, "now_ns": make.START_NS, **options}
    output = make_output(name, out, err, OutputOptions(**options))
    output.begin()
    output.write(records)
    output.end()
    return out.getvalue().decode(options.get("encoding", "utf-8")), err.getvalue()


def summary_of(records: list[Record]) -> Summary:
    summarizer = Summarizer()
    summarizer.add(records)
    return summarizer.summary(
        time=make.at(60), duration_ms=60_000, seen=99, filtered=1, counters={"lines": 3}
    )


@pytest.fixture(params=[name for name in FORMATS if name != "custom-columns-file"])
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("table", ("table", "")),
        ("json", ("json", "")),
        ("custom-columns=A:.dns.name,B:.time", ("custom-columns", "A:.dns.name,B:.time")),
        ("custom-columns-file=a=b.txt", ("custom-columns-file", "a=b.txt")),
    ],
)
def test_a_format_is_a_name_with_or_without_an_argument(text: str, expected: tuple[str, str]) -> None:
    assert split_format(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jsn", "there is no output format 'jsn'\ndid you mean \"json\"?"),
        (
            "xyzzy",
            "there is no output format 'xyzzy'\n"
            "Try: one of table, wide, json, yaml, csv, custom-columns, custom-columns-file",
        ),
        ("json=x", "-o json takes no argument\nTry: -o json"),
        ("custom-columns", "-o custom-columns needs an argument\nTry: -o custom-columns=TITLE:PATH,..."),
        (
            "custom-columns-file=",
            "-o custom-columns-file needs an argument\nTry: -o custom-columns-file=FILE",
        ),
    ],
)
def test_a_wrong_format_is_told(text: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        split_format(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("other", [name for name in FORMATS if name not in ("table", "csv")])
def test_columns_go_with_table_and_csv_only(other: str) -> None:
    with pytest.raises(UsageError, match="--columns does not go with"):
        printed(other, [], columns=("dns.name",))


@pytest.mark.parametrize("other", ["table", "csv"])
def test_a_column_that_does_not_exist_is_told_when_the_output_is_made(other: str) -> None:
    with pytest.raises(UsageError, match=r"did you mean \"dns.rcode\""):
        printed(other, [], columns=("dns.rcod",))


def test_heavy_modules_wait_until_a_format_needs_them() -> None:
    code = (
        "import sys, io; from kubectl_kdns.output import *; from kubectl_kdns.output.options import *;"
        "make_output('table', io.BytesIO(), io.StringIO(), OutputOptions());"
        "make_output('json', io.BytesIO(), io.StringIO(), OutputOptions());"
        "print([m for m in ('yaml', 'tabulate', 'csv', 'kubernetes') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def unsafe_characters(text: str) -> set[str]:
    """Characters that a terminal could obey: all controls and formats but the line end."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") and c != "\n"}


@pytest.mark.parametrize("width", [None, 80])
def test_nothing_hostile_reaches_a_stream(name: str, width: int | None) -> None:
    hostile = make.all_records()
    assert make.HOSTILE[0] == "\x1b", "the records are made from text that would act on a terminal"
    columns = EVERY_FIELD if name in ("table", "csv") else ()
    for chosen in {columns, ()}:
        out, err = printed(name, [*hostile, summary_of(hostile)], width=width, columns=chosen)
        assert (unsafe_characters(out), unsafe_characters(err)) == (set(), set())
        assert "\\027]0;ow" in out, "the text itself is there"


@settings(deadline=None, max_examples=60)
@given(st.lists(make.records(), max_size=4), st.sampled_from([None, 1, 20, 80, 200]), st.booleans())
def test_any_records_print_in_any_format(records: list[Record], width: int | None, unicode: bool) -> None:
    rows = sum(isinstance(r, RECORD_TYPES["lookup"] | RECORD_TYPES["message"]) for r in records)
    for name in FORMATS:
        if name == "custom-columns-file":
            continue
        encoding = "utf-8" if unicode or name in ("json", "yaml") else "ascii"
        out, err = printed(name, [*records, summary_of(records)], width=width, encoding=encoding)
        assert (unsafe_characters(out), unsafe_characters(err)) == (set(), set())
        if name in ("table", "wide", "custom-columns"):
            assert out.count("\n") == rows + bool(rows)


def test_json_lines_read_back_as_the_same_records() -> None:
    records = [*make.all_records(), summary_of(make.all_records())]
    out, err = printed("json", records)
    decoded = [
        msgspec.json.decode(line, type=RECORD_TYPES[msgspec.json.decode(line)["kind"]])
        for line in out.splitlines()
    ]
    assert (decoded, err) == (records, "")


@settings(deadline=None, max_examples=50)
@given(st.lists(make.records(), max_size=3))
def test_json_and_yaml_read_back_as_the_same_data(records: list[Record]) -> None:
    expected = [msgspec.to_builtins(record) for record in records]
    assert [msgspec.json.decode(line) for line in printed("json", records)[0].splitlines()] == expected
    assert list(yaml.safe_load_all(printed("yaml", records)[0])) == expected


def test_yaml_keeps_the_order_of_keys_and_quotes_what_others_take_for_numbers() -> None:
    records: list[Record] = [
        Lookup(time=make.at(0), dns=Dns(name=text, type="A"))
        for text in ("1e3", "0x1f", "0o17", "1_000", "y", "no", "null", ".", "-", "~", "a: b", "12:30:45")
    ]
    out, _ = printed("yaml", records)
    assert out.startswith(
        "---\napiVersion: kdns/v1\nkind: lookup\n"
        "time: '2026-11-23T10:00:00.204000000Z'\ndns:\n  name: '1e3'\n  type: A\n---\n"
    )
    unquoted = [line for line in out.splitlines() if line.startswith("  name: ") and line[8] != "'"]
    assert unquoted == []


@settings(deadline=None, max_examples=50)
@given(st.lists(make.lookups() | make.any_messages(), max_size=4))
def test_csv_reads_back_cell_by_cell(records: list[Record]) -> None:
    out, _ = printed("csv", records)
    header, *rows = csv.reader(io.StringIO(out))
    assert header == list(DEFAULT_COLUMNS)
    assert [len(row) for row in rows] == [len(header)] * len(records)
    for record, row in zip(records, rows, strict=True):
        cells = dict(zip(header, row, strict=True))
        assert cells["time"] == (record.time or "")
        assert cells["dns.name"] == ((record.dns and record.dns.name) or "")
        assert cells["error.message"] == ((record.error and record.error.message) or "")
        latency_ms = record.latency_ms if isinstance(record, Lookup) else UNSET
        assert (float(cells["latency_ms"]) if cells["latency_ms"] else UNSET) == latency_ms


def test_csv_has_a_header_without_rows_and_rows_without_a_header() -> None:
    columns = ("dns.name", "time")
    records: list[Record] = [Lookup(time="T", dns=Dns(name="a,b"))]
    assert printed("csv", [], columns=columns) == ("dns.name,time\n", "")
    assert printed("csv", records, columns=columns, headers=False) == ('"a,b",T\n', "")


@pytest.mark.parametrize("empty", ["table", "wide", "json", "yaml", "custom-columns"])
def test_an_empty_stream_prints_nothing(empty: str) -> None:
    assert printed(empty, []) == ("", "")


def test_one_write_a_batch_and_the_order_of_both_streams_is_kept(name: str) -> None:
    log: list[str] = []
    out, err = Recorder(log), io.StringIO()
    err.write = lambda text: log.append(f"err {text[:4]}") or 0  # type: ignore[method-assign]
    output = make_output(name, out, err, OutputOptions(template=TEMPLATE, headers=False))
    output.begin()
    lookup = Lookup(dns=Dns(name="a"))
    output.write([lookup, lookup, Loss(), lookup, Notice(message="m")])
    output.write([lookup])
    output.write([])
    output.end()
    if name == "json":
        assert log == ["out 5", "out 1"]
    elif name == "yaml":
        assert [entry.split()[0] for entry in log] == ["out", "out"]
    else:
        assert log == ["out 2", "flush", "err lost", "out 1", "flush", "err noti", "out 1"]


def test_a_summary_is_text_or_json_on_stderr_beside_rows() -> None:
    summary = summary_of([])
    assert printed("table", [summary])[1].startswith("No lookups in 1m0s; 1 did not match the filter\n")
    out, err = printed("csv", [summary], summary="json", headers=False)
    assert (out, msgspec.json.decode(err, type=Summary)) == ("", summary)


def test_err_color_paints_status_lines_only() -> None:
    records: list[Record] = [Lookup(dns=Dns(name="a", rcode="SERVFAIL")), Loss(), Notice(message="m")]
    out, err = printed("table", records, err_color=True, headers=False)
    assert "\x1b" not in out
    assert err == "\x1b[33mlost: an unknown number of events\x1b[0m\n\x1b[33mnotice: m\x1b[0m\n"


@pytest.mark.parametrize(
    ("choice", "terminal", "environ", "expected"),
    [
        ("auto", True, {}, True),
        ("auto", False, {}, False),
        ("auto", True, {"NO_COLOR": "1"}, False),
        ("auto", True, {"NO_COLOR": ""}, True),
        ("auto", True, {"TERM": "dumb"}, False),
        ("always", False, {"NO_COLOR": "1", "TERM": "dumb"}, True),
        ("never", True, {}, False),
    ],
)
def test_when_there_is_color(choice: str, terminal: bool, environ: dict[str, str], expected: bool) -> None:
    assert use_color(choice, terminal=terminal, environ=environ) is expected


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("utf-8", "日本 µs 41µs"), ("ascii", "\\u65e5\\u672c us 41us"), ("latin-1", "\\u65e5\\u672c us 41us")],
)
def test_letters_that_the_encoding_lacks_are_shown_as_codes(encoding: str, expected: str) -> None:
    records: list[Record] = [Notice(message="日本 µs 41µs")]
    assert printed("table", records, encoding=encoding)[1] == f"notice: {expected}\n"


def test_custom_columns_file_is_read_when_the_output_is_made(tmp_path: Path) -> None:
    path = tmp_path / "columns.txt"
    path.write_text("NAME     RCODE\n.dns.name   dns.rcode\n")
    out, _ = printed("custom-columns-file", [Lookup(dns=Dns(name="a"))], template=str(path))
    assert [line.split() for line in out.splitlines()] == [["NAME", "RCODE"], ["a", "<none>"]]
    path.write_bytes(b"\xff")
    for missing in (path, tmp_path / "no"):
        with pytest.raises(InputError, match=re.escape(f"cannot read the columns in {missing}")):
            printed("custom-columns-file", [], template=str(missing))
