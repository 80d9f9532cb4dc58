"""Until when all lookups have come, so that those can be joined: by the clock, and by what nodes tell."""

from __future__ import annotations

from collections.abc import Callable

from kubectl_kdns.legs import HOLD_NS
from kubectl_kdns.times import NS_PER_S

STALL_NS = 3 * NS_PER_S
"""How long a node that tells nothing holds up the others; its lookups may come that much later."""
LOOK_NS = NS_PER_S // 5
"""More than this between two looks: it was kdns that stood still, and what nodes told is on its way."""


class Frontier:
    """`now` is the clock of a live run (nanoseconds), None for a recording."""

    def __init__(self, now: Callable[[], int] | None) -> None:
        self._now = now
        self._looked_ns = now() if now else 0
        self._told_ns = 0
        self._silent_ns = 0

    def known_ns(self, latest_ns: int, told_ns: int | None, *, quiet: bool) -> int:
        """`latest_ns` is the last end that was seen, `told_ns` how far the slowest node that tells has come,
        None when none tells; `quiet`: nothing came. A recording does not say; there it costs only memory to
        wait for as long as a node may have lagged behind."""
        if self._now is None:
            return latest_ns - STALL_NS
        now_ns = self._now()
        if quiet or told_ns is not None:
            # Nodes tell so often how far they are that it is never quiet: time goes on there, too.
            latest_ns = max(latest_ns, now_ns - HOLD_NS)
        looked_ns, self._looked_ns = self._looked_ns, now_ns
        if told_ns is None:
            return latest_ns
        if told_ns != self._told_ns:
            self._told_ns, self._silent_ns = told_ns, 0
        else:
            self._silent_ns += min(now_ns - looked_ns, LOOK_NS)
        return min(latest_ns, told_ns) if self._silent_ns < STALL_NS else latest_ns - STALL_NS
