"""Bodies: whatever the chunks and however the bytes arrive, the content is the same."""

from __future__ import annotations

import http.client
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kubectl_kdns.kube.body import Body, Dechunker


def chunked(contents: list[bytes], extension: bytes = b"", trailers: bytes = b"") -> bytes:
    chunks = [b"%X%s\r\n%s\r\n" % (len(content), extension, content) for content in contents if content]
    return b"".join(chunks) + b"0" + extension + b"\r\n" + trailers + b"\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` in pieces of these sizes, again and again."""
    result, position, turn = [], 0, 0
    while position < len(data):
        size = cuts[turn % len(cuts)] if cuts else len(data)
        result.append(data[position : position + size])
        position, turn = position + size, turn + 1
    return result


@given(
    st.lists(st.binary(max_size=40), max_size=20),
    st.lists(st.integers(1, 60), max_size=5),
    st.sampled_from([b"", b";name=value", b' ; x="y"']),
    st.sampled_from([b"", b"Grpc-Status: 0\r\n", b"A: b\r\nC: d\r\n"]),
)
@example([b"line\n"] * 3, [1], b"", b"")
@example([b"\r\n0\r\n\r\n"], [1], b"", b"A: b\r\n")
def test_any_chunks_in_any_pieces(
    contents: list[bytes], cuts: list[int], extension: bytes, trailers: bytes
) -> None:
    dechunker = Dechunker()
    data = chunked(contents, extension, trailers)
    result = b""
    for piece in pieces(data, cuts):
        assert not dechunker.ended
        result += dechunker.feed(piece)
    assert (result, dechunker.ended) == (b"".join(contents), True)


@pytest.mark.parametrize(
    "data",
    [b"xyz\r\n", b"\r\n", b"-1\r\n", b"5\r\nhello\r\nzz\r\n", b"f" * 20_000, b"0\r\n" + b"A: b\r\n" * 5_000],
)
def test_what_is_not_chunked(data: bytes) -> None:
    with pytest.raises(ValueError):
        Dechunker().feed(data)


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_bytes_raise_anything_else(parts: list[bytes]) -> None:
    dechunker = Dechunker()
    fed = sum(map(len, parts))
    try:
        content = b"".join(map(dechunker.feed, parts))
    except ValueError:
        return
    assert len(content) <= fed


class FakeSocket:
    """Gives one piece a read, as a socket does."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def makefile(self, *_: object, **__: object) -> io.BufferedReader:
        return io.BufferedReader(_Raw(self.parts))


class _Raw(io.RawIOBase):
    def __init__(self, parts: list[bytes]) -> None:
        self.parts = list(parts)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if not self.parts:
            return 0
        data = self.parts.pop(0)
        size = min(len(data), len(buffer))
        buffer[:size] = data[:size]
        if data[size:]:
            self.parts.insert(0, data[size:])
        return size


def body(head: str, *parts: bytes) -> Body:
    start = f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode()
    response = http.client.HTTPResponse(FakeSocket([start, *parts]))  # type: ignore[arg-type]
    response.begin()
    return Body(response)


def read_all(reader: Body) -> list[bytes]:
    parts = []
    while part := reader.read1(8):
        parts.append(part)
    assert reader.read1() == b""
    return parts


@pytest.mark.parametrize(
    ("head", "parts", "expected"),
    [
        ("Content-Length: 11", (b"hello", b" world and more"), [b"hello", b" world"]),
        ("Content-Length: 0", (b"more",), []),
        ("Connection: close", (b"hello", b"0123456789"), [b"hello", b"01234567", b"89"]),
        ("Transfer-Encoding: chunked", (b"5\r\nhello\r\n", b"0\r\n", b"\r\n"), [b"hello"]),
        ("Transfer-Encoding: chunked", (b"1\r\n", b"a\r\n", b"1\r\n", b"b\r\n0\r\n\r\n"), [b"a", b"b"]),
    ],
)
def test_the_three_framings(head: str, parts: tuple[bytes, ...], expected: list[bytes]) -> None:
    assert read_all(body(head, *parts)) == expected


@pytest.mark.parametrize(
    ("head", "parts"),
    [
        ("Content-Length: 11", (b"hello",)),
        ("Transfer-Encoding: chunked", (b"5\r\nhel",)),
        ("Transfer-Encoding: chunked", (b"5\r\nhello\r\n",)),
        ("Transfer-Encoding: chunked", (b"0\r\n",)),
        ("Transfer-Encoding: chunked", ()),
    ],
)
def test_a_body_that_is_cut_short(head: str, parts: tuple[bytes, ...]) -> None:
    with pytest.raises(http.client.IncompleteRead):
        read_all(body(head, *parts))


def test_a_body_that_is_badly_framed() -> None:
    with pytest.raises(http.client.HTTPException, match="not the size of a chunk"):
        read_all(body("Transfer-Encoding: chunked", b"<html>\r\n"))
