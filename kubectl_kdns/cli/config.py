"""`kubectl kdns config`: the defaults of flags that a file and variables set, and where each comes from."""

from __future__ import annotations

import sys

from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.settings import config_path, read_settings, settable_flags
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import UsageError

DESCRIPTION = (
    "Defaults of flags are in ~/.config/kdns/config.yaml ($XDG_CONFIG_HOME and $KDNS_CONFIG count) or in variables: "
    "KDNS_ and the flag's name. A flag counts most, then a variable, then the file's section of the command, then the "
    "rest of the file. docs/config.md has an example."
)
EXAMPLES = """
# what is set, and by what
kubectl kdns config view

# everything that can be set
kubectl kdns config view --all

# the file
${EDITOR:-vi} "$(kubectl kdns config path)"
"""


class ConfigOptions(Options):
    """What to show."""

    what: str = flag(metavar="view|path", help="The settings, or where the file is", default="view")
    all: bool = flag("--all", help="Everything that can be set", default=False)
    output: str = flag(
        "-o", "--output", metavar="FORMAT", help="text (default), json or yaml", default="text"
    )


GROUPS: list[type[Options]] = [ConfigOptions]


def run(options: ConfigOptions) -> None:
    """Prints it; raises ConfigError for a file that no other command would take either."""
    if options.what == "path":
        print(config_path())
        return
    if options.what != "view":
        raise UsageError(f"config {safe_text(options.what)}: view or path", hint="kubectl kdns config view")
    if options.output not in ("text", "json", "yaml"):
        raise UsageError(f"-o {options.output}: text, json or yaml")
    rows = _possible() if options.all else _set()
    if options.output == "json":
        import json

        print(json.dumps(rows))
    elif options.output == "yaml":
        import yaml

        yaml.safe_dump(rows, sys.stdout, sort_keys=False)
    elif rows:
        _print(rows)
    else:
        print(f"nothing is set: {config_path()} is not there or empty, and no KDNS_ variable names a flag")


def _set() -> list[dict[str, object]]:
    return [
        {"flag": f"--{each.name}", "command": each.command or "all", "value": each.value, "from": each.origin}
        for each in read_settings()
    ]


def _possible() -> list[dict[str, object]]:
    from kubectl_kdns.config import variable_of

    flags = settable_flags()
    names = sorted({name for own in flags.values() for name in own})
    return [
        {
            "flag": f"--{name}",
            "variable": variable_of(name),
            "commands": ", ".join(each for each, own in flags.items() if name in own),
            "help": next(own[name].help for own in flags.values() if name in own),
        }
        for name in names
    ]


def _print(rows: list[dict[str, object]]) -> None:
    from tabulate import tabulate

    texts = [{key.upper(): safe_text(_text(value)) for key, value in row.items()} for row in rows]
    print(tabulate(texts, headers="keys", tablefmt="plain", disable_numparse=True))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


COMMAND = command(GROUPS, run)
