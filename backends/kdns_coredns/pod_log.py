"""Reads the log of one pod to its end, or while the pod lives, over as many connections as it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from msgspec import Struct

from kdns_coredns.log_reader import MAX_LINE_BYTES, LogReader
from kdns_coredns.pods import CorednsPod
from kdns_coredns.reports import Reporter
from kdns_coredns.resume import Position, Rejoin, stamp_of, whole_second
from kdns_coredns.rotation import RotationWatch
from kubectl_kdns.errors import ClusterError, ForbiddenError, KdnsError, NotFoundError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.cluster import Query
from kubectl_kdns.model import Record
from kubectl_kdns.times import NS_PER_S

ATTEMPTS = 5
"""How often a log is tried in a row, where it is read once; one that is followed is tried for ever."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
LIVED_S = 15.0
"""A connection that breaks after so long was one; reaching nobody takes less."""
SILENT_START_NS = 5 * NS_PER_S
"""No CoreDNS is silent for so long after its start."""
GONE_WAIT_S = 10.0
"""How long the log of a deleted pod may be silent; then its node is taken to be gone as well."""
FIRST_LOOK_S, LONGEST_LOOK_S = 5.0, 160.0
"""After how much silence to look whether there is really nothing to say; doubled each time."""


class LogDecoder(Protocol):
    """Makes records of the lines of one log; used by one thread at a time."""

    def feed(self, block: bytes) -> list[Record]:
        """Whole lines, each with its time; the records that are ready now."""

    def flush(self, idle: bool = False) -> list[Record]:
        """What waits for further lines: `idle`, as far as those would have come by now; else all."""

    @property
    def counters(self) -> Mapping[str, int]: ...


class Reading(Struct, frozen=True):
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
        self._reader = LogReader(cluster, pod)
        self._report = Reporter(pod, now_ns)
        self._decoder, self._reading = decoder, reading
        self._put, self._ended, self._now_ns = put, ended, now_ns
        self._decoding = threading.Lock()
        self._position, self._rotation = Position(), RotationWatch()
        self._closed, self._gone, self._wake = threading.Event(), threading.Event(), threading.Event()
        self._reconnects = self._lines_too_long = 0
        self._look_after_s = FIRST_LOOK_S
        self._looker: threading.Thread | None = None

    # From other threads

    @property
    def counters(self) -> Mapping[str, int]:
        own = {"log_reconnects": self._reconnects, "lines_too_long": self._lines_too_long}
        return {**own, **self._decoder.counters}

    @property
    def has_answered(self) -> bool:
        """Whether there was any answer yet, be it an error."""
        return self._reader.has_answered

    def close(self) -> None:
        """Ends it soon."""
        self._closed.set()
        self._wake.set()
        self._reader.close()

    def pod_is_gone(self) -> None:
        """The rest of the log is read, but no further connection is tried."""
        self._gone.set()
        self._wake.set()

    def pod_is_there(self) -> None:
        """It is not gone, whatever was said before: its labels were taken away and given back."""
        if self._gone.is_set() and not self._closed.is_set():
            self._gone.clear()
            self._wake.clear()

    def flush_idle(self) -> list[Record]:
        """What the decoder need not hold any longer."""
        if not self._decoding.acquire(blocking=False):
            return []
        try:
            return self._decoder.flush(idle=True)
        finally:
            self._decoding.release()

    def look_after(self) -> None:
        """Drops a connection that will never give anything again; to be called often.

        Kubelets up to 1.26 go on reading a file that was rotated away (kubernetes#115701), and a load
        balancer may forget one half of a connection. Where nothing was missed, a new one costs nothing.
        """
        silent_s = self._reader.waits_s
        if self._reading.follow and not self._gone.is_set() and self._rotation.is_due():
            self._look_in_thread(self._look_for_gap)
        if self._gone.is_set():
            if silent_s > GONE_WAIT_S:
                self._reader.drop()
        elif silent_s < FIRST_LOOK_S:
            self._look_after_s = FIRST_LOOK_S
        elif silent_s > self._look_after_s:
            self._look_after_s = min(2 * self._look_after_s, LONGEST_LOOK_S)
            self._look_in_thread(self._look)

    def _look_in_thread(self, look: Callable[[], None]) -> None:
        # A node that is silent may be silent to this question as well: there is one at a time.
        if not (self._looker and self._looker.is_alive()):
            self._looker = threading.Thread(target=look, name=f"look at {self.pod}", daemon=True)
            self._looker.start()

    def _look(self) -> None:
        try:
            newest_ns = self._reader.newest_ns()
        except NotFoundError:
            self.pod_is_gone()
        except KdnsError:
            return  # the connection that is there knows better
        else:
            if newest_ns is not None and newest_ns > (self._position.last_ns or 0):
                self._reader.drop()

    def _look_for_gap(self) -> None:
        rotation = self._rotation
        try:
            first_ns = self._reader.first_ns()
        except KdnsError:
            return  # asked again soon
        if first_ns is not None and (gap := rotation.gap(first_ns)):
            text = "the log was rotated, and the kubelet leaves out what is written meanwhile"
            self._put([self._report.loss("log_rotated", text, from_ns=gap[0], until_ns=gap[1])])

    # In its own thread

    def run(self) -> None:
        try:
            reading = self._reading
            if reading.previous:
                self._read(previous=True, follow=False)
                self._position, self._rotation = Position(), RotationWatch()
            if reading.follow or not reading.previous:
                self._read(previous=False, follow=reading.follow)
        except BaseException as error:  # noqa: BLE001 - whatever it is, the reader of the records must hear of it
            self.failure = error
        self._count_too_long()
        with suppress(Exception):
            self._put_some(self._decoder.flush())
        self._ended(self)

    def _read(self, *, previous: bool, follow: bool) -> None:
        """One container's log, to its end or until the pod is gone. Raises ForbiddenError."""
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S)
        is_first = True
        whole = False  # whether the last connection came to an orderly end
        while True:
            before_ns, began_s = self._position.last_ns, time.monotonic()
            trouble: ClusterError | None = None
            try:
                self._transfer(self._query(previous, is_first), previous=previous, follow=follow)
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
            has_lived = not (trouble and trouble.status) and time.monotonic() - began_s > LIVED_S
            if has_lived or self._position.last_ns != before_ns:
                backoff.reset()
            if trouble and backoff.failures == 2:
                text = f"the log cannot be read, still trying: {_text(trouble)}"
                self._put([self._report.notice("log_unreachable", text)])
            self._wake.wait(backoff.next_s())
            is_first = False
            self._reconnects += 1

    def _query(self, previous: bool, is_first: bool) -> dict[str, Query]:
        reading = self._reading
        since, tail = self._position.since_time(), None
        if since is None and reading.history:
            since = whole_second(reading.since_ns) if reading.since_ns is not None else None
            tail = reading.tail
        elif since is None and is_first:
            # From now on: the kubelet knows where that is in the log, whatever our clocks say.
            tail = 1
        elif since is None:
            since = whole_second(reading.start_ns)
        return {"sinceTime": since, "tailLines": tail, "previous": previous or None}

    def _transfer(self, query: Mapping[str, Query], *, previous: bool, follow: bool) -> None:
        """What one connection gives; returns at its orderly end, raises ClusterError when it breaks."""
        rejoin = self._position.rejoin()
        is_old = not self._reading.history and query["tailLines"] == 1
        for block in self._reader.blocks(query, follow=follow):
            if rejoin:
                block = rejoin.skip(block)
                if rejoin.joined is False:
                    self._bridge(rejoin, previous=previous)
                if rejoin.joined is not None:
                    rejoin = None
            if is_old:
                block, is_old = self._without_old_line(block), False
            if block:
                self._take(block)

    def _without_old_line(self, block: bytes) -> bytes:
        """The first line was there before us, unless it came while we were connecting."""
        self._position.passed(block)
        stamp_ns = stamp_of(block)
        is_new = stamp_ns is None or stamp_ns >= self._reading.start_ns
        return block if is_new else block[block.index(b"\n") + 1 :]

    def _bridge(self, rejoin: Rejoin, *, previous: bool) -> None:
        """The log goes on, but not from where we were: after a restart the rest is in the previous log."""
        first_ns = rejoin.first_ns
        is_restarted = False
        self._rotation.begins_at(first_ns)
        if not previous:
            with suppress(ClusterError):
                is_restarted = self._read_rest_of_previous(first_ns)
        if is_restarted:
            text = "the container was restarted; its new log follows"
            self._put([self._report.notice("log_restarted", text)])
            if self._is_first_of_container(first_ns):
                return
        text, last_ns = "the log was rotated while it was not read", self._position.last_ns
        self._put([self._report.loss("log_rotated", text, from_ns=last_ns, until_ns=first_ns)])

    def _is_first_of_container(self, first_ns: int | None) -> bool:
        """Whether nothing speaks against that the new log begins with this line, and was not rotated yet."""
        started_ns, last_ns = self._reader.started_ns(), self._position.last_ns
        if first_ns is None or started_ns is None or last_ns is None:
            return True
        # A status that is older than the previous log is late; one that is newer than the new one came from
        # yet another container.
        is_late = started_ns + NS_PER_S <= last_ns
        return is_late or started_ns <= first_ns <= started_ns + SILENT_START_NS

    def _read_rest_of_previous(self, before_ns: int | None) -> bool:
        """Whether there was one that goes on from where we were.

        When it is not older than `before_ns`, the container whose new log we read was restarted as well by
        now, and its predecessor's log is gone.
        """
        rejoin = self._position.rejoin()
        query = {"sinceTime": self._position.since_time(), "previous": True}
        is_restarted = False
        for block in self._reader.blocks(query, follow=False):
            if rejoin:
                block = rejoin.skip(block)
                if rejoin.joined is None:
                    continue
                new_ns = stamp_of(block)
                if new_ns is not None and before_ns is not None and new_ns >= before_ns:
                    return False
                if rejoin.joined is False:
                    text, last_ns = "restarted more than once meanwhile", rejoin.last_ns
                    loss = self._report.loss("disconnected", text, from_ns=last_ns, until_ns=rejoin.first_ns)
                    self._put([loss])
                rejoin, is_restarted = None, True
            if block:
                self._take(block)
        if is_restarted:
            self._take_rest()
        self._reader.rest = b""
        return is_restarted

    def _take_rest(self) -> None:
        """The last line, when it has no newline."""
        if self._reader.rest:
            block, self._reader.rest = self._reader.rest + b"\n", b""
            self._take(block)

    def _take(self, block: bytes) -> None:
        self._position.passed(block)
        self._rotation.passed(block, self._position.last_ns)
        with self._decoding:
            # Within the lock, so that what `flush_idle` gives cannot come before it.
            self._put_some(self._decoder.feed(block))
        self._count_too_long()

    def _count_too_long(self) -> None:
        if count := self._reader.too_long:
            self._reader.too_long = 0
            self._lines_too_long += count
            text = f"lines of more than {MAX_LINE_BYTES} bytes were left out"
            self._put([self._report.loss("truncated", text, count=count)])

    def _give_up(self, trouble: ClusterError) -> None:
        if trouble.status == 400:
            self._put([self._report.notice("log_unavailable", f"no log to read: {_text(trouble)}")])
            return
        self.unread = trouble
        last_ns = self._position.last_ns
        if last_ns is None and not self._reading.history:
            last_ns = self._reading.start_ns
        text = "the pod is gone, and its log with it" if self._gone.is_set() else _text(trouble)
        loss = self._report.loss("disconnected", text, from_ns=last_ns, until_ns=self._now_ns())
        self._put([loss])

    def _put_some(self, records: list[Record]) -> None:
        if records:
            self._put(records)


def _text(error: ClusterError) -> str:
    return f"{error.what}: {error.cause}" if error.cause else error.what
