"""Every command that the README and the docs show: our parser takes it; without a cluster it prints that."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress

import pytest

from kubectl_kdns.cli.app import parse, split_command
from support.shown_commands import NO_CLUSTER, ROOT, SYNOPSIS, shown

SHOWN = shown()
RUN = [(where, words, output) for where, words, output in SHOWN if output and words[0] in NO_CLUSTER]


def test_pages_show_commands() -> None:
    assert len(SHOWN) > 60
    assert RUN


@pytest.mark.parametrize(
    ("where", "words"), [(w, words) for w, words, _ in SHOWN], ids=[w for w, _, _ in SHOWN]
)
def test_the_parser_takes_what_is_shown(where: str, words: list[str]) -> None:
    is_synopsis = "-F" not in words and any(map(SYNOPSIS.search, words[1:]))
    if is_synopsis or words[0] in ("options", "help") or "--help" in words:
        pytest.skip("a help page, or a synopsis")
    name, arguments = split_command(words)
    assert callable(parse(name, arguments, {})), where


@pytest.mark.parametrize(("where", "words", "output"), RUN, ids=[w for w, _, _ in RUN])
def test_what_needs_no_cluster_prints_what_is_shown(where: str, words: list[str], output: list[str]) -> None:
    lines = {normal(line) for line in on_a_terminal(words, max(map(len, output))).splitlines()}
    for line in output:
        if line not in ("...", "…"):
            assert normal(line) in lines, f"{where}: {line}"


def on_a_terminal(words: list[str], columns: int) -> str:
    """What a terminal that wide shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [sys.executable, "-m", "kubectl_kdns", *words]
    environment = {**os.environ, "NO_COLOR": "1", "TZ": "UTC"}
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, cwd=ROOT, env=environment) as process:
        os.close(theirs)
        data = b""
        with suppress(OSError):  # how Linux tells the end of a terminal
            while part := os.read(ours, 1 << 16):
                data += part
    os.close(ours)
    assert process.returncode in (0, 1)
    return data.decode().replace("\r\n", "\n")


def normal(line: str) -> str:
    """Without how wide columns are, and how long the run took."""
    return re.sub(r"\bin \d+(\.\d+)?m?s\b", "in N", " ".join(line.split()))
