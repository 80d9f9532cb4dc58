"""Recorded flows, as whole commands and as a source: every kind of file, and every way to be broken."""

from __future__ import annotations

import gzip
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kdns_hubble import recorded
from kdns_hubble.backend import BACKEND
from kdns_hubble.recorded import FlowLines
from kubectl_kdns.backend import Scope
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.inputs import open_inputs
from kubectl_kdns.model import Lookup, Loss, Notice, Record
from support.hubble_flows import START_NS, json_line, json_lines, node_status, request, response

COMMAND = [sys.executable, "-m", "kubectl_kdns", "trace", "--from"]


def exchange(name: str, at_ms: int = 0) -> list[Any]:
    asked = request(f"{name}.", port=1024 + at_ms % 60000, time_ns=START_NS + at_ms * 1_000_000)
    return [asked, response(asked, ips=["192.0.2.1"])]


LINES = json_lines([node_status("NODE_CONNECTED", "kdns-n1"), *exchange("a.test"), *exchange("b.test", 10)])
LEGACY = "".join(json_line(flow) + "\n" for flow in exchange("legacy.test", 20))


def trace(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *arguments, "-o", "json", "--summary", "none"]
    return subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False)


def names(done: subprocess.CompletedProcess[bytes]) -> list[str]:
    assert done.returncode == 0, done.stderr.decode()
    assert b"Traceback" not in done.stderr
    records = map(json.loads, done.stdout.splitlines())
    return sorted(record["dns"]["name"] for record in records if record["kind"] == "lookup")


def test_lines_legacy_lines_packed_and_from_a_pipe(tmp_path: Path) -> None:
    plain, packed = tmp_path / "flows.jsonl", tmp_path / "flows.gz"
    plain.write_text(LINES + LEGACY)
    packed.write_bytes(gzip.compress((LINES + LEGACY).encode()))
    expected = ["a.test", "b.test", "legacy.test"]
    for path in (plain, packed):
        assert names(trace(str(path))) == expected
    assert names(trace("-", stdin=(LINES + LEGACY).encode())) == expected


def test_together_with_kdns_own_lines(tmp_path: Path) -> None:
    flows, own = tmp_path / "flows.jsonl", tmp_path / "own.jsonl"
    flows.write_text(LINES)
    own.write_bytes(trace(str(flows)).stdout.replace(b"a.test", b"c.test").replace(b"b.test", b"d.test"))
    assert names(trace(str(flows), "--from", str(own), "--all-sightings")) == [
        "a.test",
        "b.test",
        "c.test",
        "d.test",
    ]


@contextmanager
def piped() -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, "-", "-o", "json"], stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process
        process.kill()


def test_a_pipe_that_stays_open() -> None:
    """`hubble observe -f -o jsonpb | kubectl kdns trace --from -`: lookups as they come; Ctrl-C ends it."""
    with piped() as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        for name in ("a.test", "b.test"):
            process.stdin.write(json_lines(exchange(name)).encode())
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["dns"]["name"] == name
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
        assert b"Traceback" not in process.stderr.read()


def read(data: bytes, **scope: Any) -> list[Record]:
    plan = BACKEND.plan(parse_filter(""))
    source = BACKEND.decode(io.BytesIO(data), Scope(**scope), plan)
    return [record for batch in source for record in batch]


def told(records: list[Record]) -> list[str]:
    """What is no lookup."""
    return [
        f"{r.reason} {r.count or '?'}: {r.message}" if isinstance(r, Loss) else f"{r.code}: {r.message}"
        for r in records
        if isinstance(r, Loss | Notice)
    ]


def lookups(records: list[Record]) -> list[str]:
    return [str(r.dns and r.dns.name) for r in records if isinstance(r, Lookup)]


def test_a_broken_end() -> None:
    data = (LINES + LEGACY).encode()
    records = read(data[:-20])
    assert lookups(records)[:2] == ["a.test", "b.test"]
    assert told(records) == ["truncated ?: it ends in the middle of a line. All before it was read"]
    # A last line without its newline may well be whole.
    assert told(read(data[:-1])) == []


def test_a_broken_archive(tmp_path: Path) -> None:
    path = tmp_path / "flows.gz"
    many = json_lines([flow for number in range(3000) for flow in exchange(f"n{number}.test", number)])
    path.write_bytes(gzip.compress(many.encode())[:-2000])
    done = trace(str(path))
    assert "n0.test" in names(done)
    losses = [r for r in map(json.loads, done.stdout.splitlines()) if r["kind"] == "loss"]
    assert [loss["reason"] for loss in losses] == ["truncated"]
    assert "compressed data is broken" in losses[0]["message"]


@pytest.mark.parametrize("at_end", [False, True])
def test_a_line_that_is_too_long(monkeypatch: pytest.MonkeyPatch, at_end: bool) -> None:
    monkeypatch.setattr(recorded, "MAX_LINE_BYTES", 10_000)
    monkeypatch.setattr(recorded, "READ_BYTES", 4096)
    long = b'{"flow":{"x":"' + b"y" * 20_000
    data = LINES.encode() + long + (b"" if at_end else b'"}}\n' + LEGACY.encode())
    records = read(data)
    assert lookups(records) == ["a.test", "b.test", *([] if at_end else ["legacy.test"])]
    assert told(records) == ["truncated 1: lines of more than 10000 bytes were left out"]


def test_lines_of_every_length_however_they_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "MAX_LINE_BYTES", 50)
    lengths = [0, 1, 49, 50, 51, 52, 200, 3, 0, 50, 51]
    data = b"".join(b"x" * length + b"\n" for length in lengths)
    for size in (1, 7, 49, 50):
        monkeypatch.setattr(recorded, "READ_BYTES", size)
        lines = FlowLines(io.BytesIO(data))
        assert [len(line) for batch in lines for line in batch] == [n for n in lengths if 0 < n <= 50]
        assert (lines.too_long, lines.broken) == (sum(n > 50 for n in lengths), "")


def test_a_response_larger_than_hubbles_are_is_told() -> None:
    large = b'{"flow":{"verdict":"FORWARDED","x":"' + b"y" * (17 << 20) + b'"}}\n'
    records = read(LINES.encode() + large + LEGACY.encode())
    assert lookups(records) == ["a.test", "b.test", "legacy.test"]
    assert told(records) == [f"truncated 1: lines of more than {16 << 20} bytes were left out"]
    records = read(LINES.encode() + large.replace(b"y" * (15 << 20), b"") + LEGACY.encode())
    assert [text.split(":")[0] for text in told(records)] == ["unread_response"]


def test_what_is_no_line_of_hubble_is_left_out_and_told_once() -> None:
    records = read(LINES.encode() + b"\n\n  \nwhat?\n{}\n\xff\xfe\n" + LEGACY.encode())
    assert lookups(records) == ["a.test", "b.test", "legacy.test"]
    assert [text.split(":")[0] for text in told(records)] == ["unread_response"]


def test_flows_without_any_dns() -> None:
    flow = request()
    flow.ClearField("l7")
    [text] = told(read(json_lines([flow]).encode()))
    assert text.startswith("no_dns: none of 1 flows")


def test_what_files_are_taken_for_flows() -> None:
    assert BACKEND.sniff(LINES.encode())
    assert BACKEND.sniff(LEGACY.encode())
    assert BACKEND.sniff(b"a warning of hubble's\n" + LINES.encode())
    for other in (
        b"",
        b"{}\n",
        b'{"apiVersion":"kdns/v1","kind":"lookup"}\n',
        b"\xd4\xc3\xb2\xa1" + bytes(20),
        b"[",
    ):
        assert not BACKEND.sniff(other)


def test_close_while_nothing_comes() -> None:
    """The end of a pipe's reading, from another thread."""
    reading, writing = os.pipe()
    os.write(writing, LINES.encode())
    with open(reading, "rb", buffering=0) as stdin:
        [opened] = open_inputs(["-"], stdin)
        source = BACKEND.decode(opened.stream, Scope(), BACKEND.plan(parse_filter("")))
        batches = iter(source)
        records = next(batch for batch in batches if batch)
        source.close()
        records += [record for batch in batches for record in batch]
    os.close(writing)
    assert told(records) == []
    assert lookups(records) == ["a.test", "b.test"]
