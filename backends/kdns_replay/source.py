"""A capture as a source of records: reads, finds, pairs, and tells what it could not see."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

from kdns_replay.capture import Batch, BrokenInput, CaptureNotes
from kdns_replay.packets import DNS_PORT, MessageFinder
from kdns_replay.reports import BACKEND_NAME, Reports
from kubectl_kdns.backend import Scope
from kubectl_kdns.model import Record
from kubectl_kdns.pairing import GRACE_NS, Pairing, Vantage

ONE_SIDED_QUERIES = 10


class CaptureSource:
    """The lookups of one capture. `batches` reads from `stream`; `notes` is what it finds out on the way.

    Where the capture was made is unknown, so `node`, `hop` and `side` are absent.
    """

    in_history = False

    def __init__(self, stream: BinaryIO, batches: Iterable[Batch], notes: CaptureNotes, scope: Scope) -> None:
        self._stream = stream
        self._reports = Reports(stream)
        self._batches = batches
        self._notes = notes
        self._ports = tuple(scope.options.get("ports") or (DNS_PORT,))
        self._finder = MessageFinder(self._ports, raw=scope.raw)
        # A file is read faster than its time goes by, so there is no hurry to call a lookup unanswered.
        self._pairing = Pairing(
            Vantage(BACKEND_NAME),
            timeout_ns=scope.timeout_ns,
            grace_ns=max(GRACE_NS, scope.timeout_ns),
            messages=scope.messages,
        )
        self._closed = False

    @property
    def description(self) -> str:
        return f"the packets in {self._reports.name}"

    @property
    def counters(self) -> Mapping[str, int]:
        finder = self._finder
        return {
            "packets": finder.packets,
            "packets_multicast": finder.multicast,
            "packets_of_unknown_link": sum(finder.unknown_links.values()),
            "messages_cut": finder.cut,
            **self._pairing.counters,
        }

    def __iter__(self) -> Iterator[list[Record]]:
        broken = ""
        try:
            for buffer, rows in self._batches:
                if rows:
                    self._reports.time_ns = max(self._reports.time_ns, rows[-1][0])
                yield self._pairing.feed(self._finder.find(buffer, rows))
                if self._closed:
                    break
        except BrokenInput as error:
            broken = str(error)
        finally:
            self._stream.close()
        records = self._pairing.feed(self._finder.finish())
        records += self._pairing.finish()
        records += self._losses(broken)
        records += self._notices()
        yield records

    def close(self) -> None:
        self._closed = True
        self._stream.close()

    def _losses(self, broken: str) -> Iterator[Record]:
        notes, finder = self._notes, self._finder
        if broken:
            yield self._reports.loss("truncated", "messages", None, f"{broken}. All before it was read")
        if notes.unreadable:
            yield self._reports.loss(
                "malformed", "messages", notes.unreadable, "packet blocks that contradict themselves"
            )
        missed = sum(notes.missed.values())
        if missed:
            yield self._reports.loss(
                "capture_drop", "messages", None, f"the file says that {missed} packets were missed"
            )
        if finder.fragmented:
            yield self._reports.loss(
                "fragment",
                "messages",
                finder.fragmented,
                "messages in several IP fragments: only the first is read",
            )
        if finder.tcp.gaps:
            yield self._reports.loss(
                "tcp_gap",
                "messages",
                None,
                f"{finder.tcp.gaps} gaps in TCP streams, or streams joined inside a message",
            )

    def _notices(self) -> Iterator[Record]:
        finder, counters = self._finder, self._pairing.counters
        ports = ", ".join(map(str, self._ports))
        for link_type, count in finder.unknown_links.items():
            yield self._reports.notice(
                "unknown_link_type",
                f"{count} packets are of link type {link_type}, which kdns does not read (their names: "
                "https://www.tcpdump.org/linktypes.html). Try: tcpdump -i any",
            )
        queries, responses = counters["queries"], counters["responses"]
        if finder.packets and not queries and not responses:
            yield self._reports.notice(
                "no_dns", f"none of {finder.packets} packets is DNS of port {ports}. Try: --port PORT"
            )
        elif not responses and queries >= ONE_SIDED_QUERIES:
            yield self._reports.notice(
                "one_sided",
                f"{queries} queries and not one response: was only one direction captured? "
                f"Try: tcpdump with the filter 'port {ports}'",
            )
        elif responses and not queries:
            yield self._reports.notice(
                "one_sided",
                "responses only, no query: latency and unanswered lookups cannot be told. "
                f"Try: tcpdump with the filter 'port {ports}'",
            )
