"""Hubble Relay without the network: many nodes' rings as one stream, sorted and delayed as the real one does.

Follows `relay/observer/{server,observer}.go` of Cilium 1.17: a buffer sorts by time and lets go only when it
is full or nothing came for `drain_s`; nodes are asked again while following; equal errors are gathered.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from support.hubble_flows import enveloped, node_status
from support.hubble_ring import CAPACITY, RequestError, Ring, RingReader
from support.hubble_schema import GetFlowsResponse

NS_PER_S = 1_000_000_000
GONE = "rpc error: code = Unavailable desc = error reading from server: EOF"
Response = Any  # a GetFlowsResponse, or bytes that stand for one


class Clock:
    """Now, and waiting for a change that any thread may announce, without missing one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self.changes = 0

    def now_ns(self) -> int:
        return time.time_ns()

    def changed(self) -> None:
        with self._condition:
            self.changes += 1
            self._condition.notify_all()

    def wait(self, seen_changes: int, timeout_s: float) -> None:
        """Until there are more changes than were seen, or the time is over."""
        with self._condition:
            self._condition.wait_for(lambda: self.changes != seen_changes, timeout_s)


@dataclass
class Settings:
    """Options of the relay and of the agents, with their defaults in Cilium 1.17.

    `lost_every_s` is how agents of 1.19 count up events lost in their ring (1 s); None is a message for each.
    """

    sort_buffer: int = 100
    drain_s: float = 1.0
    peers_every_s: float = 2.0
    errors_every_s: float = 10.0
    knows_mask: bool = True
    lost_every_s: float | None = None


class Node:
    """A node with its agent, which may go and come back; `add` from any thread."""

    def __init__(self, name: str, clock: Clock, *, capacity: int = CAPACITY) -> None:
        self.name, self.available = name, True
        self.seen = 0
        self.namespaces: set[str] = set()
        self._clock, self._capacity = clock, capacity
        self._begin()

    def add(self, *items: Any) -> None:
        """Flows, or lost_events messages, as they come."""
        for item in items:
            event = item if isinstance(item, GetFlowsResponse) else enveloped(item)
            if event.HasField("flow"):
                self.seen += 1
                self.namespaces |= {event.flow.source.namespace, event.flow.destination.namespace} - {""}
            self.ring.write(event)
        self._clock.changed()

    def go(self) -> None:
        """The agent ends: its streams break, and nobody can connect."""
        self.available = False
        self._clock.changed()

    def come_back(self) -> None:
        """The agent is there again, with an empty ring."""
        self._begin()
        self.available = True
        self._clock.changed()

    def restart(self) -> None:
        """Gone and back before the relay looks again: streams break, the ring is empty."""
        self._begin()
        self._clock.changed()

    def status(self) -> dict[str, Any]:
        """The fields that ServerStatusResponse and Node have in common."""
        uptime_ns = self._clock.now_ns() - self.started_ns
        return {
            "num_flows": len(self.ring),
            "max_flows": self.ring.capacity,
            "seen_flows": self.seen,
            "uptime_ns": uptime_ns,
        }

    def _begin(self) -> None:
        self.ring = Ring(self._capacity)
        self.seen = 0
        self.started_ns = self._clock.now_ns()


@dataclass
class Call:
    """One GetFlows in progress: `extra` are raw messages to slip in; `active` turns false when it is over."""

    request: Any
    active: bool = True
    extra: deque[bytes] = field(default_factory=deque)


def buffer_length(number: int, nodes: int, sort_buffer: int) -> int:
    """How many messages the relay holds back: number * nodes in 64 bits, when that is less than its own."""
    asked = number * nodes % (1 << 64)
    return asked if 0 < asked < sort_buffer else sort_buffer


class Relay:
    """`flows` is GetFlows over `nodes`, which the caller may change between calls."""

    def __init__(self, nodes: list[Node], clock: Clock, settings: Settings) -> None:
        self.nodes, self.settings = nodes, settings
        self._clock = clock

    def flows(self, call: Call) -> Iterator[Response]:
        """Messages until all nodes have ended, also while following, or the call is not active any more.

        Whatever is added to a node after the first message was taken is in the stream.
        """
        stream = _Stream(self, call, self._clock)
        yield from stream.ready()
        while call.active and stream.readers:
            seen = self._clock.changes
            moved = stream.advance()
            yield from stream.ready()
            if not moved and stream.readers:
                self._clock.wait(seen, stream.idle_s())
        if call.active:
            stream.end()
            yield from stream.ready()


class _Stream:
    """The state of one GetFlows."""

    def __init__(self, relay: Relay, call: Call, clock: Clock) -> None:
        self._relay, self._call, self._clock = relay, call, clock
        self._request, self._settings = call.request, relay.settings
        self.readers: dict[str, tuple[Node, Ring, RingReader]] = {}
        self._asked: set[str] = set()  # nodes that ended well are not asked again
        self._ready: deque[Response] = deque()
        self._heap: list[tuple[int, int, Any]] = []
        self._pushed = 0
        self._room = buffer_length(call.request.number, len(relay.nodes), self._settings.sort_buffer)
        self._error: Any = None
        now_ns = clock.now_ns()
        self._drain_ns = now_ns + _ns(self._settings.drain_s)
        self._peers_ns = now_ns + _ns(self._settings.peers_every_s)
        self._error_ns = 0
        for state, available in (("NODE_CONNECTED", True), ("NODE_UNAVAILABLE", False)):
            if names := [node.name for node in relay.nodes if node.available is available]:
                self._ready.append(node_status(state, *names, time_ns=now_ns))
        self._collect()

    def ready(self) -> Iterator[Response]:
        """What may be sent now."""
        while self._ready:
            yield self._ready.popleft()

    def advance(self) -> bool:
        """Takes at most one message of each node, and does what is due; whether there was anything."""
        moved = False
        while self._call.extra:
            self._ready.append(self._call.extra.popleft())
        for node, ring, reader in list(self.readers.values()):
            if not node.available or node.ring is not ring:
                moved = True
                del self.readers[node.name]
                self._fail(node.name, GONE)
                continue
            message = reader.poll()
            if reader.finished:
                del self.readers[node.name]
            if message is not None:
                moved = True
                self._push(message)
        now_ns = self._clock.now_ns()
        if now_ns >= self._drain_ns:
            self._drain_ns = now_ns + _ns(self._settings.drain_s)
            while self._heap and self._heap[0][0] <= now_ns - _ns(self._settings.drain_s):
                self._pop()
        if self._error is not None and now_ns >= self._error_ns:
            self._flush_error()
        if self._request.follow and now_ns >= self._peers_ns:
            self._peers_ns = now_ns + _ns(self._settings.peers_every_s)
            self._collect()
            moved = True
        return moved

    def idle_s(self) -> float:
        """Until something is due that no change announces."""
        due = [self._drain_ns]
        if self._request.follow:
            due.append(self._peers_ns)
        if self._error is not None:
            due.append(self._error_ns)
        return max(0, min(due) - self._clock.now_ns()) / NS_PER_S

    def end(self) -> None:
        """All nodes have ended: what is held back, sorted."""
        self._flush_error()
        while self._heap:
            self._pop()

    def _collect(self) -> None:
        """Asks nodes that are there and not asked; while following too, and then nobody is told."""
        for node in self._relay.nodes:
            if node.available and node.name not in self._asked:
                self._asked.add(node.name)
                try:
                    reader = RingReader(
                        node.ring,
                        self._request,
                        node=node.name,
                        knows_mask=self._settings.knows_mask,
                        lost_every_s=self._settings.lost_every_s,
                        now_ns=self._clock.now_ns,
                    )
                except RequestError as error:
                    self._fail(node.name, error.in_go)
                else:
                    self.readers[node.name] = (node, node.ring, reader)

    def _push(self, message: Any) -> None:
        self._drain_ns = self._clock.now_ns() + _ns(self._settings.drain_s)
        if len(self._heap) == self._room:
            self._pop()
        self._pushed += 1
        heapq.heappush(self._heap, (message.time.ToNanoseconds(), self._pushed, message))

    def _pop(self) -> None:
        self._ready.append(heapq.heappop(self._heap)[2])

    def _fail(self, name: str, words: str) -> None:
        """The node may be asked again; what is said of it waits for others with the same words."""
        self._asked.discard(name)
        if self._error is not None and self._error.node_status.message == words:
            self._error.node_status.node_names.append(name)
            return
        self._flush_error()
        now_ns = self._clock.now_ns()
        self._error = node_status("NODE_ERROR", name, message=words, time_ns=now_ns)
        self._error_ns = now_ns + _ns(self._settings.errors_every_s)

    def _flush_error(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            self._push(error)


def _ns(seconds: float) -> int:
    return round(seconds * NS_PER_S)
