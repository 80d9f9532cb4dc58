"""How long to wait before the next try: exponential with jitter, so that clients do not come in step."""

from __future__ import annotations

import random
from collections.abc import Callable

# One of our own: threads that wait must not change what a program that uses `random` draws.
_random = random.Random()


class Backoff:
    """Waits of `first_s`, doubled up to `limit_s`, each between half and the whole of that."""

    def __init__(
        self, first_s: float = 0.5, limit_s: float = 30.0, uniform: Callable[[], float] = _random.random
    ) -> None:
        self._first_s, self._limit_s, self._uniform = first_s, limit_s, uniform
        self.failures = 0

    def next_s(self) -> float:
        """The next wait, one failure later."""
        whole_s = min(self._first_s * 2.0 ** min(self.failures, 32), self._limit_s)
        self.failures += 1
        return whole_s * (0.5 + self._uniform() / 2)

    def reset(self) -> None:
        """It worked: the next failure begins with a short wait."""
        self.failures = 0
