"""Feeds the directory from a cluster: pods, Services, nodes and hand-made endpoints, listed and watched."""

from __future__ import annotations

import threading
import time
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
_JOIN_S = 2.0


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
    context, and `say` gets a notice. `trouble` says what keeps the directory from being ready or current.
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
        for reflector in reflectors:
            reflector.join(_JOIN_S)
        self._settled.set()

    def _kinds(self) -> tuple[_Kind, ...]:
        directory = self.directory

        def put_pod(pod: objects.Pod) -> str:
            now_ns = self._time_ns()
            directory.put_pod(objects.pod_of(pod, directory, now_ns), now_ns)
            return pod.metadata.uid

        def drop_pod(uid: str) -> None:
            directory.drop_pod(uid, self._time_ns())

        def put_service(service: objects.Service) -> tuple[str, str]:
            directory.put_service(objects.service_of(service))
            return service.metadata.namespace, service.metadata.name

        def put_node(node: objects.Node) -> str:
            directory.put_node(objects.node_of(node))
            return node.metadata.name

        def put_slice(slice_: objects.EndpointSlice) -> tuple[str, str]:
            directory.put_endpoints(objects.endpoints_of(slice_))
            return slice_.metadata.namespace, slice_.metadata.name

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

        reflector = Reflector(
            self._cluster,
            path,
            kind.of,
            put=kind.put,
            drop=kind.drop,
            listed=lambda: self._done_with(path),
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
