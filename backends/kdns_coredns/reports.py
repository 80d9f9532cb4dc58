"""What is said about a log beside what is in it: notices, and losses with their span of time."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET

from kdns_coredns.pods import CorednsPod
from kubectl_kdns.model import Loss, Notice
from kubectl_kdns.times import format_time

BACKEND = "coredns"


def notice(code: str, message: str, now_ns: int, node: str = "") -> Notice:
    return Notice(time=format_time(now_ns), backend=BACKEND, node=node or UNSET, code=code, message=message)


class Reporter:
    """Makes records about the log of one pod; every message begins with the pod's name."""

    def __init__(self, pod: CorednsPod, now_ns: Callable[[], int]) -> None:
        self._pod, self._now_ns = pod, now_ns

    def notice(self, code: str, message: str) -> Notice:
        return notice(code, f"{self._pod.name}: {message}", self._now_ns(), self._pod.node)

    def loss(
        self,
        reason: str,
        message: str,
        *,
        from_ns: int | None = None,
        until_ns: int | None = None,
        count: int | None = None,
    ) -> Loss:
        """Lines that are missing: how many, or within which span; None is not known."""
        return Loss(
            time=format_time(self._now_ns()),
            backend=BACKEND,
            node=self._pod.node or UNSET,
            reason=reason,
            unit="lines",
            count=UNSET if count is None else count,
            from_=UNSET if from_ns is None else format_time(from_ns),
            until=UNSET if until_ns is None else format_time(until_ns),
            message=f"{self._pod.name}: {message}",
        )
