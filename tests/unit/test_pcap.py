"""Reading pcap and pcapng files: every byte order, time unit and block; in pieces, cut off and corrupt."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_replay import pcap, pcapng
from kdns_replay.capture import Batch, BrokenInput, CaptureNotes
from kubectl_kdns.times import format_time
from support.captures import START_NS, Pcapng
from support.captures import pcap as pcap_file

FRAMES = [(START_NS + n * 1_000_001_000, bytes([n]) * (60 + n)) for n in range(5)]
MAGICS = (0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34)

Found = tuple[int, int, bytes, int]
"""Time, link type, captured bytes, size on the wire."""


def rows(batches: Iterable[Batch]) -> tuple[list[Found], str]:
    """The packets, and why there are no more if the file is broken."""
    found: list[Found] = []
    try:
        for buffer, batch in batches:
            found += [(time_ns, link, buffer[start:end], size) for time_ns, link, start, end, size in batch]
    except BrokenInput as error:
        return found, str(error)
    return found, ""


def read(data: bytes, piece: int = 1 << 20, notes: CaptureNotes | None = None) -> tuple[list[Found], str]:
    chunks = [data[at : at + piece] for at in range(0, len(data), piece)]
    if pcap.sniff(data):
        return rows(pcap.read_pcap(chunks))
    assert pcapng.sniff(data)
    return rows(pcapng.read_pcapng(chunks, notes or CaptureNotes()))


EXPECTED: list[Found] = [(time_ns, 1, frame, len(frame)) for time_ns, frame in FRAMES]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("magic", MAGICS)
@pytest.mark.parametrize("piece", [1 << 20, 7])
def test_pcap_of_both_byte_orders_and_all_units(order: str, magic: int, piece: int) -> None:
    data = pcap_file(FRAMES, order=order, magic=magic)
    assert read(data, piece) == (EXPECTED, "")


def test_pcap_nanoseconds_are_kept() -> None:
    data = pcap_file([(START_NS + 1, b"x" * 60)], magic=0xA1B23C4D)
    assert read(data)[0][0][0] == START_NS + 1


def test_pcap_packets_that_the_snap_length_cut() -> None:
    data = pcap_file(FRAMES, snap=40, link_type=101)
    assert read(data) == ([(t, 101, frame[:40], len(frame)) for t, frame in FRAMES], "")


def test_pcap_upper_bits_of_the_link_type_are_not_the_link_type() -> None:
    data = bytearray(pcap_file(FRAMES))
    data[20:24] = struct.pack("<I", 0x2400_0001)  # a frame check sequence of 4 bytes
    assert read(bytes(data)) == (EXPECTED, "")


@pytest.mark.parametrize("piece", [1 << 20, 11])
def test_pcap_cut_off_anywhere_gives_all_before(piece: int) -> None:
    data = pcap_file(FRAMES)
    ends = [24]
    for _, frame in FRAMES:
        ends.append(ends[-1] + 16 + len(frame))
    for size in range(4, len(data)):
        whole = sum(end <= size for end in ends) - 1
        found, broken = read(data[:size], piece)
        assert found == EXPECTED[: max(whole, 0)]
        assert bool(broken) == (size not in ends)


def test_pcap_with_a_length_of_nonsense_says_so() -> None:
    data = pcap_file(FRAMES[:2]) + struct.pack("<IIII", 1, 2, 1 << 30, 1 << 30) + b"rest"
    assert read(data) == (
        EXPECTED[:2],
        "a packet claims 1073741824 bytes: what follows is no packet",
    )


def capture(order: str = "<") -> Pcapng:
    return Pcapng(order).section().interface()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("piece", [1 << 20, 13])
def test_pcapng_of_both_byte_orders(order: str, piece: int) -> None:
    file = capture(order)
    for time_ns, frame in FRAMES:
        file.enhanced(time_ns // 1000, frame)
    assert read(file.data, piece) == (EXPECTED, "")


@pytest.mark.parametrize(
    ("resolution", "ticks", "time_ns"),
    [
        (6, 1_795_428_000_000_001, START_NS + 1000),
        (9, START_NS + 1, START_NS + 1),
        (3, 1_795_428_000_001, START_NS + 1_000_000),
        (0, 1_795_428_000, START_NS),
        (12, 1_795_428_000_000_001_999, START_NS // 1000 + 1),
        (0x80 | 10, 1_795_428_000 << 10 | 1, START_NS + 976_562),
        (0x80, 1_795_428_000, START_NS),
    ],
)
def test_pcapng_time_resolutions(resolution: int, ticks: int, time_ns: int) -> None:
    file = Pcapng().section()
    if resolution == 12:
        ticks, time_ns = ticks - START_NS, 1  # 64 bits of picoseconds are half a year
    file.interface(options=file.option(9, bytes([resolution])) + file.option(0, b""))
    file.enhanced(ticks, b"x" * 60)
    assert read(file.data)[0][0][0] == time_ns


def test_pcapng_offset_of_time() -> None:
    file = Pcapng(">").section()
    file.interface(options=file.option(2, b"eth0") + file.option(14, struct.pack(">q", START_NS // 10**9)))
    file.enhanced(5, b"x" * 60)
    assert read(file.data)[0][0][0] == START_NS + 5000


@pytest.mark.parametrize("ticks", [(1 << 64) - 1, 0])
def test_pcapng_times_that_cannot_be_are_unknown(ticks: int) -> None:
    assert read(capture().enhanced(ticks, b"x" * 60).data)[0][0][0] == 0


def test_pcapng_blocks_of_all_kinds() -> None:
    file = capture()
    file.block(4, b"names").block(0x0BAD, b"custom").block(10, b"secrets")
    file.enhanced(START_NS // 1000, b"a" * 61).simple(b"b" * 62).obsolete(START_NS // 1000 + 1, b"c" * 63)
    assert read(file.data) == (
        [(START_NS, 1, b"a" * 61, 61), (START_NS, 1, b"b" * 62, 62), (START_NS + 1000, 1, b"c" * 63, 63)],
        "",
    )


def test_pcapng_simple_packets_end_with_the_snap_length() -> None:
    file = Pcapng().section().interface(snap=40).simple(b"b" * 40, size=100)
    assert read(file.data) == ([(0, 1, b"b" * 40, 100)], "")


def test_pcapng_several_interfaces_and_sections() -> None:
    file = capture().interface(link_type=276)
    file.enhanced(START_NS // 1000, b"a" * 60, interface=1).enhanced(START_NS // 1000, b"b" * 60)
    file.section(">").interface(link_type=101).enhanced(START_NS // 1000, b"c" * 60)
    assert read(file.data, 17) == (
        [
            (START_NS, 276, b"a" * 60, 60),
            (START_NS, 1, b"b" * 60, 60),
            (START_NS, 101, b"c" * 60, 60),
        ],
        "",
    )


def test_pcapng_what_the_capture_missed_is_noted_by_the_last_statistics() -> None:
    file = capture().interface()
    for interface, dropped in ((0, 5), (1, 7), (0, 9)):
        body = struct.pack("<III", interface, 0, 0)
        body += file.option(5, struct.pack("<Q", dropped)) + file.option(7, struct.pack("<Q", 1))
        file.block(5, body)
    file.section().interface().block(5, bytes(12) + file.option(5, struct.pack("<Q", 2)))
    notes = CaptureNotes()
    assert read(file.data, notes=notes) == ([], "")
    assert notes.missed == {(0, 0): 10, (0, 1): 8, (1, 0): 2}


def test_pcapng_blocks_that_contradict_themselves_are_skipped_and_counted() -> None:
    file = capture()
    file.enhanced(1, b"x" * 60, interface=3)  # no such interface
    file.block(6, struct.pack("<IIIII", 0, 0, 1, 500, 500) + b"short")
    file.block(6, b"").block(3, b"").block(1, b"")
    file.enhanced(START_NS // 1000, b"y" * 60)
    notes = CaptureNotes()
    assert read(file.data, notes=notes) == ([(START_NS, 1, b"y" * 60, 60)], "")
    assert notes.unreadable == 5


@pytest.mark.parametrize(
    ("rest", "broken"),
    [
        (struct.pack("<II", 6, 3) + bytes(8), "a block claims 3 bytes: what follows is no block"),
        (
            struct.pack("<II", 6, 1 << 30) + bytes(8),
            "a block claims 1073741824 bytes: what follows is no block",
        ),
        (b"\x0a\x0d\x0d\x0a" + bytes(12), "the file goes on with what is no section"),
        (struct.pack("<II", 6, 64) + bytes(8), "the file ends inside a block, 16 bytes after its beginning"),
        (b"\x06", "the file ends inside a block, 1 bytes after its beginning"),
    ],
)
def test_pcapng_that_breaks_off(rest: bytes, broken: str) -> None:
    file = capture().enhanced(START_NS // 1000, b"y" * 60)
    assert read(file.data + rest, 19) == ([(START_NS, 1, b"y" * 60, 60)], broken)


def test_pcapng_must_begin_with_a_section() -> None:
    assert rows(pcapng.read_pcapng([Pcapng().interface().data], CaptureNotes())) == (
        [],
        "the file goes on with what is no section",
    )


@pytest.mark.parametrize(
    "head", [b"", b"\x0a\x0d\x0d\x0a", b"\xd4\xc3\xb2", b"{}", b"\x0a\x0d\x0d\x0a" + bytes(20)]
)
def test_other_data_is_not_taken_for_a_capture(head: bytes) -> None:
    assert not pcap.sniff(head)
    assert not pcapng.sniff(head)


def damaged(data: bytes) -> st.SearchStrategy[bytes]:
    """The data with a few bytes changed, and its end cut off."""
    changes = st.lists(st.tuples(st.integers(12, len(data) - 1), st.integers(0, 255)), max_size=8)

    def damage(made: tuple[list[tuple[int, int]], int]) -> bytes:
        spoilt = bytearray(data)
        for position, value in made[0]:
            spoilt[position] = value
        return bytes(spoilt[: made[1]])

    return st.tuples(changes, st.integers(12, len(data))).map(damage)


def sample() -> bytes:
    file = capture()
    file.interface(options=file.option(9, b"\x09") + file.option(14, bytes(8)))
    for time_ns, frame in FRAMES[:3]:
        file.enhanced(time_ns // 1000, frame).simple(frame).obsolete(time_ns, frame, interface=1)
    return file.block(5, bytes(12) + file.option(5, bytes(8))).data


@given(damaged(pcap_file(FRAMES)) | damaged(sample()), st.integers(1, 100))
def test_damaged_captures_break_orderly(data: bytes, piece: int) -> None:
    found, broken = read(data, piece)
    assert all(format_time(time_ns) for time_ns, *_ in found)
    assert (found, broken) == read(data)
