"""A cache of bounded cost in two generations: cheap to fill, and what is used survives.

When the recent generation has reached its half, it becomes the older one and the older is dropped; what is
found in the older moves back. So an entry that is used at least once a generation stays, and a hit needs no
bookkeeping. Threads may share a cache: each step is one operation on one dict, and the worst that a race can
do is to forget entries.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Cache(Generic[K, V]):
    """Holds entries of at most `max_cost` in all (and one more), `cost(key, value)` each.

    A caller in a hurry may ask `recent` itself and `get` only when it has nothing.
    """

    __slots__ = ("_cost", "_half", "_older", "_spent", "recent")

    def __init__(self, max_cost: int, cost: Callable[[K, V], int]) -> None:
        self.recent: dict[K, V] = {}
        self._older: dict[K, V] = {}
        self._cost = cost
        self._half = max_cost // 2
        self._spent = 0

    def __len__(self) -> int:
        return len(self.recent) + len(self._older)

    def get(self, key: K) -> V | None:
        value = self.recent.get(key)
        if value is None:
            value = self._older.pop(key, None)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        if self._spent >= self._half:
            self._older = self.recent
            self.recent = {}
            self._spent = 0
        self.recent[key] = value
        self._spent += self._cost(key, value)

    def clear(self) -> None:
        self.recent, self._older, self._spent = {}, {}, 0
