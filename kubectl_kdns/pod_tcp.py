"""Asks a DNS server's pod through the API server: DNS over TCP in a port-forward, for resolver.look_up."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence

from kubectl_kdns.backend import ServerPod
from kubectl_kdns.dns.over_tcp import exchange
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.resolver import Question, Reply, reply_of


class ForwardTransport:
    """Fulfils resolver.Transport. `times` are (start since the epoch, duration) of each question, in
    nanoseconds, in the order in which they were asked."""

    def __init__(self, cluster: Cluster, pod: ServerPod) -> None:
        self.times: list[tuple[int, int]] = []
        self._pod = pod
        self._forward = cluster.port_forward(pod.namespace, pod.name, pod.port)
        self._connection: socket.socket | None = None

    def exchange(self, questions: Sequence[Question], timeout_s: float) -> list[Reply]:
        """One after the other: what a server does beside another question is not what is asked here."""
        return [self._ask(question, timeout_s) for question in questions]

    def close(self) -> None:
        self._hang_up()
        self._forward.close()

    def _ask(self, question: Question, timeout_s: float) -> Reply:
        begun_ns, started_ns = time.time_ns(), time.monotonic_ns()
        try:
            if self._connection is None:
                self._connection = self._forward.dial()
            self._connection.settimeout(timeout_s)
            answer = exchange(self._connection, question.message)
            if answer[:2] != question.id.to_bytes(2, "big"):
                raise EOFError("what came is no answer to the question")
            reply = reply_of(answer)
        except (OSError, EOFError) as error:
            # An answer that comes later must not be taken for that of the next question.
            self._hang_up()
            reply = Reply(problem=self._why(error))
        self.times.append((begun_ns, time.monotonic_ns() - started_ns))
        return reply

    def _why(self, error: Exception) -> str:
        way: KdnsError | None = self._forward.failure
        if way:
            return f"{way.what}: {way.cause}" if way.cause else way.what
        if isinstance(error, TimeoutError):
            return "timed out"
        return self._forward.error or f"the connection ended: {error}"

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
