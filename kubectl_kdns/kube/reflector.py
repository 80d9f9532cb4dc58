"""Keeps one kind of objects current: lists them, watches them, and begins again when that breaks.

With WatchList, where the API server offers it, one watch gives first all objects and then the changes, and
nobody holds a list in memory; else the list comes in pages (kubernetes.io, "API concepts").
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

from kubectl_kdns.errors import ClusterError, GoneError, KdnsError
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.cluster import PAGE_SIZE, Cluster, Query
from kubectl_kdns.kube.objects import Meta
from kubectl_kdns.kube.watch import Watch


class KubeObject(Protocol):
    @property
    def metadata(self) -> Meta: ...


T = TypeVar("T", bound=KubeObject)


class Reflector(threading.Thread, Generic[T]):
    """A thread that calls, and nobody else does:

    `put(object)` for what is there or has changed; what it returns is given to `drop` when that is gone;
    `current()` when all is known: after each list, and when changes come again after a failure;
    `failed(error, for_good)` when it is not to be had: it tries again, unless the right was missing from the
    beginning.
    """

    def __init__(
        self,
        cluster: Cluster,
        path: str,
        of: type[T],
        *,
        put: Callable[[T], Any],
        drop: Callable[[Any], None],
        current: Callable[[], None],
        failed: Callable[[KdnsError, bool], None],
        query: Mapping[str, Query],
        backoff: Backoff,
    ) -> None:
        super().__init__(name=f"reflector {path}", daemon=True)
        self._cluster, self._path, self._of, self._query = cluster, path, of, query
        self._put, self._drop, self._current, self._failed = put, drop, current, failed
        self._backoff = backoff
        self._keys: dict[str, Any] = {}  # by UID
        self._version = ""  # from which to watch; "" is to list first
        self._has_listed = False
        self._has_progressed = False
        self._is_failing = False
        self._watch_list_offered = True
        self._watch: Watch[T] | None = None
        self._closed = threading.Event()

    def close(self) -> None:
        """Ends the thread soon; may be called from any thread."""
        self._closed.set()
        if watch := self._watch:
            watch.close()

    def run(self) -> None:
        while not self._closed.is_set():
            try:
                if self._version:
                    self._follow()
                elif self._watch_list_offered:
                    self._list_by_watch()
                else:
                    self._list()
            except GoneError:
                self._version = ""
            except KdnsError as error:
                if self._closed.is_set():
                    return
                forbidden = isinstance(error, ClusterError) and error.status == 403
                # A 403 after a success is an API server that starts and has not loaded its rules.
                for_good = forbidden and not self._has_listed
                self._is_failing = True
                self._failed(error, for_good)
                if for_good:
                    return
            if self._has_progressed:
                self._has_progressed = False
                self._backoff.reset()
            else:
                self._closed.wait(self._backoff.next_s())

    def _list(self) -> None:
        """Page by page; in one piece if the pages expire on the way."""
        try:
            self._read_pages(PAGE_SIZE)
        except GoneError:
            self._read_pages(None)

    def _read_pages(self, limit: int | None) -> None:
        fresh: dict[str, Any] = {}
        version = ""
        for page in self._cluster.pages(self._path, self._of, **{**self._query, "limit": limit}):
            if self._closed.is_set():
                return
            for obj in page.items or ():
                fresh[obj.metadata.uid] = self._put(obj)
            version = page.metadata.resource_version
        self._finish_list(fresh, version)

    def _list_by_watch(self) -> None:
        fresh: dict[str, Any] = {}
        try:
            for type_, obj in self._open(sendInitialEvents=True, resourceVersionMatch="NotOlderThan"):
                if self._version:
                    self._apply(type_, obj)
                elif type_ != "BOOKMARK":
                    fresh[obj.metadata.uid] = self._put(obj)
                elif obj.metadata.annotations and obj.metadata.annotations.initial_events_end == "true":
                    self._finish_list(fresh, obj.metadata.resource_version)
        except ClusterError as error:
            # 500 is what an API server of 1.34 says whose etcd is older than 3.4.25 (seen with 3.4.23):
            # "the required storage feature RequestWatchProgress is disabled".
            refused = 400 <= error.status <= 500 and error.status not in (401, 410, 429)
            if self._version or not refused:
                raise
            # Not offered, or `list` is allowed and `watch` is not.
            self._watch_list_offered = False
            self._has_progressed = True

    def _follow(self) -> None:
        for type_, obj in self._open(resourceVersion=self._version):
            self._apply(type_, obj)

    def _open(self, **query: Query) -> Watch[T]:
        watch = self._watch = self._cluster.watch_as(self._path, self._of, **self._query, **query)
        if self._closed.is_set():
            watch.close()
        return watch

    def _apply(self, type_: str, obj: T) -> None:
        uid = obj.metadata.uid
        if type_ == "DELETED":
            if uid in self._keys:
                self._drop(self._keys.pop(uid))
        elif type_ != "BOOKMARK":
            self._keys[uid] = self._put(obj)
        self._version = obj.metadata.resource_version
        self._has_progressed = True
        if self._is_failing:
            self._is_failing = False
            self._current()

    def _finish_list(self, fresh: dict[str, Any], version: str) -> None:
        for uid in self._keys.keys() - fresh.keys():
            self._drop(self._keys[uid])
        self._keys, self._version = fresh, version
        self._has_listed = self._has_progressed = True
        self._is_failing = False
        self._current()
