"""Reads pcap files: both byte orders, micro- and nanoseconds, and the modified format of old Linux tools.

Layout: draft-ietf-opsawg-pcap, sections 4 and 5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct

from kdns_replay.capture import MAX_PACKET_BYTES, Batch, BrokenInput, Row
from kubectl_kdns.times import NS_PER_S

FILE_HEADER_BYTES = 24

# By the magic number as it stands in the file: byte order, ns of a fraction, bytes of a packet's header.
_FORMATS = {
    magic.to_bytes(4, "little" if order == "<" else "big"): (order, fraction_ns, header_bytes)
    for order in "<>"
    for magic, fraction_ns, header_bytes in (
        (0xA1B2C3D4, 1000, 16),
        (0xA1B23C4D, 1, 16),
        (0xA1B2CD34, 1000, 24),
    )
}


def sniff(head: bytes) -> bool:
    return head[:4] in _FORMATS


def read_pcap(chunks: Iterable[bytes]) -> Iterator[Batch]:
    """The packets; the first four bytes are a magic number that `sniff` knows.

    Raises BrokenInput, after the last whole packet, where the rest is cut off or is no packet.
    """
    buffer = b""
    unpack_header = None
    fraction_ns = header_bytes = link_type = 0
    for chunk in chunks:
        buffer += chunk
        if unpack_header is None:
            if len(buffer) < FILE_HEADER_BYTES:
                continue
            order, fraction_ns, header_bytes = _FORMATS[buffer[:4]]
            # Its upper bits tell of frame check sequences, which the lengths inside a packet leave out.
            link_type = Struct(order + "I").unpack_from(buffer, 20)[0] & 0xFFFF
            unpack_header = Struct(order + "IIII").unpack_from
            buffer = buffer[FILE_HEADER_BYTES:]
        rows: list[Row] = []
        position, size, broken = 0, len(buffer), ""
        while position + header_bytes <= size:
            seconds, fraction, captured, wire_bytes = unpack_header(buffer, position)
            if captured > MAX_PACKET_BYTES:
                broken = f"a packet claims {captured} bytes: what follows is no packet"
                break
            start = position + header_bytes
            end = start + captured
            if end > size:
                break
            rows.append((seconds * NS_PER_S + fraction * fraction_ns, link_type, start, end, wire_bytes))
            position = end
        yield buffer, rows
        if broken:
            raise BrokenInput(broken)
        buffer = buffer[position:]
    if unpack_header is None or buffer:
        where = "the file header" if unpack_header is None else "a packet"
        raise BrokenInput(f"the file ends inside {where}, {len(buffer)} bytes after its beginning")
