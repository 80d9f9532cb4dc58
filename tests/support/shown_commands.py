"""The commands that README and docs show, with what stands below them as their output."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted(
    [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *(ROOT / "docs").glob("*.md"),
        *ROOT.glob("backends/*/README.md"),
    ]
)
COMMAND = re.compile(r"^ {4}(?P<prompt>\$ )?kubectl[- ]kdns (?P<words>.*)$")
INLINE = re.compile(r"`kubectl kdns ([^`\n]+)`")
SYNOPSIS = re.compile(r"[\[|<>]|\.\.\.|\b[A-Z]{2,}\b")
"""What stands for something else: `--from FILE`, `bash|zsh`."""
ENDS = ("|", ">", "2>", "&", "&&", ";")
NO_CLUSTER = ("demo", "fields", "schema")


def words_of(text: str) -> list[str]:
    """The arguments, up to a comment, a pipe or a redirection of the shell."""
    words: list[str] = []
    for word in shlex.split(text, comments=True):
        if word in ENDS:
            break
        words.append(word)
    return words


def shown() -> list[tuple[str, list[str], list[str]]]:
    """Page and line, the arguments, and what stands below it as its output (only after a prompt)."""
    found = []
    for page in PAGES:
        lines = page.read_text().splitlines()
        for number, line in enumerate(lines):
            where = f"{page.relative_to(ROOT)}:{number + 1}"
            if match := COMMAND.match(line):
                output: list[str] = []
                for below in lines[number + 1 :] if match["prompt"] else ():
                    if not below.startswith("    ") or below.startswith("    $ "):
                        break
                    output.append(below[4:].rstrip())
                found.append((where, words_of(match["words"]), output))
            found += [
                (where, words_of(text), []) for text in INLINE.findall(line) if not SYNOPSIS.search(text)
            ]
    return found
