"""Prints every figure that the design sets a budget for, beside a peer or the limit, in one run.

Usage: python bench/run.py [NAME...]. Each bench_*.py beside this file has `rows() -> Iterable[Row]`.
Figures of a shared machine are noisy: compare within one run, never across runs.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

from kubectl_kdns.cli.app import calm_collector

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Runs the benches named, or all; the exit status is 0, for a figure is no verdict."""
    sys.path.insert(0, str(HERE))
    calm_collector()  # as the program itself does
    names = sys.argv[1:] or sorted(path.stem.removeprefix("bench_") for path in HERE.glob("bench_*.py"))
    print(f"{'what':46} {'measured':>16} {'beside':>36} {'ratio':>8}")
    for name in names:
        for row in importlib.import_module(f"bench_{name}").rows():
            print(row.line(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
