"""The agents of a cluster as one source: deploys them, reads them all, and takes them away again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress

from msgspec import UNSET

from kdns_ebpf.counters import counters_of
from kdns_ebpf.deployment import AgentFailed, AgentGone, AgentUp, Deployment
from kdns_ebpf.entered import EnteredPod
from kdns_ebpf.manifest import Placement, enter_command
from kdns_ebpf.node_agent import NodeAgent
from kdns_ebpf.nodes import Choice
from kdns_ebpf.records import NAME
from kubectl_kdns.backend import Entered
from kubectl_kdns.directory import Directory
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.model import Maybe, Notice, Record
from kubectl_kdns.times import format_time

MAX_BATCHES = 64
HEARTBEAT_S = 0.2
PING_S = 5.0
LOOK_S = 1.0
GOODBYE_S = 0.8
"""How long the agents' last words are waited for."""


class ClusterAgents:
    """A Source. `start` creates what is needed; whatever happens then, `close` is owed. Once it is iterated
    over the first call asks the agents for their rest, and the next ones take them away at once.

    `look` is asked now and then: which nodes need an agent now, once what `config` gives has changed.
    """

    in_history = False

    def __init__(
        self,
        cluster: Cluster,
        deployment: Deployment,
        namespace: str,
        config: Callable[[], bytes],
        look: Callable[[], Choice | None] | None,
        *,
        raw: bool,
        directory: Directory | None = None,
        ports: Sequence[int] = (),
        progress: bool = False,
    ) -> None:
        self._cluster, self._deployment, self._namespace = cluster, deployment, namespace
        self._config, self._look = config, look
        self._raw, self._directory, self._ports, self._progress = raw, directory, ports, progress
        self._queue: queue.Queue[list[Record]] = queue.Queue(MAX_BATCHES)
        self._lock = threading.Lock()
        self._agents: dict[str, NodeAgent] = {}
        self._streams: list[NodeAgent] = []  # those of before, too: their figures count
        self._readers: list[threading.Thread] = []
        self._failures: dict[str, KdnsError] = {}
        self._closing = threading.Event()
        self._skipped: Mapping[str, str] = {}
        self._told_ready = False
        self._has_begun = False

    def start(self, placements: Sequence[Placement], skipped: Mapping[str, str]) -> None:
        self._skipped = skipped
        self._deployment.start(placements)

    @property
    def description(self) -> str:
        nodes = self._deployment.nodes
        named = ", ".join(nodes[:4]) + (", ..." if len(nodes) > 4 else "")
        return f"{_many(len(nodes), 'agent')} in namespace {self._namespace}, on {named}"

    @property
    def counters(self) -> Mapping[str, int]:
        return counters_of([agent.stream for agent in list(self._streams)])

    def __iter__(self) -> Iterator[list[Record]]:
        self._has_begun = True
        threading.Thread(target=self._ping, name="ebpf-ping", daemon=True).start()
        threading.Thread(target=self._follow, name="ebpf-nodes", daemon=True).start()
        for node, why in self._skipped.items():
            yield [_notice(node, "agent_not_possible", f"no agent on this node: {why}")]
        try:
            yield from self._records()
        finally:
            self._deployment.close()
        if self._failures and not self._any_answered() and not self._closing.is_set():
            raise next(iter(self._failures.values()))

    def close(self) -> None:
        if self._closing.is_set() or not self._has_begun:
            self._closing.set()
            self._deployment.close()
            return
        self._closing.set()
        with self._lock:
            agents = list(self._agents.values())
        for agent in agents:
            agent.say_goodbye()

    def enter(self, node: str, pod_uid: str) -> Entered:
        """A way to ask from that pod ("": the node itself). Raises BackendError while no agent is there."""
        with self._lock:
            agent = self._agents.get(node)
        if agent is None or agent.stream.hello is None:
            failure = self._failures.get(node)
            raise failure or BackendError(f"there is no agent on node {node}")
        command = enter_command(agent.architecture, pod_uid)
        return EnteredPod(self._cluster.exec(*agent.pod, "", command, stdin=True))

    def _records(self) -> Iterator[list[Record]]:
        closing_s: float | None = None
        while True:
            if self._closing.is_set():
                closing_s = closing_s or time.monotonic()
                reading = any(reader.is_alive() for reader in self._readers)
                if self._queue.empty() and (not reading or time.monotonic() - closing_s > GOODBYE_S):
                    break
            elif self._all_failed():
                break
            elif not self._told_ready and self._all_answered():
                self._told_ready = True
                yield [_notice(UNSET, "agents_ready", f"{self._count()} watching from now on")]
            try:
                yield self._queue.get(timeout=0.02 if self._closing.is_set() else HEARTBEAT_S)
            except queue.Empty:
                yield []
        with self._lock:
            agents = list(self._agents.values())
        for agent in agents:
            agent.close()

    def _all_failed(self) -> bool:
        nodes = self._deployment.nodes
        return bool(self._failures) and not self._any_answered() and self._failures.keys() >= set(nodes)

    def _all_answered(self) -> bool:
        """All that have not failed, one at least."""
        answered = {agent.node for agent in list(self._streams) if agent.stream.hello}
        return bool(answered) and answered | self._failures.keys() >= set(self._deployment.nodes)

    def _count(self) -> str:
        count = sum(agent.stream.hello is not None for agent in list(self._streams))
        return f"{_many(count, 'agent')} " + ("is" if count == 1 else "are")

    def _any_answered(self) -> bool:
        return any(agent.stream.hello for agent in list(self._streams))

    def _follow(self) -> None:
        """What becomes of each agent."""
        while not self._closing.is_set():
            event = self._deployment.next_event(HEARTBEAT_S)
            if isinstance(event, AgentUp):
                self._read(event)
            elif isinstance(event, AgentFailed):
                self._failures[event.node] = event.error
                self._give_up(event.node)
                self._put([_notice(event.node, "agent_failed", str(event.error).replace("\n", ". "))])
            elif isinstance(event, AgentGone):
                self._give_up(event.node)
                self._put([_notice(event.node, "agent_gone", event.reason)])

    def _give_up(self, node: str) -> None:
        with self._lock:
            agent = self._agents.pop(node, None)
        if agent:
            agent.close()

    def _read(self, up: AgentUp) -> None:
        agent = NodeAgent(
            self._cluster,
            up.node,
            (self._namespace, up.pod),
            up.architecture,
            self._config,
            self._put,
            raw=self._raw,
            directory=self._directory,
            ports=self._ports,
            progress=self._progress,
        )
        reader = threading.Thread(target=agent.run, name=f"ebpf-{up.node}", daemon=True)
        with self._lock:
            self._agents[up.node] = agent
            self._streams.append(agent)
            self._readers.append(reader)
        reader.start()

    def _ping(self) -> None:
        """The lifeline of the agents; and what is wanted of them, when pods come and go."""
        pinged_s = time.monotonic()
        while not self._closing.wait(LOOK_S):
            change = self._change()
            if change is not None:
                self._deployment.add(change.placements)
            now_s = time.monotonic()
            if change is None and now_s - pinged_s < PING_S:
                continue
            pinged_s = now_s
            with self._lock:
                agents = list(self._agents.values())
            for agent in agents:
                if change is None:
                    agent.ping()
                else:
                    agent.configure()

    def _change(self) -> Choice | None:
        with suppress(KdnsError):  # it is asked again soon
            return self._look() if self._look else None
        return None

    def _put(self, records: list[Record]) -> None:
        """Waits for room: the agent's own buffer fills meanwhile, and counts what has no room."""
        while records:
            with suppress(queue.Full):
                return self._queue.put(records, timeout=HEARTBEAT_S)
            if self._closing.is_set():
                return None
        return None


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" + ("" if count == 1 else "s")


def _notice(node: Maybe[str], code: str, message: str) -> Notice:
    return Notice(time=format_time(time.time_ns()), backend=NAME, node=node, code=code, message=message)
