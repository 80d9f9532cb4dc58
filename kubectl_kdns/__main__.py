"""Entry point: help pages are printed before anything heavy is imported."""

import sys


def main() -> None:
    """`kubectl-kdns`, `kubectl kdns` and `python -m kubectl_kdns`."""
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


if __name__ == "__main__":
    main()
