"""Finds the UDP or TCP part of a captured packet: link layers, VLAN tags, IPv4, IPv6 and its extensions.

Link types: https://www.tcpdump.org/linktypes.html. Ethernet (802.1Q, 802.1ad), Linux cooked v1 and v2, BSD
loopback, raw IP. IPv4: RFC 791; IPv6: RFC 8200, authentication header: RFC 4302.
"""

from __future__ import annotations

from socket import AF_INET, AF_INET6, inet_ntop
from struct import Struct
from typing import NamedTuple

NULL, ETHERNET, LOOP, LINUX_SLL, LINUX_SLL2, IPV4, IPV6 = 0, 1, 108, 113, 276, 228, 229
RAW = (12, 14, 101)
LINK_TYPES = frozenset((NULL, ETHERNET, LOOP, LINUX_SLL, LINUX_SLL2, IPV4, IPV6, *RAW))
TCP, UDP = 6, 17

_VLAN_TYPES = (0x8100, 0x88A8, 0x9100)
_IP_TYPES = (0x0800, 0x86DD)
_FRAGMENT_HEADER, _AUTHENTICATION = 44, 51
_EXTENSIONS = (0, 43, 60, 135, 139, 140, _FRAGMENT_HEADER, _AUTHENTICATION)

_SHORT = Struct("!H").unpack_from
_IPV4 = Struct("!BxH2xHxB2x4s4s").unpack_from
_IPV6 = Struct("!4xHBx16s16s").unpack_from
_FRAGMENT = Struct("!BxH").unpack_from


class Part(NamedTuple):
    """A UDP or TCP part: the addresses, and where in the buffer it begins; `wire_end` is where it would end,
    had the capture not cut it. `later_fragment`: the part lacks its beginning, and so its header."""

    protocol: int
    source: bytes
    target: bytes
    start: int
    wire_end: int
    later_fragment: bool
    more_fragments: bool


def find_part(link_type: int, buffer: bytes, start: int, end: int, wire_bytes: int) -> Part | None:
    """The part of the packet in buffer[start:end], `wire_bytes` long before it was cut; None when it has
    none, or is cut before it begins."""
    ip = _ip_start(link_type, buffer, start, end)
    if ip < 0 or ip >= end:
        return None
    version = buffer[ip] >> 4
    if version == 4 and ip + 20 <= end:
        return _ipv4_part(buffer, ip, start + wire_bytes)
    if version == 6 and ip + 40 <= end:
        return _ipv6_part(buffer, ip, end, start + wire_bytes)
    return None


def _ip_start(link_type: int, buffer: bytes, start: int, end: int) -> int:
    """Where the IP header begins; -1 when the packet is none of IP."""
    if link_type in RAW or link_type in (IPV4, IPV6):
        return start
    if link_type in (NULL, LOOP):
        return start + 4  # the address family differs by system; the IP version says the same
    if link_type == ETHERNET:
        position = start + 12
    elif link_type == LINUX_SLL:
        position = start + 14
    elif link_type == LINUX_SLL2:
        return start + 20 if start + 20 <= end and _SHORT(buffer, start)[0] in _IP_TYPES else -1
    else:
        return -1
    while position + 2 <= end:
        (ether_type,) = _SHORT(buffer, position)
        if ether_type in _IP_TYPES:
            return position + 2
        if ether_type not in _VLAN_TYPES:
            return -1
        position += 4
    return -1


def _ipv4_part(buffer: bytes, ip: int, wire_end: int) -> Part | None:
    version_size, total, fragment, protocol, source, target = _IPV4(buffer, ip)
    header = (version_size & 0xF) * 4
    if protocol not in (UDP, TCP) or header < 20:
        return None
    # The length is 0 when the network card was left to cut the packet up.
    last = min(ip + total, wire_end) if total else wire_end
    later, more = fragment & 0x1FFF != 0, fragment & 0x2000 != 0
    return Part(protocol, source, target, ip + header, last, later, more)


def _ipv6_part(buffer: bytes, ip: int, end: int, wire_end: int) -> Part | None:
    size, following, source, target = _IPV6(buffer, ip)
    last = min(ip + 40 + size, wire_end) if size else wire_end
    position = ip + 40
    later = more = False
    while following in _EXTENSIONS:
        if position + 8 > end:
            return None
        if following == _FRAGMENT_HEADER:
            following, bits = _FRAGMENT(buffer, position)
            later, more = bits & 0xFFF8 != 0, bits & 1 != 0
            position += 8
            if later:
                break  # what follows is not the beginning of a header
        else:
            units = buffer[position + 1]
            step = (units + 2) * 4 if following == _AUTHENTICATION else (units + 1) * 8
            following = buffer[position]
            position += step
    if following not in (UDP, TCP):
        return None
    return Part(following, source, target, position, last, later, more)


def address_text(address: bytes) -> str:
    """An address of 4 or 16 bytes in its usual form (RFC 5952)."""
    return inet_ntop(AF_INET if len(address) == 4 else AF_INET6, address)
