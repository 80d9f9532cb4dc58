"""Finds code that stands twice in the same shape: runs of statements alike but for names and values.

Usage: python tools/duplicates.py. Compares the syntax trees of the project's own Python files with all
identifiers and constants taken out, and fails when a run of statements of at least MIN_NODES tree nodes
occurs twice. Declarations (imports, docstrings, dataclass fields, tables) do not count, nor what a comment
with the words "twice on purpose" in it stands in.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("kubectl_kdns", "backends", "tools", "bench")
MIN_STATEMENTS = 4
MIN_NODES = 70
KEPT = "twice on purpose"


def shape(node: ast.AST) -> str:
    """The tree of a statement without its names and values."""
    children = ",".join(shape(child) for child in ast.iter_child_nodes(node))
    return f"{type(node).__name__}({children})"


def bodies(tree: ast.AST) -> list[list[ast.stmt]]:
    """Every list of statements inside a function."""
    found = []
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(function):
                for name in ("body", "orelse", "finalbody"):
                    body = getattr(node, name, None)
                    if isinstance(body, list) and body and isinstance(body[0], ast.stmt):
                        found.append(
                            [
                                s
                                for s in body
                                if not isinstance(s, ast.Import | ast.ImportFrom | ast.FunctionDef)
                            ]
                        )
    return found


def main() -> int:
    """Prints each pair of places; the exit status is 1 if there is any."""
    places: dict[str, set[str]] = defaultdict(set)
    for place in PLACES:
        for path in sorted((ROOT / place).rglob("*.py")):
            text = path.read_text()
            lines = text.split("\n")
            for body in bodies(ast.parse(text)):
                for start in range(len(body) - MIN_STATEMENTS + 1):
                    run = body[start : start + MIN_STATEMENTS]
                    source = lines[run[0].lineno - 1 : run[-1].end_lineno]
                    if any(KEPT in line for line in source):
                        continue
                    if sum(1 for s in run for _ in ast.walk(s)) >= MIN_NODES:
                        where = f"{path.relative_to(ROOT)}:{run[0].lineno}-{run[-1].end_lineno}"
                        places["".join(map(shape, run))].add(where)
    pairs = sorted(sorted(where) for where in places.values() if len(where) > 1)
    for pair in pairs:
        print("the same shape:", " ~ ".join(pair))
    return bool(pairs)


if __name__ == "__main__":
    sys.exit(main())
