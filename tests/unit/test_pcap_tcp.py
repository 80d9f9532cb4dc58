"""TCP streams to DNS messages: order, repetition, holes, beginnings in the middle, and bounds."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_replay.tcp import SYN, Reassembly, StreamKey
from support.captures import START_NS, query, response

KEY: StreamKey = (b"\x0a\xf4\x01\x11", 40001, b"\x0a\x60\x00\x0a", 53)
OTHER: StreamKey = (b"\x0a\xf4\x01\x12", 40002, b"\x0a\x60\x00\x0a", 53)
MS = 1_000_000

MESSAGES = [query("a.test", id_=1), query("bb.test", "AAAA", 2), query("ccc.test", "SRV", 3)]
MESSAGES += [response("d.test", "A", 4, *(f"10.0.0.{n}" for n in range(90)))]


def framed(*messages: bytes) -> bytes:
    return b"".join(len(message).to_bytes(2, "big") + message for message in messages)


STREAM = framed(*MESSAGES)


class Feed:
    """A stream that begins with `first`; `put` gives segments by their place in it."""

    def __init__(self, first: int = 1000, syn: bool = True, **bounds: int) -> None:
        self.tcp = Reassembly(**bounds)
        self.first = first
        self.payloads: list[bytes] = []
        self.sizes: list[int] = []
        if syn:
            self.put(-1, b"", flags=SYN)

    def put(
        self, place: int, data: bytes, flags: int = 0, lacking: int = 0, at_ms: int = 0, key: StreamKey = KEY
    ) -> Feed:
        sequence = self.first + place & 0xFFFFFFFF
        self.take(self.tcp.segment(key, START_NS + at_ms * MS, sequence, flags, data, lacking))
        return self

    def take(self, messages: list) -> None:  # type: ignore[type-arg]
        self.payloads += [message.payload for message in messages]
        self.sizes += [message.size for message in messages]

    def finish(self) -> Feed:
        self.take(self.tcp.finish())
        assert (len(self.tcp), self.tcp.held_bytes) == (0, 0)
        return self


@pytest.mark.parametrize("step", [1, 2, 3, 13, 14, 40, 10_000])
@pytest.mark.parametrize("first", [1000, 0xFFFFFFF0])
def test_segments_of_any_size_and_a_sequence_number_that_wraps(step: int, first: int) -> None:
    feed = Feed(first)
    for place in range(0, len(STREAM), step):
        feed.put(place, STREAM[place : place + step])
    assert feed.finish().payloads == MESSAGES
    assert feed.sizes == list(map(len, MESSAGES))
    assert feed.tcp.gaps == 0


def test_the_length_in_a_segment_of_its_own() -> None:
    feed = Feed().put(0, STREAM[:2])
    assert feed.put(2, MESSAGES[0]).payloads == MESSAGES[:1]


def test_segments_backwards() -> None:
    feed = Feed()
    for place in range(len(STREAM) // 40 * 40, -1, -40):
        feed.put(place, STREAM[place : place + 40])
    assert feed.finish().payloads == MESSAGES


def test_retransmissions_and_overlaps_bring_nothing_twice() -> None:
    feed = Feed()
    for start, end in ((0, 30), (0, 30), (10, 50), (0, 20), (40, 45), (30, 60), (0, len(STREAM))):
        feed.put(start, STREAM[start:end])
    assert feed.finish().payloads == MESSAGES


def test_an_overlap_ahead_of_a_hole() -> None:
    feed = Feed().put(20, STREAM[20:40]).put(20, STREAM[20:60]).put(30, STREAM[30:50]).put(0, STREAM[:20])
    assert feed.put(60, STREAM[60:]).finish().payloads == MESSAGES


def test_keepalives_and_pure_acknowledgements_are_nothing() -> None:
    feed = Feed().put(0, framed(MESSAGES[0]))
    end = len(framed(MESSAGES[0]))
    feed.put(end - 1, b"").put(end - 1, b"\0").put(end, b"").put(end, framed(MESSAGES[1]))
    assert feed.finish().payloads == MESSAGES[:2]


def test_a_new_connection_with_the_same_ports() -> None:
    feed = Feed().put(0, STREAM[:5])
    feed.first = 777_000_000
    feed.put(-1, b"", flags=SYN).put(0, framed(MESSAGES[1]))
    assert feed.finish().payloads == MESSAGES[1:2]
    assert feed.tcp.gaps == 1  # the five bytes


def test_a_syn_seen_twice_changes_nothing() -> None:
    feed = Feed().put(0, STREAM[:5]).put(-1, b"", flags=SYN).put(5, STREAM[5:])
    assert feed.finish().payloads == MESSAGES


def test_data_in_the_syn_itself() -> None:
    feed = Feed(syn=False).put(-1, framed(MESSAGES[0]), flags=SYN)
    assert feed.put(len(framed(MESSAGES[0])), framed(MESSAGES[1])).payloads == MESSAGES[:2]


def test_a_capture_that_begins_in_the_middle_at_a_message() -> None:
    feed = Feed(syn=False).put(0, framed(*MESSAGES[:2])).put(len(framed(*MESSAGES[:2])), framed(MESSAGES[2]))
    assert feed.finish().payloads == MESSAGES[:3]
    assert feed.tcp.gaps == 0


def test_a_capture_that_begins_inside_a_message_goes_on_at_the_next() -> None:
    feed = Feed(syn=False).put(30, STREAM[30:70]).put(70, b"\xff" * 500)
    feed.put(570, framed(MESSAGES[0])).put(570 + len(framed(MESSAGES[0])), framed(MESSAGES[1]))
    assert feed.finish().payloads == MESSAGES[:2]
    assert feed.tcp.gaps == 1


def test_a_connection_without_a_syn_far_away_from_an_old_one() -> None:
    feed = Feed().put(0, framed(MESSAGES[0])).put(1 << 30, framed(MESSAGES[1]))
    assert feed.finish().payloads == MESSAGES[:2]


def test_a_hole_inside_a_message_costs_only_that_message() -> None:
    """What came of it is given out; the next is found by the length."""
    first, long = framed(*MESSAGES[:3]), framed(MESSAGES[3])
    feed = Feed().put(0, first + long[:100])
    feed.put(len(first) + 300, long[300:] + framed(MESSAGES[0]))
    assert feed.payloads == MESSAGES[:3]
    feed.put(len(first) + len(long) + len(framed(MESSAGES[0])), framed(MESSAGES[1]), at_ms=1001)
    assert feed.payloads == [*MESSAGES[:3], long[2:100], MESSAGES[0], MESSAGES[1]]
    assert feed.sizes[3] == len(MESSAGES[3])
    assert feed.finish().tcp.gaps == 0


def test_a_hole_inside_the_header_loses_that_message_only() -> None:
    feed = Feed().put(0, STREAM[:8]).put(20, STREAM[20:]).finish()
    assert feed.payloads == MESSAGES[1:]
    assert feed.tcp.gaps == 1


def test_a_hole_of_unknown_content_goes_on_at_the_next_message() -> None:
    lost = len(framed(MESSAGES[0]))
    feed = Feed().put(lost, framed(MESSAGES[1])).put(lost + len(framed(MESSAGES[1])), framed(MESSAGES[2]))
    assert feed.payloads == []
    assert feed.finish().payloads == MESSAGES[1:3]
    assert feed.tcp.gaps == 1


def test_a_hole_over_several_messages() -> None:
    feed = Feed().put(0, STREAM[:20])
    place = len(framed(*MESSAGES[:3]))
    assert feed.put(place, STREAM[place:]).finish().payloads == [STREAM[2:20], MESSAGES[3]]
    assert feed.tcp.gaps == 1


def test_two_holes_one_behind_the_other() -> None:
    long = framed(MESSAGES[3])
    feed = (
        Feed().put(0, long[:50]).put(100, long[100:150]).put(200, long[200:] + framed(MESSAGES[0])).finish()
    )
    assert feed.payloads == [long[2:50], MESSAGES[0]]


def test_a_hole_is_not_waited_for_by_other_streams_nor_for_long() -> None:
    feed = Feed().put(len(framed(MESSAGES[0])), framed(MESSAGES[1]))
    feed.put(0, framed(MESSAGES[2]), key=OTHER, at_ms=900)
    assert feed.payloads == [MESSAGES[2]]
    feed.put(len(framed(MESSAGES[2])), b"", key=OTHER, at_ms=1001)
    assert feed.payloads == [MESSAGES[2], MESSAGES[1]]


def test_a_hole_is_given_up_when_too_many_segments_wait_behind_it() -> None:
    feed = Feed()
    place = 10
    for _ in range(65):
        feed.put(place, framed(MESSAGES[0]))
        place += len(framed(MESSAGES[0]))
    assert feed.payloads == [MESSAGES[0]] * 65


def test_what_the_capture_cut_off_a_segment() -> None:
    """The beginning of the message is given out; the rest of it is passed over, wherever it lies."""
    long = framed(MESSAGES[3])
    feed = Feed().put(0, long[:60], lacking=40).put(100, long[100:160], lacking=40).put(200, long[200:])
    feed.put(len(long), framed(MESSAGES[0]))
    assert feed.finish().payloads == [long[2:60], MESSAGES[0]]
    assert feed.sizes == [len(MESSAGES[3]), len(MESSAGES[0])]
    assert feed.tcp.gaps == 0


def test_a_segment_that_was_cut_comes_again() -> None:
    end = len(framed(MESSAGES[0]))
    feed = Feed().put(0, STREAM[:20], lacking=end - 20).put(0, STREAM[:20], lacking=end - 20)
    assert feed.put(end, STREAM[end:]).finish().payloads == [STREAM[2:20], *MESSAGES[1:]]


def test_a_length_too_small_for_a_message_is_not_believed() -> None:
    feed = Feed().put(0, b"\0\0\0\x05hello").put(9, framed(MESSAGES[0]))
    assert feed.finish().payloads == MESSAGES[:1]
    assert feed.tcp.gaps == 1


def test_streams_are_bounded_by_number() -> None:
    feed = Feed(max_streams=10)
    for number in range(50):
        feed.put(0, STREAM[:5], key=(b"\x0a\0\0\x01", number, *KEY[2:]), flags=0)
        assert len(feed.tcp) <= 10
    assert feed.tcp.gaps == 40
    assert feed.tcp.held_bytes == 50


def test_streams_are_bounded_by_bytes() -> None:
    feed = Feed(max_held_bytes=10_000)
    for number in range(50):
        key = (b"\x0a\0\0\x01", number, *KEY[2:])
        feed.put(-1, b"", flags=SYN, key=key).put(10, bytes(1000), key=key)
        assert feed.tcp.held_bytes <= 10_000


@given(
    st.permutations(range(12)),
    st.lists(st.integers(0, 11), max_size=6),
    st.lists(st.integers(1, len(STREAM) - 1), min_size=11, max_size=11, unique=True),
    st.integers(0, 0xFFFFFFFF),
)
def test_any_order_and_repetition_gives_the_same_messages(
    order: list[int], again: list[int], cuts: list[int], first: int
) -> None:
    bounds = [0, *sorted(cuts), len(STREAM)]
    feed = Feed(first)
    for index in (*order[: len(order) // 2], *again, *order):
        feed.put(bounds[index], STREAM[bounds[index] : bounds[index + 1]])
    assert feed.finish().payloads == MESSAGES
    assert feed.tcp.gaps == 0


@given(
    st.lists(
        st.tuples(
            st.integers(-3, len(STREAM) + 10),
            st.integers(0, 60),
            st.sampled_from((0, 0, 0, 0, 0, SYN)),
            st.sampled_from((0, 0, 0, 5)),
            st.integers(0, 3000),
            st.sampled_from((KEY, OTHER)),
        ),
        max_size=30,
    ),
    st.booleans(),
)
def test_no_stream_is_too_odd(segments: list[tuple[int, int, int, int, int, StreamKey]], syn: bool) -> None:
    feed = Feed(syn=syn, max_streams=2, max_held_bytes=500)
    for place, size, flags, lacking, at_ms, key in segments:
        data = STREAM[max(place, 0) :][:size]
        feed.put(place, data, flags, lacking, at_ms, key)
        assert len(feed.tcp) <= 2
        assert 0 <= feed.tcp.held_bytes <= 500
    feed.finish()
    assert all(len(payload) <= size for payload, size in zip(feed.payloads, feed.sizes, strict=True))
