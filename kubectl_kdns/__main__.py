"""Entry point: help pages are printed before anything heavy is imported."""

import sys
from io import TextIOWrapper


def main() -> None:
    """`kubectl-kdns`, `kubectl kdns` and `python -m kubectl_kdns`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            write_alike(stream)
    argv = sys.argv[1:]
    if argv[:1] == ["__complete"]:
        from kubectl_kdns.cli.complete import main as complete

        sys.exit(complete(argv[1:]))
    before_dashes = argv[: argv.index("--")] if "--" in argv else argv
    if not argv or "-h" in before_dashes or "--help" in before_dashes or argv[0] in ("help", "options"):
        from kubectl_kdns.cli.help import print_help

        sys.exit(print_help(argv))
    if argv == ["--version"]:
        from kubectl_kdns import __version__

        print(f"kubectl-kdns {__version__}")
        sys.exit(0)
    from kubectl_kdns.cli.app import main as run

    sys.exit(run(argv))


def write_alike(stream: TextIOWrapper) -> None:
    """Files and pipes get UTF-8 with "\\n", as from kubectl, whatever the system's code page is; a terminal
    what it can show."""
    if stream.isatty():
        stream.reconfigure(errors="replace")
        if sys.platform == "win32":
            from kubectl_kdns.cli.windows_console import take_escapes

            take_escapes(stream.fileno())
    else:
        stream.reconfigure(encoding="utf-8", errors="replace", newline="\n")


if __name__ == "__main__":
    main()
