"""What a live source needs of whoever knows flows: a relay, or all Cilium agents together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from kdns_hubble.flows import Response


class NodeUptime(Struct, frozen=True):
    """One node's Hubble: since when it keeps flows, in nanoseconds of its own time."""

    name: str
    uptime_ns: int


class FlowStream(Protocol):
    """The responses to one request, as they came, in batches. An empty batch says that there are none now."""

    def __iter__(self) -> Iterator[Sequence[bytes]]:
        """Ends with the responses, or after `close`. Raises KdnsError when they are cut short."""

    def close(self) -> None:
        """From any thread, more than once."""


class Dial(Protocol):
    """Opens connections, one after the other."""

    def __call__(self) -> Observer:
        """Raises KdnsError when nobody answers."""

    def close(self) -> None:
        """From any thread: a connection that is being opened fails soon, and later ones at once."""


class Observer(Protocol):
    """An open connection. All methods may raise KdnsError."""

    @property
    def description(self) -> str: ...
    @property
    def read(self) -> Callable[[bytes], Response]:
        """Reads one response of its streams."""

    @property
    def now_ns(self) -> int:
        """The time over there when the connection was made, in nanoseconds since the epoch; 0 unknown."""

    @property
    def newest_ns(self) -> int:
        """The time of the newest flow that was there when the connection was made; 0: none, or not known."""

    @property
    def nudge_s(self) -> float:
        """How often to fetch what it holds back while few flows come; 0: it holds back nothing."""

    @property
    def patience_s(self) -> float:
        """How long a history may pause before it is given up."""

    def history(self, since_ns: int | None, last: int | None) -> FlowStream:
        """What is remembered, from `since_ns` on or the `last` flows of each node; then it ends."""

    def follow(self, since_ns: int | None) -> FlowStream:
        """What is remembered from `since_ns` on (None: nothing), and what comes, without delay."""

    def reach(self) -> Mapping[str, int]:
        """From when on each node remembers its flows, as far as is known; nanoseconds since the epoch."""

    def check(self) -> None:
        """Raises KdnsError when nobody answers within the time for a connection, or somebody better would."""

    def uptimes(self) -> Sequence[NodeUptime]:
        """The nodes that answer; none where nobody knows."""

    def close(self) -> None:
        """Its streams end as well. From any thread, more than once."""
