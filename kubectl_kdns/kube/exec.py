"""A command in a container: its standard output as it comes, its standard input, and how it ended.

The remote command protocol over websockets, versions 5 and 4 (k8s.io/apimachinery `util/remotecommand`):
channels 0 to 2 are the standard streams, 3 gives a meta/v1 Status at the end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec
from msgspec import Struct

from kubectl_kdns.errors import ClusterError, KdnsError
from kubectl_kdns.kube.failures import Status
from kubectl_kdns.kube.websocket import WebSocket

PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
STDERR_TAIL_BYTES = 8192
_MAX_STATUS_BYTES = 65536
_STDIN, _STDOUT, _STDERR, _STATUS, _HALF_CLOSE = 0, 1, 2, 3, 255


class _Cause(Struct):
    reason: str = ""
    message: str = ""


class _Details(Struct):
    causes: list[_Cause] | None = None


class Outcome(Status):
    """How a command ended, as channel 3 says it."""

    status: str = ""
    details: _Details | None = None

    @property
    def exit_code(self) -> int | None:
        """None when the command did not run, or nobody knows how it ended."""
        if self.status == "Success":
            return 0
        for cause in (self.details and self.details.causes) or ():
            if cause.reason == "ExitCode" and cause.message.lstrip("-").isdecimal():
                return int(cause.message)
        return None


class ExecStream:
    """One thread reads, any thread writes or closes, as often as it likes.

    `failed` makes the error for a command that did not come to an exit code of its own.
    """

    def __init__(self, websocket: WebSocket, failed: Callable[[Status | None], ClusterError]) -> None:
        self._websocket, self._failed = websocket, failed
        self._reading = threading.Lock()
        self._closed = self._ended = False
        self._rest = memoryview(b"")
        self._stderr, self._status = bytearray(), bytearray()
        self.exit_code: int | None = None
        """Known at the end, when `read1` has given b""."""

    def read1(self, n: int = 65536) -> bytes:
        """Up to `n` bytes of standard output as soon as there are any; b"" is the end, or after `close`.

        The first call sends the request, so it raises what an answer may be (ForbiddenError, NotFoundError,
        ...). Raises ClusterError when the command did not start or the connection broke.
        """
        with self._reading:
            while not self._closed and not self._ended:
                if self._rest:
                    part, self._rest = bytes(self._rest[:n]), self._rest[n:]
                    return part
                self._receive()
            return b""

    def write(self, data: bytes) -> None:
        """To standard input (asked for with `stdin`); waits while the command does not read it."""
        self._websocket.send(_STDIN, data)

    def close_stdin(self) -> bool:
        """Ends standard input; false when the API server is too old to be told (before 1.30)."""
        if not self._closed and self._websocket.open() != PROTOCOLS[0]:
            return False
        self._websocket.send(_HALF_CLOSE, bytes((_STDIN,)))
        return True

    @property
    def stderr(self) -> bytes:
        """The last 8 KiB of what the command wrote to standard error."""
        return bytes(self._stderr[-STDERR_TAIL_BYTES:])

    def close(self) -> None:
        """Ends the stream; whoever reads wakes up.

        The command is not told: it goes on until it next writes, or reads the end of its standard input.
        """
        self._closed = True
        self._websocket.close()

    def _receive(self) -> None:
        try:
            message = self._websocket.receive()
        except KdnsError:
            self._ended = True
            # All has been said: how the connection goes down after that does not matter.
            if not self._status:
                raise
            message = None
        if message is None:
            self._ended = True
            if not self._closed:
                self._conclude()
            return
        channel, data = message
        if channel == _STDOUT:
            self._rest = data
        elif channel == _STDERR:
            self._stderr += data[-STDERR_TAIL_BYTES:]
            if len(self._stderr) > 2 * STDERR_TAIL_BYTES:
                del self._stderr[:-STDERR_TAIL_BYTES]
        elif channel == _STATUS:
            self._status += data[: _MAX_STATUS_BYTES - len(self._status)]

    def _conclude(self) -> None:
        try:
            outcome = msgspec.json.decode(self._status, type=Outcome) if self._status else None
        except (msgspec.DecodeError, UnicodeDecodeError):
            outcome = Outcome(message=self._status.decode("utf-8", "replace"))
        self.exit_code = outcome.exit_code if outcome else None
        if self.exit_code is None:
            raise self._failed(outcome)
