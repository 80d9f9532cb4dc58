"""Runs the tests with the lowest and the newest allowed version of each dependency, on every Python here.

A virtual environment each below build/matrix, from the checkout and pyproject.toml's bounds. Pythons are
those on the PATH and pyenv's; on others than 3.11, whose wheels old versions may not have, the newest only.

    tools/matrix.py [--python EXECUTABLE]... [--which lowest|newest]... [PYTEST ARGUMENT]...
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/matrix"
MINORS = (11, 12, 13, 14)
QUICK = ("tests/unit", "tests/golden")
TOOLS = ("pytest", "hypothesis", "jsonschema", "cel-expr-python", "pyelftools", "truststore")
"""What the tests import. Not all of `dev`: grpcio-tools wants a grpcio of its own version."""
BOUND = re.compile(r"^([A-Za-z0-9-]+)>=([0-9.]+)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", action="append", help="an executable, instead of all that are here")
    parser.add_argument("--which", action="append", choices=("lowest", "newest"))
    chosen, arguments = parser.parse_known_args()
    failed = []
    for python in chosen.python or pythons():
        is_first = Path(python).name == f"python3.{MINORS[0]}"
        for which in chosen.which or (("lowest", "newest") if is_first else ("newest",)):
            if not run(python, which, arguments or list(QUICK)):
                failed.append(f"{python} {which}")
    print("failed: " + ", ".join(failed) if failed else "all passed", flush=True)
    return int(bool(failed))


def pythons() -> Iterator[str]:
    """An executable of each minor version; says which there are not."""
    for minor in MINORS:
        name = f"python3.{minor}"
        pyenv = sorted(Path.home().glob(f".pyenv/versions/3.{minor}.*/bin/{name}"))
        found = str(pyenv[-1]) if pyenv else shutil.which(name)
        if found:
            yield found
        else:
            print(f"{name} is not here", flush=True)


def run(python: str, which: str, arguments: list[str]) -> bool:
    """Whether the tests passed; prints what was installed."""
    folder = BUILD / f"{Path(python).name}-{which}"
    constraints = BUILD / f"{folder.name}.txt"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    constraints.write_text("\n".join(lowest()) if which == "lowest" else "")
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    inside = str(folder / "bin/python")
    install = [inside, "-m", "pip", "install", "--quiet", *TOOLS, "--editable", str(ROOT)]
    if subprocess.run([*install, "--constraint", str(constraints)], check=False).returncode:
        return False
    command = [inside, "-m", "pip", "freeze"]
    freeze = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    wanted = {line.partition("==")[0].lower() for line in lowest()}
    versions = [line for line in freeze.splitlines() if line.partition("==")[0].lower() in wanted]
    print(f"{python}, {which}: {', '.join(versions)}", flush=True)
    environ = {**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    tests = [inside, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(tests, cwd=ROOT, env=environ, check=False).returncode == 0


def lowest() -> list[str]:
    """Each run-time dependency at its lower bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bounds = [BOUND.match(requirement) for requirement in project["dependencies"]]
    missing = [r for r, found in zip(project["dependencies"], bounds, strict=True) if not found]
    if missing:
        raise SystemExit(f"pyproject.toml: no lower bound in {', '.join(missing)}")
    return [f"{found[1]}=={found[2]}" for found in bounds if found]


if __name__ == "__main__":
    sys.exit(main())
