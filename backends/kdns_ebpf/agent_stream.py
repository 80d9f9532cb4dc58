"""The bytes of one agent to records: lookups, what it lost, what it has to say.

An agent counts what it could not show. Of its figures each second's growth becomes a `loss`.
When a connection breaks and the session goes on with another, the sequence tells how much was on its way.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from kdns_ebpf import wire
from kdns_ebpf.records import NAME, AgentRecords
from kubectl_kdns.directory import Directory
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import PROGRESS, WATCHING, Loss, Maybe, Notice, Record
from kubectl_kdns.times import format_time

_TELL_NS = 900_000_000
_BYE_REASONS = {
    wire.BYE_SIGNAL: "it was stopped",
    wire.BYE_DEADLINE: "its time was over (--agent-lifetime)",
    wire.BYE_NO_PING: "it had not heard of us for 30 s",
}
# Figure, reason, what was lost; those of an agent are told to each of its clients.
_LOSSES = (
    ("ring_lost", "ring_full", "the ring between kernel and agent was full: its node is too busy"),
    ("lost", "queue", "the agent's buffer for us was full: we read too slowly. Try: a narrower filter"),
    (
        "over_rate",
        "rate_cap",
        "more than --max-rate lets a node send. Try: a narrower filter, or a higher rate",
    ),
    ("evicted", "pairing_evicted", "queries given up because too many waited for a response"),
)


class AgentStream:
    """Feed it what comes from the agent, connection after connection. `ended` is why it said goodbye.

    With `progress` it also gives notices `progress`, for who joins the lookups of several nodes.
    """

    def __init__(
        self,
        node: Maybe[str],
        *,
        raw: bool = False,
        directory: Directory | None = None,
        ports: Sequence[int] = (),
        progress: bool = False,
    ) -> None:
        self.node, self._ports, self._progress = node, list(ports), progress
        self.hello: wire.Hello | None = None
        self.stats: wire.Stats | None = None
        self.ended: int | None = None
        self.lookups = 0
        self._records = AgentRecords(node, raw=raw, directory=directory)
        self._reader = wire.FrameReader()
        self._next_sequence = 0
        self._told: wire.Stats | None = None

    def connect(self) -> None:
        """A new connection begins: half a frame of the old one will not go on."""
        self._reader = wire.FrameReader()

    def feed(self, data: bytes) -> list[Record]:
        """The records that this completes. Raises wire.BadFrame."""
        out: list[Record] = []
        for type_, body in self._reader.feed(data):
            if type_ == wire.LOOKUP:
                head, query, response = wire.read_lookup(body)
                if head.sequence != self._next_sequence:
                    self._tell_gap(head.sequence - self._next_sequence, head.last_ns or head.response_ns, out)
                self._next_sequence = head.sequence + head.messages
                self.lookups += 1
                out.append(self._records.lookup(head, bytes(query), bytes(response)))
            elif type_ == wire.MESSAGE:
                head, query, response = wire.read_lookup(body)
                out.append(self._records.message(head, bytes(query), bytes(response)))
            elif type_ == wire.CGROUP:
                self._records.learn_cgroup(*wire.read_cgroup(body))
            elif type_ == wire.STATS:
                self._take_stats(wire.read_stats(body), out)
            elif type_ == wire.LOG:
                self._take_log(*wire.read_log(body), out)
            elif type_ == wire.HELLO:
                self._take_hello(wire.read_hello(body), out)
            elif type_ == wire.BYE:
                reason, stats = wire.read_bye(body)
                self._take_stats(stats, out, is_last=True)
                self.ended = reason
                if reason in _BYE_REASONS:
                    out.append(self._notice("agent_ended", f"the agent ended: {_BYE_REASONS[reason]}"))
        return out

    def _take_hello(self, hello: wire.Hello, out: list[Record]) -> None:
        first = self.hello is None
        self.hello = hello
        if not hello.can & wire.RESUMED:
            if not first:
                # Another agent than before: what the old one had not sent is gone, and nobody knows how much.
                since_ns = self.stats.time_ns if self.stats else 0
                out.append(
                    self._loss("disconnected", None, "the agent was started again", since_ns, hello.time_ns)
                )
            self._next_sequence = 0
            self._told = self.stats = None
            if self._ports and not hello.can & wire.IS_FALLBACK:
                message = f"all DNS at the sockets of this node is seen, ports {self._ports}"
                watching = self._notice(WATCHING, message)
                watching.time, watching.ports = format_time(hello.time_ns), self._ports
                out.append(watching)
        if first and hello.can & wire.IS_FALLBACK:
            out.append(
                self._notice(
                    "agent_fallback",
                    f"Linux {hello.release} did not take the programs: packets of the node's interfaces are "
                    "read instead, so processes, containers and what stays inside a pod are not seen",
                )
            )
        elif first and not hello.can & wire.CAN_PATHS:
            out.append(
                self._notice(
                    "no_cgroup_paths", "pods are known by address only: the agent may not read cgroup paths"
                )
            )

    def _take_stats(self, stats: wire.Stats, out: list[Record], *, is_last: bool = False) -> None:
        told, self.stats = self._told, stats
        if self._progress and stats.known_ns:
            out.append(
                Notice(
                    time=format_time(stats.known_ns),
                    backend=NAME,
                    node=self.node,
                    code=PROGRESS,
                    message="all that ended by then has been told",
                )
            )
        if told is not None and not is_last and stats.time_ns - told.time_ns < _TELL_NS:
            return
        self._told = stats
        if told is None:
            return
        for name, reason, message in _LOSSES:
            grown = getattr(stats, name) - getattr(told, name)
            if name == "lost":
                grown -= stats.evicted - told.evicted  # told by itself
            if grown > 0:
                out.append(self._loss(reason, grown, message, told.time_ns, stats.time_ns))
        if stats.tcp_gaps > told.tcp_gaps:
            out.append(
                self._loss(
                    "tcp_gap",
                    None,
                    f"{stats.tcp_gaps - told.tcp_gaps} holes in TCP streams",
                    told.time_ns,
                    stats.time_ns,
                )
            )

    def _take_log(self, level: int, text: str, out: list[Record]) -> None:
        code = "agent_warning" if level == wire.LOG_WARNING else "agent"
        out.append(self._notice(code, safe_text(text)))

    def _tell_gap(self, messages: int, until_ns: int, out: list[Record]) -> None:
        since_ns = self.stats.time_ns if self.stats else 0
        out.append(
            self._loss(
                "disconnected",
                messages if messages > 0 else None,
                "what was on its way when the connection broke",
                min(since_ns, until_ns),
                until_ns,
            )
        )

    def _loss(self, reason: str, count: int | None, message: str, from_ns: int, until_ns: int) -> Loss:
        return Loss(
            time=format_time(until_ns),
            backend=NAME,
            node=self.node,
            reason=reason,
            unit="messages",
            count=UNSET if count is None else count,
            from_=format_time(from_ns) if from_ns else UNSET,
            until=format_time(until_ns),
            message=message,
        )

    def _notice(self, code: str, message: str) -> Notice:
        time = format_time(self.hello.time_ns) if self.hello else UNSET
        return Notice(time=time, backend=NAME, node=self.node, code=code, message=message)
