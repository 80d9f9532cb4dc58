"""One node's ring of events, and a reader of it for a GetFlowsRequest, as Cilium's local observer reads.

Follows `local_observer.go` and `ring.go` of Cilium 1.17. The real ring gives out its newest event only when
the next is written; here it is as if flows that no filter takes came all the time, as on a real node.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from google.protobuf import field_mask_pb2

from support.hubble_filters import FilterError, selection
from support.hubble_flows import enveloped, lost
from support.hubble_schema import Flow

CAPACITY = 4095
Mask = dict[str, "Mask"]


class RequestError(Exception):
    """A request that an agent ends with an error: the name of the gRPC status code, and the words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(words)
        self.code = code

    @property
    def in_go(self) -> str:
        """What Go prints of it, except that the relay leaves out a code that is unknown."""
        code = "".join(word.capitalize() for word in self.code.split("_"))
        return str(self) if code == "Unknown" else f"rpc error: code = {code} desc = {self}"


class Ring:
    """The last `capacity` events; positions count from 0 for ever. For any threads."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self.written = 0
        self._slots: list[Any] = [None] * capacity
        self._lock = threading.Lock()

    @property
    def oldest(self) -> int:
        return max(0, self.written - self.capacity)

    def write(self, event: Any) -> None:
        """`event` is a GetFlowsResponse with a flow or lost_events."""
        with self._lock:
            self._slots[self.written % self.capacity] = event
            self.written += 1

    def read(self, position: int) -> Any:
        """The event; None when it is not written yet; IndexError when it is overwritten."""
        with self._lock:
            if position < self.oldest:
                raise IndexError(position)
            return self._slots[position % self.capacity] if position < self.written else None

    def __len__(self) -> int:
        return self.written - self.oldest


class RingReader:
    """What one request gets of a ring: `poll` until `finished`. RequestError for a request that is wrong."""

    def __init__(
        self,
        ring: Ring,
        request: Any,
        *,
        node: str,
        knows_mask: bool = True,
        lost_every_s: float | None = None,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        if request.first and request.follow:
            raise RequestError("INVALID_ARGUMENT", "first cannot be specified with follow")
        try:
            self._takes = selection(request.whitelist, request.blacklist)
        except FilterError as error:
            raise RequestError("UNKNOWN", str(error)) from None
        self._ring, self._node, self._now_ns = ring, node, now_ns
        self._lost_every_ns = None if lost_every_s is None else round(lost_every_s * 1_000_000_000)
        self._lost, self._lost_since_ns = 0, 0
        self._follow = request.follow
        self._left = request.number if request.number and not request.follow else None
        self._since = request.since.ToNanoseconds() if request.HasField("since") else None
        self._until = request.until.ToNanoseconds() if request.HasField("until") else None
        self._position = self._start(request)
        asked = request.field_mask.paths or request.experimental.field_mask.paths
        self._mask = mask_of(asked) if knows_mask else {}
        self.finished = False

    def poll(self) -> Any:
        """The next message, or None when there is none now (or, `finished`, no more)."""
        if self._lost and self._now_ns() - self._lost_since_ns >= (self._lost_every_ns or 0):
            return self._overrun()
        while self._left != 0:
            try:
                event = self._ring.read(self._position)
            except IndexError:
                self._position += 1
                self._lost += 1
                if self._lost == 1:
                    self._lost_since_ns = self._now_ns()
                if self._lost_every_ns is None:
                    return self._overrun()
                continue
            if event is None:
                self.finished = not self._follow
                return None
            self._position += 1
            if not event.HasField("flow"):
                return event  # neither filters nor times are for lost events, and they do not count
            at_ns = event.time.ToNanoseconds()
            if self._until is not None and at_ns > self._until:
                break
            if (self._since is not None and at_ns < self._since) or not self._takes(event.flow):
                continue
            if self._left is not None:
                self._left -= 1
            return enveloped(masked(event.flow, self._mask)) if self._mask else event
        self.finished = True
        return None

    def _overrun(self) -> Any:
        """Agents before 1.19 say so for each event; later ones give a count, but never at a stream's end."""
        count, self._lost = self._lost, 0
        return lost("HUBBLE_RING_BUFFER", count, node=self._node, time_ns=self._now_ns())

    def _start(self, request: Any) -> int:
        """Where to begin. `since` beats `number`, which counts back only the flows that the filters take."""
        if request.first and self._since is None:
            return self._ring.oldest
        position = self._ring.written
        if request.follow and not request.number and self._since is None:
            return position
        taken = 0
        while position > self._ring.oldest:
            try:
                event = self._ring.read(position - 1)
            except IndexError:
                break  # overwritten just now
            if event.HasField("flow") and self._takes(event.flow):
                if self._since is not None and event.time.ToNanoseconds() < self._since:
                    break
                taken += 1
                if self._since is None and taken == request.number:
                    return position - 1
            position -= 1
        return position


def mask_of(paths: Any) -> Mask:
    """The tree of a field mask, {} at its leaves; RequestError for a path that Flow does not have."""
    if not field_mask_pb2.FieldMask(paths=paths).IsValidForDescriptor(Flow.DESCRIPTOR):
        raise RequestError("UNKNOWN", "invalid fieldmask")
    tree: Mask = {}
    for path in sorted(set(paths), key=lambda path: path.count(".")):
        at = tree
        *parents, leaf = path.split(".")
        for name in parents:
            if at.get(name) == {}:
                break  # a parent is asked for as a whole
            at = at.setdefault(name, {})
        else:
            at[leaf] = {}
    return tree


def masked(message: Any, mask: Mask) -> Any:
    """A copy with only the fields of the mask; messages on the way to a field are there even when empty."""
    copy = type(message)()
    for name, inner in mask.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if inner:
            getattr(copy, name).CopyFrom(masked(getattr(message, name), inner))
            getattr(copy, name).SetInParent()
        elif field.is_repeated:
            getattr(copy, name).extend(getattr(message, name))
        elif field.message_type is not None:
            if message.HasField(name):
                getattr(copy, name).CopyFrom(getattr(message, name))
        else:
            setattr(copy, name, getattr(message, name))
    return copy
