"""Builds the agent for both architectures with ziglang, into backends/kdns_ebpf/agent/bin (`make agent`).

With --check it builds somewhere else and compares byte by byte with what is in git: the same sources,
compiler (pinned in pyproject.toml) and flags give the same binaries on every machine. The first use of a
target compiles its C library, which takes a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

AGENT = Path(__file__).resolve().parent.parent / "backends/kdns_ebpf/agent"
TABLES = "src/programs.h"
TARGETS = {"amd64": "x86_64-linux-musl", "arm64": "aarch64-linux-musl"}
WARNINGS = ("-Wall", "-Wextra", "-Werror")
# No debug information and no unwinding tables: nobody reads them, and a ConfigMap has to hold it all.
C_FLAGS = (
    *("-std=gnu11", "-D_GNU_SOURCE", "-O2", "-ffunction-sections", "-fdata-sections"),
    *("-fno-unwind-tables", "-fno-asynchronous-unwind-tables", "-fno-sanitize=undefined"),
    *("-static", "-s", "-Wl,--gc-sections", *WARNINGS),
)
# -mcpu=v2: the instructions that Linux 5.8 is sure to have.
BPF_FLAGS = ("-target", "bpfel-freestanding", "-mcpu=v2", "-O2", "-g0", *WARNINGS)


def main() -> int:
    if sys.argv[1:] == ["--check"]:
        return check()
    build(AGENT / "bin", AGENT / TABLES)
    for path in sorted((AGENT / "bin").iterdir()):
        print(f"{path.relative_to(AGENT.parent.parent.parent)}: {path.stat().st_size:,} bytes")
    return 0


def check() -> int:
    """1 when what is in git is not what the sources give."""
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        tables = Path(folder, "programs.h")
        build(Path(folder, "bin"), tables)
        pairs = [(AGENT / TABLES, tables)]
        pairs += [(AGENT / "bin" / path.name, path) for path in Path(folder, "bin").iterdir()]
        for kept, made in pairs:
            if not kept.is_file() or kept.read_bytes() != made.read_bytes():
                stale.append(str(kept))
    for path in stale:
        print(f"{path} is not what the sources give. Try: make agent", file=sys.stderr)
    return bool(stale)


def build(bin_folder: Path, tables: Path) -> None:
    bin_folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        objects = []
        for source in sorted((AGENT / "bpf").glob("*.bpf.c")):
            objects.append(str(Path(folder, f"{source.name}.o")))
            zig(*BPF_FLAGS, *includes(), "-c", str(source.relative_to(AGENT)), "-o", objects[-1])
        subprocess.run(
            [sys.executable, str(Path(__file__).with_name("gen_agent_tables.py")), str(tables), *objects],
            check=True,
        )
    sources = sorted(str(path.relative_to(AGENT)) for path in (AGENT / "src").glob("*.c"))
    for architecture, target in TARGETS.items():
        out = str(bin_folder / f"kdns-agent-{architecture}")
        # The tables of this build, which need not be those in git.
        zig("-target", target, *C_FLAGS, f"-I{tables.parent}", *sources, "-o", out)


def includes() -> list[str]:
    """The kernel's own headers, as zig has them."""
    import ziglang

    folder = Path(ziglang.__file__).parent / "lib/libc/include"
    return [f"-I{folder / name}" for name in ("any-linux-any", "x86-linux-any")]


def zig(*arguments: str) -> None:
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "0", "LC_ALL": "C"}
    subprocess.run(
        [sys.executable, "-m", "ziglang", "cc", *arguments], cwd=AGENT, env=environment, check=True
    )


if __name__ == "__main__":
    sys.exit(main())
