"""DNS messages from within a pod: `kdns-agent enter` on its node, carried by an exec."""

from __future__ import annotations

import ipaddress
import queue
import threading

from kdns_ebpf import wire
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.kube.exec import ExecStream

READ_BYTES = 65536
START_S = 10.0


class EnteredPod:
    """`resolv_conf` is what stands in the pod's file. One thread of its own reads; any one may ask."""

    def __init__(self, stream: ExecStream) -> None:
        self._stream = stream
        self._inbox: queue.SimpleQueue[tuple[int, int, bytes] | str | KdnsError | None] = queue.SimpleQueue()
        threading.Thread(target=self._read, name="ebpf-enter", daemon=True).start()
        try:
            first = self._inbox.get(timeout=START_S)
        except queue.Empty:
            self.close()
            raise BackendError(
                "the agent did not enter the pod", cause=f"no answer in {START_S:.0f} s"
            ) from None
        if not isinstance(first, str):
            words = stream.stderr.decode("utf-8", "replace").strip().removeprefix("kdns-agent: ")
            self.close()
            cause = words or (first.what if isinstance(first, KdnsError) else "it ended")
            raise BackendError("the agent could not enter the pod", cause=cause)
        self.resolv_conf = first

    def send(self, slot: int, server: str, port: int, message: bytes, *, over_tcp: bool) -> None:
        """One DNS message from socket number `slot` of the pod, which keeps the server of its first one."""
        address = ipaddress.ip_address(server.partition("%")[0]).packed
        self._stream.write(wire.send(slot, address, port, over_tcp=over_tcp, message=message))

    def receive(self, timeout_s: float) -> tuple[int, int, bytes] | None:
        """The slot, the errno (0: none) and the message; None when nothing came in time. Raises KdnsError
        when the connection is broken."""
        try:
            found = self._inbox.get(timeout=max(timeout_s, 0.0))
        except queue.Empty:
            return None
        if isinstance(found, KdnsError):
            raise found
        if not isinstance(found, tuple):
            raise BackendError("the agent has left the pod")
        return found

    def close(self) -> None:
        self._stream.close()

    def _read(self) -> None:
        reader = wire.FrameReader()
        try:
            while data := self._stream.read1(READ_BYTES):
                for type_, body in reader.feed(data):
                    if type_ == wire.ENTERED:
                        self._inbox.put(wire.read_entered(body)[1])
                    elif type_ in (wire.ANSWER, wire.REFUSED):
                        self._inbox.put(wire.read_answer(body))
        except wire.BadFrame as error:
            self._inbox.put(BackendError("what the agent sends cannot be read", cause=str(error)))
        except KdnsError as error:
            self._inbox.put(error)
        self._inbox.put(None)
