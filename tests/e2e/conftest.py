"""One world for the whole run; removed at its end, also when tests fail."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from e2e.world import World


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    reachable = subprocess.run(["kubectl", "get", "--raw", "/readyz"], capture_output=True, text=True)
    assert reachable.returncode == 0, f"no cluster to test against (KUBECONFIG): {reachable.stderr}"
    world = World(tmp_path_factory.mktemp("kdns"))
    try:
        world.open()
        yield world
    finally:
        world.close()


@pytest.fixture(autouse=True)
def _nothing_left_running(world: World) -> Iterator[None]:
    yield
    world.finish_all()
