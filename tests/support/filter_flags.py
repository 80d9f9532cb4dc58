"""Command lines and expected messages for tests of the filter flags."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from kubectl_kdns.cli.groups import SelectionOptions
from kubectl_kdns.filter.flags import FilterFlags

GOLDEN = Path(__file__).parents[1] / "golden"


def flags_of(line: str) -> FilterFlags:
    """A command line, read by the declarations of SelectionOptions."""
    flags = SelectionOptions.FLAGS
    paths = {name: path for path, flag in flags.items() for name in flag.names}
    values: dict[str, Any] = {}
    words = iter(shlex.split(line))
    for word in words:
        if not word.startswith("-"):
            values["targets"] = (*values.get("targets", ()), word)
            continue
        path = paths[word]
        if flags[path].default is False:
            values[path] = True
        elif flags[path].default == ():
            values[path] = (*values.get(path, ()), next(words))
        else:
            values[path] = next(words)
    return FilterFlags(**values)


def golden_cases(name: str) -> dict[str, str]:
    """The cases of a golden file: a line `> INPUT`, then what comes of it, then an empty line."""
    blocks = (GOLDEN / name).read_text().split("\n\n")
    cases = [block.strip("\n").split("\n", 1) for block in blocks if block.startswith("> ")]
    return {given.removeprefix("> "): expected for given, expected in cases}
