"""Completion in zsh and fish themselves, where they are installed: what TAB makes of a line."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

PROMPT = "ready> "
STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with `kubectl-kdns` on its PATH, and the scripts that it prints."""
    program = tmp_path / "bin/kubectl-kdns"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m kubectl_kdns "$@"\n')
    program.chmod(0o755)
    for shell in ("zsh", "fish"):
        script = subprocess.run([program, "completion", shell], capture_output=True, text=True, check=True)
        (tmp_path / f"kdns.{shell}").write_text(script.stdout)
    return tmp_path


def environment(home: Path) -> dict[str, str]:
    path = f"{home / 'bin'}{os.pathsep}{os.environ['PATH']}"
    return {"HOME": str(home), "PATH": path, "TERM": "xterm", "KUBECONFIG": "/nonexistent"}


@pytest.mark.skipif(not shutil.which("fish"), reason="fish is not installed")
@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("kubectl-kdns expl", ["explain"]),
        ("kubectl-kdns trace --backend h", ["hubble"]),
        ("kubectl-kdns trace --rcode SERV", ["SERVFAIL"]),
        ("kubectl-kdns nothing", []),
    ],
)
def test_fish(home: Path, line: str, wanted: list[str]) -> None:
    script = f"source {home}/kdns.fish; complete -C '{line}'"
    done = subprocess.run(
        ["fish", "--no-config", "-c", script],
        capture_output=True,
        text=True,
        env=environment(home),
        timeout=60,
        check=True,
    )
    assert [each.partition("\t")[0] for each in done.stdout.splitlines()] == wanted
    assert done.stderr == ""


class Zsh:
    """A shell at a terminal."""

    def __init__(self, home: Path) -> None:
        begin = f"PROMPT='{PROMPT}'; unsetopt prompt_sp; autoload -Uz compinit; compinit -u -D\n"
        (home / ".zshrc").write_text(f"{begin}source {home}/kdns.zsh\n")
        self._terminal, theirs = pty.openpty()
        self._shell = subprocess.Popen(
            ["zsh", "--no-globalrcs", "-i"], stdin=theirs, stdout=theirs, stderr=theirs, env=environment(home)
        )
        os.close(theirs)
        try:
            self.wait_for(PROMPT)
        except AssertionError:
            self.close()
            raise

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def wait_for(self, text: str) -> str:
        """What the terminal shows until this does."""
        seen, until_s = "", time.monotonic() + 30
        while text not in STYLES.sub("", seen):
            assert time.monotonic() < until_s, seen
            if select.select([self._terminal], [], [], 0.1)[0]:
                seen += os.read(self._terminal, 4096).decode()
        return seen

    def close(self) -> None:
        self._shell.kill()
        self._shell.wait(10)
        with suppress(OSError):
            os.close(self._terminal)


@pytest.fixture
def zsh(home: Path) -> Iterator[Zsh]:
    shell = Zsh(home)
    yield shell
    shell.close()


@pytest.mark.skipif(not shutil.which("zsh"), reason="zsh is not installed")
@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("kubectl-kdns expl\t", "kubectl-kdns explain "),
        ("kubectl-kdns trace --backend h\t", "--backend hubble "),
        ("kubectl-kdns trace --rcode SERV\t", "--rcode SERVFAIL "),
        ("kubectl-kdns co\t\t", "coredns-logs"),
    ],
)
def test_zsh(zsh: Zsh, typed: str, shown: str) -> None:
    zsh.type(typed)
    zsh.wait_for(shown)
