"""A relay for benchmarks: made-up flows as fast as a socket takes them, faster than any gRPC library sends.

    python -m support.hubble_flood --flows 1000000      # prints its address; each GetFlows gets all of them

HTTP/2 by hand (RFC 9113), as much as a gRPC client needs: headers of requests are not decoded, so a request
that is empty is taken for ServerStatus and any other for GetFlows. Of what that asks for only the field mask
counts, as it decides how large the flows are. Plain text only.
"""

from __future__ import annotations

import argparse
import itertools
import socket
import struct
import threading
from collections.abc import Iterator

from google.protobuf.internal.encoder import _VarintBytes  # type: ignore[attr-defined]

from support.hubble_flows import CLIENT, START_NS, enveloped, node_status, request, response
from support.hubble_ring import Mask, mask_of, masked
from support.hubble_schema import GetFlowsRequest, ServerStatusResponse

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, PING, WINDOW_UPDATE = 0, 1, 4, 6, 8
END_STREAM = ACK = 1
END_HEADERS = 4
# HPACK without a table of its own: `:status 200` and two literals.
_RESPONSE_HEADERS = b"\x88\x0f\x10\x10application/grpc"
_TRAILERS = b"\x00\x0bgrpc-status\x010"
_MARK = b"PASSPASS"
_SECOND = START_NS // 1_000_000_000


def second_of_flows(pairs: int, names: int, mask: Mask) -> bytes:
    """gRPC messages of `pairs` answered queries within one second; `at_second` makes others of them. Without
    a mask flows are whole."""
    messages = []
    for number in range(pairs):
        at_ns = _SECOND * 1_000_000_000 + number * (990_000_000 // pairs)
        ask = request(f"name{number % names}.example.com.", port=1024 + number % 60000, time_ns=at_ns)
        kind = number % 10
        answer = response(
            ask,
            rcode=3 if kind == 1 else 2 if kind == 2 else 0,
            ips=[] if kind in (1, 2, 3) else [f"192.0.2.{number % 250}"],
            after_ns=500_000,
        )
        for flow, part in ((ask, 1), (answer, 2)):
            flow.uuid = f"{_MARK.decode()}-0000-4000-8000-{number:011x}{part}"
            messages.append(enveloped(masked(flow, mask) if mask else flow).SerializeToString())
    return b"".join(map(_grpc, messages))


def at_second(template: bytes, second: int) -> bytes:
    """The same flows with other UUIDs, that many seconds later."""
    mark = _MARK.decode().encode()
    stamped = template.replace(b"\x08" + _VarintBytes(_SECOND), b"\x08" + _VarintBytes(_SECOND + second))
    return stamped.replace(mark, b"%08x" % second)


class Flood:
    """Listens on 127.0.0.1; `flows` is rounded up to whole queries."""

    def __init__(self, flows: int, *, pairs: int = 5000, names: int = 2000, port: int = 0) -> None:
        self._flows = flows
        pairs = max(1, min(pairs, (flows + 1) // 2))
        self._pairs = pairs
        self._names = names
        self._listener = socket.create_server(("127.0.0.1", port))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"

    def serve(self) -> None:
        """Until the listener is closed."""
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_Connection(connection, self).run, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def messages(self, mask: Mask) -> Iterator[bytes]:
        """The stream, in large pieces that end where a message ends."""
        template = second_of_flows(self._pairs, self._names, mask)
        yield _grpc(node_status("NODE_CONNECTED", CLIENT.node).SerializeToString())
        left = self._flows
        for second in itertools.count():
            if left < 2 * self._pairs:
                break
            yield at_second(template, second)
            left -= 2 * self._pairs
        if left > 0:
            yield at_second(_first_messages(template, left), second)


class _Connection:
    """One HTTP/2 connection: a thread that reads, and one more for each stream."""

    def __init__(self, connection: socket.socket, flood: Flood) -> None:
        self._socket, self._flood = connection, flood
        self._input = connection.makefile("rb")
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._window = 65535
        self._windows: dict[int, int] = {}
        self._initial_window = 65535
        self._answered: set[int] = set()
        self._open = True

    def run(self) -> None:
        try:
            if self._input.read(len(PREFACE)) == PREFACE:
                self._send(SETTINGS, 0, 0, b"")
                while head := self._input.read(9):
                    size = int.from_bytes(head[:3], "big")
                    stream = int.from_bytes(head[5:], "big") & 0x7FFFFFFF
                    self._receive(head[3], head[4], stream, self._input.read(size))
        except OSError:
            pass  # the client has gone
        finally:
            with self._changed:
                self._open = False
                self._changed.notify_all()
            self._input.close()
            self._socket.close()

    def _receive(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            # The client counts by its new windows from this acknowledgement on.
            with self._sending:
                self._settings(payload)
                self._socket.sendall(_frame_head(0, SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self._send(PING, ACK, 0, payload)
        elif kind == WINDOW_UPDATE:
            with self._changed:
                more = int.from_bytes(payload, "big")
                if stream == 0:
                    self._window += more
                else:
                    self._windows[stream] = self._windows.get(stream, self._initial_window) + more
                self._changed.notify_all()
        elif kind == DATA and len(payload) >= 5 and stream not in self._answered:
            self._answered.add(stream)
            threading.Thread(target=self._serve, args=(stream, payload[5:]), daemon=True).start()

    def _settings(self, payload: bytes) -> None:
        for name, value in struct.iter_unpack(">HI", payload):
            if name == 4:  # INITIAL_WINDOW_SIZE, also of the streams that are there
                with self._changed:
                    more = value - self._initial_window
                    self._windows = {stream: window + more for stream, window in self._windows.items()}
                    self._initial_window = value
                    self._changed.notify_all()

    def _serve(self, stream: int, request: bytes) -> None:
        if request:
            paths = GetFlowsRequest.FromString(request).field_mask.paths
            return self._answer(stream, self._flood.messages(mask_of(paths)))
        status = ServerStatusResponse(version="hubble-relay v1.17.4", num_flows=4095, max_flows=4095)
        status.num_connected_nodes.value = 1
        return self._answer(stream, iter([_grpc(status.SerializeToString())]))

    def _answer(self, stream: int, pieces: Iterator[bytes]) -> None:
        try:
            self._send(HEADERS, END_HEADERS, stream, _RESPONSE_HEADERS)
            for piece in pieces:
                self._send_data(stream, memoryview(piece))
            self._send(HEADERS, END_HEADERS | END_STREAM, stream, _TRAILERS)
        except OSError:
            pass  # the client has gone

    def _send_data(self, stream: int, data: memoryview) -> None:
        while data:
            with self._changed:
                self._changed.wait_for(lambda: not self._open or self._room(stream) > 0)
                if not self._open:
                    raise OSError("closed")
            with self._sending:
                with self._changed:
                    size = max(0, min(len(data), self._room(stream), 1 << 20))
                    self._window -= size
                    self._windows[stream] = self._windows.get(stream, self._initial_window) - size
                frames = bytearray()
                for at in range(0, size, 16384):
                    part = data[at : min(at + 16384, size)]
                    frames += _frame_head(len(part), DATA, 0, stream)
                    frames += part
                self._socket.sendall(frames)
            data = data[size:]

    def _room(self, stream: int) -> int:
        return min(self._window, self._windows.get(stream, self._initial_window))

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        with self._sending:
            self._socket.sendall(_frame_head(len(payload), kind, flags, stream) + payload)


def _frame_head(size: int, kind: int, flags: int, stream: int) -> bytes:
    return struct.pack(">I", size)[1:] + bytes((kind, flags)) + struct.pack(">I", stream)


def _grpc(message: bytes) -> bytes:
    return b"\0" + struct.pack(">I", len(message)) + message


def _first_messages(data: bytes, count: int) -> bytes:
    at = 0
    for _ in range(count):
        at += 5 + int.from_bytes(data[at + 1 : at + 5], "big")
    return data[:at]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m support.hubble_flood")
    parser.add_argument("--flows", type=int, default=1_000_000)
    parser.add_argument("--names", type=int, default=2000)
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    flood = Flood(options.flows, names=options.names, port=options.port)
    print(flood.address, flush=True)
    flood.serve()


if __name__ == "__main__":
    main()
