"""Cuts a stream of bytes into blocks of whole lines, as large as they come."""

from __future__ import annotations


class Framer:
    """`rest` is the line that has no newline yet; `too_long` counts lines left out for their size."""

    def __init__(self, max_line_bytes: int) -> None:
        self.rest = b""
        self.too_long = 0
        self._max_bytes = max_line_bytes
        self._is_skipping = False

    def feed(self, data: bytes) -> bytes:
        """The whole lines that `data` completes, possibly none."""
        cut = data.rfind(b"\n") + 1
        if not cut:
            self._keep(data)
            return b""
        start = 0
        if self._is_skipping or self.rest:
            start = data.index(b"\n") + 1
            if not self._is_skipping and len(self.rest) + start <= self._max_bytes:
                block = self.rest + data[:cut]
            else:
                self.too_long += not self._is_skipping
                block = data[start:cut]
        else:
            block = data[:cut]
        self.rest, self._is_skipping = b"", False
        self._keep(data[cut:])
        return block

    def _keep(self, data: bytes) -> None:
        if self._is_skipping:
            return
        self.rest += data
        if len(self.rest) > self._max_bytes:
            self.rest, self._is_skipping = b"", True
            self.too_long += 1
