"""What all readers share: the chunks of a stream, the packets in a chunk, and how an input can end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, TypeAlias

CHUNK_BYTES = 1 << 16
HEARTBEAT_S = 0.2
MAX_PACKET_BYTES = 1 << 18  # libpcap's own limit, MAXIMUM_SNAPLEN

Row: TypeAlias = tuple[int, int, int, int, int]
"""A packet: time (ns since the epoch, 0 unknown), link type, start and end in the buffer, bytes on wire."""

Batch: TypeAlias = tuple[bytes, list[Row]]


class BrokenInput(Exception):
    """The input cannot be read any further; the message says why. All before it was given out."""


@dataclass
class CaptureNotes:
    """What a capture tells of itself: the packets that its writer missed, by section and interface (the last
    word counts), and how many blocks contradict themselves."""

    missed: dict[tuple[int, int], int] = field(default_factory=dict)
    unreadable: int = 0


def chunks_of(stream: BinaryIO) -> Iterator[bytes]:
    """What there is, up to CHUNK_BYTES, without waiting for more; an empty chunk, now and then, while nothing
    comes through a pipe. Ends when the stream ends or is closed.

    Raises BrokenInput where compressed data is cut off or corrupt.
    """
    read = getattr(stream, "read1", stream.read)
    idle = getattr(stream, "idle", None)
    while True:
        try:
            while idle is not None and idle(HEARTBEAT_S):
                yield b""
            chunk: bytes = read(CHUNK_BYTES)
        except OSError as error:
            raise BrokenInput(str(error)) from None
        except ValueError:
            if stream.closed:
                return
            raise
        if not chunk:
            return
        yield chunk
