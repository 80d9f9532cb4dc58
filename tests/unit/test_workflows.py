"""The workflows of GitHub: what they call exists, and they may do no more than they need."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import gen_krew  # noqa: E402

FOLDER = ROOT / ".github/workflows"
WORKFLOWS = sorted(FOLDER.glob("*.yaml"))
TARGETS = set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
RIGHTS = {
    "release": {"contents": "write", "id-token": "write", "attestations": "write"},
    "pypi": {"id-token": "write"},
}


def read(path: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(path.read_text())
    return loaded


def jobs(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = read(path)["jobs"]
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in jobs(path).values() for step in job["steps"]]


def test_there_are_both() -> None:
    assert [path.name for path in WORKFLOWS] == ["ci.yaml", "release.yaml"]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_is_called_exists(path: Path) -> None:
    commands = "\n".join(step.get("run", "") for step in steps(path))
    called = {word for line in re.findall(r"\bmake ([a-z0-9 -]+)", commands) for word in line.split()}
    assert called
    assert called <= TARGETS
    for tool in re.findall(r"\btools/\S+\.py", commands):
        assert (ROOT / tool).is_file(), tool


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_action_has_a_version(path: Path) -> None:
    used = [step["uses"] for step in steps(path) if "uses" in step]
    assert used
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+@(v\d+|release/v\d+)", each) for each in used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_job_may_do_no_more_than_it_needs(path: Path) -> None:
    whole = read(path)["permissions"]
    assert whole in ({}, {"contents": "read"})
    for name, job in jobs(path).items():
        assert job.get("permissions", whole) == RIGHTS.get(name, {"contents": "read"})


def test_a_release_has_every_platform_and_waits_for_all() -> None:
    found = jobs(FOLDER / "release.yaml")
    rows = [row for job in ("linux", "others") for row in found[job]["strategy"]["matrix"]["include"]]
    assert {row["platform"] for row in rows} == gen_krew.PLATFORMS
    assert len(rows) == len(gen_krew.PLATFORMS)
    assert set(found["release"]["needs"]) == {"packages", "linux", "others"}
    assert found["pypi"]["needs"] == ["release"]


def test_the_version_that_a_tag_is_compared_with_is_found() -> None:
    (line,) = [s["run"] for s in steps(FOLDER / "release.yaml") if s.get("name") == "The tag is the version"]
    assert "kubectl_kdns/__init__.py" in line
    assert re.search(r'^__version__ = "\d+\.\d+\.\d+"', (ROOT / "kubectl_kdns/__init__.py").read_text(), re.M)
