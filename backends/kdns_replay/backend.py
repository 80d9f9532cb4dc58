"""Recorded data as a backend: captures of packets, and the JSON lines that kdns itself writes."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from kdns_replay import jsonlines, pcap, pcapng
from kdns_replay.capture import BrokenInput, CaptureNotes, chunks_of
from kdns_replay.pcap import read_pcap
from kdns_replay.pcapng import read_pcapng
from kdns_replay.reports import BACKEND_NAME
from kdns_replay.source import CaptureSource
from kubectl_kdns.backend import Plan, Probe, Scope, Source
from kubectl_kdns.errors import BackendError, InputError, UsageError

if TYPE_CHECKING:
    from kubectl_kdns.change import Change, Leftover
    from kubectl_kdns.filter import Filter
    from kubectl_kdns.kube import Cluster

HOW = "kubectl kdns trace --from FILE"
HEAD_BYTES = 24  # a pcap header; more than that may not have come through a pipe yet


class ReplayBackend:
    """Reads files; has nothing to do with a cluster, and takes nothing over of a filter."""

    name = BACKEND_NAME

    def probe(self, cluster: Cluster, options: Mapping[str, Any]) -> Probe:  # noqa: ARG002
        return Probe(usable=False, evidence="reads recorded files, not a cluster", fix=HOW)

    def plan(self, filter_: Filter) -> Plan:  # noqa: ARG002
        return Plan()

    def open(self, scope: Scope, plan: Plan) -> Source:  # noqa: ARG002
        raise BackendError(
            "the replay backend cannot watch a cluster", cause="it reads recorded files", hint=HOW
        )

    def sniff(self, head: bytes) -> bool:
        return pcap.sniff(head) or pcapng.sniff(head) or jsonlines.sniff(head)

    def decode(self, stream: BinaryIO, scope: Scope, plan: Plan) -> Source:  # noqa: ARG002
        """`stream` is at the first byte of data that `sniff` knows; InputError when it is not."""
        chunks = chunks_of(stream)
        head = b""
        try:
            for chunk in chunks:
                head += chunk
                if len(head) >= HEAD_BYTES:
                    break
        except BrokenInput as error:
            raise InputError("cannot read the input", cause=str(error)) from None
        whole = chain((head,), chunks)
        if jsonlines.sniff(head):
            return jsonlines.JsonLinesSource(stream, whole)
        notes = CaptureNotes()
        if pcap.sniff(head):
            return CaptureSource(stream, read_pcap(whole), notes, scope)
        if pcapng.sniff(head):
            return CaptureSource(stream, read_pcapng(whole, notes), notes, scope)
        raise InputError("the input is neither a capture (pcap, pcapng) nor kdns JSON lines")

    def change(self, cluster: Cluster, settings: Mapping[str, Any], options: Mapping[str, Any]) -> Change:  # noqa: ARG002
        raise UsageError("the replay backend changes nothing in a cluster", hint=HOW)

    def leftovers(self, cluster: Cluster) -> list[Leftover]:  # noqa: ARG002
        return []


BACKEND = ReplayBackend()
