"""The plugin file for k9s: k9s would take it, and kdns takes the commands in it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_kdns.cli.app import parse, split_command

FILE = Path(__file__).resolve().parents[2] / "contrib/k9s-plugins.yaml"
PLUGINS: dict[str, dict[str, Any]] = yaml.safe_load(FILE.read_text())["plugins"]
# What k9s knows of the row under the cursor (k9scli.io/topics/plugins), with an example.
KNOWN = {"NAME": "web", "NAMESPACE": "shop", "CONTEXT": "prod", "RESOURCE_NAME": "deployments"}
# k9s's internal/config/json/schemas/plugins.json
KEYS = {"shortCut", "description", "scopes", "command", "background", "confirm", "args"}
# What k9s 0.50 itself does with Shift and a letter in one of the scopes or everywhere (internal/view): it
# takes no plugin for such a key.
ITS_OWN = set("ACDFGIJKLMNOPRSTUVXZ")
ASK = "printf 'Name to look up: '; read -r lookup; "


def words_of(plugin: dict[str, Any]) -> list[str]:
    """The command as k9s runs it, without the shell and the pager around it."""
    args = [re.sub(r"\$([A-Z_]+)", lambda found: KNOWN[found[1]], arg) for arg in plugin["args"]]
    flag, script = args
    assert (plugin["command"], flag) == ("sh", "-c")
    # k9s kills at Ctrl-C what it has started: not kdns, so the shell must not become it.
    end = next(end for end in (" 2>&1 | less -R", "; :") if script.endswith(end))
    script = script.replace("$lookup", "payments") if script.startswith(ASK) else script
    return shlex.split(script.removeprefix(ASK).removesuffix(end))


@pytest.mark.parametrize("name", PLUGINS)
def test_kdns_takes_the_command(name: str) -> None:
    kubectl, kdns, *words = words_of(PLUGINS[name])
    assert (kubectl, kdns) == ("kubectl", "kdns")
    command, arguments = split_command(words)
    assert command in ("trace", "explain", "doctor")
    assert callable(parse(command, arguments, {}))


def test_k9s_would_take_it() -> None:
    taken = set()
    for plugin in PLUGINS.values():
        assert set(plugin) <= KEYS
        shift, letter = plugin["shortCut"].split("-")
        assert shift == "Shift"
        assert letter not in ITS_OWN
        assert all(plugin.get(key) for key in ("shortCut", "description", "scopes", "command"))
        for scope in plugin["scopes"]:
            assert (scope, plugin["shortCut"]) not in taken
            taken.add((scope, plugin["shortCut"]))
