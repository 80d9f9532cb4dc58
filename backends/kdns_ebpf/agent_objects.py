"""Creates and deletes the agents' objects in one namespace, and reads what events say of them."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from kubectl_kdns.errors import ClusterError, ConflictError, KdnsError, NotFoundError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.backoff import Backoff

_PREFIXES = {
    "Job": ("/apis/batch/v1", "jobs"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
}
PARALLEL = 8
ATTEMPTS = 4


def collection(kind: str, namespace: str) -> str:
    """The path of all objects of a kind in a namespace."""
    prefix, plural = _PREFIXES[kind]
    return f"{prefix}/namespaces/{namespace}/{plural}"


def path_of(body: Any) -> str:
    """Where an object is created."""
    return collection(body["kind"], body["metadata"]["namespace"])


class AgentObjects:
    """May be used by several threads. `closed`, once set, ends waiting between attempts."""

    def __init__(self, cluster: Cluster, namespace: str, closed: threading.Event) -> None:
        self._cluster, self._closed = cluster, closed
        self.jobs = collection("Job", namespace)
        self.config_maps = collection("ConfigMap", namespace)
        self.pods = collection("Pod", namespace)
        self._events = collection("Event", namespace)

    def create(self, path: str, body: Any) -> Any:
        """Again when the answer was lost or the server has too much to do; a conflict then is our own earlier
        try. Raises ConflictError when there is such an object at the first."""
        backoff = Backoff(0.2, 2.0)
        for attempt in range(ATTEMPTS):
            try:
                return self._cluster.request("POST", path, body=body)
            except ConflictError:
                if not attempt:
                    raise
                return self._cluster.get(f"{path}/{body['metadata']['name']}")
            except ClusterError as error:
                passing = error.status in (0, 429) or error.status >= 500
                if not passing or attempt == ATTEMPTS - 1 or self._closed.wait(backoff.next_s()):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def delete(self, path: str) -> KdnsError | None:
        """Whatever becomes of it; None when it is gone. What it owns goes with it, soon after."""
        body = {"propagationPolicy": "Background", "gracePeriodSeconds": 0}
        failure: KdnsError | None = None
        for _ in range(2):
            try:
                self._cluster.request("DELETE", path, body=body)
            except NotFoundError:
                return None
            except KdnsError as error:
                failure = error
            else:
                return None
        return failure

    def delete_all(self, paths: Iterable[str], limit_s: float) -> dict[str, KdnsError | None]:
        """Those that could not be deleted, with why: None when there was no answer within `limit_s`."""
        left: dict[str, KdnsError | None] = dict.fromkeys(paths)

        def delete(path: str) -> None:
            failure = self.delete(path)
            if failure:
                left[path] = failure
            else:
                left.pop(path, None)

        in_parallel([partial(delete, path) for path in list(left)], limit_s)
        return dict(left)

    def warnings(self, kind: str, name: str) -> list[str]:
        """The messages of its Warning events, the newest last; none without the right to list events."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name},type=Warning"
        with suppress(KdnsError):
            events = self._cluster.list(self._events, fieldSelector=selector).items
            events.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
            return [str(event.get("message", "")) for event in events]
        return []


def in_parallel(tasks: Sequence[Callable[[], None]], limit_s: float | None = None) -> None:
    """Runs tasks, which do not raise, in a few threads; returns when all have ended, or after `limit_s`."""
    waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def work() -> None:
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()()

    # Daemons, and no executor: a request that hangs must not keep the program from ending.
    count = min(PARALLEL, len(tasks))
    threads = [threading.Thread(target=work, name=f"ebpf-work-{i}", daemon=True) for i in range(count)]
    for thread in threads:
        thread.start()
    end_s = None if limit_s is None else time.monotonic() + limit_s
    for thread in threads:
        thread.join(None if end_s is None else max(0.0, end_s - time.monotonic()))
