"""Brings agents to nodes and takes them away again: Jobs, the ConfigMap that they share, and their pods."""

from __future__ import annotations

import queue
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from msgspec import Struct

from kdns_ebpf import manifest
from kdns_ebpf.agent_objects import AgentObjects, in_parallel
from kdns_ebpf.late import NOT_RUNNING_S, Agent, why_late
from kdns_ebpf.manifest import Placement
from kdns_ebpf.nodes import Choice, Node
from kdns_ebpf.options import SPARE_NS, AgentOptions
from kdns_ebpf.trouble import AgentPod, no_room, refused, trouble
from kubectl_kdns.errors import ClusterError, ConflictError, KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.reflector import Reflector
from kubectl_kdns.ownership import Ownership

TEND_S = 0.5
MEND_S = 5.0
CREATED_WAIT_S, CLOSE_WAIT_S = 2.0, 5.0
_FOR_ALL_NODES = (0, 401, 403, 404)
"""Not reached, no right, no namespace: the other nodes' Jobs would be refused for the same reason."""


class AgentUp(Struct, frozen=True):
    """Its pod is there; it may not run yet: that it does, the API server hears up to a second later."""

    node: str
    pod: str
    architecture: str


class AgentFailed(Struct, frozen=True):
    """Told once for a pod; should it run after all, AgentUp follows."""

    node: str
    error: KdnsError


class AgentGone(Struct, frozen=True):
    """Its pod was deleted, or its node; it may come again, if the node does."""

    node: str
    reason: str = "the agent's pod was deleted"


Event = AgentUp | AgentFailed | AgentGone


class Deployment:
    """Agents on some nodes. `next_event` tells of each what becomes of it.

    `arguments` are those of the agent besides where it listens and how long it lives. May be used by several
    threads; `close` by any, as often as it likes.
    """

    def __init__(self, cluster: Cluster, options: AgentOptions, arguments: Sequence[str]) -> None:
        self._cluster, self._options, self._arguments = cluster, options, arguments
        now_ns = time.time_ns()
        self.owner = Ownership.of_this_process(
            secrets.token_hex(4), now_ns, now_ns + options.lifetime_ns + SPARE_NS
        )
        self.binaries = manifest.map_name(self.owner.session)
        self._closed = threading.Event()
        self._objects = AgentObjects(cluster, options.namespace, self._closed)
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._ending = threading.RLock()
        self._changed = threading.Condition()  # guards what follows
        self._agents: dict[str, Agent] = {}  # by node
        self._created: set[str] = set()  # paths of all objects that may be there
        self._creating = 0
        self._architectures: set[str] = set()
        self._map_owner: Agent | None = None
        self._mended_s = 0.0
        self._no_pods: KdnsError | None = None  # why nobody sees our pods
        self._reflectors: list[Reflector[Any]] = []

    @property
    def nodes(self) -> list[str]:
        """Those that have, or should have had, an agent."""
        with self._changed:
            return sorted(self._agents)

    def manifests(self, placements: Sequence[Placement]) -> list[dict[str, Any]]:
        """All that `start` would create, for --dry-run."""
        architectures = {where.architecture for where in placements}
        binaries = manifest.config_map(self.binaries, self.owner, self._options, architectures)
        return [*(self._job(where) for where in placements), binaries]

    def start(self, placements: Sequence[Placement]) -> None:
        """Creates the first Job, the ConfigMap that it owns, and the other Jobs.

        Raises the first refusal when no Job was to be had; others are told as AgentFailed.
        """
        self._architectures = {where.architecture for where in placements}
        try:
            rest = self._start_first(placements)
            self._watch(self._objects.pods, AgentPod, self._see, self._lose, labelSelector=self._selector())
            threading.Thread(target=self._tend, name="ebpf-tend", daemon=True).start()
            in_parallel([partial(self._add, where) for where in rest])
        except BaseException:
            with suppress(KdnsError):  # what went wrong first matters more
                self.close()
            raise

    def add(self, placements: Iterable[Placement]) -> None:
        """Agents on nodes that have none yet."""
        for where in placements:
            with self._changed:
                known, count = where.node in self._agents, len(self._agents)
            if known:
                continue
            if error := no_room(where, self._options, count, self._architectures):
                with self._changed:
                    self._agents[where.node] = Agent(where, "", time.monotonic(), is_alive=False)
                self._events.put(AgentFailed(where.node, error))
            else:
                self._add(where)

    def follow_nodes(self, choose: Callable[[Sequence[Node]], Choice]) -> None:
        """From now on nodes that join, or become ready, get an agent where `choose` wants one, and that of a
        node that goes is told as gone. `choose` is called in a thread of its own."""

        def put(node: Node) -> str:
            name = node.metadata.name
            if name not in self._agents and not self._closed.is_set():
                with suppress(KdnsError):  # more nodes than wanted: `add` counts and says so
                    self.add(choose([node]).placements)
            return name

        self._watch("/api/v1/nodes", Node, put, self._lose_node)

    def next_event(self, timeout_s: float) -> Event | None:
        with suppress(queue.Empty):
            return self._events.get(timeout=timeout_s)
        return None

    def close(self) -> None:
        """Deletes all of it, at once and in parallel. Raises KdnsError when something stayed.

        Whoever calls it while another thread is at it waits until that is done.
        """
        self._closed.set()
        with self._ending:
            for reflector in self._reflectors:
                reflector.close()
            with self._changed:
                # A Job whose creation is on its way would outlive its deletion.
                self._changed.wait_for(lambda: not self._creating, CREATED_WAIT_S)
                created = sorted(self._created)
                pods = [f"{self._objects.pods}/{a.pod}" for a in self._agents.values() if a.pod]
            left = self._objects.delete_all(created, CLOSE_WAIT_S)
            if created and not left:
                # By force: what ran in them has ended, or does so when nobody asks for it. Going with their
                # Jobs they would be there a second longer; but after these, which could else replace them.
                self._objects.delete_all(pods, CLOSE_WAIT_S)
            self._created.difference_update(created)  # what stayed is told once, and not tried again
        if left:
            known = [error for error in left.values() if error]
            raise KdnsError(
                f"{len(left)} objects of agents are still in namespace {self._options.namespace}",
                cause=known[0].what if known else f"no answer within {CLOSE_WAIT_S:.0f} s",
                hint="kubectl kdns cleanup (the agents themselves end 30 s after they last heard of us)",
            )

    def _start_first(self, placements: Sequence[Placement]) -> list[Placement]:
        """The first Job that can be had, and the ConfigMap; returns the nodes that are still to come."""
        rest = list(placements)
        first_error: KdnsError | None = None
        while rest:
            where = rest.pop(0)
            try:
                agent = self._create_job(where)
            except KdnsError as error:
                told = refused(error, self._options, where.node)
                if isinstance(error, ClusterError) and error.status in _FOR_ALL_NODES:
                    raise told from None
                first_error = first_error or told
                self._events.put(AgentFailed(where.node, told))
                continue
            try:
                self._create_map(agent)
            except KdnsError as error:
                raise refused(error, self._options, where.node) from None
            return rest
        raise first_error or KdnsError("there is no node for an agent")

    def _add(self, where: Placement) -> None:
        if self._closed.is_set():
            return
        try:
            self._create_job(where)
        except KdnsError as error:
            self._events.put(AgentFailed(where.node, refused(error, self._options, where.node)))

    def _job(self, where: Placement) -> dict[str, Any]:
        # A node's name may be longer than a Job's: a number of our own, and the node in an annotation.
        name = f"{self.binaries}-{secrets.token_hex(3)}"
        return manifest.job(name, self.binaries, self.owner, self._options, where, self._arguments)

    def _create_job(self, where: Placement) -> Agent:
        body = self._job(where)
        agent = Agent(where, body["metadata"]["name"], time.monotonic())
        with self._changed:
            self._agents[where.node] = agent
        try:
            agent.uid = self._create(self._objects.jobs, body)["metadata"]["uid"]
        except KdnsError:
            agent.is_alive = False
            raise
        return agent

    def _create_map(self, owner: Agent) -> None:
        body = manifest.config_map(
            self.binaries, self.owner, self._options, self._architectures, (owner.job, owner.uid)
        )
        with suppress(ConflictError):  # the one before has not gone yet
            self._create(self._objects.config_maps, body)
            self._map_owner = owner

    def _create(self, path: str, body: Any) -> Any:
        own = f"{path}/{body['metadata']['name']}"
        with self._changed:
            if self._closed.is_set():
                raise KdnsError("the agents are being taken away")
            # Before the answer, which may be lost on its way: close has to delete it then.
            self._created.add(own)
            self._creating += 1
        try:
            return self._objects.create(path, body)
        finally:
            with self._changed:
                self._creating -= 1
                self._changed.notify_all()
            if self._closed.is_set():
                self._objects.delete(own)

    def _watch(self, path: str, of: Any, put: Any, drop: Any, **query: str) -> None:
        reflector: Reflector[Any] = Reflector(
            self._cluster,
            path,
            of,
            put=put,
            drop=drop,
            current=lambda: None,
            failed=self._fail if of is AgentPod else lambda *_: None,
            query=query,
            backoff=Backoff(),
        )
        self._reflectors.append(reflector)
        reflector.start()
        if self._closed.is_set():
            reflector.close()

    def _selector(self) -> str:
        return f"{manifest.SELECTOR},{manifest.SESSION_LABEL}={self.owner.session}"

    def _fail(self, error: KdnsError, for_good: bool) -> None:
        if for_good:
            self._no_pods = error

    def _see(self, pod: AgentPod) -> tuple[str, str]:
        """Tells what a pod's status says that has not been told yet."""
        node, name = pod.spec.node_name, pod.metadata.name
        agent = self._agents.get(node)
        if agent is None or self._closed.is_set() or agent.failed_pod == name:
            return node, name
        is_new, agent.pod = agent.pod != name, name
        # Whoever waits for an agent has given up then.
        is_late = pod.is_running and not agent.is_running and time.monotonic() - agent.made_s > NOT_RUNNING_S
        agent.is_running = pod.is_running
        ended = pod.state.terminated
        if ended and ended.exit_code == 0:
            agent.is_alive = False  # it said goodbye
        elif error := trouble(pod, self._options):
            agent.failed_pod = name
            agent.is_alive = not pod.over
            self._events.put(AgentFailed(node, error))
        elif is_new or is_late:
            self._events.put(AgentUp(node, name, agent.where.architecture))
        return node, name

    def _lose(self, key: tuple[str, str]) -> None:
        node, name = key
        agent = self._agents.get(node)
        if agent is None or agent.pod != name or self._closed.is_set():
            return
        agent.is_alive = agent.is_running = False  # with backoffLimit 0 its Job makes no other
        if agent.failed_pod != name:
            self._events.put(AgentGone(node))

    def _lose_node(self, node: str) -> None:
        with self._changed:
            agent = self._agents.pop(node, None)
        if agent is None or self._closed.is_set():
            return
        agent.is_alive = False
        if agent.job:
            self._objects.delete(f"{self._objects.jobs}/{agent.job}")
        self._events.put(AgentGone(node, "the node has left the cluster"))

    def _tend(self) -> None:
        """Looks after agents that do not come: nothing tells of a pod that was never made."""
        while not self._closed.wait(TEND_S):
            now_s = time.monotonic()
            with self._changed:
                waiting = [a for a in self._agents.values() if a.uid and a.is_alive and not a.is_running]
            for agent in waiting:
                node, error = agent.where.node, None
                if self._no_pods is None:
                    error = why_late(agent, now_s - agent.made_s, self._objects, self._options)
                elif not agent.told_no_pod:
                    agent.told_no_pod = True
                    error = refused(self._no_pods, self._options, node)
                if error:
                    self._events.put(AgentFailed(node, error))
            self._mend_map(waiting, now_s)

    def _mend_map(self, waiting: Sequence[Agent], now_s: float) -> None:
        """The ConfigMap goes with the Job that owns it, and without it no other agent can start."""
        lost = self._map_owner is not None and not self._map_owner.is_alive
        late = [a for a in waiting if a.pod and (lost or now_s - a.made_s > MEND_S)]
        if late and now_s - self._mended_s > MEND_S:
            self._mended_s = now_s
            with suppress(KdnsError):
                self._create_map(late[0])
