"""A recorded CoreDNS log as a source: kubectl's, stern's and CoreDNS's own text, whole blocks at a time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO

from kdns_coredns.corefile import COMMON, parse_corefile
from kdns_coredns.decoder import LogDecoder
from kdns_coredns.formats import template_of
from kdns_coredns.log_settings import log_settings
from kdns_coredns.selection import Selection
from kubectl_kdns.errors import UsageError
from kubectl_kdns.model import Loss, Notice, Record

READ_BYTES = 1 << 20
MAX_LINE_BYTES = 1 << 20

# A query line of any version, a line of CoreDNS's own, or an object of -log-format=json.
_LOG_LINE = re.compile(
    rb'\d - \d+ "\S+ \S+ \S+ (?:udp|tcp) \d+ |\[(?:INFO|ERROR|WARNING)\] (?:plugin/|Reloading|\S+:\d+ - )'
    rb'|^CoreDNS-\d|"msg":"[^"]*\\?".*(?:udp|tcp) ',
    re.MULTILINE,
)


def looks_like_log(head: bytes) -> bool:
    """Whether a file that begins so is a CoreDNS log in a format that needs no Corefile."""
    return b"\0" not in head and not head.startswith(b'{"apiVersion"') and bool(_LOG_LINE.search(head))


def formats_of_options(options: Mapping[str, object]) -> tuple[str, ...]:
    """The formats that --corefile or --log-format name, else CoreDNS's own. UsageError, CorefileError."""
    if text := str(options.get("log_format") or ""):
        if problem := template_of(text).problem:
            raise UsageError(
                f"--log-format {text}: {problem}", hint="a format with {name} and {type}, as in the Corefile"
            )
        return (text,)
    if corefile := options.get("corefile"):
        return log_settings(parse_corefile(str(corefile))).formats
    return (COMMON,)


class RecordedLog:
    """Reads `stream` to its end. A line longer than a MiB is a loss, and so is an end that cannot be read."""

    def __init__(self, stream: BinaryIO, formats: Sequence[str], selection: Selection, raw: bool) -> None:
        self._stream = stream
        self._decoder = LogDecoder(None, None, formats, selection, raw, timestamps=False)
        self._closed = False
        self._too_long = 0
        self.description = f"the log in {getattr(stream, 'name', 'standard input')}"

    @property
    def counters(self) -> Mapping[str, int]:
        return {**self._decoder.counters, "lines_too_long": self._too_long}

    def close(self) -> None:
        self._closed = True

    def __iter__(self) -> Iterator[list[Record]]:
        rest = b""
        while not self._closed:
            try:
                block = self._stream.read(READ_BYTES)
            except (OSError, EOFError) as error:
                yield [
                    Loss(backend="coredns", reason="truncated", unit="lines"),
                    Notice(
                        backend="coredns", code="truncated", message=f"the file ends in an error: {error}"
                    ),
                ]
                break
            if not block:
                break
            block = rest + block
            end = block.rfind(b"\n") + 1
            block, rest = block[:end], block[end:]
            if len(rest) > MAX_LINE_BYTES:
                self._too_long += 1
                yield [Loss(backend="coredns", reason="truncated", unit="lines", count=1)]
                rest = b""
            if records := self._decoder.feed(block):
                yield records
        last = [*(self._decoder.feed(rest) if rest else ()), *self._decoder.flush()]
        if last:
            yield last
