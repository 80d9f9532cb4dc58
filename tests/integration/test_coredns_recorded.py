"""Recorded CoreDNS logs as a source: files, pipes, broken ends, and what a file is recognised by."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from kdns_coredns import BACKEND, recorded
from kdns_coredns.corefile import COMMON, CorefileError
from kdns_coredns.recorded import RecordedLog, formats_of_options
from kdns_coredns.selection import Selection
from kubectl_kdns.backend import Plan, Scope
from kubectl_kdns.errors import UsageError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.inputs import open_inputs
from kubectl_kdns.model import Lookup, Loss, Notice, Record
from support.coredns_log import START_NS, Query, error_line, query_line, stamped

LINE = stamped(START_NS, query_line(Query()))


def source(data: bytes | BinaryIO, *formats: str) -> RecordedLog:
    stream = io.BytesIO(data) if isinstance(data, bytes) else data
    return RecordedLog(stream, formats or (COMMON,), Selection(), raw=False)


def records(data: bytes, *formats: str) -> list[Record]:
    return [record for batch in source(data, *formats) for record in batch]


def kinds(found: list[Record]) -> list[str]:
    return [record.code or "" if isinstance(record, Notice) else record.kind for record in found]


def test_a_file() -> None:
    log = source(LINE.encode() * 3)
    assert kinds([record for batch in log for record in batch]) == ["lookup"] * 3
    assert (log.counters["lines_read"], log.counters["lines_queries"]) == (3, 3)
    assert log.description == "the log lines in the input"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (LINE.encode().rstrip(b"\n"), "no newline at the end"),
        (b"\xef\xbb\xbf" + LINE.encode(), "a byte order mark"),
        (LINE.encode().replace(b"\n", b"\r\n"), "line ends of Windows"),
    ],
)
def test_odd_files(data: bytes, what: str) -> None:
    assert kinds(records(data)) == ["lookup"], what


def test_remarks() -> None:
    assert kinds(records(query_line(Query()).encode())) == ["lookup", "no_times"]
    assert kinds(records(b"[INFO] 10.0.0.1 asked for x. A\n")) == ["no_lookups"]
    assert kinds(records(b"")) == []


def test_a_line_without_end() -> None:
    data = LINE.encode() + b"x" * (recorded.MAX_LINE_BYTES * 2) + b"\n" + LINE.encode()
    found = records(data)
    assert kinds(found) == ["lookup", "lookup", "loss"]
    [loss] = [record for record in found if isinstance(record, Loss)]
    assert (loss.reason, loss.unit, loss.count) == ("truncated", "lines", 1)


class Breaking(io.BytesIO):
    """Ends in an error, as a damaged gzip file does."""

    def read1(self, size: int | None = -1) -> bytes:
        data = super().read1(size)
        if not data:
            raise OSError("the compressed data is broken")
        return data


def test_a_broken_end_is_a_loss() -> None:
    found = [record for batch in source(Breaking(LINE.encode() + b"2026-11")) for record in batch]
    assert kinds(found) == ["lookup", "loss"]
    assert isinstance(found[1], Loss)
    assert found[1].message == "the compressed data is broken. All before it was read"
    assert found[1].time == "2026-11-23T10:00:00.203854830Z"


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, int]]:
    """A stream on a pipe as the session opens it, and the descriptor to write to."""
    read_end, write_end = os.pipe()
    stdin = os.fdopen(read_end, "rb", buffering=0)
    os.write(write_end, LINE.encode())
    [item] = open_inputs(["-"], stdin=stdin)
    yield item.stream, write_end
    item.stream.close()
    os.close(write_end)


def test_a_slow_pipe_does_not_hold_back_what_it_has(pipe: tuple[BinaryIO, int]) -> None:
    stream, write_end = pipe
    log = source(stream)
    batches = (batch for batch in log if batch)
    assert kinds(next(batches)) == ["lookup"]
    failed = Query(rcode="-", duration_ns=2_000_000_000)
    line, error = stamped(START_NS, query_line(failed)), stamped(START_NS, error_line(failed))
    os.write(write_end, line.encode())
    [lookup] = next(batches)  # it waited for an error line, which did not come
    assert isinstance(lookup, Lookup)
    assert lookup.status == "unwritten"
    os.write(write_end, (line + error).encode())
    [lookup] = next(batches)
    assert isinstance(lookup, Lookup)
    assert lookup.status == "answered"
    log.close()
    assert list(batches) == []


def test_close_ends_a_read_that_waits(pipe: tuple[BinaryIO, int]) -> None:
    stream, _ = pipe
    log = source(stream)
    batches = iter(log)
    while not next(batches):
        pass
    closer = threading.Thread(target=log.close)
    closer.start()
    assert [record for batch in batches for record in batch] == []
    closer.join()


def test_the_backend_decodes_with_its_plan() -> None:
    log = LINE + stamped(START_NS, query_line(Query(rcode="NXDOMAIN")))
    plan = BACKEND.plan(parse_filter('dns.rcode == "NXDOMAIN"'))
    decoded = BACKEND.decode(io.BytesIO(log.encode()), Scope(), plan)
    assert sum(len(batch) for batch in decoded) == 1
    assert decoded.counters["lines_skipped"] == 1
    assert sum(len(batch) for batch in BACKEND.decode(io.BytesIO(log.encode()), Scope(), Plan())) == 2


@pytest.mark.parametrize(
    "head",
    [
        query_line(Query()).encode(),
        LINE.encode(),
        b"[pod/coredns-a/coredns] " + query_line(Query()).encode(),
        b"coredns-a coredns [INFO] my own format",
        b'[INFO] {"name":"x."}\n',
        b".:53\nCoreDNS-1.12.1\nlinux/amd64\n",
        b"[ERROR] plugin/errors: 2 a. A: e",
        b'10.0.0.1:5 - [11/Jan/2019:19:59:01 +0000] 14 "A IN a. udp 36 false 512" NXDOMAIN qr 112 0.1s',
        b'{"time":"2026-11-23T10:00:00Z","level":"INFO","msg":"10.0.0.1:5 - 7"}',
        b'2026-11-23T10:00:00Z {"level":"INFO","msg":"10.0.0.1:5 - 7"}',
    ],
)
def test_what_is_recognised(head: bytes) -> None:
    assert BACKEND.sniff(head)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\xd4\xc3\xb2\xa1" + bytes(20) + b"[INFO] x",
        b'{"apiVersion":"kdns/v1","kind":"lookup","raw":"T [INFO] 10.0.0.1:5 - 7"}',
        b'{"flow":{"time":"2026-11-23T10:00:00Z","verdict":"FORWARDED"}}',
        b"a plain text\nwith lines\n",
        b"apiVersion: v1\nkind: Pod\n",
    ],
)
def test_what_is_something_else(head: bytes) -> None:
    assert not BACKEND.sniff(head)


def test_formats_of_the_flags() -> None:
    assert formats_of_options({}) == (COMMON,)
    assert formats_of_options({"log_format": "{name} {type}"}) == ("{name} {type}", COMMON)
    assert formats_of_options({"corefile": ".:53 {\n log . {combined}\n}"})[1] == COMMON
    with pytest.raises(UsageError, match=r"--log-format \{name\}: the format has no \{type\}"):
        formats_of_options({"log_format": "{name}"})
    with pytest.raises(CorefileError, match="Corefile:1"):
        formats_of_options({"corefile": ". {"})
