"""Reads pcapng files: any number of sections, interfaces and byte orders; blocks of other kinds are skipped.

Layout: draft-ietf-opsawg-pcapng, section 4 (blocks), with the options if_tsresol and if_tsoffset of an
interface (4.2) and the drop counts of its statistics (4.6); the obsolete packet block is in appendix A.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct
from typing import Literal, NamedTuple

from kdns_replay.capture import MAX_PACKET_BYTES, Batch, BrokenInput, CaptureNotes, Row
from kubectl_kdns.times import NS_PER_S

MAX_BLOCK_BYTES = 1 << 24

_SECTION_MAGIC = b"\x0a\x0d\x0d\x0a"  # the same in both byte orders
_BYTE_ORDERS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
_INTERFACE, _PACKET, _SIMPLE, _STATISTICS, _ENHANCED = 1, 2, 3, 5, 6
_LEAST_BYTES = {_INTERFACE: 8, _PACKET: 20, _SIMPLE: 4, _STATISTICS: 12, _ENHANCED: 20}
_IF_TSRESOL, _IF_TSOFFSET, _ISB_IFDROP, _ISB_OSDROP = 9, 14, 5, 7
_END_OF_TIME_NS = 253_402_300_800 * NS_PER_S  # year 10000: such a time is a mistake of the writer


def sniff(head: bytes) -> bool:
    return head[:4] == _SECTION_MAGIC and head[8:12] in _BYTE_ORDERS


class _Interface(NamedTuple):
    """A second has `ticks` ticks, and one lasts `tick_ns`; that is 0 if it is no whole number."""

    link_type: int
    snap_bytes: int
    tick_ns: int
    ticks: int
    offset_ns: int

    def time_ns(self, high: int, low: int) -> int:
        ticks = high << 32 | low
        time_ns = self.offset_ns + (ticks * self.tick_ns if self.tick_ns else ticks * NS_PER_S // self.ticks)
        return time_ns if 0 < time_ns < _END_OF_TIME_NS else 0


class _Section:
    """One section of the file: its byte order, its interfaces, and the packets in its blocks."""

    def __init__(self, number: int, order: str, notes: CaptureNotes) -> None:
        self.number = number
        self.notes = notes
        self.interfaces: list[_Interface] = []
        self.last_time_ns = 0
        self.order: Literal["little", "big"] = "little" if order == "<" else "big"
        self.block_head = Struct(order + "II").unpack_from
        self._word = Struct(order + "I").unpack_from
        self._enhanced = Struct(order + "IIIII").unpack_from
        self._obsolete = Struct(order + "HHIIII").unpack_from
        self._interface = Struct(order + "H2xI").unpack_from
        self._option = Struct(order + "HH").unpack_from

    def packet(self, kind: int, buffer: bytes, start: int, end: int) -> Row | None:
        """The packet in a block's body, None if it has none. ValueError, or IndexError for an interface that
        was not described, when the block contradicts itself."""
        if end - start < _LEAST_BYTES.get(kind, 0):
            raise ValueError("the block is too short for what it is")
        if kind == _ENHANCED:
            number, high, low, captured, wire_bytes = self._enhanced(buffer, start)
        elif kind == _PACKET:
            number, _, high, low, captured, wire_bytes = self._obsolete(buffer, start)
        else:
            if kind == _SIMPLE:
                return self._simple_packet(buffer, start, end)
            if kind == _INTERFACE:
                self._describe(buffer, start, end)
            elif kind == _STATISTICS:
                self._note_missed(buffer, start, end)
            return None
        interface = self.interfaces[number]
        first = start + 20
        if captured > MAX_PACKET_BYTES or first + captured > end:
            raise ValueError("the packet is longer than its block")
        self.last_time_ns = time_ns = interface.time_ns(high, low)
        return time_ns, interface.link_type, first, first + captured, wire_bytes

    def _simple_packet(self, buffer: bytes, start: int, end: int) -> Row:
        """It has no time; that of the packet before it is near enough."""
        (wire_bytes,) = self._word(buffer, start)
        interface = self.interfaces[0]
        captured = min(wire_bytes, interface.snap_bytes or wire_bytes)
        first = start + 4
        if first + captured > end:
            raise ValueError("the packet is longer than its block")
        return self.last_time_ns, interface.link_type, first, first + captured, wire_bytes

    def _describe(self, buffer: bytes, start: int, end: int) -> None:
        link_type, snap_bytes = self._interface(buffer, start)
        options = self._options(buffer, start + 8, end)
        resolution = options.get(_IF_TSRESOL, b"\x06")[0]
        ticks = 1 << (resolution & 0x7F) if resolution & 0x80 else 10**resolution
        tick_ns = 0 if NS_PER_S % ticks else NS_PER_S // ticks
        offset_s = int.from_bytes(options.get(_IF_TSOFFSET, b""), self.order, signed=True)
        self.interfaces.append(_Interface(link_type, snap_bytes, tick_ns, ticks, offset_s * NS_PER_S))

    def _note_missed(self, buffer: bytes, start: int, end: int) -> None:
        (interface,) = self._word(buffer, start)
        options = self._options(buffer, start + 12, end)
        missed = [int.from_bytes(options.get(code, b""), self.order) for code in (_ISB_IFDROP, _ISB_OSDROP)]
        self.notes.missed[self.number, interface] = sum(missed)

    def _options(self, buffer: bytes, position: int, end: int) -> dict[int, bytes]:
        options: dict[int, bytes] = {}
        while position + 4 <= end:
            code, size = self._option(buffer, position)
            if code == 0:
                break
            options[code] = buffer[position + 4 : min(position + 4 + size, end)]
            position += 4 + size + (-size & 3)
        return options


def read_pcapng(chunks: Iterable[bytes], notes: CaptureNotes) -> Iterator[Batch]:
    """The packets of all sections; a block that contradicts itself is skipped and noted.

    Raises BrokenInput, after the last whole block, where the rest is cut off or is no block.
    """
    buffer = b""
    section: _Section | None = None
    sections = 0
    for chunk in chunks:
        buffer += chunk
        rows: list[Row] = []
        position, size, broken = 0, len(buffer), ""
        while position + 12 <= size:
            current = section
            if buffer[position : position + 4] == _SECTION_MAGIC:
                order = _BYTE_ORDERS.get(buffer[position + 8 : position + 12], "")
                current = _Section(sections, order, notes) if order else None
            if current is None:
                broken = "the file goes on with what is no section"
                break
            kind, block_bytes = current.block_head(buffer, position)
            if not 12 <= block_bytes <= MAX_BLOCK_BYTES:
                broken = f"a block claims {block_bytes} bytes: what follows is no block"
                break
            end = position + block_bytes
            if end > size:
                break
            if current is not section:
                section = current
                sections += 1
            try:
                row = current.packet(kind, buffer, position + 8, end - 4)
            except (ValueError, IndexError):
                notes.unreadable += 1
            else:
                if row is not None:
                    rows.append(row)
            position = end
        yield buffer, rows
        if broken:
            raise BrokenInput(broken)
        buffer = buffer[position:]
    if buffer:
        raise BrokenInput(f"the file ends inside a block, {len(buffer)} bytes after its beginning")
