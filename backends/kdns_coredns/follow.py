"""Follows the logs of all CoreDNS pods as one source: new pods are added, a slow reader slows them down."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from kdns_coredns.discover import Discovered
from kdns_coredns.pod_log import LogDecoder, PodLog, Reading
from kdns_coredns.pods import CorednsPod, PodObject, coredns_pod, has_finished, is_kube_dns
from kdns_coredns.reports import notice
from kubectl_kdns.backend import Scope
from kubectl_kdns.errors import BackendError, ForbiddenError, KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.reflector import Reflector
from kubectl_kdns.model import Notice, Record

MAX_LOG_REQUESTS = 50
QUEUE_BATCHES = 8
HEARTBEAT_S = 0.2
ANSWER_WAIT_S = 2.0
"""No heartbeat before all logs have answered, or for so long: it would say that all history has come."""
CLOSE_WAIT_S = 2.0
NAMED_PODS = 5

MakeDecoder = Callable[[CorednsPod, str], LogDecoder]


class Follower:
    """The logs of the pods in `discovered`, and with `scope.follow` of those that come later; a Source.

    `make_decoder` is called with a pod and the name of its container. Raises BackendError when there are more
    pods than `scope.options["max_log_requests"]` allows.
    """

    def __init__(
        self,
        cluster: Cluster,
        discovered: Discovered,
        scope: Scope,
        make_decoder: MakeDecoder,
        *,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._cluster, self._discovered, self._follow = cluster, discovered, scope.follow
        self._make_decoder, self._now_ns = make_decoder, now_ns
        self._max_logs = int(scope.options.get("max_log_requests") or MAX_LOG_REQUESTS)
        if len(discovered.pods) > self._max_logs:
            raise BackendError(
                f"{len(discovered.pods)} CoreDNS pods are more than {self._max_logs} log requests at once",
                hint=f"--max-log-requests {len(discovered.pods)}, or choose some with --coredns-selector",
            )
        self._reading = Reading(
            start_ns=now_ns(),
            history=scope.history or not scope.follow,
            follow=scope.follow,
            since_ns=scope.since_ns,
            tail=scope.tail,
            previous=scope.previous,
        )
        self._queue: queue.Queue[list[Record] | PodLog] = queue.Queue(QUEUE_BATCHES)
        self._lock = threading.Lock()
        self._logs: dict[str, PodLog] = {}  # by UID of the pod, those that run
        self._known: set[str] = set()  # UIDs of all that were started and whose pods still exist
        self._waiting: dict[str, CorednsPod] = {}  # by UID, those for which there was no room
        self._reflectors: list[Reflector[PodObject]] = []
        self._told_no_watch = False
        self._finished: dict[str, int] = {}
        self._closing, self._abandoned = threading.Event(), threading.Event()
        self.description = _description(discovered.pods)

    @property
    def counters(self) -> Mapping[str, int]:
        with self._lock:
            total = dict(self._finished)
            logs = list(self._logs.values())
        for log in logs:
            _add_up(total, log.counters)
        return total

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            logs = list(self._logs.values())
        for reflector in self._reflectors:
            reflector.close()
        for log in logs:
            log.close()

    def __iter__(self) -> Iterator[list[Record]]:
        try:
            for pod in self._discovered.pods:
                self._add(pod, self._reading)
            if self._follow:
                self._watch()
            if self._discovered.notes:
                yield [self._notice("discovery", note) for note in self._discovered.notes]
            yield from self._batches()
        finally:
            self.close()
            self._abandoned.set()
            until_s = time.monotonic() + CLOSE_WAIT_S
            for thread in (*self._logs.values(), *self._reflectors):
                thread.join(max(0.0, until_s - time.monotonic()))

    def _batches(self) -> Iterator[list[Record]]:
        beats_from_s = time.monotonic() + ANSWER_WAIT_S
        next_beat_s = time.monotonic() + HEARTBEAT_S
        closing_until_s: float | None = None
        unread: list[KdnsError] = []
        ended = 0
        while self._logs or (self._follow and not self._closing.is_set()):
            try:
                item = self._queue.get(timeout=max(0.0, next_beat_s - time.monotonic()))
            except queue.Empty:
                item = None
            if isinstance(item, PodLog):
                ended += 1
                self._forget(item)
                if item.failure:
                    raise item.failure
                unread += [item.unread] if item.unread else []
            elif item:
                yield item
            now_s = time.monotonic()
            if now_s < next_beat_s:
                continue
            next_beat_s = now_s + HEARTBEAT_S
            if self._closing.is_set():
                closing_until_s = closing_until_s or now_s + CLOSE_WAIT_S
                if now_s >= closing_until_s:
                    return
            waiting = self._tend()
            if waiting or (item is None and (now_s >= beats_from_s or self._have_answered())):
                yield waiting
        if unread and len(unread) == ended:
            raise unread[0]

    def _tend(self) -> list[Record]:
        """What is due from time to time; records that waited for lines which have not come."""
        records: list[Record] = []
        for log in list(self._logs.values()):
            records += log.flush_idle()
            log.look_after()
        with self._lock:
            waiting = list(self._waiting.values())
        for pod in waiting:
            self._add(pod, _reading_of_new(pod, self._reading))
        return records

    def _have_answered(self) -> bool:
        return all(log.has_answered for log in list(self._logs.values()))

    def _add(self, pod: CorednsPod, reading: Reading) -> None:
        with self._lock:
            if pod.uid in self._logs:
                self._known.add(pod.uid)
                self._logs[pod.uid].pod_is_there()
            if pod.uid in self._known or self._closing.is_set():
                return
            if reading.follow and not pod.has_started:
                return  # there is no log yet; the watch tells when there is
            is_full = len(self._logs) >= self._max_logs
            is_told = pod.uid in self._waiting
            if is_full:
                self._waiting[pod.uid] = pod
            else:
                self._waiting.pop(pod.uid, None)
                self._known.add(pod.uid)
                decoder = self._make_decoder(pod, pod.container)
                log = PodLog(self._cluster, pod, decoder, reading, self._put, self._put, self._now_ns)
                self._logs[pod.uid] = log
                log.start()
        if is_full and not is_told:
            text = f"{pod}: not followed while {self._max_logs} others are; --max-log-requests allows more"
            self._put([self._notice("too_many_logs", text, pod.node)])

    def _forget(self, log: PodLog) -> None:
        with self._lock:
            self._logs.pop(log.pod.uid, None)
            _add_up(self._finished, log.counters)

    def _watch(self) -> None:
        for query in self._discovered.queries:
            reflector = Reflector(
                self._cluster,
                query.path,
                PodObject,
                put=self._on_pod,
                drop=self._on_gone,
                current=lambda: None,
                failed=self._on_failed,
                query={"labelSelector": query.selector},
                backoff=Backoff(),
            )
            self._reflectors.append(reflector)
            reflector.start()

    def _on_pod(self, obj: PodObject) -> str:
        pod = None if is_kube_dns(obj) else coredns_pod(obj)
        if has_finished(obj):
            self._on_gone(obj.metadata.uid)
        elif pod:
            self._add(pod, _reading_of_new(pod, self._reading))
        return obj.metadata.uid

    def _on_gone(self, uid: str) -> None:
        with self._lock:
            self._known.discard(uid)
            self._waiting.pop(uid, None)
            log = self._logs.get(uid)
        if log:
            log.pod_is_gone()

    def _on_failed(self, error: KdnsError, for_good: bool) -> None:
        # Other failures pass, and the logs that are followed tell of them.
        if (for_good or isinstance(error, ForbiddenError)) and not self._told_no_watch:
            self._told_no_watch = True
            self._put([self._notice("no_watch", f"new CoreDNS pods will not be noticed: {error.what}")])

    def _put(self, item: list[Record] | PodLog) -> None:
        """Waits for room, so that a slow reader slows the logs down; gives up when nobody reads any more."""
        while not self._abandoned.is_set():
            with suppress(queue.Full):
                return self._queue.put(item, timeout=HEARTBEAT_S)
        return None

    def _notice(self, code: str, message: str, node: str = "") -> Notice:
        return notice(code, message, self._now_ns(), node)


def _reading_of_new(pod: CorednsPod, reading: Reading) -> Reading:
    """It came after us, so all that its containers have logged is from now on."""
    return Reading(reading.start_ns, follow=True, previous=pod.restarts > 0)


def _description(pods: tuple[CorednsPod, ...]) -> str:
    counts = Counter(pod.kind for pod in pods)
    parts = [
        f"{counts[kind]} {name} pod{'s' if counts[kind] > 1 else ''}"
        for kind, name in (("coredns", "CoreDNS"), ("nodelocal", "NodeLocal DNSCache"))
        if counts[kind]
    ]
    named = ", ".join(map(str, pods[:NAMED_PODS]))
    more = f" and {len(pods) - NAMED_PODS} more" if len(pods) > NAMED_PODS else ""
    logs = "log" if len(pods) == 1 else "logs"
    return f"the {logs} of {' and '.join(parts)}: {named}{more}"


def _add_up(total: dict[str, int], figures: Mapping[str, int]) -> None:
    for name, figure in figures.items():
        total[name] = total.get(name, 0) + figure
