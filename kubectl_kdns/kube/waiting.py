"""Waits for sockets: by poll(2), and by select(2) on Windows, which has no other."""

from __future__ import annotations

import selectors
import socket

READABLE, WRITABLE = selectors.EVENT_READ, selectors.EVENT_WRITE
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)


def wait(sock: socket.socket, events: int, timeout_s: float | None) -> bool:
    """Whether `sock` is ready in time, or has ended; no time is for ever."""
    with Selector() as selector:
        selector.register(sock, events)
        return bool(selector.select(timeout_s))
