"""The connections to one pod's log: blocks of whole lines as they come, and an error when they break off."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping

from kdns_coredns.framing import Framer
from kdns_coredns.notes import kubelet_message
from kdns_coredns.pods import CorednsPod
from kdns_coredns.resume import STAMP_BYTES, stamp_of
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ClusterError
from kubectl_kdns.kube import Cluster, Stream
from kubectl_kdns.kube.cluster import Query
from kubectl_kdns.times import parse_time

READ_BYTES = 256 * 1024
MAX_LINE_BYTES = 1024 * 1024


class LogReader:
    """One thread reads; any thread may ask, `drop` and `close`.

    `rest` is what stood behind the last newline when the last connection ended; `too_long` counts lines that
    were left out; `has_answered` is whether there was any answer yet, be it an error.
    """

    def __init__(self, cluster: Cluster, pod: CorednsPod) -> None:
        self.rest = b""
        self.too_long = 0
        self.has_answered = False
        self._cluster, self._pod = cluster, pod
        self._path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        self._streams: list[Stream] = []
        self._is_closed = threading.Event()
        self._waits_since_s: float | None = None

    @property
    def waits_s(self) -> float:
        """For how long a connection has been silent; 0 while its reader is busy, or there is none."""
        since_s = self._waits_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def close(self) -> None:
        """Ends what is under way, and all that comes, soon and without an error."""
        self._is_closed.set()
        self.drop()

    def drop(self) -> None:
        """Breaks the connection."""
        for stream in list(self._streams):
            stream.close()

    def blocks(self, query: Mapping[str, Query], *, follow: bool) -> Iterator[bytes]:
        """The lines of one connection, to its orderly end. Raises ClusterError when it breaks off."""
        framer = Framer(MAX_LINE_BYTES)
        stream = self._open({**query, "follow": follow})
        try:
            while data := self._read(stream):
                block = framer.feed(data)
                self.too_long += framer.too_long
                framer.too_long = 0
                end = _end_of_lines(block)
                if end:
                    yield block[:end]
                if end < len(block):
                    raise self._broke_off(block[end:])
            if stream.closed and not self._is_closed.is_set():
                raise ClusterError(f"the log of pod {self._pod} was silent for too long")
            if framer.rest and stamp_of(framer.rest) is None:
                raise self._broke_off(framer.rest)
            self.rest = framer.rest
        finally:
            self.has_answered = True
            self._release(stream)

    def newest_ns(self) -> int | None:
        """The time of the last line that the log has; None when there is none. Raises ClusterError."""
        return self._stamp({"tailLines": 1})

    def first_ns(self) -> int | None:
        """The time of the first line in the newest file; None when it has none. Raises ClusterError."""
        return self._stamp({"limitBytes": STAMP_BYTES})

    def _stamp(self, query: Mapping[str, Query]) -> int | None:
        stream = self._open(query)
        try:
            return stamp_of(stream.read1())
        finally:
            self._release(stream)

    def started_ns(self) -> int | None:
        """When the container was started, in whole seconds; None when that is not known."""
        try:
            statuses = self._cluster.get(self._path)["status"]["containerStatuses"]
            status = next(status for status in statuses if status["name"] == self._pod.container)
            return parse_time(status["state"]["running"]["startedAt"])
        except (ClusterError, LookupError, TypeError, ValueError, StopIteration):
            return None

    def _open(self, query: Mapping[str, Query]) -> Stream:
        container = self._pod.container
        stream = self._cluster.open(f"{self._path}/log", container=container, timestamps=True, **query)
        self._streams.append(stream)
        if self._is_closed.is_set():
            stream.close()
        return stream

    def _release(self, stream: Stream) -> None:
        stream.close()
        self._streams.remove(stream)

    def _read(self, stream: Stream) -> bytes:
        self._waits_since_s = time.monotonic()
        try:
            data = stream.read1(READ_BYTES)
        finally:
            self._waits_since_s = None
        self.has_answered = True
        return data

    def _broke_off(self, text: bytes) -> ClusterError:
        cause = safe_text(text[:500].decode("utf-8", "replace").strip())
        return ClusterError(f"the log of pod {self._pod} broke off", cause=cause)


def _end_of_lines(block: bytes) -> int:
    """Where the log's own lines end in a block, and what its kubelet has to say begins."""
    start = block.rfind(b"\n", 0, len(block) - 1) + 1
    # Every line of the log itself begins with a time.
    is_line = b"0" <= block[start : start + 1] <= b"9"
    return len(block) if is_line or not kubelet_message(block[start:].decode("utf-8", "replace")) else start
