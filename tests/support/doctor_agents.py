"""Agents for `doctor --active` that are not there: what they would ask is answered by a rule."""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kubectl_kdns.backend import Plan, Scope
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.filter import Filter
from kubectl_kdns.model import Notice, Record

RESOLV_CONF = "nameserver 192.0.2.53\n"
ADDRESS = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, 4) + b"\x0a\x60\x00\x01"


class Asked:
    """One question on its way: `who` is a pod's UID or a node; `size` its bytes."""

    def __init__(self, who: str, server: str, port: int, over_tcp: bool, message: bytes) -> None:
        self.who, self.server, self.port, self.over_tcp = who, server, port, over_tcp
        self.message, self.size = message, len(message)

    def answer(self, rcode: int = 0, *, pads: bool = True) -> bytes:
        """The question again, with an address, and with its padding."""
        end = self.message.index(b"\0", 12) + 5
        opt = self.message[end:] if pads else b""
        head = self.message[:2] + struct.pack(">HHHHH", 0x8180 | rcode, 1, 1, 0, int(bool(opt)))
        return head + self.message[12:end] + ADDRESS + opt


Rule = Callable[[Asked], bytes | int | None]
"""What comes back: a message, an errno, or nothing."""


class Agents:
    """A backend and its source. `rule` answers; `denied` are the nodes and UIDs that cannot be entered;
    `resolv_conf` is by UID what stands in a pod's file. `error` is why they cannot be opened, `left` what
    cannot be taken away."""

    def __init__(
        self,
        rule: Rule = Asked.answer,
        *,
        denied: tuple[str, ...] = (),
        resolv_conf: Mapping[str, str] | None = None,
        error: KdnsError | None = None,
        left: KdnsError | None = None,
    ) -> None:
        self.rule, self.denied, self.resolv_conf = rule, denied, resolv_conf or {}
        self.error, self.left = error, left
        self.options: Mapping[str, Any] = {}
        self.asked: list[Asked] = []
        self.opened = self.closed = 0
        self._ended = threading.Event()

    in_history = False
    description = "agents of a test"
    counters: Mapping[str, int] = {}

    def plan(self, filter_: Filter) -> Plan:
        return Plan(takes=filter_.source, work=filter_)

    def open(self, scope: Scope, plan: Plan) -> Agents:  # noqa: ARG002
        if self.error:
            raise self.error
        self.options = scope.options
        self.opened += 1
        return self

    def __iter__(self) -> Iterator[list[Record]]:
        yield []
        yield [Notice(time="2024-01-01T00:00:00Z", backend="ebpf", code="agents_ready", message="")]
        self._ended.wait(10)
        if self.left:
            raise self.left

    def close(self) -> None:
        self.closed += 1
        self._ended.set()

    def enter(self, node: str, pod_uid: str) -> _Entered:
        if {node, pod_uid} & set(self.denied):
            raise BackendError(f"there is no agent on node {node}", hint="kubectl kdns backends ebpf")
        return _Entered(self, pod_uid or node)


class _Entered:
    def __init__(self, agents: Agents, who: str) -> None:
        self.resolv_conf = agents.resolv_conf.get(who, RESOLV_CONF)
        self._agents, self._who = agents, who
        self._inbox: list[tuple[int, int, bytes]] = []

    def send(self, slot: int, server: str, port: int, message: bytes, *, over_tcp: bool) -> None:
        asked = Asked(self._who, server, port, over_tcp, message)
        self._agents.asked.append(asked)
        found = self._agents.rule(asked)
        if isinstance(found, int):
            self._inbox.append((slot, found, b""))
        elif found is not None:
            self._inbox.append((slot, 0, found))

    def receive(self, timeout_s: float) -> tuple[int, int, bytes] | None:  # noqa: ARG002
        return self._inbox.pop() if self._inbox else None

    def close(self) -> None: ...
