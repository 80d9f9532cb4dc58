"""A recorded CoreDNS log as a source: what kubectl, stern, a node's files or CoreDNS itself have written.

A thread reads, so that a lookup from a slow pipe (`kubectl logs -f | kubectl kdns trace --from -`) does not
wait for the line after it.
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import BinaryIO

from msgspec import UNSET

from kdns_coredns.corefile import COMMON, parse_corefile
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.formats import template_of
from kdns_coredns.framing import Framer
from kdns_coredns.log_settings import log_settings
from kdns_coredns.selection import Selection
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import UsageError
from kubectl_kdns.model import Lookup, Loss, Maybe, Notice, Record

READ_BYTES = 1 << 18
MAX_LINE_BYTES = 1 << 20
QUEUE_BLOCKS = 4
HEARTBEAT_S = 0.2

_BOM = b"\xef\xbb\xbf"
# A line with a level as CoreDNS writes it; what 1.2 wrote, without one; a banner; -log-format=json.
_LOG_LINE = re.compile(
    rb"(?:^|[ Z])\[(?:DEBUG|INFO|WARNING|ERROR|FATAL)\] \S"
    rb'|\d - \[\d\d/[A-Z][a-z]{2}/\d{4}:[^]\n]*\] \d+ "\S+ [A-Z]+ \S+ (?:udp|tcp) '
    rb"|^CoreDNS-\d"
    rb'|^[^{\n]{0,200}\{[^\n]*"level":"[A-Z]+"[^\n]*"msg":"',
    re.MULTILINE,
)


def looks_like_log(head: bytes) -> bool:
    """Whether a file that begins so is a CoreDNS log, of whatever format."""
    return b"\0" not in head and b'"apiVersion":' not in head[:200] and _LOG_LINE.search(head) is not None


def formats_of_options(options: Mapping[str, object]) -> tuple[str, ...]:
    """The formats that --corefile or --log-format name, else CoreDNS's own. UsageError, CorefileError."""
    if text := str(options.get("log_format") or ""):
        if problem := template_of(text).problem:
            raise UsageError(
                f"--log-format {text}: {problem}", hint="a format with {name} and {type}, as in the Corefile"
            )
        return (text, COMMON)
    if corefile := options.get("corefile"):
        return log_settings(parse_corefile(str(corefile))).formats
    return (COMMON,)


class RecordedLog:
    """Reads `stream` to its end. A line longer than a MiB is a loss, and so is an end that cannot be read."""

    in_history = False

    def __init__(self, stream: BinaryIO, formats: Sequence[str], selection: Selection, raw: bool) -> None:
        self._stream = stream
        self._decoder = LogDecoder(None, None, formats, selection, raw, timestamps=False)
        self._lines = Framer(MAX_LINE_BYTES)
        self._blocks: queue.Queue[bytes | str] = queue.Queue(QUEUE_BLOCKS)
        self._closed = threading.Event()
        self._last_time: Maybe[str] = UNSET
        name = safe_text(str(getattr(stream, "name", "") or "the input"))
        self.description = f"the log lines in {name}"

    @property
    def counters(self) -> Mapping[str, int]:
        return {**self._decoder.counters, "lines_too_long": self._lines.too_long}

    def close(self) -> None:
        self._closed.set()
        self._stream.close()

    def __iter__(self) -> Iterator[list[Record]]:
        threading.Thread(target=self._pump, name="read-log", daemon=True).start()
        broken = ""
        try:
            while not self._closed.is_set():
                try:
                    block = self._blocks.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield self._decoder.flush(idle=True)
                    continue
                if isinstance(block, str):
                    broken = block
                    break
                yield self._decode(self._lines.feed(block))
            early = self._closed.is_set()
        finally:
            self.close()
        yield [*self._decode(self._lines.rest), *self._decoder.flush(), *self._remarks(broken, early)]

    def _pump(self) -> None:
        """Blocks of the stream into the queue; then a text that says why it ended, "" at its end."""
        broken = ""
        read = getattr(self._stream, "read1", self._stream.read)
        try:
            while block := read(READ_BYTES):
                if not self._put(block):
                    return
        except (OSError, EOFError, ValueError) as error:
            broken = safe_text(str(error)) or type(error).__name__
        self._put(broken)

    def _put(self, item: bytes | str) -> bool:
        """Whether it found room before the source was closed."""
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._blocks.put(item, timeout=HEARTBEAT_S)
                return True
        return False

    def _decode(self, lines: bytes) -> list[Record]:
        records = self._decoder.feed(lines.replace(b"\r\n", b"\n").removeprefix(_BOM))
        if records and isinstance(records[-1], Lookup):
            self._last_time = records[-1].time
        return records

    def _remarks(self, broken: str, early: bool) -> Iterator[Record]:
        """What was missing, and what the reader of the records should know."""
        counts = self.counters
        if counts["lines_too_long"]:
            text = f"lines of more than {MAX_LINE_BYTES} bytes were left out"
            yield self._loss("truncated", counts["lines_too_long"], text)
        if broken:
            yield self._loss("truncated", UNSET, f"{broken}. All before it was read")
        read = counts["lines_read"] - counts["lines_skipped"]
        if counts["lines_queries"]:
            if not self._last_time:
                yield self._notice("no_times", "the lines have no times. Try: kubectl logs --timestamps")
        elif read and not early and not counts["lines_hidden"] and not counts["lines_skipped"]:
            what = f"none of {read} lines is a query in a known format"
            yield self._notice("no_lookups", f"{what}. Try: --corefile FILE or --log-format FORMAT")

    def _loss(self, reason: str, count: Maybe[int], text: str) -> Loss:
        return Loss(
            time=self._last_time, backend="coredns", reason=reason, unit="lines", count=count, message=text
        )

    def _notice(self, code: str, text: str) -> Notice:
        return Notice(time=self._last_time, backend="coredns", code=code, message=text)
