"""Packets of a capture to sightings of DNS messages.

The loop over the packets is the hot path of a replay: what nearly all are (UDP in IPv4, no options, whole) is
read with one `unpack_from`; all else takes the longer way through `packet` and `tcp`.
"""

from __future__ import annotations

from collections.abc import Iterable
from struct import Struct

from kdns_replay.capture import Row
from kdns_replay.packet import (
    ETHERNET,
    LINK_TYPES,
    LINUX_SLL,
    LINUX_SLL2,
    UDP,
    Part,
    address_text,
    find_part,
)
from kdns_replay.tcp import Reassembly, TcpMessage
from kubectl_kdns.dns.wire import DecodedMessage, decode_message, decode_part
from kubectl_kdns.pairing import NO_ID, Sighting

DNS_PORT = 53
MDNS_PORT = 5353
MAX_ADDRESSES = 65536

# Of a packet from its first byte: ethernet type, IP version and header size, fragment, protocol, addresses,
# ports, UDP length, DNS id; and where the UDP payload starts.
_FAST = {
    ETHERNET: (Struct("!12xHB5xHxB2x4s4sHHH2xH").unpack_from, 42),
    LINUX_SLL: (Struct("!14xHB5xHxB2x4s4sHHH2xH").unpack_from, 44),
    LINUX_SLL2: (Struct("!H18xB5xHxB2x4s4sHHH2xH").unpack_from, 48),
}
_NOT_FAST = (_FAST[ETHERNET][0], 1 << 62)
_IPV4_TYPE, _PLAIN_HEADER, _ANY_FRAGMENT = 0x0800, 0x45, 0x3FFF
_UDP = Struct("!HHH").unpack_from
_TCP = Struct("!HHI4xBB").unpack_from
_UDP_HEADER_BYTES = 8
_TCP_HEADER_BYTES = 20
_DNS_HEADER_BYTES = 12
_LEAST_UDP_BYTES = _UDP_HEADER_BYTES + _DNS_HEADER_BYTES


class MessageFinder:
    """The DNS messages to and from `ports`, in the order of the capture.

    A message goes to the server if it is a query, else from it; where it is too short to say, the ports do.
    `fragmented` counts messages of which only the first IP fragment is read, `unknown_links` the packets of
    each link type that is not known.
    """

    def __init__(self, ports: Iterable[int] = (DNS_PORT,), *, raw: bool = False) -> None:
        self.packets = 0
        self.cut = 0
        self.fragmented = 0
        self.multicast = 0
        self.unknown_links: dict[int, int] = {}
        self.tcp = Reassembly()
        self._ports = frozenset(ports)
        self._raw = raw
        self._texts: dict[bytes, str] = {}
        self._tcp_time_ns = 0

    def find(self, buffer: bytes, rows: list[Row]) -> list[Sighting]:
        """The messages that these packets complete."""
        ports, texts, raw, decode = self._ports, self._texts, self._raw, decode_part
        self.packets += len(rows)
        found: list[Sighting] = []
        append = found.append
        for time_ns, link_type, start, end, wire_bytes in rows:
            unpack, header_bytes = _FAST.get(link_type, _NOT_FAST)
            payload_start = start + header_bytes
            if payload_start + _DNS_HEADER_BYTES <= end:
                (
                    ether_type,
                    version_size,
                    fragment,
                    protocol,
                    source,
                    target,
                    from_port,
                    to_port,
                    size,
                    id_,
                ) = unpack(buffer, start)
                payload_end = payload_start + size - _UDP_HEADER_BYTES
                if (
                    ether_type == _IPV4_TYPE
                    and version_size == _PLAIN_HEADER
                    and protocol == UDP
                    and not fragment & _ANY_FRAGMENT
                    and payload_end <= end
                    and size >= _LEAST_UDP_BYTES
                    and to_port != MDNS_PORT
                ):
                    if to_port not in ports and from_port not in ports:
                        continue
                    message = decode(buffer, payload_start, payload_end)
                    if message.is_response:
                        source, from_port, target, to_port = target, to_port, source, from_port
                    try:
                        exchange = (texts[source], from_port, texts[target], to_port, "udp", id_)
                    except KeyError:
                        exchange = (self._text(source), from_port, self._text(target), to_port, "udp", id_)
                    payload_hex = buffer[payload_start:payload_end].hex() if raw else ""
                    append((time_ns, exchange, message, message.size, payload_hex))
                    continue
            self._find_slowly(time_ns, link_type, buffer, start, end, wire_bytes, found)
        return found

    def finish(self) -> list[Sighting]:
        """What TCP streams still held behind holes."""
        found: list[Sighting] = []
        for message in self.tcp.finish():
            self._add_tcp(self._tcp_time_ns, message, found)
        return found

    def _find_slowly(
        self,
        time_ns: int,
        link_type: int,
        buffer: bytes,
        start: int,
        end: int,
        wire_bytes: int,
        found: list[Sighting],
    ) -> None:
        if link_type not in LINK_TYPES:
            self.unknown_links[link_type] = self.unknown_links.get(link_type, 0) + 1
            return
        part = find_part(link_type, buffer, start, end, wire_bytes)
        if part is None or part.later_fragment or part.start + 4 > end:
            return
        if part.protocol == UDP:
            self._find_udp(time_ns, buffer, part, end, found)
        else:
            self._find_tcp(time_ns, buffer, part, end, found)

    def _find_udp(self, time_ns: int, buffer: bytes, part: Part, end: int, found: list[Sighting]) -> None:
        payload_start = part.start + _UDP_HEADER_BYTES
        if payload_start > end:
            return
        from_port, to_port, length = _UDP(buffer, part.start)
        if to_port not in self._ports and from_port not in self._ports:
            return
        if to_port == MDNS_PORT and _is_multicast(part.target):
            self.multicast += 1
            return
        # A length of 0 is that of a jumbogram (RFC 2675) or of a card that cuts packets up.
        size = length - _UDP_HEADER_BYTES if length >= _UDP_HEADER_BYTES else part.wire_end - payload_start
        payload = buffer[payload_start : min(payload_start + size, part.wire_end, end)]
        self.fragmented += part.more_fragments
        self._add(time_ns, part.source, from_port, part.target, to_port, "udp", payload, size, found)

    def _find_tcp(self, time_ns: int, buffer: bytes, part: Part, end: int, found: list[Sighting]) -> None:
        if part.start + _TCP_HEADER_BYTES > end:
            return
        from_port, to_port, sequence, offset, flags = _TCP(buffer, part.start)
        header_bytes = (offset >> 4) * 4
        if (to_port not in self._ports and from_port not in self._ports) or header_bytes < _TCP_HEADER_BYTES:
            return
        data_start = part.start + header_bytes
        data = buffer[data_start : min(part.wire_end, end)]
        lacking = max(part.wire_end - max(end, data_start), 0)
        self.cut += lacking > 0
        self._tcp_time_ns = time_ns
        key = (part.source, from_port, part.target, to_port)
        for message in self.tcp.segment(key, time_ns, sequence, flags, data, lacking):
            self._add_tcp(time_ns, message, found)

    def _add_tcp(self, time_ns: int, message: TcpMessage, found: list[Sighting]) -> None:
        source, from_port, target, to_port = message.key
        self._add(time_ns, source, from_port, target, to_port, "tcp", message.payload, message.size, found)

    def _add(
        self,
        time_ns: int,
        source: bytes,
        from_port: int,
        target: bytes,
        to_port: int,
        transport: str,
        payload: bytes,
        size: int,
        found: list[Sighting],
    ) -> None:
        message = decode_message(payload)
        if len(payload) < size and transport == "udp":
            self.cut += 1
        if message.size < _DNS_HEADER_BYTES and from_port in self._ports and to_port not in self._ports:
            message = DecodedMessage(
                message.size, is_response=True, malformed=message.malformed, cut=message.cut
            )
        id_ = payload[0] << 8 | payload[1] if len(payload) >= 2 else NO_ID
        from_ip, to_ip = self._text(source), self._text(target)
        if message.is_response:
            exchange = (to_ip, to_port, from_ip, from_port, transport, id_)
        else:
            exchange = (from_ip, from_port, to_ip, to_port, transport, id_)
        found.append((time_ns, exchange, message, size, payload.hex() if self._raw else ""))

    def _text(self, address: bytes) -> str:
        text = self._texts.get(address)
        if text is None:
            if len(self._texts) >= MAX_ADDRESSES:
                self._texts.clear()
            text = self._texts[address] = address_text(address)
        return text


def _is_multicast(address: bytes) -> bool:
    return address[0] == 0xFF if len(address) == 16 else 224 <= address[0] <= 239
