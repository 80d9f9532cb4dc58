"""Flows without a relay: `hubble observe` in every Cilium agent, by exec, merged into one stream."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from weakref import WeakSet

import msgspec

from kdns_hubble.agents import Agent, AgentStream, find_agents, observe_arguments
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.flows import Flow, Response
from kdns_hubble.json_flows import read_line
from kdns_hubble.node_flows import OVERLAP_NS
from kdns_hubble.observer import NodeUptime
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import NS_PER_S, format_time

MAX_WAITING = 256
RETRY_S = 5.0
LOOK_S = 30.0
HEARTBEAT_S = 0.2
PATIENCE_S = 30.0
SKEW_NS = 10 * NS_PER_S
"""How far a node's clock may be behind ours, where none of its flows tells its time."""


class AgentsStream:
    """Fulfils kdns_hubble.observer.FlowStream. An agent that fails is told of as a relay would (node_status),
    and asked again while it is followed, as those of nodes that are new. Only when all of them fail before
    any has said something that is an error."""

    def __init__(
        self,
        cluster: Cluster,
        agents: Sequence[Agent],
        arguments: Callable[[int | None], list[str]],
        *,
        follow: bool,
    ) -> None:
        self._cluster, self._arguments, self._follow = cluster, arguments, follow
        self._agents = {agent.node: agent for agent in agents}
        self._queue: queue.Queue[Sequence[bytes] | None] = queue.Queue(MAX_WAITING)
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._open: set[AgentStream] = set()
        self._answered = False
        # What each node failed with, at first.
        self._failures: dict[str, KdnsError] = {}

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        for agent in list(self._agents.values()):
            self._start(self._read, agent)
        if self._follow:
            self._start(self._look)
        left = len(self._agents)
        while left and not self._closed.is_set():
            if self._all_failed():
                failure = next(iter(self._failures.values()))
                self.close()
                raise failure
            try:
                batch = self._queue.get(timeout=HEARTBEAT_S)
            except queue.Empty:
                yield ()
                continue
            if batch is None:
                left -= 1
            else:
                yield batch
        if self._all_failed() and not self._closed.is_set():
            raise next(iter(self._failures.values()))

    def close(self) -> None:
        self._closed.set()
        with self._lock:
            streams = list(self._open)
        for stream in streams:
            stream.close()

    def _all_failed(self) -> bool:
        return not self._answered and len(self._failures) == len(self._agents)

    def _start(self, run: Callable[..., None], *arguments: Agent) -> None:
        name = "-".join(["hubble", *(agent.node for agent in arguments)])
        threading.Thread(target=run, args=arguments, name=name, daemon=True).start()

    def _look(self) -> None:
        """The agents of nodes that join, or were not ready."""
        while not self._closed.wait(LOOK_S):
            for agent in self._ready_agents():
                if agent.node not in self._agents and not self._closed.is_set():
                    self._agents[agent.node] = agent
                    self._put([_status(agent, "NODE_CONNECTED", "")])
                    self._start(self._read, agent)

    def _read(self, agent: Agent) -> None:
        """All of one agent; opened again while it is followed."""
        since_ns: int | None = None
        failed = False
        while not self._closed.is_set():
            last, cause = b"", "`hubble observe` ended"
            try:
                for lines in self._lines(agent, since_ns):
                    if failed:
                        failed = False
                        self._put([_status(agent, "NODE_CONNECTED", "")])
                    self._answered = True
                    last = lines[-1]
                    self._put(lines)
                if not self._follow:
                    break
            except KdnsError as error:
                self._failures.setdefault(agent.node, error)
                cause = error.what + (f": {error.cause}" if error.cause else "")
            if not failed:
                failed = True
                self._put([_status(agent, "NODE_ERROR", cause)])
            if not self._follow:
                break
            if last or since_ns is None:
                since_ns = _time_ns(last) - OVERLAP_NS if _time_ns(last) else time.time_ns() - SKEW_NS
            self._closed.wait(RETRY_S)
            agent = next((one for one in self._ready_agents() if one.node == agent.node), agent)
        self._put(None)

    def _lines(self, agent: Agent, since_ns: int | None) -> Iterator[list[bytes]]:
        """What one `hubble observe` prints, to its end."""
        stream = AgentStream(self._cluster, agent.namespace, agent.pod, agent.node, self._arguments(since_ns))
        with self._lock:
            self._open.add(stream)
        try:
            for lines in stream:
                if self._closed.is_set():
                    return
                if lines:
                    yield lines
        finally:
            stream.close()
            with self._lock:
                self._open.discard(stream)

    def _ready_agents(self) -> list[Agent]:
        """Those there are now: one that was replaced has another name."""
        if self._closed.is_set():
            return []
        try:
            return [agent for agent in find_agents(self._cluster) if agent.ready]
        except KdnsError:
            return []

    def _put(self, item: Sequence[bytes] | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=HEARTBEAT_S)
                return


def _time_ns(line: bytes) -> int:
    """Of the flow in a line; 0 unknown."""
    response = read_line(line) if line else None
    return response.time_ns if isinstance(response, Flow) else 0


def _status(agent: Agent, state: str, message: str) -> bytes:
    status = {"state_change": state, "node_names": [agent.node], "message": message}
    return msgspec.json.encode({"node_status": status, "time": format_time(time.time_ns())})


class AgentsObserver:
    """Fulfils kdns_hubble.observer.Observer. `why` says why there is no relay to ask; `check` raises when
    there is one now."""

    now_ns = 0  # nobody tells what time it is on the nodes
    newest_ns = 0
    nudge_s = 0.0
    patience_s = PATIENCE_S

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
        self._streams: WeakSet[AgentsStream] = WeakSet()
        self.description = f"{why}: `hubble observe` in {len(self._agents)} Cilium agents, by exec"
        self.read: Callable[[bytes], Response] = partial(read_line, keep_raw=raw)

    def history(self, since_ns: int | None, last: int | None) -> AgentsStream:
        return self._stream(partial(self._arguments, since_ns, last, False), follow=False)

    def follow(self, since_ns: int | None) -> AgentsStream:
        return self._stream(partial(self._arguments, since_ns, None, True), follow=True)

    def reach(self) -> Mapping[str, int]:
        return {}  # `hubble observe` does not tell

    def uptimes(self) -> Sequence[NodeUptime]:
        """A restarted agent ends its stream; asking for a relay is all there is to do."""
        self.check()
        return ()

    def close(self) -> None:
        for stream in list(self._streams):
            stream.close()

    def _arguments(
        self, since_ns: int | None, last: int | None, follow: bool, resumed_ns: int | None
    ) -> list[str]:
        return observe_arguments(self._filters, resumed_ns or since_ns, follow, last)

    def _stream(self, arguments: Callable[[int | None], list[str]], *, follow: bool) -> AgentsStream:
        stream = AgentsStream(self._cluster, self._agents, arguments, follow=follow)
        self._streams.add(stream)
        return stream
