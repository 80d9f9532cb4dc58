"""Options and fixtures for all tests."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Timing never decides a test, and the machine that runs them may be busy.
settings.register_profile("kdns", deadline=None)
settings.load_profile("kdns")

# What whoever runs the tests has set for himself is not for them.
for _name in [
    name
    for name in os.environ
    if name.startswith("KDNS_") and not name.startswith(("KDNS_E2E_", "KDNS_HUBBLE", "KDNS_REQUIRE_"))
]:
    del os.environ[_name]
os.environ["KDNS_CONFIG"] = os.devnull

GOLDEN = Path(__file__).parent / "golden"
Golden = Callable[[str, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--update-golden", action="store_true", help="rewrite the files in tests/golden instead of comparing"
    )


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """`golden("output/table.txt", text)` compares the whole text with that file below tests/golden."""

    def check(name: str, actual: str) -> None:
        path = GOLDEN / name
        if request.config.getoption("--update-golden"):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(actual.encode())
            return
        assert path.is_file(), f"tests/golden/{name} is missing: use --update-golden, then read it"
        assert actual == path.read_bytes().decode(), f"differs from tests/golden/{name}"

    return check
