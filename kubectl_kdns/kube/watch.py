"""A watch: the changes of a list, event by event, until its end, a break, or `close` from any thread."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.failures import Status, not_json, status_error
from kubectl_kdns.kube.stream import Stream

T = TypeVar("T")


class _Event(Struct):
    type: str
    object: msgspec.Raw


class Watch(Generic[T]):
    """Iterating gives (type, object): ADDED, MODIFIED, DELETED, BOOKMARK. The server ends it after a while.

    Raises GoneError when the history is too short (list again), and ClusterError.
    """

    def __init__(self, stream: Stream, of: type[T], config: ClientConfig, path: str) -> None:
        self._stream, self._config, self._path = stream, config, path
        self._events = msgspec.json.Decoder(_Event)
        self._objects = msgspec.json.Decoder(of)

    def __iter__(self) -> Iterator[tuple[str, T]]:
        rest = b""
        try:
            while data := self._stream.read1():
                if rest:
                    data = rest + data
                lines = data.split(b"\n")
                rest = lines.pop()
                for line in lines:
                    if line:
                        yield self._decode(line)
            if rest and not self._stream.closed:
                raise not_json(self._config, self._path, rest)
        finally:
            self._stream.close()

    def close(self) -> None:
        """Ends the iteration soon; may be called more than once, from any thread."""
        self._stream.close()

    def _decode(self, line: bytes) -> tuple[str, T]:
        try:
            event = self._events.decode(line)
            if event.type != "ERROR":
                return event.type, self._objects.decode(event.object)
            code = msgspec.json.decode(event.object, type=Status).code
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise not_json(self._config, self._path, line) from error
        raise status_error(self._config, "GET", self._path, code, bytes(event.object), watch=True)
