"""What every output format is told about its surroundings: terminal, colour, clock, zone, encoding.

Formats ask nobody else: the same records and options give the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Literal

TimeStyle = Literal["local", "utc", "relative", "none"]


@dataclass(frozen=True, slots=True)
class OutputOptions:
    """`width` is the terminal's, in columns; None means that stdout is no terminal: nothing is cut then.

    `zone` is what `time="local"` shows, None the system's own; `now_ns` decides what is "today": times of
    another day show their date (None: all do). `columns` are paths of fields (table and csv), `template`
    is the argument of custom-columns (a spec) or of custom-columns-file (a path).
    """

    width: int | None = None
    color: bool = False
    err_color: bool = False
    headers: bool = True
    columns: tuple[str, ...] = ()
    template: str = ""
    time: TimeStyle = "local"
    zone: tzinfo | None = UTC
    now_ns: int | None = None
    summary: Literal["text", "json"] = "text"
    encoding: str = "utf-8"

    @property
    def unicode(self) -> bool:
        """Whether the encoding has the few characters beyond ASCII that we use."""
        return self.encoding.lower().replace("_", "-").startswith("utf")


def use_color(choice: str, *, terminal: bool, environ: Mapping[str, str]) -> bool:
    """What `--color` means for one stream; a set NO_COLOR (no-color.org) and TERM=dumb turn "auto" off."""
    if choice != "auto":
        return choice == "always"
    return terminal and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def paint(text: str, color: str) -> str:
    """`text` in a colour given as SGR parameters (ECMA-48), "" for none. The text alone must say it too."""
    return f"\x1b[{color}m{text}\x1b[0m" if color else text


RED, YELLOW, BOLD = "31", "33", "1"
