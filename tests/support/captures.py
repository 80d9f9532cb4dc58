"""Builds DNS messages, packets and capture files for tests, with nothing of the code that reads them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

from dnslib import QTYPE, RCODE, RR, A, DNSHeader, DNSQuestion, DNSRecord

START_NS = 1_795_428_000_000_000_000  # 2026-11-23T10:00:00Z
CLIENT, SERVER = "10.244.1.17", "10.96.0.10"
CLIENT6, SERVER6 = "fd00:10:244::17", "fd00:10:96::a"

Packet = tuple[int, bytes]
"""Time (ns since the epoch) and frame."""


def query(
    name: str = "web.shop.svc.cluster.local",
    type_: str = "A",
    id_: int = 7,
    opcode: int = 0,
    ad: bool = False,
) -> bytes:
    header = DNSHeader(id=id_, rd=1, opcode=opcode, ad=ad)
    return bytes(DNSRecord(header, q=DNSQuestion(name, getattr(QTYPE, type_))).pack())


def response(
    name: str = "web.shop.svc.cluster.local",
    type_: str = "A",
    id_: int = 7,
    *addresses: str,
    rcode: str = "NOERROR",
    truncated: bool = False,
    question: bool = True,
    opcode: int = 0,
) -> bytes:
    header = DNSHeader(id=id_, qr=1, rd=1, ra=1, rcode=getattr(RCODE, rcode), tc=truncated, opcode=opcode)
    record = DNSRecord(header, q=DNSQuestion(name, getattr(QTYPE, type_)) if question else None)
    for address in addresses:
        record.add_answer(RR(name, QTYPE.A, ttl=5, rdata=A(address)))
    return bytes(record.pack())


def udp(
    payload: bytes, source: str = CLIENT, from_port: int = 40001, target: str = SERVER, to_port: int = 53
) -> bytes:
    """An IP packet with a UDP part."""
    part = struct.pack("!HHHH", from_port, to_port, 8 + len(payload), 0) + payload
    return ip(17, part, source, target)


def tcp(
    data: bytes,
    sequence: int,
    flags: int = 0x18,
    source: str = CLIENT,
    from_port: int = 40001,
    target: str = SERVER,
    to_port: int = 53,
    options: bytes = b"",
) -> bytes:
    """An IP packet with a TCP part."""
    offset = (20 + len(options)) // 4 << 4
    header = struct.pack("!HHIIBBHHH", from_port, to_port, sequence, 0, offset, flags, 65535, 0, 0)
    return ip(6, header + options + data, source, target)


def ip(
    protocol: int, part: bytes, source: str, target: str, options: bytes = b"", fragment: int = 0
) -> bytes:
    one, other = ipaddress.ip_address(source), ipaddress.ip_address(target)
    if one.version == 6:
        head = struct.pack("!IHBB", 0x60000000, len(part), protocol, 64)
        return head + one.packed + other.packed + part
    size = 20 + len(options)
    head = struct.pack("!BBHHHBBH", 0x40 | size // 4, 0, size + len(part), 1, fragment, 64, protocol, 0)
    return head + one.packed + other.packed + options + part


def ethernet(packet: bytes, *tags: int, padding: bytes = b"") -> bytes:
    """A frame around an IP packet; `tags` are the types of VLAN tags, the outer first."""
    frame = bytes.fromhex("0242ac110002 0242ac110003")
    for tag in tags:
        frame += struct.pack("!HH", tag, 100)
    return frame + (b"\x86\xdd" if packet[0] >> 4 == 6 else b"\x08\x00") + packet + padding


def pcap(
    packets: Iterable[Packet],
    link_type: int = 1,
    order: str = "<",
    magic: int = 0xA1B2C3D4,
    snap: int = 262144,
) -> bytes:
    unit_ns = 1 if magic == 0xA1B23C4D else 1000
    out = [struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, snap, link_type)]
    for time_ns, frame in packets:
        seconds, rest_ns = divmod(time_ns, 1_000_000_000)
        kept = frame[:snap]
        out.append(struct.pack(order + "IIII", seconds, rest_ns // unit_ns, len(kept), len(frame)))
        if magic == 0xA1B2CD34:
            out.append(bytes(8))
        out.append(kept)
    return b"".join(out)


class Pcapng:
    """Writes the blocks of a pcapng file, one after the other, into `data`."""

    def __init__(self, order: str = "<") -> None:
        self.data = b""
        self.order = order

    def block(self, kind: int, body: bytes) -> Pcapng:
        body += bytes(-len(body) % 4)
        size = struct.pack(self.order + "I", 12 + len(body))
        self.data += struct.pack(self.order + "I", kind) + size + body + size
        return self

    def section(self, order: str = "") -> Pcapng:
        self.order = order or self.order
        return self.block(0x0A0D0D0A, struct.pack(self.order + "IHHq", 0x1A2B3C4D, 1, 0, -1))

    def option(self, code: int, value: bytes) -> bytes:
        return struct.pack(self.order + "HH", code, len(value)) + value + bytes(-len(value) % 4)

    def interface(self, link_type: int = 1, snap: int = 0, options: bytes = b"") -> Pcapng:
        return self.block(1, struct.pack(self.order + "HHI", link_type, 0, snap) + options)

    def enhanced(self, ticks: int, frame: bytes, interface: int = 0, size: int = 0) -> Pcapng:
        head = (interface, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), size or len(frame))
        return self.block(6, struct.pack(self.order + "IIIII", *head) + frame)

    def obsolete(self, ticks: int, frame: bytes, interface: int = 0) -> Pcapng:
        head = (interface, 0, ticks >> 32, ticks & 0xFFFFFFFF, len(frame), len(frame))
        return self.block(2, struct.pack(self.order + "HHIIII", *head) + frame)

    def simple(self, frame: bytes, size: int = 0) -> Pcapng:
        return self.block(3, struct.pack(self.order + "I", size or len(frame)) + frame)
