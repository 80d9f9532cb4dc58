"""Finds the command in argv, runs it through typer, and turns what happens into messages and an exit status.

0 fine; 1 ran and found a problem; 2 wrong usage; 3 could not run; 130 SIGINT, 143 SIGTERM (DESIGN section 8).
"""

from __future__ import annotations

import errno
import gc
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError, UsageError, did_you_mean

if TYPE_CHECKING:
    from kubectl_kdns.config import Setting

COMMANDS = {
    "trace": "trace",
    "coredns-logs": "coredns_logs",
    "hubble": "hubble",
    "explain": "explain",
    "upstreams": "upstreams",
    "record": "record",
    "demo": "demo",
    "backends": "backends",
    "doctor": "doctor",
    "fields": "fields",
    "schema": "schema",
    "cleanup": "cleanup",
    "config": "config",
    "completion": "completion",
    "version": "version",
}


class Exit(Exception):
    """Ends the program with this status, everything having been said."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def main(argv: Sequence[str]) -> int:
    """Runs one command; returns the exit status. Never shows a traceback unless KDNS_DEBUG=1."""
    try:
        return _run(list(argv))
    except KeyboardInterrupt as error:
        return 128 + (error.args[0] if error.args else signal.SIGINT)
    except KdnsError as error:
        if os.environ.get("KDNS_DEBUG") == "1":
            raise
        # A message keeps its lines; each of them is made safe, for it may quote what a server said.
        text = "\n".join(safe_text(line) for line in str(error).split("\n"))
        print(f"error: {text}", file=sys.stderr)
        return error.exit_status
    except Exception as error:
        if nobody_reads(error):
            # That is an orderly end. Nothing more may be written to it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if os.environ.get("KDNS_DEBUG") == "1":
            raise
        kind = type(error).__name__
        print(
            f"error: kdns failed in a way that it should not: {kind}: {safe_text(str(error))}\n"
            "Please report this. Try: the same command with KDNS_DEBUG=1 for the details",
            file=sys.stderr,
        )
        return 3


def nobody_reads(error: Exception) -> bool:
    """Whether whoever read our output has gone: of such a pipe Windows says EINVAL, which names no file."""
    if isinstance(error, OSError) and os.name == "nt":
        return error.errno in (errno.EPIPE, errno.EINVAL) and error.filename is None
    return isinstance(error, BrokenPipeError)


def calm_collector() -> None:
    """Lets Python look for cycles rarely: records form none, and what was imported stays.

    By default each ten thousand lookups that wait to be joined are looked at again and again: journeys took
    twice the time.
    """
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)


def _run(argv: list[str]) -> int:
    name, rest = split_command(argv)
    from kubectl_kdns.cli.settings import blamed, defaults_for

    defaults = defaults_for(name)
    try:
        run = parse(name, rest, defaults)
        calm_collector()
        run()
    except UsageError as error:
        raise blamed(error, name, defaults) from None
    except Exit as exit_:
        return exit_.status
    return 0


def parse(name: str, arguments: Sequence[str], defaults: Mapping[str, Setting]) -> Callable[[], None]:
    """The command with its flags, to be called. Raises UsageError."""
    import importlib

    import typer

    from kubectl_kdns.cli.settings import parameters

    module = importlib.import_module(f"kubectl_kdns.cli.{COMMANDS[name]}")
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": [], "default_map": parameters(name, defaults)},
    )
    app.command()(module.COMMAND)
    # click's UsageError, wherever this version of typer keeps its click.
    usage_error: Any = typer.BadParameter.__bases__[0]
    try:
        run: Callable[[], None] = app(
            list(arguments), prog_name=f"kubectl kdns {name}", standalone_mode=False
        )
    except usage_error as error:
        raise UsageError(
            str(error.format_message()).rstrip("."), hint=f"kubectl kdns {name} --help"
        ) from None
    return run


def split_command(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name and its arguments; flags before the name are its arguments too, as in kubectl."""
    from kubectl_kdns.cli.groups import ConnectionOptions

    taking = [item for item in ConnectionOptions.FLAGS.values() if not isinstance(item.default, bool)]
    with_value = {"-n", "--namespace", *(name for item in taking for name in item.names)}
    index = 0
    while index < len(argv) and argv[index].startswith("-"):
        index += 2 if argv[index] in with_value else 1
    if index >= len(argv):
        raise UsageError("no command given", hint="kubectl kdns --help")
    name = argv[index]
    if name not in COMMANDS:
        near = did_you_mean(name, list(COMMANDS))
        raise UsageError(
            f"there is no command {safe_text(name)!r}" + (f"; {near}" if near else ""),
            hint="kubectl kdns --help",
        )
    return name, [*argv[index + 1 :], *argv[:index]]
