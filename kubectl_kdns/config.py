"""Defaults of flags from a file and from variables: what they may set, what they say, and where it was said.

The file is YAML: a flag's name (`output: wide`) is for every command that has the flag, a command's name has
a mapping of its own (`trace: {backend: [ebpf]}`). A variable is KDNS_ and the flag's name, for every command.
What is nearer counts: flag, variable, the file's command, the file. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from msgspec import Struct

from kubectl_kdns.cli.options import Flag
from kubectl_kdns.errors import ConfigError, did_you_mean

PREFIX = "KDNS_"
_OF_SERVICE = re.compile(r"(tcp|udp|sctp)://")
"""In a pod whose namespace has a Service named kdns, KDNS_PORT is its address (kubelet's service links)."""
Value = str | int | bool | list[str]
Flags = Mapping[str, Flag]
"""What may be set for a command, by the flag's name without its dashes."""


class Setting(Struct, frozen=True):
    """One default: of flag `--name`, for `command` ("" all), said by `origin`."""

    name: str
    value: Value
    origin: str
    command: str = ""


def parse_config(
    text: str, origin: str, commands: Mapping[str, Flags], refused: Mapping[str, str]
) -> list[Setting]:
    """All that the file sets. `refused` are flags that no file may set, with why. Raises ConfigError."""
    tree = _load(text, origin)
    settings = []
    for key, value in tree.items():
        if key in commands:
            if not isinstance(value, Mapping):
                raise ConfigError(
                    f"{origin}: {key}: a mapping of its flags is needed", hint=f"{key}: {{output: wide}}"
                )
            for name, own in value.items():
                where = f"{origin}: {key}.{name}"
                flag = _known(name, {key: commands[key]}, where, refused)
                settings.append(Setting(name, _value(own, flag, where), origin, key))
        else:
            flag = _known(key, commands, f"{origin}: {key}", refused, sections=commands)
            settings.append(Setting(key, _value(value, flag, f"{origin}: {key}"), origin))
    return settings


def parse_variables(
    environment: Mapping[str, str], commands: Mapping[str, Flags], others: Collection[str] = ()
) -> list[Setting]:
    """Those that are flags; `others` are none, nor need any other variable be. Raises ConfigError."""
    settings = []
    for key, text in sorted(environment.items()):
        if not key.startswith(PREFIX) or key in others or not text or _OF_SERVICE.match(text):
            continue
        name = key.removeprefix(PREFIX).lower().replace("_", "-")
        flag = _find(name, commands)
        if flag and key == variable_of(name):
            value = _value(_read_text(text, flag), flag, f"{key}={text}", hint=f"unset {key}")
            settings.append(Setting(name, value, f"variable {key}"))
    return settings


def variable_of(name: str) -> str:
    return PREFIX + name.upper().replace("-", "_")


def defaults_of(command: str, flags: Flags, settings: Sequence[Setting]) -> dict[str, Setting]:
    """By flag, of settings of which later ones count: first those of the file, then those of variables."""

    def rank(setting: Setting) -> tuple[bool, bool]:
        return setting.origin.startswith("variable "), bool(setting.command)

    ordered = sorted(settings, key=rank)
    return {each.name: each for each in ordered if each.name in flags and each.command in ("", command)}


def _load(text: str, origin: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    import yaml

    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{origin} is no YAML", cause=" ".join(str(error).split()), hint=_HINT) from None
    if tree is None:
        return {}
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise ConfigError(
            f"{origin}: names of flags with their values are needed",
            cause=f"{_WORDY}: quote them",
            hint=_HINT,
        )
    return tree


def _find(name: str, commands: Mapping[str, Flags]) -> Flag | None:
    """Of the first command that has it."""
    return next((flags[name] for flags in commands.values() if name in flags), None)


def _known(
    name: Any,
    commands: Mapping[str, Flags],
    where: str,
    refused: Mapping[str, str],
    sections: Collection[str] = (),
) -> Flag:
    if name in refused:
        raise ConfigError(f"{where} cannot be set here", cause=refused[name], hint="give it as a flag")
    flag = _find(name, commands)
    if flag is None:
        names = [each for flags in commands.values() for each in flags if each not in refused]
        near = did_you_mean(str(name), [*names, *sections])
        raise ConfigError(f"{where}: there is no such setting", hint=near or _HINT)
    return flag


def _value(value: Any, flag: Flag, where: str, hint: str = "") -> Value:
    default = flag.default
    if isinstance(default, bool):
        if isinstance(value, bool):
            return value
        raise ConfigError(f"{where}: true or false is needed", hint=hint or _HINT)
    if default == ():
        items = value if isinstance(value, list) else [value]
        return [_text(item, where) for item in items]
    if isinstance(default, int):
        if isinstance(value, int) and not isinstance(value, bool):
            return value
        raise ConfigError(f"{where}: a whole number is needed", hint=hint or _HINT)
    return _text(value, where)


def _text(value: Any, where: str) -> str:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    raise ConfigError(f"{where}: a text is needed", cause=_WORDY, hint=_HINT)


def _read_text(text: str, flag: Flag) -> Value:
    """A variable's text as YAML would have it, where it can be read so."""
    default = flag.default
    if isinstance(default, bool):
        return _WORDS.get(text.lower(), text)
    if default == ():
        return [part.strip() for part in text.split(",") if part.strip()]
    return int(text) if isinstance(default, int) and text.isdecimal() else text


_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_WORDY = "YAML takes yes, no, on and off for true and false"
_HINT = "kubectl kdns config view --all (every setting with its variable)"
