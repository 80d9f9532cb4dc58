"""Doing several reads at once, and not waiting for ever for any of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic
from typing import TypeVar

from kubectl_kdns.doctor.finding import Unread
from kubectl_kdns.errors import KdnsError

MAX_THREADS = 16

T = TypeVar("T")
R = TypeVar("R")


class Patience:
    """Waits for what runs in other threads, for so long in all, counted from when it was made."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = monotonic() + seconds

    def wait(self, future: Future[R]) -> R | Unread:
        """Its result, or why there is none: an error of ours, or no answer in time."""
        try:
            return future.result(max(0.0, self._until - monotonic()))
        except KdnsError as error:
            return Unread.of(error)
        except TimeoutError:
            return Unread(f"no answer within {self._seconds:g} s")


def attempt(read: Callable[[], R]) -> R | Unread:
    """What is read, or why it cannot be."""
    try:
        return read()
    except KdnsError as error:
        return Unread.of(error)


def each(do: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """`do` of every item, in their order, many at once. In threads of their own: a task of a pool that waited
    for others of the same pool could wait for ever."""
    items = list(items)
    if not items:
        return []
    with ThreadPoolExecutor(min(MAX_THREADS, len(items)), "kdns-doctor") as pool:
        return list(pool.map(do, items))
