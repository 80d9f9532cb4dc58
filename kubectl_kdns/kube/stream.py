"""The body of a response as it comes, at full speed, until its end, a break, or `close` from any thread."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from kubectl_kdns.errors import KdnsError

if TYPE_CHECKING:
    from kubectl_kdns.kube.transport import Answer


class Stream:
    """A response that is read while it is made. One thread reads; any thread may close it.

    `start` sends the request, and gets this stream to tell it of sockets and to wait in `pause`; `broken`
    makes the error for a connection that breaks. `idle_limit_s` is the longest silence that can be right.
    """

    def __init__(
        self,
        start: Callable[[Stream], Answer],
        broken: Callable[[Exception], KdnsError],
        idle_limit_s: float | None = None,
    ) -> None:
        self._start, self._broken, self._idle_limit_s = start, broken, idle_limit_s
        self._answer: Answer | None = None
        self._socket: socket.socket | None = None
        self._ended = False
        self._closed = threading.Event()
        self._reading = threading.Lock()

    def read1(self, n: int = 65536) -> bytes:
        """Up to `n` bytes as soon as there are any; b"" is the orderly end, or after `close`.

        The first call sends the request, so it raises what an answer may be (ForbiddenError, NotFoundError,
        ...): a server may keep us waiting for that as well, and only a Stream can be closed meanwhile.
        Raises ClusterError when the connection broke in the middle.
        """
        with self._reading:
            if self._ended or self._closed.is_set():
                self._release()
                return b""
            try:
                if self._answer is None:
                    self._answer = self._start(self)
                    self._answer.sock.settimeout(self._idle_limit_s)
                data = self._answer.body.read1(n)
            except (OSError, http.client.HTTPException, KdnsError) as error:
                self._release()
                if self._closed.is_set():
                    return b""
                raise error if isinstance(error, KdnsError) else self._broken(error) from error
            if not data or self._closed.is_set():
                self._release()
                return b""
            return data

    def close(self) -> None:
        """Ends the stream; may be called more than once, from any thread."""
        from kubectl_kdns.kube.transport import shut_down

        self._closed.set()
        if self._socket:
            shut_down(self._socket)
        # Whoever is reading wakes up and tidies up; if nobody is, we do.
        if self._reading.acquire(blocking=False):
            try:
                self._release()
            finally:
                self._reading.release()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def connected(self, sock: socket.socket) -> None:
        """This is the socket that `close` has to shut down."""
        self._socket = sock
        if self._closed.is_set():
            raise ConnectionAbortedError("closed")

    def pause(self, wait_s: float) -> None:
        """Waits before the next try; ends early with ConnectionAbortedError when the stream is closed."""
        if self._closed.wait(wait_s):
            raise ConnectionAbortedError("closed")

    def _release(self) -> None:
        self._ended = True
        if self._answer:
            self._answer.close()
            self._answer = None
