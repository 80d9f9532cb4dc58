"""The text side of switching CoreDNS's log on: which lines go into a Corefile, and how they come out again.

Our lines end with a mark (`# kdns:SESSION`), so that they can be taken out of a Corefile that somebody else
has changed meanwhile. The state of a switch is kept in an annotation of the ConfigMap, with the old text.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

import msgspec

from kdns_coredns.corefile import ALL, LogRule, ServerBlock, parse_corefile
from kubectl_kdns.errors import BackendError
from kubectl_kdns.ownership import Ownership

ANNOTATION = "kdns.io/log-switch"
LABEL = "kdns.io/log-switch"
ALL_CLASSES = ("success", "denial", "error")
_OPENS = re.compile(r"\{\s*(?:#.*)?$")


class SwitchState(Ownership, frozen=True):
    """Who switched the log on, and what the Corefile was before."""

    key: str
    original: str
    written: str

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()


def state_of_json(text: str) -> SwitchState | None:
    """The state in an annotation; None when it is none of ours or of another version."""
    try:
        return msgspec.json.decode(text, type=SwitchState)
    except msgspec.DecodeError:
        return None


def mark_of(session: str) -> str:
    return f"# kdns:{session}"


def with_log(corefile: str, classes: Sequence[str], session: str) -> str:
    """`corefile` with the log of these classes on in every server block; unchanged where it is on already.

    CoreDNS obeys the first `log` whose names match, so ours goes first and takes over the format and the
    classes of the one that was there. Raises BackendError when a block cannot be edited line by line.
    """
    lines = corefile.split("\n")
    for block in reversed(parse_corefile(corefile).blocks):
        inserted = _log_lines(block, set(classes), session)
        if not inserted:
            continue
        opening = lines[block.open_line - 1] if block.open_line and not block.file else ""
        if not _OPENS.search(opening):
            raise BackendError(
                f"the server block in line {block.line} of {block.file or 'the Corefile'} cannot be edited "
                "by lines: its brace is not the last thing on a line of this file",
                hint="switch the log on by hand: kubectl -n kube-system edit configmap coredns",
            )
        lines[block.open_line : block.open_line] = inserted
    return "\n".join(lines)


def _log_lines(block: ServerBlock, classes: set[str], session: str) -> list[str]:
    """The lines for the top of a server block; none when it already logs these classes for all names."""
    wanted = _spelled_out(classes)
    general: LogRule | None = next((rule for rule in block.log_rules if "." in rule.names), None)
    template = ""
    if general:
        existing = _spelled_out(set(general.classes))
        if wanted <= existing:
            return []
        wanted |= existing
        template = "" if general.is_common else f' "{_quoted(general.template)}"'
    mark = mark_of(session)
    if wanted == set(ALL_CLASSES):
        return [f"    log .{template} {mark}"]
    ordered = " ".join(name for name in ALL_CLASSES if name in wanted)
    return [f"    log .{template} {{ {mark}", f"        class {ordered} {mark}", f"    }} {mark}"]


def _spelled_out(classes: set[str]) -> set[str]:
    return set(ALL_CLASSES) if ALL in classes else classes


def _quoted(template: str) -> str:
    # In quotes a Corefile knows one escape: the quote itself.
    return template.replace('"', '\\"')


def without_log(corefile: str, session: str) -> str:
    """`corefile` without the lines that `with_log` put in for this session; all else stays as it is."""
    mark = mark_of(session)
    return "\n".join(line for line in corefile.split("\n") if not line.rstrip().endswith(mark))


def diff(old: str, new: str, name: str) -> str:
    """A unified diff of two Corefiles; empty when they are equal."""
    lines = difflib.unified_diff(
        old.splitlines(), new.splitlines(), f"{name} (now)", f"{name} (with the log on)", lineterm=""
    )
    return "\n".join(lines)
