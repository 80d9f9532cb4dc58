"""From packets to DNS messages: link layers, IP versions, UDP and TCP, and what is no DNS."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_replay.capture import Row
from kdns_replay.packets import MessageFinder
from kubectl_kdns.pairing import NO_ID, Sighting
from support.captures import (
    CLIENT,
    CLIENT6,
    SERVER,
    SERVER6,
    START_NS,
    ethernet,
    ip,
    query,
    response,
    tcp,
    udp,
)

QUERY, RESPONSE = query(), response("web.shop.svc.cluster.local", "A", 7, "10.1.2.3")
ASKED = udp(QUERY)
ANSWERED = udp(RESPONSE, SERVER, 53, CLIENT, 40001)
ASKED6 = udp(QUERY, CLIENT6, 40001, SERVER6, 53)
FROM_CLIENT = (CLIENT, 40001, SERVER, 53, "udp", 7)
FROM_CLIENT6 = (CLIENT6, 40001, SERVER6, 53, "udp", 7)


def find(
    *packets: bytes, link_type: int = 1, snap: int = 1 << 18, finder: MessageFinder | None = None
) -> list[Sighting]:
    """The messages in these packets, which stand in a buffer with something before and behind."""
    buffer = b"before"
    rows: list[Row] = []
    for number, packet in enumerate(packets):
        kept = packet[:snap]
        rows.append((START_NS + number, link_type, len(buffer), len(buffer) + len(kept), len(packet)))
        buffer += kept
    finder = finder or MessageFinder()
    return finder.find(buffer + b"behind", rows) + finder.finish()


def brief(sighting: Sighting) -> tuple[object, ...]:
    _, exchange, message, size, _ = sighting
    return (*exchange, message.is_response, size)


def cooked(packet: bytes, ether_type: int = 0x0800) -> bytes:
    return struct.pack("!HHH8sH", 4, 1, 6, b"\x02\x42\xac\x11\x00\x03", ether_type) + packet


def cooked2(packet: bytes, ether_type: int = 0x0800) -> bytes:
    return struct.pack("!HHIHBB8s", ether_type, 0, 2, 1, 4, 6, b"\x02\x42\xac\x11\x00\x03") + packet


LINKS = {
    "Ethernet": (1, ethernet(ASKED), FROM_CLIENT),
    "Ethernet, nothing but a DNS header": (1, ethernet(udp(QUERY[:12])), FROM_CLIENT),
    "Ethernet, IPv6": (1, ethernet(ASKED6), FROM_CLIENT6),
    "802.1Q": (1, ethernet(ASKED, 0x8100), FROM_CLIENT),
    "QinQ": (1, ethernet(ASKED, 0x88A8, 0x8100), FROM_CLIENT),
    "QinQ, IPv6": (1, ethernet(ASKED6, 0x88A8, 0x8100), FROM_CLIENT6),
    "Linux cooked": (113, cooked(ASKED), FROM_CLIENT),
    "Linux cooked, IPv6": (113, cooked(ASKED6, 0x86DD), FROM_CLIENT6),
    "Linux cooked, 802.1Q": (113, cooked(b"\x00\x64\x08\x00" + ASKED, 0x8100), FROM_CLIENT),
    "Linux cooked v2": (276, cooked2(ASKED), FROM_CLIENT),
    "Linux cooked v2, IPv6": (276, cooked2(ASKED6, 0x86DD), FROM_CLIENT6),
    "raw": (101, ASKED, FROM_CLIENT),
    "raw, BSD's number": (12, ASKED6, FROM_CLIENT6),
    "raw, OpenBSD's number": (14, ASKED, FROM_CLIENT),
    "IPv4": (228, ASKED, FROM_CLIENT),
    "IPv6": (229, ASKED6, FROM_CLIENT6),
    "loopback": (0, struct.pack("<I", 2) + ASKED, FROM_CLIENT),
    "loopback of the other byte order": (0, struct.pack(">I", 30) + ASKED6, FROM_CLIENT6),
    "OpenBSD's loopback": (108, struct.pack(">I", 2) + ASKED, FROM_CLIENT),
}


@pytest.mark.parametrize("case", LINKS)
def test_link_layers(case: str) -> None:
    link_type, frame, expected = LINKS[case]
    (sighting,) = find(frame, link_type=link_type)
    assert sighting[1] == expected


def test_a_message_begins_and_ends_where_udp_says() -> None:
    (sighting,) = find(ethernet(ASKED, padding=b"\xff" * 9))
    assert sighting[3] == sighting[2].size == len(QUERY)
    assert sighting[2].malformed is None


def test_a_response_goes_to_the_client() -> None:
    assert brief(*find(ethernet(ANSWERED))) == (*FROM_CLIENT, True, len(RESPONSE))


def test_both_ports_53_and_a_query() -> None:
    (sighting,) = find(ethernet(udp(QUERY, CLIENT, 53, SERVER, 53)))
    assert sighting[1] == (CLIENT, 53, SERVER, 53, "udp", 7)


def test_both_ports_53_and_a_response() -> None:
    (sighting,) = find(ethernet(udp(RESPONSE, SERVER, 53, CLIENT, 53)))
    assert sighting[1] == (CLIENT, 53, SERVER, 53, "udp", 7)


@pytest.mark.parametrize("source", [53, 40001])
def test_too_short_to_say_a_direction_the_ports_say_it(source: int) -> None:
    ends = (SERVER, 53, CLIENT, 40001) if source == 53 else (CLIENT, 40001, SERVER, 53)
    (sighting,) = find(ethernet(udp(b"\x00\x07\x00", *ends)))
    assert brief(sighting) == (*FROM_CLIENT, source == 53, 3)
    assert sighting[2].malformed


def test_less_than_an_id() -> None:
    (sighting,) = find(ethernet(udp(b"")))
    assert brief(sighting) == (*FROM_CLIENT[:5], NO_ID, False, 0)


def test_ip_options_are_passed_over() -> None:
    part = ASKED[20:]
    (sighting,) = find(ethernet(ip(17, part, CLIENT, SERVER, options=b"\x94\x04\x00\x00")))
    assert sighting[1] == FROM_CLIENT


EXTENSIONS = {
    "hop-by-hop": (0, b"\x11\x00" + bytes(6)),
    "two destination options": (60, b"\x3c\x01" + bytes(14) + b"\x11\x00" + bytes(6)),
    "routing": (43, b"\x11\x02" + bytes(22)),
    "authentication": (51, b"\x11\x04" + bytes(22)),
    "a fragment that is whole": (44, b"\x11\x00\x00\x00" + bytes(4)),
}


@pytest.mark.parametrize("case", EXTENSIONS)
def test_ipv6_extension_headers(case: str) -> None:
    kind, headers = EXTENSIONS[case]
    (sighting,) = find(ethernet(ip(kind, headers + ASKED6[40:], CLIENT6, SERVER6)))
    assert sighting[1] == FROM_CLIENT6


NOT_DNS = {
    "another port": ethernet(udp(QUERY, to_port=5300)),
    "TCP of another port": ethernet(tcp(b"\x00\x20" + QUERY, 1, to_port=5300)),
    "ARP": bytes(12) + b"\x08\x06" + bytes(28),
    "ICMP": ethernet(ip(1, ASKED[20:], CLIENT, SERVER)),
    "ICMPv6": ethernet(ip(58, ASKED6[40:], CLIENT6, SERVER6)),
    "IPv6 without a next header": ethernet(ip(59, b"", CLIENT6, SERVER6)),
    "IP of version 5": bytes(12) + b"\x08\x00" + b"\x55" + ASKED[1:],
    "a header of less than 20 bytes": bytes(12) + b"\x08\x00" + b"\x44" + ASKED[1:],
    "an extension header behind the end": ethernet(ip(0, b"\x11\xff" + bytes(6), CLIENT6, SERVER6)),
    "a later fragment": ethernet(ip(17, ASKED[20:], CLIENT, SERVER, fragment=0x2001)),
    "a later fragment of IPv6": ethernet(
        ip(44, b"\x11\x00\x00\x09" + bytes(4) + ASKED6[40:], CLIENT6, SERVER6)
    ),
    "nothing": b"",
    "VLAN tags without an end": bytes(12) + b"\x81\x00\x00\x64" * 20,
}


@pytest.mark.parametrize("case", NOT_DNS)
def test_what_is_no_dns_is_passed_over(case: str) -> None:
    finder = MessageFinder()
    assert find(NOT_DNS[case], finder=finder) == []
    assert finder.packets == 1


def test_a_vlan_tag_is_not_taken_for_an_ip_header() -> None:
    """VLAN 0x500 with priority 2: where a plain packet has its IP version stands 0x45."""
    frame = bytes(12) + b"\x81\x00\x45\x00\x08\x00" + ASKED
    (sighting,) = find(frame)
    assert sighting[1] == FROM_CLIENT


def test_ports_can_be_chosen() -> None:
    packets = [ethernet(udp(QUERY, to_port=port)) for port in (53, 5353, 8053)]
    assert [s[1][3] for s in find(*packets)] == [53]
    assert [s[1][3] for s in find(*packets, finder=MessageFinder((5353, 8053)))] == [5353, 8053]


@pytest.mark.parametrize(("target", "source"), [("224.0.0.251", CLIENT), ("ff02::fb", CLIENT6)])
def test_multicast_dns_is_passed_over_and_counted(target: str, source: str) -> None:
    finder = MessageFinder((5353,))
    assert find(ethernet(udp(QUERY, source, 5353, target, 5353)), finder=finder) == []
    assert finder.multicast == 1


def test_packets_of_an_unknown_link_type_are_counted() -> None:
    finder = MessageFinder()
    assert find(ethernet(ASKED), ethernet(ASKED), link_type=147, finder=finder) == []
    assert finder.unknown_links == {147: 2}


@pytest.mark.parametrize("ipv6", [False, True])
@pytest.mark.parametrize("keep", [0, 1, 20, len(RESPONSE) - 1])
def test_a_packet_that_the_capture_cut_is_read_as_far_as_it_goes(keep: int, ipv6: bool) -> None:
    packet = udp(RESPONSE, SERVER6, 53, CLIENT6, 40001) if ipv6 else ANSWERED
    finder = MessageFinder()
    (sighting,) = find(ethernet(packet), snap=14 + len(packet) - len(RESPONSE) + keep, finder=finder)
    _, exchange, message, size, _ = sighting
    assert exchange[:4] == (FROM_CLIENT6 if ipv6 else FROM_CLIENT)[:4]
    assert (size, message.size, message.cut, message.is_response) == (len(RESPONSE), keep, True, True)
    assert finder.cut == 1


def test_a_packet_cut_inside_its_headers_is_no_message() -> None:
    assert find(ethernet(ANSWERED), snap=40) == []
    assert find(ethernet(tcp(b"\x00\x20" + QUERY, 1)), snap=50) == []


def test_the_first_fragment_is_read_and_counted() -> None:
    finder = MessageFinder()
    part = ANSWERED[20:60]
    (sighting,) = find(ethernet(ip(17, part, SERVER, CLIENT, fragment=0x2000)), finder=finder)
    assert brief(sighting) == (*FROM_CLIENT, True, len(RESPONSE))
    assert sighting[2].cut
    assert finder.fragmented == 1


def test_the_first_fragment_of_ipv6() -> None:
    finder = MessageFinder()
    header = b"\x11\x00\x00\x01" + bytes(4)
    part = udp(RESPONSE, SERVER6, 53, CLIENT6, 40001)[40:80]
    (sighting,) = find(ethernet(ip(44, header + part, SERVER6, CLIENT6)), finder=finder)
    assert brief(sighting) == (*FROM_CLIENT6, True, len(RESPONSE))
    assert finder.fragmented == 1


def test_lengths_of_zero_are_those_of_cards_that_cut_packets_up() -> None:
    packet = bytearray(ASKED)
    packet[2:4] = packet[24:26] = b"\x00\x00"
    (sighting,) = find(ethernet(bytes(packet)))
    assert brief(sighting) == (*FROM_CLIENT, False, len(QUERY))


def test_raw_is_the_payload_in_hex() -> None:
    sightings = find(ethernet(ASKED), ethernet(ASKED6), finder=MessageFinder(raw=True))
    assert [s[4] for s in sightings] == [QUERY.hex(), QUERY.hex()]


def test_tcp_both_ways() -> None:
    found = find(
        ethernet(tcp(b"", 100, flags=0x02)),
        ethernet(tcp(b"", 900, 0x12, SERVER, 53, CLIENT, 40001)),
        ethernet(tcp(len(QUERY).to_bytes(2, "big") + QUERY, 101)),
        ethernet(
            tcp(len(RESPONSE).to_bytes(2, "big") + RESPONSE, 901, 0x18, SERVER, 53, CLIENT, 40001),
            padding=b"\0",
        ),
    )
    exchange = (*FROM_CLIENT[:4], "tcp", 7)
    assert [brief(s) for s in found] == [
        (*exchange, False, len(QUERY)),
        (*exchange, True, len(RESPONSE)),
    ]
    assert [s[0] for s in found] == [START_NS + 2, START_NS + 3]


def test_tcp_options_and_a_header_that_lies() -> None:
    data = len(QUERY).to_bytes(2, "big") + QUERY
    assert len(find(ethernet(tcp(data, 1, options=bytes(12))))) == 1
    packet = bytearray(tcp(data, 1))
    packet[32] = 0xF0  # a header of 60 bytes
    assert find(ethernet(bytes(packet))) == []
    packet[32] = 0x10  # a header of 4 bytes
    assert find(ethernet(bytes(packet))) == []


def test_addresses_are_remembered_in_bounded_memory() -> None:
    finder = MessageFinder()
    for number in range(70_000):
        finder._text(number.to_bytes(4, "big"))
    assert len(finder._texts) <= 65536
    assert finder._text(b"\x0a\x00\x00\x01") == "10.0.0.1"


FRAMES = [frame for _, frame, _ in LINKS.values()] + list(NOT_DNS.values())


@given(
    st.lists(
        st.tuples(
            st.one_of(st.sampled_from(FRAMES), st.binary(max_size=120)),
            st.lists(st.tuples(st.integers(0, 90), st.integers(0, 255)), max_size=4),
            st.sampled_from([0, 1, 12, 14, 101, 108, 113, 276, 228, 229, 9999]),
            st.integers(0, 150),
        ),
        max_size=6,
    )
)
def test_no_packet_is_too_odd(packets: list[tuple[bytes, list[tuple[int, int]], int, int]]) -> None:
    finder = MessageFinder((53, 5353))
    for frame, changes, link_type, snap in packets:
        packet = bytearray(frame)
        for position, value in changes:
            if position < len(packet):
                packet[position] = value
        for _, exchange, message, size, _ in find(
            bytes(packet), link_type=link_type, snap=snap, finder=finder
        ):
            assert message.size <= max(size, 0)
            assert exchange[1] in (53, 5353) or exchange[3] in (53, 5353)
