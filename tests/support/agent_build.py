"""Compiles the agent's own tests and tools for this machine, with the sanitizers that the compiler has."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

AGENT = Path(__file__).resolve().parents[2] / "backends/kdns_ebpf/agent"
# What has no I/O of its own, or only on descriptors that a test gives it.
LIBRARY = tuple(
    f"src/{name}.c" for name in ("question", "filter", "pairing", "tcp", "session", "conntrack", "fallback")
)
WARNINGS = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")
SANITIZERS = ("-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@cache
def compiler() -> tuple[str, ...]:
    """A compiler of the system; else zig's, which the development tools bring (without AddressSanitizer)."""
    for name in ("gcc", "clang"):
        if shutil.which(name):
            return (name,)
    return (sys.executable, "-m", "ziglang", "cc")


def build(out: Path, sources: list[str], *flags: str) -> Path:
    """`sources` are relative to the agent's folder; what the compiler says is in the failure."""
    command = [*compiler(), *WARNINGS, *flags, *sources, "-o", str(out)]
    done = subprocess.run(command, cwd=AGENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


def sanitizers() -> tuple[str, ...]:
    return SANITIZERS if len(compiler()) == 1 else ("-g", "-O1", "-fsanitize=undefined")
