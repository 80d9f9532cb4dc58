"""Opens recorded data: files, pipes and standard input, gzip or not, with a look at their beginning.

The beginning says of which kind the data is, so it is read before a backend is chosen; the stream then
starts from the first byte again, without seeking, so a pipe will do.
"""

from __future__ import annotations

import gzip
import io
import os
import select
import socket
import stat
import sys
import threading
import zlib
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from kubectl_kdns.errors import InputError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

HEAD_BYTES = 65536
ENOUGH_BYTES = 24  # a pcap file's header, which `tcpdump -U` writes to a pipe before the first packet
GZIP_MAGIC = b"\x1f\x8b"
STDIN_NAME = "standard input"
PIPES_CAN_BE_AWAITED = os.name == "posix"
"""Windows' select takes sockets only."""
LOOK_S = None if os.name == "posix" else 0.1
"""Nor does it hear Ctrl-C."""


@dataclass(frozen=True)
class Input:
    """One recorded file: `head` is its uncompressed beginning, `stream` gives it all from the first byte."""

    name: str
    stream: BinaryIO
    head: bytes


def open_inputs(paths: Iterable[str], stdin: BinaryIO | None = None) -> list[Input]:
    """Opens every path, `-` is standard input (once). Raises InputError; then none is left open."""
    inputs: list[Input] = []
    try:
        for path in paths:
            name = STDIN_NAME if path == "-" else path
            if path == "-" and any(i.name == STDIN_NAME for i in inputs):
                raise InputError("standard input is given twice", hint="one --from - only")
            inputs.append(_open(name, path, stdin))
    except BaseException:
        for opened in inputs:
            opened.stream.close()
        raise
    return inputs


def _open(name: str, path: str, stdin: BinaryIO | None) -> Input:
    file: BinaryIO
    try:
        file = (stdin or sys.stdin.buffer) if path == "-" else open(path, "rb", buffering=0)  # noqa: SIM115
    except FileNotFoundError:
        where = os.path.dirname(path) or "."
        raise InputError(f"cannot read {name}", cause="there is no such file", hint=f"ls {where}") from None
    except (IsADirectoryError, PermissionError):
        if os.path.isdir(path):  # of which Windows says that the permission is denied
            cause, hint = "it is a directory", f"--from {name}/FILE"
        else:
            cause, hint = "permission denied", f"ls -l {name}"
        raise InputError(f"cannot read {name}", cause=cause, hint=hint) from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {name}", cause=str(error)) from None
    raw: io.RawIOBase = _Interruptible(file)
    try:
        head = _read_head(raw)
        if head.startswith(GZIP_MAGIC):
            raw = _Gunzip(_Rewound(name, head, raw))
            head = _read_head(raw)
    except OSError as error:
        raw.close()
        raise InputError(f"cannot read {name}", cause=str(error)) from None
    if not head:
        raw.close()
        raise InputError(
            f"{name} is empty",
            cause="nothing was recorded, or the recorder has not written its buffer out yet",
            hint="tcpdump -U writes every packet at once",
        )
    return Input(name, InputStream(_Rewound(name, head, raw)), head)


def _read_head(raw: io.RawIOBase) -> bytes:
    """What there is at the beginning, at least ENOUGH_BYTES if they come; never waits for more."""
    head = b""
    while len(head) < ENOUGH_BYTES and (more := raw.read(HEAD_BYTES)):
        head += more
    return head


class InputStream(io.BufferedReader):
    """A buffered stream whose `close`, from any thread, also ends a read that waits for a slow pipe.

    Broken compressed data raises OSError where it breaks.
    """

    raw: io.RawIOBase

    def idle(self, timeout_s: float) -> bool:
        """Whether nothing comes through the pipe for that long; never true of a file, nor of packed data. For
        who takes all there is with each read1 (8 KiB or more)."""
        return isinstance(self.raw, _Layer) and self.raw.idle(timeout_s)

    def close(self) -> None:
        if isinstance(self.raw, _Layer):
            self.raw.interrupt()
        super().close()


class _Layer(io.RawIOBase):
    """Raw data on top of raw data: passes `idle`, `interrupt` and `close` down."""

    def __init__(self, below: io.RawIOBase) -> None:
        super().__init__()
        self.below = below

    def readable(self) -> bool:
        return True

    def idle(self, timeout_s: float) -> bool:
        return isinstance(self.below, _Layer) and self.below.idle(timeout_s)

    def interrupt(self) -> None:
        if isinstance(self.below, _Layer):
            self.below.interrupt()

    def close(self) -> None:
        if not self.closed:
            super().close()
            self.below.close()


class _Rewound(_Layer):
    """Bytes that were read already, then the rest."""

    def __init__(self, name: str, head: bytes, below: io.RawIOBase) -> None:
        super().__init__(below)
        self._head = memoryview(head)
        self.name = name  # io's streams show it, so that a reader can say which file is broken

    def idle(self, timeout_s: float) -> bool:
        return not self._head and super().idle(timeout_s)

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        if not self._head:
            return self.below.readinto(target) or 0
        count = min(len(target), len(self._head))
        target[:count] = self._head[:count]
        self._head = self._head[count:]
        return count


class _Gunzip(_Layer):
    def __init__(self, below: io.RawIOBase) -> None:
        super().__init__(below)
        self._gzip = gzip.GzipFile(fileobj=below, mode="rb")

    def idle(self, timeout_s: float) -> bool:  # noqa: ARG002
        return False  # nobody can say what is still to be unpacked

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        try:
            data = self._gzip.read1(len(target))
        except (EOFError, zlib.error) as error:
            raise OSError(f"the compressed data is broken: {error}") from None
        target[: len(data)] = data
        return len(data)


class _Interruptible(_Layer):
    """A file whose reads another thread can end: on a pipe a read first waits for data or for `interrupt`."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(file)  # type: ignore[arg-type]  # only readinto and close are called
        self._file = file
        fd = _slow_descriptor(file)
        self._wake: tuple[socket.socket, socket.socket] | None = socket.socketpair() if fd >= 0 else None
        self._source: int | socket.socket = fd
        self._read: Callable[[int], bytes] = lambda n: os.read(fd, n)
        if self._wake and not PIPES_CAN_BE_AWAITED:
            self._source = copied = _copied(fd)
            self._read = copied.recv

    def readinto(self, buffer: WriteableBuffer, /) -> int:
        if self._wake is None:
            return self._file.readinto(buffer) or 0  # type: ignore[attr-defined]
        ready: list[int | socket.socket] = []
        while not ready:
            ready, _, _ = select.select([self._source, self._wake[0]], [], [], LOOK_S)
        if self._wake[0] in ready:
            return 0
        target = memoryview(buffer).cast("B")
        data = self._read(len(target))
        target[: len(data)] = data
        return len(data)

    def idle(self, timeout_s: float) -> bool:
        if self._wake is None or self.closed:
            return False
        return not select.select([self._source, self._wake[0]], [], [], timeout_s)[0]

    def interrupt(self) -> None:
        if self._wake is not None:
            with suppress(OSError):
                self._wake[1].send(b"x")

    def close(self) -> None:
        if self.closed:
            return
        if isinstance(self._source, socket.socket):
            io.RawIOBase.close(self)  # Windows would wait for the thread that reads the file below
            self._source.close()
        else:
            super().close()
        for end in self._wake or ():
            end.close()


def _copied(fd: int) -> socket.socket:
    """What comes through the descriptor, by a socket."""
    ours, theirs = socket.socketpair()

    def copy() -> None:
        with theirs, suppress(OSError):  # nobody reads it any more
            while data := os.read(fd, HEAD_BYTES):
                theirs.sendall(data)

    threading.Thread(target=copy, name="copy-input", daemon=True).start()
    return ours


def _slow_descriptor(file: BinaryIO) -> int:
    """The descriptor of a pipe, socket or terminal; -1 for a regular file or for bytes in memory."""
    try:
        fd = file.fileno()
        return -1 if stat.S_ISREG(os.fstat(fd).st_mode) else fd
    except (OSError, ValueError):
        return -1
