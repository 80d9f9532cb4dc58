"""Assembles the pages of the docs site below build/ and has mkdocs make it (`make site`).

The texts are those in git: README, docs/, the changelog, the backends' pages and the help of every command.
Links between them become links of the site, links to other files go to the repository.

Usage: python tools/make_site.py [--assemble]
"""

from __future__ import annotations

import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/site-docs"
HELP = ROOT / "kubectl_kdns/cli/pages"
COMMANDS = "commands.md"
# [text](path#anchor), where the path is none of the web.
_LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def main() -> int:
    assemble(BUILD)
    if sys.argv[1:] == ["--assemble"]:
        return 0
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "build/site"]
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def sources() -> dict[str, str]:
    """The pages of the site by the path that their text has in the repository."""
    docs = {f"docs/{path.name}": path.name for path in sorted((ROOT / "docs").glob("*.md"))}
    backends = {
        f"backends/{path.parent.name}/README.md": f"backends/{path.parent.name.removeprefix('kdns_')}.md"
        for path in sorted((ROOT / "backends").glob("kdns_*/README.md"))
    }
    return {
        "README.md": "index.md",
        "CHANGELOG.md": "changelog.md",
        "CONTRIBUTING.md": "contributing.md",
        **docs,
        **backends,
    }


def assemble(out: Path) -> None:
    shutil.rmtree(out, ignore_errors=True)
    pages = sources()
    for source, page in pages.items():
        target = out / page
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(linked((ROOT / source).read_text(), source, pages))
    (out / COMMANDS).write_text(commands())


def linked(text: str, source: str, pages: dict[str, str]) -> str:
    """With its links as the site has them."""
    homepage = yaml.safe_load((ROOT / "plugin.yaml").read_text())["homepage"]

    def link(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), found[1]))
        if path not in pages:
            return f"]({homepage}/blob/main/{path})"
        here = posixpath.dirname(pages[source])
        return f"]({posixpath.relpath(pages[path], here)}{found[2] or ''})"

    return _LINK.sub(link, text)


def commands() -> str:
    """The help of every command, as it is printed."""
    order = ["main", *yaml.safe_load((ROOT / "plugin.yaml").read_text())["commands"]]
    there = [HELP / f"{name}.txt" for name in order if (HELP / f"{name}.txt").is_file()]
    rest = sorted(set(HELP.glob("*.txt")) - set(there))
    sections = []
    for path in [*there, *rest]:
        title = "kubectl kdns" if path.stem == "main" else path.stem
        sections.append(f"## {title}\n\n```text\n{path.read_text().rstrip()}\n```\n")
    return "# Commands and flags\n\n" + "\n".join(sections)


if __name__ == "__main__":
    sys.exit(main())
