"""Waits for sockets: by poll(2), and by select(2) on Windows, which has no other."""

from __future__ import annotations

import selectors
import socket

READABLE, WRITABLE = selectors.EVENT_READ, selectors.EVENT_WRITE
Selector: type[selectors.BaseSelector] = getattr(selectors, "PollSelector", selectors.SelectSelector)
LOOK_S = float("inf") if Selector.__name__ == "PollSelector" else 0.1
"""How long to wait at a time: Windows' select goes on waiting for a socket that another thread shut down."""


def wait(sock: socket.socket, events: int, timeout_s: float) -> bool:
    """Whether `sock` is ready in time, which may be infinite, or has ended."""
    with Selector() as selector:
        selector.register(sock, events)
        return bool(selector.select(timeout_s if timeout_s < float("inf") else None))
