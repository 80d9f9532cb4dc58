"""One node's agent, read through its relay: opened again when the connection breaks, as one session."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from kdns_ebpf import wire
from kdns_ebpf.agent_stream import AgentStream
from kdns_ebpf.manifest import relay_command
from kdns_ebpf.records import NAME
from kubectl_kdns.directory import Directory
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.exec import ExecStream
from kubectl_kdns.model import Loss, Notice, Record
from kubectl_kdns.times import format_time

PAUSES_S = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0)
START_PAUSES_S = (*(0.1,) * 20, *(0.3,) * 10, 1.0)
"""While its container is being made. Whether it runs is asked of the node itself, by trying."""
GIVE_UP_S = 30.0
"""An agent ends by itself when it has not heard of anybody for so long."""
READ_BYTES = 1 << 18


class NodeAgent:
    """`put` gets batches of records; `run` is for a thread of its own, and returns when there is no agent."""

    def __init__(
        self,
        cluster: Cluster,
        node: str,
        pod: tuple[str, str],
        architecture: str,
        config: Callable[[], bytes],
        put: Callable[[list[Record]], None],
        *,
        raw: bool,
        directory: Directory | None,
        ports: Sequence[int],
        progress: bool,
    ) -> None:
        self.node = node
        self.stream = AgentStream(node, raw=raw, directory=directory, ports=ports, progress=progress)
        self.pod, self.architecture = pod, architecture
        self._cluster, self._command = cluster, relay_command(architecture)
        self._config, self._put = config, put
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._exec: ExecStream | None = None

    def run(self) -> None:
        broken_s: float | None = None
        tries = starts = 0
        trouble = ""
        while self.stream.ended is None and not self._closing.is_set():
            heard = self.stream.hello
            try:
                self._read()
                trouble = "its relay ended"
            except (KdnsError, OSError) as error:
                trouble = str(error)
            except wire.BadFrame as error:
                self._put([self._notice("agent_unreadable", f"what the agent sends cannot be read: {error}")])
                return
            if self.stream.ended is not None or self._closing.is_set():
                break
            if self.stream.hello is None:
                self._closing.wait(START_PAUSES_S[min(starts, len(START_PAUSES_S) - 1)])
                starts += 1
                continue
            now_s = time.monotonic()
            if heard is not self.stream.hello or broken_s is None:
                broken_s, tries = now_s, 0
            if now_s - broken_s > GIVE_UP_S:
                self._put([self._lost(trouble)])
                return
            self._closing.wait(PAUSES_S[min(tries, len(PAUSES_S) - 1)])
            tries += 1

    def ping(self) -> None:
        self._write(wire.frame(wire.PING))

    def configure(self) -> None:
        """Says anew what is wanted."""
        self._write(self._config())

    def say_goodbye(self) -> None:
        """The agent sends what is pending, and the last figures; `run` then returns."""
        self._write(wire.frame(wire.CLOSE))

    def close(self) -> None:
        self._closing.set()
        with self._lock:
            stream = self._exec
        if stream:
            stream.close()

    def _read(self) -> None:
        stream = self._cluster.exec(*self.pod, "", self._command, stdin=True)
        with self._lock:
            self._exec = stream
        self.stream.connect()
        try:
            stream.write(self._config())
            while data := stream.read1(READ_BYTES):
                self._put(self.stream.feed(data))
        finally:
            with self._lock:
                self._exec = None
            stream.close()

    def _write(self, data: bytes) -> None:
        """Whoever reads finds out when the connection is broken."""
        with self._lock:
            stream = self._exec
        if stream:
            with suppress(KdnsError, OSError):
                stream.write(data)

    def _lost(self, trouble: str) -> Loss:
        now = format_time(time.time_ns())
        since_ns = self.stream.stats.time_ns if self.stream.stats else 0
        return Loss(
            time=now,
            backend=NAME,
            node=self.node,
            reason="disconnected",
            unit="messages",
            from_=format_time(since_ns) if since_ns else now,
            until=now,
            message=f"the agent cannot be reached any more: {trouble}",
        )

    def _notice(self, code: str, message: str) -> Notice:
        return Notice(
            time=format_time(time.time_ns()), backend=NAME, node=self.node, code=code, message=message
        )
