"""What a reader tells about its input: loss and notices, with the file's name and its last time."""

from __future__ import annotations

from typing import BinaryIO

from kubectl_kdns.model import Loss, Notice
from kubectl_kdns.times import format_time

BACKEND_NAME = "replay"


class Reports:
    """Makes the records; `time_ns` is that of the newest event, 0 when none is known."""

    def __init__(self, stream: BinaryIO) -> None:
        self.name = str(getattr(stream, "name", "") or "the input")
        self.time_ns = 0

    def loss(self, reason: str, unit: str, count: int | None, message: str) -> Loss:
        """`count` None: it cannot be known."""
        loss = Loss(backend=BACKEND_NAME, reason=reason, unit=unit, message=f"{self.name}: {message}")
        if count is not None:
            loss.count = count
        if self.time_ns:
            loss.time = format_time(self.time_ns)
        return loss

    def notice(self, code: str, message: str) -> Notice:
        notice = Notice(backend=BACKEND_NAME, code=code, message=f"{self.name}: {message}")
        if self.time_ns:
            notice.time = format_time(self.time_ns)
        return notice
