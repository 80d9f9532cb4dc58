"""Sends questions from within a pod or a node that an agent has entered, for resolver.look_up."""

from __future__ import annotations

import time
from collections.abc import Sequence

from kubectl_kdns.backend import Entered
from kubectl_kdns.errors import BackendError
from kubectl_kdns.resolver import Question, Reply, reply_of

SLOTS = 64
LINUX_ERRORS = {
    1: "operation not permitted",
    13: "permission denied",
    22: "invalid argument",
    24: "too many open files",
    32: "broken pipe",
    90: "message too long",
    97: "address family not supported by protocol",
    99: "cannot assign requested address",
    100: "network is down",
    101: "network is unreachable",
    104: "connection reset by peer",
    105: "no buffer space available",
    110: "connection timed out",
    111: "connection refused",
    112: "host is down",
    113: "no route to host",
}
"""An agent's numbers are those of Linux (asm-generic/errno.h); macOS and Windows have others for them."""


class PodTransport:
    """Sends questions from a pod, to SLOTS servers (by UDP and TCP each) at most; remembers in `asked` which,
    by name, type and id."""

    def __init__(self, entered: Entered, asked: set[tuple[str, str, int]]) -> None:
        self._entered, self._asked = entered, asked
        self._slots: dict[tuple[str, int, bool], int] = {}

    def exchange(self, questions: Sequence[Question], timeout_s: float) -> list[Reply]:
        replies: list[Reply | None] = [None] * len(questions)
        slots = []
        for question in questions:
            server = question.server, question.port, question.over_tcp
            slot = self._slots.setdefault(server, len(self._slots))
            if slot >= SLOTS:  # it would be asked of another one
                raise BackendError(f"an agent asks {SLOTS} servers at most")
            slots.append(slot)
            self._asked.add((question.name, question.type, question.id))
            self._entered.send(
                slot, question.server, question.port, question.message, over_tcp=question.over_tcp
            )
        deadline_s = time.monotonic() + timeout_s
        while None in replies:
            found = self._entered.receive(deadline_s - time.monotonic())
            if found is None:
                break
            slot, error, message = found
            for i, question in enumerate(questions):
                if replies[i] is not None or slots[i] != slot:
                    continue
                if error:
                    replies[i] = Reply(problem=LINUX_ERRORS.get(error, f"error {error}"))
                elif message[:2] == question.id.to_bytes(2, "big"):
                    replies[i] = reply_of(message)
        return [reply or Reply(problem="timed out") for reply in replies]
