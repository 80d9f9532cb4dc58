"""A log read over many connections is read once: nothing twice, and what is missing lies in a gap."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_coredns.resume import Position, Rejoin, stamp_of, whole_second
from kubectl_kdns.times import NS_PER_S, format_time, parse_time

START_NS = parse_time("2026-11-23T10:00:00Z")
Log = list[tuple[int, bytes]]


def render(lines: Log) -> bytes:
    return b"".join(b"%s %s\n" % (format_time(ns).encode(), text) for ns, text in lines)


@st.composite
def logs(draw: st.DrawFn) -> Log:
    """Lines in the order of their times, many of them at the same time, many of them alike."""
    steps = draw(st.lists(st.sampled_from([0, 0, 1, 999, 400_000_000, NS_PER_S, 7 * NS_PER_S]), max_size=30))
    log, now_ns = [], START_NS + draw(st.integers(0, NS_PER_S - 1))
    for step in steps:
        now_ns += step
        log.append((now_ns, draw(st.sampled_from([b"a", b"b", b"c d", b"", b"\xff\r"]))))
    return log


@dataclass
class Reader:
    """What the follower does with a position, without a network."""

    position: Position = field(default_factory=Position)
    out: bytes = b""
    gaps: list[tuple[int, int]] = field(default_factory=list)

    def since_ns(self) -> int:
        since = self.position.since_time()
        return parse_time(since) if since else 0

    def connection(self, served: bytes, cuts: list[int]) -> None:
        """One connection that gives `served` in blocks of whole lines, cut near `cuts`."""
        rejoin = self.position.rejoin()
        for block in blocks(served, cuts):
            if rejoin:
                block = rejoin.skip(block)
                if rejoin.joined is False:
                    assert rejoin.first_ns is not None
                    self.gaps.append((rejoin.last_ns, rejoin.first_ns))
                if rejoin.joined is not None:
                    rejoin = None
            if block:
                self.position.passed(block)
                self.out += block


def blocks(served: bytes, cuts: list[int]) -> list[bytes]:
    ends = sorted({served.rfind(b"\n", 0, cut % (len(served) + 1)) + 1 for cut in cuts} | {0, len(served)})
    return [served[a:b] for a, b in pairwise(ends)]


Cuts = st.just(list(range(3000))) | st.lists(st.integers(0, 4000), max_size=6)
"""Every line a block of its own, or a few blocks."""
Connections = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), Cuts), max_size=6)


@given(logs(), Connections, Cuts)
def test_however_it_is_cut_the_log_comes_whole_and_once(
    log: Log, connections: list[tuple[int, int, list[int]]], last_cuts: list[int]
) -> None:
    reader = Reader()
    for written, read, cuts in [*connections, (len(log), len(log), last_cuts)]:
        since_ns = reader.since_ns()
        served = [line for line in log[:written] if line[0] >= since_ns]
        reader.connection(render(served[:read]), cuts)
    assert reader.out == render(log)
    assert reader.gaps == []


@given(logs(), Connections, st.data())
def test_what_rotation_takes_away_lies_inside_a_gap(
    log: Log, connections: list[tuple[int, int, list[int]]], data: st.DataObject
) -> None:
    """A kubelet serves the newest file only; a file never ends between two lines of the same nanosecond."""
    reader = Reader()
    file_start = written = 0
    for more, read, cuts in [*connections, (len(log), len(log), [])]:
        starts = [i for i in range(file_start, written + 1) if _new_time(log, i)]
        file_start = data.draw(st.sampled_from(starts or [file_start]))
        written = max(written, min(more, len(log)))
        since_ns = reader.since_ns()
        served = [line for line in log[file_start:written] if line[0] >= since_ns]
        reader.connection(render(served[:read]), cuts)
    got = reader.out.split(b"\n")[:-1]
    missing = []
    for line in log:
        text = render([line])[:-1]
        if got and got[0] == text:
            got.pop(0)
        else:
            missing.append(line)
    assert got == []
    last_ns = reader.position.last_ns
    for ns, _ in missing:
        before_all = not reader.out or ns < (stamp_of(reader.out) or 0)
        after_all = last_ns is None or ns >= last_ns  # nothing newer has come that could tell
        assert before_all or after_all or any(a <= ns <= b for a, b in reader.gaps)


def _new_time(log: Log, index: int) -> bool:
    return index in (0, len(log)) or log[index][0] != log[index - 1][0]


A, B, C = (START_NS + i * 1_000_000 for i in range(3))


@pytest.mark.parametrize(
    ("passed", "served", "new", "joined"),
    [
        ([(A, b"x")], [(A, b"x"), (B, b"y")], [(B, b"y")], True),
        ([(A, b"x")], [(A, b"x")], [], True),
        ([(A, b"x")], [], [], None),
        ([(A, b"x")], [(B, b"y")], [(B, b"y")], False),
        ([(A, b"x"), (A, b"x")], [(A, b"x"), (A, b"x"), (A, b"x")], [(A, b"x")], True),
        ([(A, b"x"), (A, b"y")], [(A, b"x"), (A, b"y"), (A, b"x")], [(A, b"x")], True),
        # Rotated between lines of one time: those that were read are known, and the gap is said.
        ([(A, b"x"), (A, b"y")], [(A, b"y"), (A, b"z")], [(A, b"z")], False),
        ([(A, b"x"), (A, b"y")], [(A, b"y"), (A, b"y")], [(A, b"y")], False),
        # Older than the last and not alike: read before the last was.
        ([(B, b"y")], [(A, b"x"), (B, b"y"), (C, b"z")], [(C, b"z")], True),
        # A clock that was set back: the line itself counts, not its time.
        ([(C, b"z"), (A, b"x")], [(C, b"z"), (A, b"x"), (B, b"y")], [(B, b"y")], True),
    ],
)
def test_one_resumption(passed: Log, served: Log, new: Log, joined: bool | None) -> None:
    position = Position()
    position.passed(render(passed))
    rejoin = position.rejoin()
    assert rejoin is not None
    assert (rejoin.skip(render(served)), rejoin.joined) == (render(new), joined)
    if joined is False:
        assert (rejoin.last_ns, rejoin.first_ns) == (passed[-1][0], new[0][0])


def test_a_line_that_holds_the_last_line_is_another_line() -> None:
    position = Position()
    position.passed(render([(A, b"x")]))
    quoting = b"quoting " + render([(A, b"x")])[:-1]
    rejoin = position.rejoin()
    assert rejoin is not None
    served = [(A, quoting), (A, b"x"), (B, b"y")]
    assert rejoin.skip(render(served)) == render([(B, b"y")])


def test_a_block_may_end_within_the_last_lines() -> None:
    position = Position()
    position.passed(render([(A, b"x"), (A, b"y")]))
    rejoin = position.rejoin()
    assert rejoin is not None
    assert (rejoin.skip(render([(A, b"x")])), rejoin.joined) == (b"", None)
    assert (rejoin.skip(render([(A, b"y"), (B, b"z")])), rejoin.joined) == (render([(B, b"z")]), True)


def test_lines_without_a_time_belong_to_the_line_before() -> None:
    position = Position()
    position.passed(render([(A, b"x")]) + b"no time\n")
    assert position.last_ns == A
    position.passed(b"none at all\n")
    assert position.last_ns == A


def test_nothing_passed_on_is_nothing_to_resume() -> None:
    position = Position()
    assert (position.rejoin(), position.since_time(), position.last_ns) == (None, None, None)
    position.passed(b"no time\n")
    assert position.rejoin() is None


@pytest.mark.parametrize(
    ("line", "time"),
    [
        (b"2026-11-23T10:00:00.000000001Z x", START_NS + 1),
        (b"2026-11-23T10:00:00Z x", START_NS),
        (b"2026-11-23T10:00:00.5Z x", START_NS + NS_PER_S // 2),
        (b"2026-11-23T12:00:00.25+02:00 x", START_NS + NS_PER_S // 4),
        (b"2026-11-23T10:00:00.000000001Z", None),
        (b"2026-13-23T10:00:00Z x", None),
        (b"unable to retrieve container logs for containerd://1", None),
        (b"", None),
        (b" x", None),
        ("２０26-11-23T10:00:00Z x".encode(), None),
    ],
)
def test_times_as_a_kubelet_prints_them(line: bytes, time: int | None) -> None:
    assert stamp_of(line) == time


def test_the_question_has_whole_seconds() -> None:
    assert whole_second(START_NS + NS_PER_S - 1) == "2026-11-23T10:00:00Z"
    position = Position()
    position.passed(render([(START_NS + 1_999_999_999, b"x")]))
    assert position.since_time() == "2026-11-23T10:00:01Z"


@given(st.lists(st.binary(max_size=60)), st.integers(0, 2**62))
def test_any_bytes_are_taken(pieces: list[bytes], last_ns: int) -> None:
    position = Position()
    rejoin = Rejoin(last_ns, b"2026-11-23T10:00:00Z x\n")
    for piece in pieces:
        block = piece.replace(b"\n", b"") + b"\n"
        position.passed(block)
        if rejoin.joined is None:
            assert block.endswith(rejoin.skip(block))
