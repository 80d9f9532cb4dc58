"""`kdns config`, and commands that take their defaults from a file and from variables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def kdns(*argv: str, home: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("KDNS_")}
    environment |= {"XDG_CONFIG_HOME": str(home), "APPDATA": str(home)} | variables
    command = [sys.executable, "-m", "kubectl_kdns", *argv]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "kdns").mkdir()
    return tmp_path


def write(home: Path, text: str) -> Path:
    path = home / "kdns" / "config.yaml"
    path.write_text(text)
    return path


def test_nothing_is_set(home: Path) -> None:
    done = kdns("config", "view", home=home)
    assert done.stdout.startswith("nothing is set: ")
    assert kdns("config", "view", "-o", "json", home=home).stdout == "[]\n"


def test_the_file_a_variable_and_the_flag(home: Path) -> None:
    path = write(home, "output: json\ndemo: {summary: none}\n")
    assert kdns("config", "path", home=home).stdout == f"{path}\n"
    first = kdns("demo", home=home).stdout.splitlines()[0]
    assert json.loads(first)["apiVersion"] == "kdns/v1"
    assert kdns("demo", home=home).stderr.count("lookups in") == 0
    assert kdns("demo", home=home, KDNS_OUTPUT="csv").stdout.startswith("time,")
    assert kdns("demo", "-o", "table", home=home, KDNS_OUTPUT="csv").stdout.startswith("TIME ")
    rows = json.loads(kdns("config", "view", "-o", "json", home=home, KDNS_COLOR="never").stdout)
    assert rows == [
        {"flag": "--output", "command": "all", "value": "json", "from": str(path)},
        {"flag": "--summary", "command": "demo", "value": "none", "from": str(path)},
        {"flag": "--color", "command": "all", "value": "never", "from": "variable KDNS_COLOR"},
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [("ouput: wide", "did you mean"), ("output: cvs", "'cvs'"), ("time: noon", "--time noon")],
)
def test_a_wrong_file_is_named_and_help_still_works(home: Path, text: str, words: str) -> None:
    path = write(home, text)
    done = kdns("demo", home=home)
    assert (done.returncode, done.stdout) == (3, "")
    assert words in done.stderr
    assert str(path) in done.stderr
    for argv in (
        ["--help"],
        ["demo", "--help"],
        ["version", "--client"],
        ["config", "path"],
        ["completion", "bash"],
    ):
        assert kdns(*argv, home=home).returncode == 0


def test_a_file_that_was_named_must_be_there(home: Path) -> None:
    done = kdns("demo", home=home, KDNS_CONFIG="/nowhere/config.yaml")
    assert (done.returncode, done.stderr) == (
        3,
        "error: KDNS_CONFIG names /nowhere/config.yaml, which is not there\nTry: unset KDNS_CONFIG\n",
    )


def test_everything_that_can_be_set_is_listed(home: Path) -> None:
    rows = json.loads(kdns("config", "view", "--all", "-o", "json", home=home).stdout)
    output = next(row for row in rows if row["flag"] == "--output")
    assert output["variable"] == "KDNS_OUTPUT"
    assert "trace" in output["commands"]
