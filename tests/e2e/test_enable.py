"""coredns-logs --enable on a real CoreDNS: proven, timed, and undone byte for byte however it ends."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.world import World

QUIET = """.:53 {
    errors
    forward . UPSTREAM
    ready
    reload 2s 1s
}
"""


@pytest.fixture(scope="module")
def quiet(world: World) -> Iterator[list[str]]:
    """A CoreDNS whose log is off; the flags that point kdns at it."""
    world.add_dns("quiet", QUIET.replace("UPSTREAM", world.upstream))
    yield ["--coredns-namespace", world.namespace, "--coredns-selector", "app=kdns-e2e-quiet"]
    world.kubectl("-n", world.namespace, "delete", "deployment,service,configmap", "quiet", "--wait=false")


def config(world: World) -> Any:
    """All of the ConfigMap that a user can write."""
    found = world.get("configmap", "quiet")
    metadata = {k: v for k, v in found["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return {**found, "metadata": metadata}


ENABLE = ("coredns-logs", "--enable", "--yes", "-o", "json")


def test_it_is_live_for_the_time_and_then_as_before(world: World, quiet: list[str]) -> None:
    before = config(world)
    running = world.start_kdns(*ENABLE, "--for", "20s", *quiet)
    world.wait(lambda: "for 20s from now" in running.stderr(), "every pod has reloaded", timeout_s=170)
    assert len(re.findall(r"^live in quiet-\S+ after", running.stderr(), re.MULTILINE)) == 2
    server = world.get("service", "quiet")["spec"]["clusterIP"]
    asked = world.ask(["-n", "10", "-rate", "50", "-random", "servfail.test"], server=server)
    asked += world.ask(["-n", "5", "-random", "ok.test"], server=server)
    assert running.process.wait(60) == 0
    servfails = {(a.name, a.id) for a in asked if a.rcode == "SERVFAIL"}
    assert len(servfails) == 10 * len(world.clients)
    # class error: the failures are logged, what was answered is not.
    assert {(r["dns"]["name"], r["dns"]["id"]) for r in running.lookups()} == servfails
    assert config(world) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_undoes_it(world: World, quiet: list[str], number: int) -> None:
    before = config(world)
    running = world.start_kdns(*ENABLE, "--for", "5m", *quiet, ready="applied")
    assert config(world) != before
    assert running.finish(number) == 128 + number
    assert config(world) == before
    assert "is as it was" in running.stderr()


def test_impatience_does_not_keep_it_from_being_undone(world: World, quiet: list[str]) -> None:
    before = config(world)
    running = world.start_kdns(*ENABLE, "--for", "5m", *quiet, ready="applied")
    for _ in range(5):
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.02)
    # The last of them may come when all is done and the interpreter is on its way out.
    assert running.process.wait(30) in (130, -signal.SIGINT)
    assert config(world) == before


def test_a_signal_at_any_moment_leaves_nothing(world: World, quiet: list[str]) -> None:
    before = config(world)
    for step in range(10):
        running = world.start_kdns(*ENABLE, "--for", "5m", *quiet)
        time.sleep(0.1 + step * 0.06)
        running.finish(signal.SIGINT)
        assert config(world) == before, f"after {0.1 + step * 0.06:.2f} s"


def test_kill_minus_nine_is_said_and_healed(world: World, quiet: list[str]) -> None:
    before = config(world)
    running = world.start_kdns(*ENABLE, "--for", "5m", *quiet, ready="applied")
    running.finish(signal.SIGKILL)
    assert config(world) != before
    later = world.kdns("coredns-logs", *world.here(), "--limit", "1")
    assert "kubectl kdns cleanup" in later.stderr
    assert "would undo" in world.kdns("cleanup", "--dry-run=client").stdout
    assert config(world) != before
    assert "is as it was" in world.kdns("cleanup").stdout
    assert config(world) == before
    assert "nothing to clean up" in world.kdns("cleanup").stderr


def test_a_dry_run_shows_the_diff_and_changes_nothing(world: World, quiet: list[str]) -> None:
    before = config(world)
    for mode in ("client", "server"):
        done = world.kdns("coredns-logs", "--enable", f"--dry-run={mode}", *quiet)
        assert "+        class error # kdns:" in done.stdout
    assert config(world) == before
