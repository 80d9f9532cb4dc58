"""Every command in README and docs that asks a cluster, run there; what changes it has tests of its own."""

from __future__ import annotations

import re

import pytest

from e2e.world import World
from support.shown_commands import SYNOPSIS, shown

ELSEWHERE = ("demo", "fields", "schema", "completion", "config", "options", "help", "cleanup")
"""Those that ask no cluster, and one that would undo what other tests do."""
STREAMS = ("trace", "coredns-logs", "upstreams", "record")
SHORT = "2s"


def asks(words: list[str]) -> bool:
    """Whether it asks a cluster, and changes nothing for longer than it runs."""
    if len(words) == 1 and words[0] in ("explain", "record"):
        return False  # the command's name, in a sentence
    changes = {"--enable", "--apply"} & set(words) and not any("--dry-run" in word for word in words)
    is_synopsis = "-F" not in words and any(map(SYNOPSIS.search, words[1:]))
    others = {"--from", "--help", "--hubble-server", "--local", "--list"} & set(words)
    return words[0] not in ELSEWHERE and not changes and not others and not is_synopsis


COMMANDS = {" ".join(words): words for _, words, _ in shown() if asks(words)}


def here(world: World, words: list[str]) -> list[str]:
    """The same in the test's namespace, with its pods and its CoreDNS, and soon over."""
    pod = next(iter(world.clients.values()))
    found = [re.sub(r"^(deploy/\w+|checkout|client-\w+)$", pod, word) for word in words]
    if found[0] in ("trace", "record"):
        found = ["ds/client" if word == pod else word for word in found]
    for flag in ("-n", "--for"):
        if flag in found:
            at = found.index(flag) + 1
            given = found[at]
            found[at] = SHORT if flag == "--for" else given if given == "kube-system" else world.namespace
    if found[0] in STREAMS and not {"--for", "--no-follow", "--enable"} & set(found):
        found += ["--for", SHORT]
    if found[0] in ("trace", "coredns-logs", "record") and "hubble" not in found:
        found += world.here()
    return [str(world.directory / word) if word.endswith(".jsonl.gz") else word for word in found]


def test_there_are_many() -> None:
    assert len(COMMANDS) > 35


@pytest.mark.parametrize("shown", COMMANDS)
def test_it_runs(world: World, shown: str) -> None:
    words = here(world, COMMANDS[shown])
    done = world.kdns(*words, check=False)
    said = f"kubectl kdns {' '.join(words)}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    assert "Traceback" not in done.stderr, said
    assert "should not" not in done.stderr, said
    if "hubble" in words and words[0] != "backends" and done.returncode == 3:  # a cluster without Cilium
        assert done.stderr.startswith("error: "), said
        assert "\nTry: " in done.stderr, said
    else:
        assert done.returncode in (0, 1), said
