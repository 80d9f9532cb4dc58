"""Recorded flows as a source: what `hubble observe -o jsonpb` or Cilium's exporter wrote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import BinaryIO

from msgspec import UNSET

from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.flow_records import NAME
from kdns_hubble.flows import Unread
from kdns_hubble.json_flows import read_line
from kdns_hubble.pump import Pump
from kubectl_kdns.backend import Scope
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Loss, Notice, Record
from kubectl_kdns.pairing import GRACE_NS
from kubectl_kdns.times import format_time

READ_BYTES = 1 << 18
MAX_LINE_BYTES = 16 << 20
HEARTBEAT_S = 0.2
SNIFFED_LINES = 5


def looks_like_flows(head: bytes) -> bool:
    """Whether a file that begins so is of Hubble: one of its first lines is a response or a flow."""
    lines = [line for line in head.split(b"\n") if line.startswith(b"{")][:SNIFFED_LINES]
    return any(not isinstance(read_line(line), Unread) for line in lines)


class FlowLines:
    """The lines of a file in batches; fulfils kdns_hubble.observer.FlowStream. `broken` says why it ended
    early; a line of more than MAX_LINE_BYTES is left out and counted."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.broken = ""
        self.too_long = 0

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        read = getattr(self._stream, "read1", self._stream.read)
        parts: list[bytes] = []
        size = 0
        try:
            while block := read(READ_BYTES):
                first, *more = block.split(b"\n")
                size += len(first)
                if size <= MAX_LINE_BYTES:
                    parts.append(first)
                if not more:
                    continue
                self.too_long += size > MAX_LINE_BYTES
                lines = [*([b"".join(parts)] if size <= MAX_LINE_BYTES else []), *more[:-1]]
                parts, size = [more[-1]], len(more[-1])
                yield [line for line in lines if line.strip()]
        except (OSError, EOFError, ValueError) as error:
            self.broken = safe_text(str(error)) or type(error).__name__
        self.too_long += size > MAX_LINE_BYTES
        rest = b"".join(parts) if size <= MAX_LINE_BYTES else b""
        if rest.strip():
            if not self.broken and isinstance(read_line(rest), Unread):
                self.broken = "it ends in the middle of a line"
            else:
                yield [rest]

    def close(self) -> None:
        self._stream.close()


class RecordedFlows:
    """Reads `stream` to its end."""

    in_history = False

    def __init__(self, stream: BinaryIO, scope: Scope) -> None:
        self._lines = FlowLines(stream)
        self._raw = scope.raw
        # A file is read faster than its time goes by, so there is no hurry to call a lookup unanswered.
        self._decoder = FlowDecoder(
            timeout_ns=scope.timeout_ns,
            grace_ns=max(GRACE_NS, scope.timeout_ns),
            messages=scope.messages,
            raw=scope.raw,
        )
        self._closed = False
        name = safe_text(str(getattr(stream, "name", "") or "the input"))
        self.description = f"the flows in {name}"

    @property
    def counters(self) -> Mapping[str, int]:
        return self._decoder.counters

    def close(self) -> None:
        self._closed = True
        self._lines.close()

    def __iter__(self) -> Iterator[list[Record]]:
        pump = Pump(self._lines, partial(read_line, keep_raw=self._raw))
        try:
            while (responses := pump.take(HEARTBEAT_S)) is not None and not self._closed:
                yield self._decoder.feed(responses)
            early = self._closed
        finally:
            pump.close()
        yield [*self._decoder.finish(), *self._remarks(early)]

    def _remarks(self, early: bool) -> Iterator[Record]:
        decoder = self._decoder
        time = format_time(decoder.high_ns) if decoder.high_ns else UNSET
        if self._lines.too_long:
            text = f"lines of more than {MAX_LINE_BYTES} bytes were left out"
            yield Loss(
                time=time,
                backend=NAME,
                reason="truncated",
                unit="lines",
                count=self._lines.too_long,
                message=text,
            )
        if self._lines.broken and not early:
            text = f"{self._lines.broken}. All before it was read"
            yield Loss(time=time, backend=NAME, reason="truncated", unit="lines", message=text)
        counters = decoder.counters
        of_dns = ("queries", "responses", "queries_denied", "packets_dropped")
        if counters["flows"] and not any(counters.get(name) for name in of_dns):
            yield Notice(
                time=time,
                backend=NAME,
                code="no_dns",
                message=f"none of {counters['flows']} flows shows a DNS lookup: no policy makes DNS visible, "
                "or it was not recorded. Try: hubble observe --protocol dns -o jsonpb",
            )
