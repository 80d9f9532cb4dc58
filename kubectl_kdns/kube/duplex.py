"""A connection that is read by one thread while others write to it or close it, with TLS or without.

OpenSSL does not allow two threads inside one connection at the same time, and a blocking call would keep the
others out for as long as it waits. So the socket does not block; every wait is outside of the lock.
"""

from __future__ import annotations

import ssl
import threading
import time
from contextlib import AbstractContextManager, nullcontext

from kubectl_kdns.kube.transport import Answer, shut_down
from kubectl_kdns.kube.waiting import LOOK_S, READABLE, WRITABLE, wait

_CROSSED_WAIT_S = 0.1
"""TLS may have to write in order to read, or the other way round; another thread may have done so by then."""


class Duplex:
    """The connection of an answer that switched protocols (101). All methods raise OSError."""

    def __init__(self, answer: Answer) -> None:
        self._answer, self._socket = answer, answer.sock
        self._early = answer.early()
        tls = isinstance(answer.sock, ssl.SSLSocket)
        self._inside: AbstractContextManager[object] = threading.Lock() if tls else nullcontext()
        self._receiving, self._sending = threading.Lock(), threading.Lock()
        self._closing = self._closed = False

    def receive(self, n: int, timeout_s: float | None) -> bytes:
        """Up to `n` bytes as soon as there are any; b"" is the end. TimeoutError after so much silence."""
        deadline_s = timeout_s and time.monotonic() + timeout_s
        with self._receiving:
            self._check_open()
            if self._early:
                early, self._early = self._early[:n], self._early[n:]
                return early
            while True:
                try:
                    with self._inside:
                        return self._socket.recv(n)
                except (BlockingIOError, ssl.SSLWantReadError):
                    self._wait(READABLE, deadline_s)
                except ssl.SSLWantWriteError:
                    self._wait(WRITABLE, time.monotonic() + _CROSSED_WAIT_S, give_up=False)

    def send(self, data: bytes) -> None:
        """All of `data`; waits for as long as the other side does not take it."""
        with self._sending:
            self._check_open()
            left = memoryview(data)
            while left:
                try:
                    with self._inside:
                        left = left[self._socket.send(left) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    self._wait(WRITABLE, None)
                except ssl.SSLWantReadError:
                    self._wait(READABLE, time.monotonic() + _CROSSED_WAIT_S, give_up=False)

    def close(self, farewell: bytes = b"") -> None:
        """Wakes whoever waits, then closes; `farewell` goes out first if that needs no waiting at all."""
        if farewell and self._sending.acquire(blocking=False):
            try:
                if not self._closed:
                    with self._inside:
                        self._socket.send(farewell)
            except OSError:
                pass  # it was a courtesy
            finally:
                self._sending.release()
        self._closing = True
        shut_down(self._socket)
        # The descriptor's number may be given to another file at once: nobody may still be waiting on it.
        with self._receiving, self._sending:
            if not self._closed:
                self._closed = True
                self._answer.close()

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionAbortedError("closed")

    def _wait(self, event: int, deadline_s: float | None, *, give_up: bool = True) -> None:
        while True:
            left_s = float("inf") if deadline_s is None else max(0.0, deadline_s - time.monotonic())
            if wait(self._socket, event, min(left_s, LOOK_S)):
                return
            if self._closing:
                raise ConnectionAbortedError("closed")
            if left_s <= LOOK_S:
                break
        if give_up:
            raise TimeoutError("nothing came")
