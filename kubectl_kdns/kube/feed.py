"""Feeds the directory from a cluster: pods, Services, nodes and hand-made endpoints, listed and watched."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from kubectl_kdns.directory import Directory
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import objects
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.cluster import Cluster, Query
from kubectl_kdns.kube.reflector import Reflector

# Endpoints behind a selector are found by the selector; only the slices that no controller made tell more.
_MADE_BY_HAND = "endpointslice.kubernetes.io/managed-by!=endpointslice-controller.k8s.io"
_JOIN_S = 1.0
_FAILURES_TO_TELL = 5
"""In a row, which takes 4 to 8 s: a hiccup is not worth a line."""


class _Kind(Struct, frozen=True):
    """What to list and how to hand it to the directory."""

    prefix: str
    plural: str
    of: Any
    put: Callable[[Any], Any]
    drop: Callable[[Any], None]
    query: dict[str, Query] = {}
    namespaced: bool = True

    def path(self, namespace: str) -> str:
        return f"{self.prefix}{f'/namespaces/{namespace}' if namespace else ''}/{self.plural}"


class DirectoryFeed:
    """Runs one thread for each kind of objects, from `start` to `close`.

    `namespaces` limits what is listed; none is all. Without the right to list all, it is the namespace of the
    context, and `say` gets a notice; so it does when names may be out of date. `trouble` says what keeps the
    directory from being ready or current.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespaces: Sequence[str] = (),
        say: Callable[[str], object] = lambda _: None,
        directory: Directory | None = None,
        time_ns: Callable[[], int] = time.time_ns,
        backoff: Callable[[], Backoff] = Backoff,
    ) -> None:
        self.directory = directory or Directory()
        self._backoff = backoff
        self._cluster, self._say, self._time_ns = cluster, say, time_ns
        self._namespaces = tuple(dict.fromkeys(namespaces)) or ("",)
        self._lock = threading.Lock()
        self._reflectors: list[Reflector[Any]] = []
        self._awaited: set[str] = set()  # paths of lists without which the directory is not ready
        self._troubles: dict[str, str] = {}  # by path
        self._failures: Counter[str] = Counter()  # in a row, by path
        self._settled = threading.Event()
        self._closed = False

    @property
    def trouble(self) -> str:
        with self._lock:
            return "; ".join(dict.fromkeys(self._troubles.values()))

    def start(self) -> None:
        """Returns at once."""
        wanted = [
            (kind, namespace)
            for kind in self._kinds()
            for namespace in (self._namespaces if kind.namespaced else ("",))
        ]
        self._awaited = {kind.path(namespace) for kind, namespace in wanted}
        for kind, namespace in wanted:
            self._reflect(kind, namespace)

    def wait(self, timeout_s: float) -> bool:
        """Whether the directory is ready; returns early when it never will be."""
        self._settled.wait(timeout_s)
        return self.directory.ready.is_set()

    def close(self) -> None:
        """Ends the threads; may be called more than once."""
        with self._lock:
            self._closed = True
            reflectors = list(self._reflectors)
        for reflector in reflectors:
            reflector.close()
        deadline = time.monotonic() + _JOIN_S
        for reflector in reflectors:
            reflector.join(max(0.0, deadline - time.monotonic()))
        self._settled.set()

    def _kinds(self) -> tuple[_Kind, ...]:
        directory = self.directory

        def put_pod(pod: objects.Pod) -> str:
            now_ns = self._time_ns()
            known = objects.pod_of(pod, directory, now_ns)
            directory.put_pod(known, now_ns)
            return known.uid

        def drop_pod(uid: str) -> None:
            directory.drop_pod(uid, self._time_ns())

        def put_service(service: objects.Service) -> tuple[str, str]:
            known = objects.service_of(service)
            directory.put_service(known)
            return known.namespace, known.name

        def put_node(node: objects.Node) -> str:
            known = objects.node_of(node)
            directory.put_node(known)
            return known.name

        def put_slice(slice_: objects.EndpointSlice) -> tuple[str, str]:
            known = objects.endpoints_of(slice_)
            directory.put_endpoints(known)
            return known.namespace, known.name

        slices = ("/apis/discovery.k8s.io/v1", "endpointslices", objects.EndpointSlice)
        return (
            _Kind("/api/v1", "nodes", objects.Node, put_node, directory.drop_node, namespaced=False),
            _Kind("/api/v1", "services", objects.Service, put_service, directory.drop_service),
            _Kind("/api/v1", "pods", objects.Pod, put_pod, drop_pod),
            _Kind(*slices, put_slice, directory.drop_endpoints, {"labelSelector": _MADE_BY_HAND}),
        )

    def _reflect(self, kind: _Kind, namespace: str) -> None:
        path = kind.path(namespace)

        def failed(error: KdnsError, for_good: bool) -> None:
            if for_good:
                self._give_up(kind, namespace, error)
            else:
                self._trouble(path, error)
                self._failures[path] += 1
                if kind.plural == "pods" and self._failures[path] == _FAILURES_TO_TELL:
                    self._say(f"notice: names of pods may be out of date: {self.trouble}")

        reflector = Reflector(
            self._cluster,
            path,
            kind.of,
            put=kind.put,
            drop=kind.drop,
            current=lambda: self._recovered(kind, path),
            failed=failed,
            query=kind.query,
            backoff=self._backoff(),
        )
        with self._lock:
            if self._closed:
                return
            self._reflectors.append(reflector)
        reflector.start()

    def _give_up(self, kind: _Kind, namespace: str, error: KdnsError) -> None:
        """The right to list it is missing: goes on with less where that makes sense."""
        path, own = kind.path(namespace), self._cluster.namespace
        if kind.plural == "pods" and namespace:
            self._trouble(path, error)
            self._settled.set()
            return
        if kind.plural == "pods":
            can_i = "kubectl auth can-i list pods -A"
            self._say(f"notice: no right to list pods of all namespaces ({can_i}): naming those of {own!r}")
        if kind.namespaced and not namespace:
            with self._lock:
                self._awaited.add(kind.path(own))
            self._reflect(kind, own)
        self._done_with(path)

    def _recovered(self, kind: _Kind, path: str) -> None:
        if self._failures.pop(path, 0) >= _FAILURES_TO_TELL and kind.plural == "pods":
            self._say("notice: names of pods are current again")
        self._done_with(path)

    def _trouble(self, path: str, error: KdnsError) -> None:
        with self._lock:
            self._troubles[path] = f"{error.what}: {error.cause}" if error.cause else error.what

    def _done_with(self, path: str) -> None:
        with self._lock:
            self._troubles.pop(path, None)
            self._awaited.discard(path)
            done = not self._awaited
        if done and not self._settled.is_set():
            self.directory.set_ready()
            self._settled.set()
