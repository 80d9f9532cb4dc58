"""Prints help pages that were made beforehand (tools/gen_help.py), so that `--help` costs no imports."""

import os
import sys

PAGES = os.path.join(os.path.dirname(os.path.abspath(__file__)), "pages")


def print_help(argv: list[str]) -> int:
    """The page of the first word that is a command; of kdns itself when there is none. Exit status 0 or 2."""
    words = [word for word in argv if not word.startswith("-") and word != "help"]
    name = words[0] if words else "main"
    try:
        with open(os.path.join(PAGES, os.path.basename(name) + ".txt"), encoding="utf-8") as page:
            sys.stdout.write(page.read())
        return 0
    except OSError:
        from kubectl_kdns.dns.names import safe_text

        print(f"error: there is no command {safe_text(name)!r}\nTry: kubectl kdns --help", file=sys.stderr)
        return 2
