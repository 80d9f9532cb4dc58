"""The docs site: every text is in it, every link of it leads somewhere."""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import make_site  # noqa: E402

LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The text of each page."""
    out = tmp_path_factory.mktemp("site") / "docs"
    make_site.assemble(out)
    return {path.relative_to(out).as_posix(): path.read_text() for path in out.rglob("*.md")}


def leaves(nav: Any) -> Iterator[str]:
    if isinstance(nav, str):
        yield nav
    elif isinstance(nav, dict):
        for value in nav.values():
            yield from leaves(value)
    else:
        for value in nav:
            yield from leaves(value)


def anchors(text: str) -> set[str]:
    """As mkdocs makes them of headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", title).strip().lower()) for title in titles}


def test_every_text_is_in_the_navigation(site: dict[str, str]) -> None:
    nav = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert sorted(nav) == sorted(site)
    assert len(site) > 15


def test_every_link_leads_somewhere(site: dict[str, str]) -> None:
    checked = 0
    for page, text in site.items():
        for path, anchor in LINK.findall(text):
            if path.startswith("https://"):
                file = path.partition("/blob/main/")[2]
                assert not file or (ROOT / file).exists(), f"{page}: {path}"
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path)) if path else page
            assert target in site, f"{page}: {path}"
            assert not anchor or anchor in anchors(site[target]), f"{page}: {path}#{anchor}"
            checked += 1
    assert checked > 30


def test_every_command_has_its_help(site: dict[str, str]) -> None:
    commands = yaml.safe_load((ROOT / "plugin.yaml").read_text())["commands"]
    assert set(re.findall(r"^## (\S+)$", site[make_site.COMMANDS], re.MULTILINE)) >= set(commands)
