"""Opens agents on nodes for `doctor --active`, so that pods and nodes can be entered and asked from."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from kubectl_kdns.backend import Enterable, Scope, Source, load_backend
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.kube import Cluster
from kubectl_kdns.model import Notice
from kubectl_kdns.pod_transport import PodTransport
from kubectl_kdns.resolver import ResolvConf, Transport

BACKEND = "ebpf"
NOTHING = 'dns.name == "kdns.invalid"'
"""What the agents send on: we ask, and need nothing of what they see."""
READY_WAIT_S, END_WAIT_S = 60.0, 10.0


class Inside:
    """Agents, once `open` was called; `close` takes them away, and is owed."""

    def __init__(self, cluster: Cluster, options: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self._cluster, self._options, self._say = cluster, options, say
        self._source: Source | None = None
        self._reader: threading.Thread | None = None
        self._lock = threading.Lock()
        self._changed = threading.Event()
        self._is_ready = self._is_closed = False
        self._failure: KdnsError | None = None

    def open(self, nodes: Iterable[str]) -> None:
        """Returns when every agent on these nodes watches or has failed. Raises KdnsError when none does."""
        names = sorted(nodes)
        options = {
            **self._options, "agent_node": names, "max_nodes": len(names), "enter_nodes": names,
        }  # fmt: skip
        backend = load_backend(BACKEND)
        with self._lock:
            if self._is_closed:
                raise BackendError("it was ended before the agents were there")
            self._say(
                f"agents on {', '.join(names)} until this ends; they may enter networks of pods "
                "(SYS_ADMIN, SYS_PTRACE)"
            )
            self._source = backend.open(
                Scope(cluster=self._cluster, options=options), backend.plan(parse_filter(NOTHING))
            )
            self._reader = threading.Thread(target=self._read, args=(self._source,), name="doctor-inside")
            self._reader.start()
        self._changed.wait(READY_WAIT_S)
        if self._failure:
            raise self._failure
        if not self._is_ready:
            raise BackendError(
                f"the agents were not there within {READY_WAIT_S:.0f} s", hint="kubectl kdns backends ebpf"
            )

    @contextmanager
    def enter(self, node: str, pod_uid: str) -> Iterator[tuple[Transport, ResolvConf]]:
        """A way to ask from there, and what its resolv.conf says; `pod_uid` "" is the node itself. Raises
        KdnsError while it cannot."""
        source = self._source
        if not isinstance(source, Enterable):
            raise BackendError(f"{BACKEND} cannot ask from within pods")
        entered = source.enter(node, pod_uid)
        try:
            yield PodTransport(entered, set()), ResolvConf.parse(entered.resolv_conf)
        finally:
            entered.close()

    def close(self) -> None:
        with self._lock:
            self._is_closed = True
            source, reader = self._source, self._reader
        if source is None:
            return
        try:
            source.close()
            if reader:
                reader.join(END_WAIT_S)
            source.close()
        except KdnsError as error:
            self._failure = error
        if self._failure and self._is_ready:
            self._say(str(self._failure))  # something of the agents is left

    def _read(self, source: Source) -> None:
        try:
            for batch in source:
                if any(isinstance(record, Notice) and record.code == "agents_ready" for record in batch):
                    self._is_ready = True
                    self._changed.set()
        except KdnsError as error:
            self._failure = error
        finally:
            self._changed.set()
