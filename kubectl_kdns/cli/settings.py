"""Where defaults of flags come from: the user's file and the environment, for the flags that may have some."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kubectl_kdns.errors import ConfigError, KdnsError, UsageError

if TYPE_CHECKING:
    from kubectl_kdns.cli.options import Flag, Options
    from kubectl_kdns.config import Flags, Setting

UNTOUCHED = ("completion", "config", "fields", "options", "schema", "version")
"""Commands that work whatever a file says."""
NO_FLAGS = ("KDNS_CONFIG", "KDNS_DEBUG")
"""Variables that say other things."""
SINGLE = ("backend", "timeout")
SECRETS = ("hubble-basic-auth-password", "token", "password")
REFUSED = {
    "yes": "what changes a cluster has to be agreed to each time",
    "privileged": "what gives more rights on nodes has to be asked for each time",
    "dry-run": "a run that does nothing has to be asked for each time",
    **dict.fromkeys(SECRETS, "a secret does not belong into this file; it may be in a variable"),
}


def config_path() -> Path:
    """$KDNS_CONFIG, else kdns/config.yaml in the user's directory of configurations (XDG; %APPDATA%)."""
    named = os.environ.get("KDNS_CONFIG")
    if named:
        return Path(named)
    home = os.environ.get("APPDATA") if sys.platform == "win32" else os.environ.get("XDG_CONFIG_HOME")
    return Path(home or Path.home() / ".config") / "kdns" / "config.yaml"


def read_settings(command: str = "") -> list[Setting]:
    """Of the file, then of variables; `command` is the one that is run. Raises ConfigError."""
    path = config_path()
    text = _read(path)
    named = any(name.startswith("KDNS_") and name not in NO_FLAGS for name in os.environ)
    if not text.strip() and not named:
        return []
    from kubectl_kdns.config import parse_config, parse_variables

    commands = settable_flags(command)
    return [
        *parse_config(text, str(path), commands, REFUSED),
        *parse_variables(os.environ, commands, NO_FLAGS),
    ]


def defaults_for(command: str) -> Mapping[str, Setting]:
    """By flag; empty for commands that read no defaults. Raises ConfigError."""
    if command in UNTOUCHED:
        return {}
    settings = read_settings(command)
    if not settings:
        return {}
    from kubectl_kdns.config import defaults_of

    return defaults_of(command, _flags_of(command), settings)


def blamed(error: UsageError, command: str, defaults: Mapping[str, Setting]) -> KdnsError:
    """The error, as one of a setting where it is about a flag that has its value from there."""
    words = set(re.split(r"[^\w-]+", error.what))
    for name, setting in defaults.items():
        is_named = not words.isdisjoint(_flags_of(command)[name].names)
        if is_named or f"{setting.value!r}" in error.what:
            return ConfigError(
                f"{setting.origin}: {error.what}", cause=error.cause, hint="kubectl kdns config view"
            )
    return error


def parameters(command: str, defaults: Mapping[str, Setting]) -> dict[str, Any]:
    """The defaults by the name of their parameter, as click's `default_map` has them."""
    if not defaults:
        return {}
    attributes = {_name(item.names): attribute for _, attribute, item in _declared(command)}
    return {attributes[name]: setting.value for name, setting in defaults.items()}


def settable_flags(first: str = "") -> Mapping[str, Flags]:
    """By command: how to print, where things are, and how a backend works. What to look at is no default: what
    a forgotten file hides would be missed when it matters. Command `first` comes first."""
    return _Settable(first)


class _Settable(Mapping[str, "Flags"]):
    """A command is imported when it is looked at: all of them take longer than a start may."""

    def __init__(self, first: str) -> None:
        from kubectl_kdns.cli.app import COMMANDS

        self._names = sorted(
            (name for name in COMMANDS if name not in UNTOUCHED), key=lambda name: name != first
        )

    def __getitem__(self, command: str) -> Flags:
        if command not in self._names:
            raise KeyError(command)
        return _flags_of(command)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


@cache
def _flags_of(command: str) -> Flags:
    return {
        _name(item.names): item
        for group, _, item in _declared(command)
        if item.names and _may_be_set(group, _name(item.names))
    }


def _declared(command: str) -> Iterator[tuple[type[Options], str, Flag]]:
    """Each flag of a command, with its group and its attribute there."""
    from importlib import import_module

    from kubectl_kdns.cli.app import COMMANDS

    groups: list[type[Options]] = import_module(f"kubectl_kdns.cli.{COMMANDS[command]}").GROUPS
    for group in groups:
        for attribute, item in group.FLAGS.items():
            yield group, attribute, item


def _may_be_set(group: type, name: str) -> bool:
    from kubectl_kdns.cli import backend_groups, groups

    general = (
        groups.ConnectionOptions,
        backend_groups.CorednsOptions,
        backend_groups.HubbleOptions,
        backend_groups.EbpfOptions,
        groups.OutputOptions,
    )
    if name in REFUSED and name not in SECRETS:
        return False
    return issubclass(group, general) or name in SINGLE


def _name(names: tuple[str, ...]) -> str:
    return next((name[2:] for name in names if name.startswith("--")), "")


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if os.environ.get("KDNS_CONFIG"):
            raise ConfigError(
                f"KDNS_CONFIG names {path}, which is not there", hint="unset KDNS_CONFIG"
            ) from None
        return ""
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise ConfigError(f"cannot read {path}", cause=reason, hint="kubectl kdns config path") from None
