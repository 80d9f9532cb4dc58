"""Makes a virtual environment with pip in it, also where Debian keeps ensurepip in a package of its own.

Usage: python3 tools/make_venv.py DIRECTORY. Only the standard library; no root.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import venv
from pathlib import Path


def make(directory: Path) -> None:
    """Leaves an existing environment as it is; exits with what to install when none can be made."""
    if sys.version_info < (3, 11):
        sys.exit(f"kdns needs Python 3.11 or newer, this is {sys.version.split()[0]}: make PYTHON=python3.11")
    python = directory / "bin" / "python"
    if (
        python.exists()
        and subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
    ):
        return
    if importlib.util.find_spec("ensurepip"):
        venv.create(directory, with_pip=True, clear=True)
        return
    # Without ensurepip an environment has no pip, but another pip can install one into it.
    venv.create(directory, with_pip=False, clear=True)
    for pip in (
        [sys.executable, "-m", "pip"],
        [shutil.which("pip3") or "pip3"],
        [shutil.which("uv") or "uv", "pip"],
    ):
        target = ["--python", str(python)]
        command = (
            [*pip, "install", *target, "pip"]
            if pip[-1] == "pip" and "uv" in pip[0]
            else [*pip, *target, "install", "pip"]
        )
        try:
            if subprocess.run(command, capture_output=True).returncode == 0:
                return
        except FileNotFoundError:
            continue
    sys.exit("no pip can be had for the virtual environment: apt-get install python3-venv (once, as root)")


if __name__ == "__main__":
    make(Path(sys.argv[1]))
