"""Cuts TCP connections into DNS messages (RFC 1035, section 4.2.2: two bytes of length before each).

Each direction is a stream of its own. Segments may come late, twice, overlapping, cut by the capture, or
never; a capture may begin in the middle of a connection. Behind a hole in a message the stream goes on where
that message ends; where that is unknown, at the next segment that begins like a message, because DNS programs
write whole messages. Memory is bounded in streams and in bytes; `gaps` counts what was given up.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import NamedTuple, TypeAlias

from kubectl_kdns.times import NS_PER_S

SYN = 2
MAX_STREAMS = 8192
MAX_HELD_BYTES = 16 << 20
MAX_AHEAD = 64
HOLE_WAIT_NS = NS_PER_S

_PREFIX_BYTES = 2
_HEADER_BYTES = 12
_MAX_OPCODE = 6
_MAX_LABEL_BYTES = 63
# A segment so far from where the stream is belongs to another connection with the same ports.
_MAX_DISTANCE = 1 << 24

StreamKey: TypeAlias = tuple[bytes, int, bytes, int]
"""Source address and port, target address and port."""


class TcpMessage(NamedTuple):
    """One DNS message of a stream; `size` is what its length says, more than `payload` has if bytes lack."""

    key: StreamKey
    payload: bytes
    size: int


class _Stream:
    """One direction. `pending` is contiguous and ends at sequence number `next`. If `synchronised`, a message
    begins with its first byte, once `skip` more bytes have passed. `ahead` are segments behind a hole."""

    __slots__ = ("ahead", "first", "given_up", "held", "next", "pending", "skip", "synchronised")

    def __init__(self, first: int, synchronised: bool) -> None:
        self.first = self.next = first
        self.synchronised = synchronised
        self.given_up = False
        self.pending = b""
        self.skip = 0
        self.ahead: dict[int, tuple[bytes, int]] = {}
        self.held = 0


class Reassembly:
    """Give it segments, it gives back messages. `gaps` counts the places where it had to give up bytes."""

    def __init__(self, max_streams: int = MAX_STREAMS, max_held_bytes: int = MAX_HELD_BYTES) -> None:
        self.gaps = 0
        self.held_bytes = 0
        self._max_streams = max_streams
        self._max_held_bytes = max_held_bytes
        self._streams: OrderedDict[StreamKey, _Stream] = OrderedDict()
        # Streams that wait for a hole to be filled, with the time since when, in that order.
        self._waiting: OrderedDict[StreamKey, int] = OrderedDict()

    def __len__(self) -> int:
        return len(self._streams)

    def segment(
        self, key: StreamKey, time_ns: int, sequence: int, flags: int, data: bytes, lacking: int = 0
    ) -> list[TcpMessage]:
        """The messages that this segment completes, or that were waited for too long. `lacking` bytes behind
        `data` were sent but not captured."""
        messages: list[TcpMessage] = []
        while self._waiting:
            late, since_ns = next(iter(self._waiting.items()))
            if time_ns - since_ns <= HOLE_WAIT_NS:
                break
            self._pass_hole(late, self._streams[late], messages)
        if flags & SYN:
            sequence = sequence + 1 & 0xFFFFFFFF
        elif not data and not lacking:
            return messages
        stream = self._streams.get(key)
        if stream is not None:
            distance = _distance(sequence, stream.next)
            if abs(distance) > _MAX_DISTANCE or (flags & SYN and sequence != stream.first):
                self._drop(key)
                stream = None
        if stream is None:
            stream = self._streams[key] = _Stream(sequence, bool(flags & SYN))
            distance = 0
        self._streams.move_to_end(key)
        if distance > 0:
            known = stream.ahead.get(sequence)
            if known is None or len(known[0]) < len(data):
                stream.ahead[sequence] = (data, lacking)
            self._waiting.setdefault(key, time_ns)
            if len(stream.ahead) > MAX_AHEAD:
                self._pass_hole(key, stream, messages)
        else:
            self._append(key, stream, -distance, data, lacking, messages)
            if stream.ahead:
                self._catch_up(key, stream, messages)
        self._account(stream)
        if len(self._streams) > self._max_streams or self.held_bytes > self._max_held_bytes:
            self._make_room()
        return messages

    def finish(self) -> list[TcpMessage]:
        """What can still be read behind holes that nothing will fill any more."""
        messages: list[TcpMessage] = []
        while self._waiting:
            key = next(iter(self._waiting))
            self._pass_hole(key, self._streams[key], messages)
        while self._streams:
            self._drop(next(iter(self._streams)))
        return messages

    def _append(
        self,
        key: StreamKey,
        stream: _Stream,
        known: int,
        data: bytes,
        lacking: int,
        messages: list[TcpMessage],
    ) -> None:
        """Adds a segment whose first `known` bytes the stream has already."""
        if known >= len(data) + lacking:
            return
        if known > len(data):
            lacking -= known - len(data)
        data = data[known:]
        stream.next = stream.next + len(data) + lacking & 0xFFFFFFFF
        if stream.skip:
            skipped = min(stream.skip, len(data))
            stream.skip -= skipped
            data = data[skipped:]
        if data:
            stream.pending = stream.pending + data if stream.pending else data
            self._cut(key, stream, messages)
        if lacking:
            self._miss(key, stream, lacking, messages)

    def _cut(self, key: StreamKey, stream: _Stream, messages: list[TcpMessage]) -> None:
        pending = stream.pending
        size = len(pending)
        if not stream.synchronised:
            if size < _PREFIX_BYTES + _HEADER_BYTES:
                return
            if not _begins_like_a_message(pending):
                self._give_up(stream)
                return
            stream.synchronised, stream.given_up = True, False
        position = 0
        while position + _PREFIX_BYTES <= size:
            length = pending[position] << 8 | pending[position + 1]
            if length < _HEADER_BYTES:
                self._give_up(stream)
                return
            end = position + _PREFIX_BYTES + length
            if end > size:
                break
            messages.append(TcpMessage(key, pending[position + _PREFIX_BYTES : end], length))
            position = end
        stream.pending = pending[position:]

    def _miss(self, key: StreamKey, stream: _Stream, count: int, messages: list[TcpMessage]) -> None:
        """Goes on behind `count` bytes that nobody has; a message that was begun is given out as it is."""
        pending, rest = stream.pending, stream.skip
        if stream.synchronised and len(pending) >= _PREFIX_BYTES:
            length = pending[0] << 8 | pending[1]
            rest = _PREFIX_BYTES + length - len(pending)
            if len(pending) >= _PREFIX_BYTES + _HEADER_BYTES:
                messages.append(TcpMessage(key, pending[_PREFIX_BYTES:], length))
            else:
                self.gaps += 1
        stream.pending = b""
        if count <= rest:
            stream.skip = rest - count
        else:
            self._give_up(stream)

    def _give_up(self, stream: _Stream) -> None:
        """Waits for a segment that begins like a message; counted once until there is one."""
        if not stream.given_up:
            self.gaps += 1
        stream.pending, stream.skip = b"", 0
        stream.synchronised, stream.given_up = False, True

    def _pass_hole(self, key: StreamKey, stream: _Stream, messages: list[TcpMessage]) -> None:
        nearest = min(_distance(sequence, stream.next) for sequence in stream.ahead)
        self._miss(key, stream, nearest, messages)
        stream.next = stream.next + nearest & 0xFFFFFFFF
        self._catch_up(key, stream, messages)
        self._account(stream)

    def _catch_up(self, key: StreamKey, stream: _Stream, messages: list[TcpMessage]) -> None:
        while stream.ahead:
            sequence = min(stream.ahead, key=lambda ahead: _distance(ahead, stream.next))
            distance = _distance(sequence, stream.next)
            if distance > 0:
                return
            data, lacking = stream.ahead.pop(sequence)
            self._append(key, stream, -distance, data, lacking, messages)
        self._waiting.pop(key, None)

    def _account(self, stream: _Stream) -> None:
        held = len(stream.pending)
        for data, _ in stream.ahead.values():
            held += len(data)
        self.held_bytes += held - stream.held
        stream.held = held

    def _make_room(self) -> None:
        while len(self._streams) > self._max_streams or self.held_bytes > self._max_held_bytes:
            self._drop(next(iter(self._streams)))

    def _drop(self, key: StreamKey) -> None:
        stream = self._streams.pop(key)
        self._waiting.pop(key, None)
        self.held_bytes -= stream.held
        if stream.held:
            self.gaps += 1


def _distance(sequence: int, origin: int) -> int:
    """How far `sequence` is ahead of `origin`, modulo 2**32 (RFC 9293, section 3.4)."""
    return (sequence - origin + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _begins_like_a_message(data: bytes) -> bool:
    """Whether a length and the header of a DNS message begin here; for data joined in the middle."""
    length = data[0] << 8 | data[1]
    opcode = data[4] >> 3 & 0xF
    questions = data[6] << 8 | data[7]
    is_response = data[4] >= 0x80
    first_label = data[14] if len(data) > 14 else 0
    return (
        length >= _HEADER_BYTES
        and opcode <= _MAX_OPCODE
        and (questions == 1 or (is_response and questions == 0))
        and first_label <= _MAX_LABEL_BYTES
    )
