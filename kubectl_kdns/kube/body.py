"""The body of an HTTP/1.1 response as its bytes come, at full speed (RFC 9112 sections 6 and 7.1)."""

from __future__ import annotations

import http.client

_MAX_LINE_BYTES = 16384


class Dechunker:
    """The chunked transfer coding: fed with bytes as they come, gives back the content.

    An API server sends a chunk for every line of a log: http.client reads twice for each, this makes one
    pass over whatever has come.
    """

    def __init__(self) -> None:
        self.ended = False
        """The last chunk and its trailers have been seen: the body is whole."""
        self._left = 0  # of the chunk that is under way, with its line end
        self._rest = b""  # the beginning of a size line, or of the trailers
        self._in_trailers = False

    def feed(self, data: bytes) -> bytes:
        """The content in `data`, possibly empty. Raises ValueError when it is not this coding."""
        parts: list[bytes] = []
        position = 0
        if self._left:
            position = min(self._left, len(data))
            parts.append(data[: max(0, min(self._left - 2, position))])
            self._left -= position
        elif self._rest:
            data, self._rest = self._rest + data, b""
        size = len(data)
        while position < size and not self._in_trailers:
            line_end = data.find(b"\r\n", position)
            if line_end < 0:
                break
            try:
                length = int(data[position:line_end].partition(b";")[0], 16)
            except ValueError:
                length = -1
            if length < 0:
                raise ValueError(f"not the size of a chunk: {data[position : position + 40]!r}")
            if not length:
                # The line end stays: an empty line after it ends the trailers.
                position, self._in_trailers = line_end, True
                break
            start = line_end + 2
            stop = start + length
            parts.append(data[start:stop])
            position = stop + 2
            if position > size:
                self._left = position - size
        if position < size:
            self._rest = data[position:]
            if self._in_trailers and b"\r\n\r\n" in self._rest:
                self.ended = True
            elif len(self._rest) > _MAX_LINE_BYTES:
                raise ValueError("the size line of a chunk or the trailers do not end")
        return parts[0] if len(parts) == 1 else b"".join(parts)


class Body:
    """Reads what is left of `raw` after its head, in any of HTTP/1.1's three framings."""

    def __init__(self, raw: http.client.HTTPResponse) -> None:
        self._raw = raw  # closes `fp` when nobody holds it
        self._chunks = Dechunker() if raw.chunked else None
        self._left = None if raw.chunked else raw.length

    def read1(self, n: int = 65536) -> bytes:
        """Up to `n` bytes as soon as there are any; b"" is the end.

        Raises OSError, and HTTPException when the body is cut short or badly framed.
        """
        chunks = self._chunks
        if chunks is None:
            return self._read_plain(n)
        while not chunks.ended:
            data = self._raw.fp.read1(n)
            if not data:
                raise http.client.IncompleteRead(b"")
            try:
                content = chunks.feed(data)
            except ValueError as error:
                raise http.client.HTTPException(str(error)) from error
            if content:
                return content
        return b""

    def _read_plain(self, n: int) -> bytes:
        if self._left == 0:
            return b""
        data = self._raw.fp.read1(n if self._left is None else min(n, self._left))
        if self._left is not None:
            if not data:
                raise http.client.IncompleteRead(b"", self._left)
            self._left -= len(data)
        return data
