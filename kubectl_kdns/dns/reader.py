"""Reads the names of one message, compressed or not, in bounded work.

A compression pointer must lead strictly backwards, and not into the header (RFC 1035, section 4.1.4: to "a
prior occurrence of the same name"): so there are no loops. A name has at most 255 octets. And all names of
one message together take at most 512 steps (a label or a pointer), and four more for each of its bytes: even
a transfer of an ip6.arpa zone needs fewer than two, and 64 KiB of pointers to pointers cost no more than some
ten milliseconds. What dnslib may be given of one message (`foreign_left`, in bytes) is counted here too.
"""

from __future__ import annotations

from kubectl_kdns.dns.names import name_of_labels

HEADER_BYTES = 12
_MAX_OCTETS = 255
_STEPS = 512
_STEPS_PER_BYTE = 4
_MAX_FOREIGN_BYTES = 8192


class MalformedError(Exception):
    """A part of a message that cannot be read: what is wrong, at which byte. Never leaves this package."""


class NameReader:
    """The names of `payload`. `known` maps where a name starts to its text; `walked` are the spans of bytes
    that names were read from."""

    __slots__ = ("_steps_left", "foreign_left", "known", "payload", "walked")

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.known: dict[int, str] = {}
        self.walked: list[tuple[int, int]] = []
        self.foreign_left = _MAX_FOREIGN_BYTES
        self._steps_left = _STEPS + _STEPS_PER_BYTE * len(payload)

    def name(self, offset: int) -> tuple[str, int]:
        """The name at `offset`, and the offset behind it. MalformedError; IndexError if the message ends."""
        if self.payload[offset] < 0xC0:
            labels, after = self._walk(offset)
            text = self.known[offset] = name_of_labels(labels)
            return text, after
        start = self._target(offset, offset)
        known = self.known.get(start)
        if known is None:
            known = self.known[start] = name_of_labels(self._walk(start)[0])
        return known, offset + 2

    def _target(self, pointer: int, before: int) -> int:
        target = (self.payload[pointer] & 0x3F) << 8 | self.payload[pointer + 1]
        if not HEADER_BYTES <= target < before:
            raise MalformedError(
                f"the pointer at byte {pointer} leads to byte {target}, not to an earlier name"
            )
        return target

    def _walk(self, start: int) -> tuple[list[bytes], int]:
        """The labels of the name at `start`, and the offset behind its last byte or its first pointer."""
        payload = self.payload
        labels: list[bytes] = []
        octets = 1
        position = start
        after = 0
        while True:
            self._steps_left -= 1
            if self._steps_left < 0:
                raise MalformedError("its names take more steps than any honest message")
            length = payload[position]
            if length == 0:
                self.walked.append((start, position + 1))
                return labels, after or position + 1
            if length < 0x40:
                octets += length + 1
                if octets > _MAX_OCTETS:
                    raise MalformedError(f"the name at byte {start} has more than {_MAX_OCTETS} octets")
                label = payload[position + 1 : position + 1 + length]
                if len(label) < length:
                    raise IndexError
                labels.append(label)
                position += 1 + length
            elif length >= 0xC0:
                self.walked.append((start, position + 2))
                after = after or position + 2
                start = position = self._target(position, start)
            else:
                raise MalformedError(f"byte {position} is no label: its type {length >> 6} is reserved")


def skip_name(payload: bytes, offset: int) -> int:
    """The offset behind the name at `offset`, its pointer not followed. Raises as `NameReader.name`."""
    while True:
        length = payload[offset]
        if length == 0:
            return offset + 1
        if length >= 0xC0:
            return offset + 2
        if length >= 0x40:
            raise MalformedError(f"byte {offset} is no label: its type {length >> 6} is reserved")
        offset += length + 1
