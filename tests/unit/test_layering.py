"""The layers of DESIGN section 3: core never imports a backend, a backend only the contract's modules."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ALLOWED = {
    "backend",
    "model",
    "fields",
    "filter",
    "dns",
    "pairing",
    "messages",
    "kube",
    "directory",
    "doctor",
    "errors",
    "times",
    "change",
    "ownership",
    "resolver",
}
BACKENDS = sorted(path.name for path in (ROOT / "backends").iterdir() if path.name.startswith("kdns_"))


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names if node.module == "kubectl_kdns"}
    return found


def test_core_never_imports_a_backend() -> None:
    wrong = {
        str(path.relative_to(ROOT)): names
        for path in (ROOT / "kubectl_kdns").rglob("*.py")
        if (names := {n for n in imported(path) if n.split(".")[0] in {*BACKENDS, "backends"}})
    }
    assert wrong == {}


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_backend_imports_only_the_contract(backend: str) -> None:
    wrong = {}
    for path in (ROOT / "backends" / backend).rglob("*.py"):
        for name in imported(path):
            parts = name.split(".")
            if parts[0] == "kubectl_kdns" and len(parts) > 1 and parts[1] not in ALLOWED:
                wrong[path.name] = name
            if parts[0] in BACKENDS and parts[0] != backend:
                wrong[path.name] = name
    assert wrong == {}
