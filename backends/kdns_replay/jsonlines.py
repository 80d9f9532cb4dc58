"""Reads kdns JSON lines back to the records that they were.

The schema is additive: fields that are not known are ignored, kinds that are not known are counted, and any
value is taken. The file may come from anywhere: where a line may hold a character that does something to a
terminal, every text of its record is made safe again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

import msgspec

from kdns_replay.capture import BrokenInput
from kdns_replay.reports import Reports
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import API_VERSION, RECORD_TYPES, Record

MAX_LINE_BYTES = 4 << 20
MAX_TOLD_KINDS = 8

_SNIFF = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{[^\n]*"apiVersion"\s*:\s*"kdns/')
_BOM = b"\xef\xbb\xbf"
_PREFIX = f'{{"apiVersion":"{API_VERSION}","kind":"'.encode()
_LOOKUP_PREFIX = _PREFIX + b'lookup",'
# An escape or a byte that can stand for a control character, or for one of another script.
_DOUBTFUL = re.compile(rb"\\[bfnrtu]|[\x7f-\xff]")


class _Envelope(msgspec.Struct):
    kind: str
    apiVersion: str


_DECODERS = {kind: msgspec.json.Decoder(type_) for kind, type_ in RECORD_TYPES.items()}
_DECODE_LOOKUP = _DECODERS["lookup"].decode
_ENVELOPE = msgspec.json.Decoder(_Envelope)


def sniff(head: bytes) -> bool:
    return _SNIFF.match(head) is not None


class JsonLinesSource:
    """The records of one file, in its order."""

    in_history = False

    def __init__(self, stream: BinaryIO, chunks: Iterable[bytes]) -> None:
        self._stream = stream
        self._chunks = chunks
        self._reports = Reports(stream)
        self._closed = False
        self._counters = {"lines_read": 0, "lines_unknown": 0, "lines_invalid": 0}
        self._unknown: set[str] = set()

    @property
    def description(self) -> str:
        return f"the records in {self._reports.name}"

    @property
    def counters(self) -> Mapping[str, int]:
        return self._counters

    def close(self) -> None:
        self._closed = True
        self._stream.close()

    def __iter__(self) -> Iterator[list[Record]]:
        rest = b""
        broken = ""
        try:
            for more in self._chunks:
                whole, newline, after = more.rpartition(b"\n")
                if newline:
                    yield self._records((rest + whole).split(b"\n"))
                    rest = after
                elif not more:
                    yield []
                elif len(rest) <= MAX_LINE_BYTES:
                    rest += more  # else it will be told as invalid, and need not be whole for that
                if self._closed:
                    break
        except BrokenInput as error:
            broken = str(error)
        finally:
            self._stream.close()
        yield self._end(rest, broken)

    def _records(self, lines: list[bytes]) -> list[Record]:
        records: list[Record] = []
        first_invalid = ""
        invalid = 0
        before = self._counters["lines_read"]
        self._counters["lines_read"] += len(lines)
        for number, line in enumerate(lines, before + 1):
            try:
                record = self._record(line)
            except (ValueError, RecursionError) as error:
                invalid += 1
                first_invalid = first_invalid or f"line {number} is no kdns record: {safe_text(str(error))}"
                continue
            if record is not None:
                records.append(record)
        if invalid:
            self._counters["lines_invalid"] += invalid
            more = f" ({invalid} such lines)" if invalid > 1 else ""
            records.append(self._reports.loss("malformed", "lines", invalid, first_invalid + more))
        return records

    def _record(self, line: bytes) -> Record | None:
        """The record of one line, None for a line of nothing or of a kind that is not known. ValueError
        (msgspec's and UnicodeDecodeError are) and RecursionError when it is no record."""
        if line.startswith(_LOOKUP_PREFIX):
            record: Record = _DECODE_LOOKUP(line)
        else:
            line = line.removeprefix(_BOM)
            if not line or line.isspace():
                return None
            envelope = _ENVELOPE.decode(line)
            decoder = _DECODERS.get(envelope.kind)
            if decoder is None or envelope.apiVersion != API_VERSION:
                self._counters["lines_unknown"] += 1
                if len(self._unknown) < MAX_TOLD_KINDS:
                    self._unknown.add(safe_text(f"{envelope.kind} of {envelope.apiVersion}"))
                return None
            record = decoder.decode(line)
        if (b"\\" in line or b"\x7f" in line or not line.isascii()) and _DOUBTFUL.search(line):
            record = msgspec.convert(_made_safe(msgspec.to_builtins(record)), type(record))
        return record

    def _end(self, rest: bytes, broken: str) -> list[Record]:
        """The last line, which may lack its newline or its end."""
        reports = self._reports
        records: list[Record] = []
        lines = self._counters["lines_read"]
        try:
            record = self._record(rest)
        except (ValueError, RecursionError):
            broken = broken or f"the file ends inside line {lines + 1}"
        else:
            self._counters["lines_read"] += bool(rest)
            if record is not None:
                records.append(record)
        if broken:
            records.append(reports.loss("truncated", "lines", None, f"{broken}. All before it was read"))
        if self._unknown:
            kinds = ", ".join(sorted(self._unknown))
            records.append(
                reports.notice(
                    "unknown_kinds",
                    f"{self._counters['lines_unknown']} records are of kinds unknown to this kdns: {kinds}. "
                    "Try: a newer kubectl-kdns",
                )
            )
        return records


def _made_safe(value: Any) -> Any:
    if isinstance(value, str):
        return safe_text(value)
    if isinstance(value, list):
        return [_made_safe(item) for item in value]
    if isinstance(value, dict):
        return {safe_text(key): _made_safe(item) for key, item in value.items()}
    return value
