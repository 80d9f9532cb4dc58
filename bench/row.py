"""One line of the benchmark: a figure of ours beside a peer's, or beside its budget."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """`unit` is "/s" (more is better) or MB, s, ms (less is better); both figures have it."""

    what: str
    measured: float
    beside: str
    beside_measured: float
    unit: str = "/s"

    def line(self) -> str:
        """In the columns of run.py."""
        beside = f"{self.beside} {_figure(self.beside_measured, self.unit)}"
        ratio = self.measured / self.beside_measured
        return f"{self.what:46} {_figure(self.measured, self.unit):>16} {beside:>36} {ratio:>7.2f}x"


def _figure(value: float, unit: str) -> str:
    return f"{value:,.0f}/s" if unit == "/s" else f"{value:,.1f} {unit}"
