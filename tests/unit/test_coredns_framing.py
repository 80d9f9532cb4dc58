"""Blocks of whole lines: nothing is lost but lines beyond the limit, and those are counted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kdns_coredns.framing import Framer

LIMIT = 8


@given(st.lists(st.text("a\n", max_size=30).map(str.encode)))
def test_all_lines_within_the_limit_come_whole_and_in_order(pieces: list[bytes]) -> None:
    framer = Framer(LIMIT)
    blocks = [framer.feed(piece) for piece in pieces]
    *lines, rest = [line + b"\n" for line in b"".join(pieces).split(b"\n")]
    # A piece is never larger than the limit in real life; here lines within one piece may be.
    within = [line for line in lines if len(line) <= LIMIT]
    got = b"".join(blocks)
    assert all(not block or block.endswith(b"\n") for block in blocks)
    assert [line for line in got.splitlines(keepends=True) if len(line) <= LIMIT] == within
    assert len(got.splitlines()) + framer.too_long == len(lines) + (len(rest) - 1 > LIMIT)
    assert framer.rest == (rest[:-1] if len(rest) - 1 <= LIMIT else b"")


def test_a_line_that_comes_in_parts_has_the_same_limit() -> None:
    framer = Framer(LIMIT)
    assert [framer.feed(part) for part in (b"1234", b"567\n", b"1234", b"5678\na\n")] == [
        b"",
        b"1234567\n",
        b"",
        b"a\n",
    ]
    assert framer.too_long == 1
    assert [framer.feed(part) for part in (b"1" * 9, b"2" * 9, b"3\nb\nc")] == [b"", b"", b"b\n"]
    assert (framer.too_long, framer.rest) == (2, b"c")
