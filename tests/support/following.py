"""A Follower that runs in a thread of its own, with a decoder that makes a notice of every line."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, Self

from kdns_coredns.discover import CorednsPod, discover
from kdns_coredns.follow import Follower
from kubectl_kdns.backend import Scope
from kubectl_kdns.kube import Cluster
from kubectl_kdns.model import Loss, Notice, Record
from kubectl_kdns.times import parse_time
from support.api_server import ApiServer, PodLog, Request, failure

LOG = r"GET /api/v1/namespaces/kube-system/pods/.*/log"
NOW = "2026-11-23T10:00:02Z"
"""A second after the followers' start."""
LINE = "line"
START_NS = parse_time("2026-11-23T10:00:01Z")
"""When followers are started; a PodLog begins a second earlier."""


def log_of(server: ApiServer, pod: str) -> PodLog:
    return server.log(pod, namespace="kube-system")


def is_log(request: Request) -> bool:
    return request.path.endswith("/log")


def is_log_thread(name: str) -> bool:
    """Whether a thread of that name follows the log of coredns-a."""
    return name == "log kube-system/coredns-a (n1)"


def while_disconnected(server: ApiServer, log: PodLog) -> threading.Event:
    """Cuts the connection; the server refuses new ones until the event is set."""
    again = threading.Event()
    server.script(lambda r: is_log(r) and not again.is_set(), failure(500, "InternalError"), forever=True)
    requests = server.count(LOG)
    log.cut()
    server.wait_for(lambda server: server.count(LOG) > requests)
    return again


def coredns_object(name: str, node: str = "n1", **status: Any) -> dict[str, Any]:
    """A running CoreDNS pod as kubeadm makes it; `status` is that of its container."""
    container = {"name": "coredns", "image": "registry.example/coredns/coredns:v1.12.1"}
    state = {"name": "coredns", "ready": True, "restartCount": 0, "state": {"running": {}}, **status}
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {"nodeName": node, "containers": [container]},
        "status": {"phase": "Running", "podIP": "10.244.0.2", "containerStatuses": [state]},
    }


class LineDecoder:
    """Every line of a log is a notice, without its time, in latin-1."""

    def __init__(self, pod: CorednsPod, container: str) -> None:
        self.pod, self.container = pod, container
        self.counters: dict[str, int] = {"lines_read": 0}

    def feed(self, block: bytes) -> list[Record]:
        lines = block.split(b"\n")
        assert lines.pop() == b"", "not whole lines"
        self.counters["lines_read"] += len(lines)
        texts = (line.partition(b" ")[2].decode("latin-1") for line in lines)
        return [Notice(node=self.pod.name, code=LINE, message=text) for text in texts]

    def flush(self, idle: bool = False) -> list[Record]:  # noqa: ARG002
        return []


class Following:
    """Collects what a Follower gives. `with` it: at its end the follower is closed and has ended."""

    def __init__(
        self,
        cluster: Cluster,
        make_decoder: Callable[[CorednsPod, str], Any] = LineDecoder,
        options: Mapping[str, Any] | None = None,
        **scope: Any,
    ) -> None:
        self.follower = Follower(
            cluster,
            discover(cluster, {}),
            Scope(cluster=cluster, options=options or {}, **scope),
            make_decoder,
            now_ns=lambda: START_NS,
        )
        self.records: list[Record] = []
        self.beats = 0
        self.first_batch: list[Record] | None = None
        self.failure: BaseException | None = None
        self.has_ended = False
        self.changed = threading.Condition()
        self.go_on = threading.Event()  # cleared: the consumer takes no batch
        self.go_on.set()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.go_on.set()
        self.follower.close()
        self._thread.join(10)
        assert self.has_ended

    def _run(self) -> None:
        try:
            for batch in self.follower:
                with self.changed:
                    self.first_batch = batch if self.first_batch is None else self.first_batch
                    self.records += batch
                    self.beats += not batch
                    self.changed.notify_all()
                self.go_on.wait(10)
        except BaseException as error:  # noqa: BLE001 - a test looks at it
            self.failure = error
        with self.changed:
            self.has_ended = True
            self.changed.notify_all()

    def wait_for(self, happened: Callable[[Following], object], timeout_s: float = 10) -> None:
        with self.changed:
            if not self.changed.wait_for(lambda: happened(self) or self.has_ended, timeout_s):
                raise AssertionError(f"did not happen within {timeout_s} s; records: {self.records[-20:]}")
        if not happened(self):
            raise AssertionError(f"ended before it happened: {self.failure}; records: {self.records[-20:]}")

    def wait_for_line(self, text: str) -> None:
        self.wait_for(lambda run: text in run.lines())

    def wait_for_lines(self, count: int) -> None:
        self.wait_for(lambda run: len(run.lines()) >= count)

    def wait_for_end(self) -> None:
        self.wait_for(lambda run: run.has_ended)

    def lines(self, pod: str = "") -> list[str]:
        """The lines in their order, of one pod or of all."""
        return [
            str(record.message)
            for record in self.records
            if isinstance(record, Notice) and record.code == LINE and pod in ("", record.node)
        ]

    def losses(self) -> list[Loss]:
        return [record for record in self.records if isinstance(record, Loss)]

    def notices(self) -> list[tuple[Any, Any]]:
        """(code, message) of all that are no lines."""
        return [
            (record.code, record.message)
            for record in self.records
            if isinstance(record, Notice) and record.code != LINE
        ]
