"""Writes the help pages that `--help` prints without importing anything: kubectl_kdns/cli/pages/*.txt.

Usage: python tools/gen_help.py [--check]. They are made from plugin.yaml (commands), from the option groups
of each command, and from its EXAMPLES.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from pathlib import Path

from kubectl_kdns.backend import load_plugin
from kubectl_kdns.cli.app import COMMANDS
from kubectl_kdns.cli.groups import ConnectionOptions
from kubectl_kdns.cli.options import Flag, Options

PAGES = Path(__file__).resolve().parent.parent / "kubectl_kdns" / "cli" / "pages"
TITLES = {
    "SelectionOptions": "Which lookups",
    "StreamOptions": "How long",
    "InputOptions": "Recorded data",
    "CorednsOptions": "Where CoreDNS is",
    "HubbleOptions": "Where Hubble is",
    "OutputOptions": "Output",
}
WIDTH = 100
NAME_WIDTH = 32


def flag_line(item: Flag) -> str:
    """One flag as kubectl prints it: names and value, then the help, wrapped and indented."""
    if item.names:
        short = [n for n in item.names if not n.startswith("--")]
        long = [n for n in item.names if n.startswith("--")]
        names = (f"{short[0]}, " if short else "    ") + long[0]
        value = f" {item.metavar}" if item.metavar else ""
    else:
        names, value = item.metavar, ""
    default = item.default
    shown = f" (default {default})" if default not in (None, "", (), False, 0, "0") else ""
    left = f"  {names}{value}"
    text = textwrap.wrap(item.help + shown, WIDTH - NAME_WIDTH - 2)
    lines = (
        [f"{left:<{NAME_WIDTH + 2}}{text[0]}"]
        if len(left) < NAME_WIDTH + 2
        else [left, " " * (NAME_WIDTH + 2) + text[0]]
    )
    return "\n".join([*lines, *(" " * (NAME_WIDTH + 2) + line for line in text[1:])])


def group_section(group: type[Options]) -> str:
    """The flags of one group under its title."""
    title = TITLES.get(group.__name__) or (inspect.getdoc(group) or "").split("\n")[0].rstrip(".")
    return f"{title}:\n" + "\n".join(flag_line(item) for item in group.FLAGS.values() if not item.hidden)


def command_page(name: str, summary: str) -> str:
    """Summary, description, examples, flags by group, usage."""
    module = importlib.import_module(f"kubectl_kdns.cli.{COMMANDS[name]}")
    parts = [f"{summary}."]
    if module.DESCRIPTION:
        parts.append("\n".join(textwrap.wrap(module.DESCRIPTION, WIDTH)))
    parts.append("Examples:\n" + textwrap.indent(textwrap.dedent(module.EXAMPLES).strip(), "  "))
    groups = [group for group in module.GROUPS if group is not ConnectionOptions]
    parts += [group_section(group) for group in groups if group.FLAGS]
    positional = next(
        (flag.metavar for group in groups for flag in group.FLAGS.values() if not flag.names), ""
    )
    usage = f"Usage:\n  kubectl kdns {name} [flags]" + (f" {positional}" if positional else "")
    parts.append(usage)
    if ConnectionOptions in module.GROUPS:
        parts.append("kubectl's own flags (--context, --kubeconfig, ...) work here too: kubectl kdns options")
    return "\n\n".join(parts) + "\n"


def pages() -> dict[str, str]:
    """File name -> text of every page."""
    plugin = load_plugin()
    commands = plugin["commands"]
    main = [
        plugin["description"].strip(),
        "Commands:\n" + "\n".join(f"  {name:<14}{text}" for name, text in commands.items()),
        "Begin with:\n  kubectl kdns demo                          # no cluster needed\n"
        "  kubectl kdns backends                      # what works in this cluster, and the fix if not\n"
        "  kubectl kdns coredns-logs --failed",
        "Usage:\n  kubectl kdns COMMAND [flags]",
        "kubectl kdns COMMAND --help tells more; kubectl kdns options lists kubectl's own flags.",
    ]
    hidden = [item.names[0] for item in ConnectionOptions.FLAGS.values() if item.hidden]
    result = {"main.txt": "\n\n".join(main) + "\n"}
    result["options.txt"] = (
        "These flags of kubectl can be passed to any command that reaches a cluster:\n\n"
        + "\n".join(flag_line(item) for item in ConnectionOptions.FLAGS.values() if not item.hidden)
        + "\n\nAccepted without effect:\n"
        + "\n".join(textwrap.wrap(", ".join(hidden), WIDTH))
        + "\n"
    )
    for name in COMMANDS:
        result[f"{name}.txt"] = command_page(name, commands[name])
    return result


def main() -> int:
    """Writes the pages, or with --check says which are not current."""
    wanted = pages()
    stale = [n for n, text in wanted.items() if not (PAGES / n).is_file() or (PAGES / n).read_text() != text]
    stale += [path.name for path in PAGES.glob("*.txt") if path.name not in wanted]
    if "--check" in sys.argv:
        if stale:
            print(f"help pages are not current: {', '.join(sorted(stale))}: run make docs", file=sys.stderr)
        return bool(stale)
    PAGES.mkdir(exist_ok=True)
    for name in stale:
        if name in wanted:
            (PAGES / name).write_text(wanted[name])
        else:
            (PAGES / name).unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
