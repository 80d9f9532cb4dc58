"""Reads the log of one pod to its end, or while the pod lives, over as many connections as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Protocol

from kdns_coredns.framing import Framer
from kdns_coredns.notes import kubelet_message
from kdns_coredns.pods import CorednsPod
from kdns_coredns.resume import Position, Rejoin, stamp_of, whole_second
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ClusterError, ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster, Stream
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.model import Loss, Notice, Record
from kubectl_kdns.times import NS_PER_S, format_time, parse_time

READ_BYTES = 256 * 1024
MAX_LINE_BYTES = 1024 * 1024
ATTEMPTS = 5
"""How often a log is tried in a row, where it is read once; one that is followed is tried for ever."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
SILENT_START_NS = 5 * NS_PER_S
"""No CoreDNS is silent for so long after its start."""
BACKEND = "coredns"


class LogDecoder(Protocol):
    """Makes records of the lines of one log; used by one thread at a time."""

    def feed(self, block: bytes) -> list[Record]:
        """Whole lines, each with its time; the records that are ready now."""

    def flush(self, idle: bool = False) -> list[Record]:
        """What waits for further lines: `idle`, as far as those would have come by now; else all."""

    @property
    def counters(self) -> Mapping[str, int]: ...


@dataclass(frozen=True)
class Reading:
    """What to read of a log: what was there before `start_ns` (bounded by `since_ns` and `tail` lines), what
    comes after it, the log of the container before the last restart."""

    start_ns: int
    history: bool = True
    follow: bool = False
    since_ns: int | None = None
    tail: int | None = None
    previous: bool = False


class PodLog(threading.Thread):
    """A thread that reads, decodes and gives batches to `put`, which may block; at the end `ended(self)`.

    `failure` is what ended it, when that ends the whole run; `unread` why this log alone was given up.
    """

    def __init__(
        self,
        cluster: Cluster,
        pod: CorednsPod,
        decoder: LogDecoder,
        reading: Reading,
        put: Callable[[list[Record]], None],
        ended: Callable[[PodLog], None],
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        super().__init__(name=f"log {pod}", daemon=True)
        self.pod = pod
        self.failure: BaseException | None = None
        self.unread: ClusterError | None = None
        self.has_answered = False
        self._cluster, self._decoder, self._reading = cluster, decoder, reading
        self._path = f"/api/v1/namespaces/{pod.namespace}/pods/{pod.name}"
        self._put, self._ended, self._now_ns = put, ended, now_ns
        self._decoding = threading.Lock()
        self._position = Position()
        self._carry = b""
        self._streams: list[Stream] = []
        self._closed, self._gone, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._last_read_s = time.monotonic()
        self._counters = {"log_reconnects": 0, "lines_too_long": 0}

    # From other threads

    @property
    def counters(self) -> Mapping[str, int]:
        return {**self._counters, **self._decoder.counters}

    @property
    def silent_s(self) -> float:
        """For how long nothing has come."""
        return time.monotonic() - self._last_read_s

    def close(self) -> None:
        """Ends it soon."""
        self._closed.set()
        self.reconnect()

    def reconnect(self) -> None:
        """Drops the connection; what is missing comes over the next one."""
        self._wake.set()
        for stream in list(self._streams):
            stream.close()

    def pod_is_gone(self) -> None:
        """The rest of the log is read, but no further connection is tried."""
        self._gone.set()
        self._wake.set()

    @property
    def outlives_pod(self) -> bool:
        return self._gone.is_set()

    def flush_idle(self) -> list[Record]:
        """What the decoder need not hold any longer."""
        if not self._decoding.acquire(blocking=False):
            return []
        try:
            return self._decoder.flush(idle=True)
        finally:
            self._decoding.release()

    # In its own thread

    def run(self) -> None:
        try:
            reading = self._reading
            if reading.previous:
                self._read(previous=True, follow=False)
                self._position = Position()
            if reading.follow or not reading.previous:
                self._read(previous=False, follow=reading.follow)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader of the records must hear of it
            self.failure = error
        with suppress(Exception):
            self._emit(self._decoder.flush())
        self._ended(self)

    def _read(self, *, previous: bool, follow: bool) -> None:
        """One container's log, to its end or until the pod is gone. Raises ForbiddenError."""
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        whole = False  # whether the last connection came to an orderly end
        for attempt in range(1 << 62):
            if attempt:
                self._counters["log_reconnects"] += 1
            before_ns = self._position.last_ns
            trouble: ClusterError | None = None
            try:
                self._transfer(self._query(previous, attempt), previous=previous, follow=follow)
                whole = True
            except ForbiddenError:
                raise
            except NotFoundError as error:
                trouble = error
                self._gone.set()
            except ClusterError as error:
                trouble, whole = error, False
            if self._closed.is_set():
                return None
            if whole and (not follow or self._gone.is_set()):
                return self._take_rest()
            if trouble and (
                self._gone.is_set()
                or (not follow and (trouble.status == 400 or backoff.failures + 1 >= ATTEMPTS))
            ):
                return self._give_up(trouble)
            if self._position.last_ns != before_ns:
                backoff.reset()
            if trouble and backoff.failures == 2:
                self._notice("log_unreachable", f"the log cannot be read, still trying: {_text(trouble)}")
            self._wake.wait(backoff.next_s())
            if not self._closed.is_set() and not self._gone.is_set():
                self._wake.clear()
        return None

    def _query(self, previous: bool, attempt: int) -> dict[str, str | int | bool | None]:
        reading = self._reading
        since, tail = self._position.since_time(), None
        if since is None and reading.history:
            since = whole_second(reading.since_ns) if reading.since_ns is not None else None
            tail = reading.tail
        elif since is None and attempt == 0:
            # From now on: the kubelet knows where that is in the log, whatever our clocks say.
            tail = 1
        elif since is None:
            since = whole_second(reading.start_ns)
        return {"sinceTime": since, "tailLines": tail, "previous": previous or None}

    def _transfer(
        self, query: Mapping[str, str | int | bool | None], *, previous: bool, follow: bool
    ) -> None:
        """What one connection gives; returns at its orderly end, raises ClusterError when it breaks."""
        rejoin = self._position.rejoin()
        first = rejoin is None and query["tailLines"] == 1 and not self._reading.history
        for block in self._blocks(query, follow=follow):
            if rejoin:
                block = rejoin.skip(block)
                if rejoin.joined is False:
                    self._bridge(rejoin, previous=previous)
                if rejoin.joined is not None:
                    rejoin = None
            if first and block:
                self._position.passed(block)
                stamp_ns = stamp_of(block)
                if stamp_ns is not None and stamp_ns < self._reading.start_ns:
                    block = block[block.index(b"\n") + 1 :]
                first = False
            if block:
                self._take(block)

    def _bridge(self, rejoin: Rejoin, *, previous: bool) -> None:
        """The log goes on, but not from where we were: after a restart the rest is in the previous log."""
        restarted = False
        if not previous:
            with suppress(ClusterError):
                restarted = self._read_rest_of_previous()
        if restarted:
            self._notice("log_restarted", "the container was restarted; its new log follows")
        if not restarted or self._has_begun_before(rejoin.first_ns):
            what = "the log was rotated while it was not read"
            self._lose("log_rotated", self._position.last_ns, rejoin.first_ns, what)

    def _has_begun_before(self, first_ns: int | None) -> bool:
        """Whether the container's log is known to have begun long before this line, its first that is left.

        Every CoreDNS has something to say as soon as it is started.
        """
        try:
            pod = self._cluster.get(self._path)
            statuses = pod["status"]["containerStatuses"]
            status = next(status for status in statuses if status["name"] == self.pod.container)
            started_ns = parse_time(status["state"]["running"]["startedAt"])
        except (ClusterError, LookupError, TypeError, ValueError, StopIteration):
            return False
        return first_ns is not None and first_ns - started_ns > SILENT_START_NS

    def _read_rest_of_previous(self) -> bool:
        """Whether there was one that goes on from where we were."""
        rejoin = self._position.rejoin()
        query = {"sinceTime": self._position.since_time(), "tailLines": None, "previous": True}
        restarted = False
        for block in self._blocks(query, follow=False):
            if rejoin:
                block = rejoin.skip(block)
                if rejoin.joined is None:
                    continue
                if rejoin.joined is False:
                    self._lose(
                        "disconnected", rejoin.last_ns, rejoin.first_ns, "restarted more than once meanwhile"
                    )
                rejoin, restarted = None, True
            if block:
                self._take(block)
        if restarted:
            self._take_rest()
        return restarted

    def _blocks(self, query: Mapping[str, str | int | bool | None], *, follow: bool) -> Iterator[bytes]:
        """Whole lines as they come; what stands behind the last newline at the end is `_carry` then."""
        stream = self._cluster.open(
            f"{self._path}/log", container=self.pod.container, follow=follow, timestamps=True, **query
        )
        self._streams.append(stream)
        if self._closed.is_set():
            stream.close()
        framer = Framer(MAX_LINE_BYTES)
        try:
            while data := stream.read1(READ_BYTES):
                self._last_read_s = time.monotonic()
                self.has_answered, self._carry = True, b""
                block = framer.feed(data)
                if framer.too_long:
                    self._too_long(framer)
                if block:
                    end = _end_of_lines(block)
                    if end:
                        yield block[:end]
                    if end < len(block):
                        raise self._trouble(block[end:])
            if stream.closed and self._gone.is_set():
                raise ClusterError(f"the log of pod {self.pod} did not end with its pod")
            if framer.rest and stamp_of(framer.rest) is None:
                raise self._trouble(framer.rest)
            self._carry = framer.rest
        finally:
            self.has_answered = True
            stream.close()
            self._streams.remove(stream)

    def _take_rest(self) -> None:
        """The last line, when it has no newline."""
        if self._carry:
            carry, self._carry = self._carry, b""
            self._take(carry + b"\n")

    def _take(self, block: bytes) -> None:
        self._position.passed(block)
        with self._decoding:
            records = self._decoder.feed(block)
            if records:
                self._put(records)

    def _give_up(self, trouble: ClusterError) -> None:
        if trouble.status == 400:
            self._notice("log_unavailable", f"no log to read: {_text(trouble)}")
            return
        self.unread = trouble
        last_ns = self._position.last_ns
        if last_ns is None and not self._reading.history:
            last_ns = self._reading.start_ns
        what = "the pod is gone, and its log with it" if self._gone.is_set() else _text(trouble)
        self._lose("disconnected", last_ns, self._now_ns(), what)

    def _trouble(self, text: bytes) -> ClusterError:
        return ClusterError(
            f"the log of pod {self.pod} broke off",
            cause=safe_text(text[:500].decode("utf-8", "replace")).strip(),
        )

    def _too_long(self, framer: Framer) -> None:
        count, framer.too_long = framer.too_long, 0
        self._counters["lines_too_long"] += count
        what = f"lines of more than {MAX_LINE_BYTES} bytes were left out"
        self._lose("truncated", None, None, what, count=count)

    def _notice(self, code: str, message: str) -> None:
        self._emit(
            [
                Notice(
                    time=format_time(self._now_ns()),
                    backend=BACKEND,
                    node=self.pod.node,
                    code=code,
                    message=f"{self.pod.name}: {message}",
                )
            ]
        )

    def _lose(
        self, reason: str, from_ns: int | None, until_ns: int | None, message: str, count: int | None = None
    ) -> None:
        loss = Loss(
            time=format_time(self._now_ns()),
            backend=BACKEND,
            node=self.pod.node,
            reason=reason,
            unit="lines",
            message=f"{self.pod.name}: {message}",
        )
        if count is not None:
            loss.count = count
        if from_ns is not None:
            loss.from_ = format_time(from_ns)
        if until_ns is not None:
            loss.until = format_time(until_ns)
        self._emit([loss])

    def _emit(self, records: list[Record]) -> None:
        if records:
            self._put(records)


def _end_of_lines(block: bytes) -> int:
    """Where the log's own lines end in a block, and what its kubelet has to say begins."""
    start = block.rfind(b"\n", 0, len(block) - 1) + 1
    # Every line of the log itself begins with a time.
    is_line = b"0" <= block[start : start + 1] <= b"9"
    return len(block) if is_line or not kubelet_message(block[start:].decode("utf-8", "replace")) else start


def _text(error: ClusterError) -> str:
    return f"{error.what}: {error.cause}" if error.cause else error.what
