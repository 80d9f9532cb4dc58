"""Flows without a relay: `hubble observe` in every Cilium agent, by exec, merged into one stream."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial

import msgspec

from kdns_hubble.agents import Agent, AgentStream, find_agents, observe_arguments
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.flows import Response
from kdns_hubble.json_flows import read_line
from kdns_hubble.observer import NodeUptime
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import NS_PER_S, format_time

MAX_WAITING = 256
RETRY_S = 5.0
HEARTBEAT_S = 0.2
OVERLAP_NS = 10 * NS_PER_S


class AgentsStream:
    """Fulfils kdns_hubble.observer.FlowStream. An agent that fails is told of as a relay would (node_status),
    and asked again; only when none of them has ever answered that is an error."""

    def __init__(
        self,
        cluster: Cluster,
        agents: Sequence[Agent],
        arguments: Callable[[int | None], list[str]],
        *,
        follow: bool,
    ) -> None:
        self._cluster, self._agents, self._arguments, self._follow = cluster, agents, arguments, follow
        self._queue: queue.Queue[Sequence[bytes] | None] = queue.Queue(MAX_WAITING)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[AgentStream] = set()
        self._answered = False
        self._failure: KdnsError | None = None

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        threads = [
            threading.Thread(target=self._read, args=(agent,), name=f"hubble-{agent.node}", daemon=True)
            for agent in self._agents
        ]
        for thread in threads:
            thread.start()
        left = len(threads)
        while left and not self._closed.is_set():
            try:
                batch = self._queue.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                yield ()
                continue
            if batch is None:
                left -= 1
            else:
                yield batch
        if self._failure and not self._answered and not self._closed.is_set():
            raise self._failure

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            streams = list(self._open)
        for stream in streams:
            stream.close()

    def _read(self, agent: Agent) -> None:
        """All of one agent; opened again while it is followed."""
        since_ns: int | None = None
        failed = False
        while not self._closed.is_set():
            stream = AgentStream(
                self._cluster, agent.namespace, agent.pod, agent.node, self._arguments(since_ns)
            )
            with self._lock:
                self._open.add(stream)
            try:
                for lines in stream:
                    if not lines or self._closed.is_set():
                        continue
                    if failed:
                        failed = False
                        self._put([_status(agent, "NODE_CONNECTED", "")])
                    self._answered = True
                    self._put(lines)
                if not self._follow:
                    break
                text = "`hubble observe` ended"
            except KdnsError as error:
                self._failure = error
                text = error.what + (f": {error.cause}" if error.cause else "")
                if not self._answered:
                    break
            finally:
                stream.close()
                with self._lock:
                    self._open.discard(stream)
            if not failed and not self._closed.is_set():
                failed = True
                self._put([_status(agent, "NODE_ERROR", text)])
            since_ns = since_ns or time.time_ns() - OVERLAP_NS
            self._closed.wait(RETRY_S)
            agent = self._agent_of(agent)
        self._put(None)

    def _agent_of(self, agent: Agent) -> Agent:
        """The Cilium agent of the same node now: one that was replaced has another name."""
        try:
            return next(
                (one for one in find_agents(self._cluster) if one.node == agent.node and one.ready), agent
            )
        except KdnsError:
            return agent

    def _put(self, item: Sequence[bytes] | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=HEARTBEAT_S)
                return


def _status(agent: Agent, state: str, message: str) -> bytes:
    status = {"state_change": state, "node_names": [agent.node], "message": message}
    return msgspec.json.encode({"node_status": status, "time": format_time(time.time_ns())})


class AgentsObserver:
    """Fulfils kdns_hubble.observer.Observer. `why` says why there is no relay to ask; `check` raises when
    there is one now."""

    now_ns = 0  # nobody tells what time it is on the nodes
    newest_ns = 0
    nudge_s = 0.0

    def __init__(
        self,
        cluster: Cluster,
        agents: Sequence[Agent],
        why: str,
        filters: Sequence[FlowFilter],
        *,
        raw: bool,
        check: Callable[[], None],
    ) -> None:
        self._cluster, self._agents, self._filters, self.check = cluster, agents, filters, check
        self.description = f"{why}: `hubble observe` in {len(self._agents)} Cilium agents, by exec"
        self.read: Callable[[bytes], Response] = partial(read_line, keep_raw=raw)

    def history(self, since_ns: int | None, last: int | None) -> AgentsStream:
        return self._stream(partial(self._arguments, since_ns, last, False), follow=False)

    def follow(self, since_ns: int | None) -> AgentsStream:
        return self._stream(partial(self._arguments, since_ns, None, True), follow=True)

    def uptimes(self) -> Sequence[NodeUptime]:
        """A restarted agent ends its stream; asking for a relay is all there is to do."""
        self.check()
        return ()

    def close(self) -> None:
        return

    def _arguments(
        self, since_ns: int | None, last: int | None, follow: bool, resumed_ns: int | None
    ) -> list[str]:
        return observe_arguments(self._filters, resumed_ns or since_ns, follow, last)

    def _stream(self, arguments: Callable[[int | None], list[str]], *, follow: bool) -> AgentsStream:
        return AgentsStream(self._cluster, self._agents, arguments, follow=follow)
