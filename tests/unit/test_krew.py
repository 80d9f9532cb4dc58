"""The manifest for krew: what it holds, and that each of krew's rules is kept."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import gen_krew  # noqa: E402


@pytest.fixture
def manifest(tmp_path: Path) -> dict[str, Any]:
    names = ["linux_amd64.tar.gz", "darwin_arm64.tar.gz", "windows_amd64.zip"]
    archives = [tmp_path / f"kubectl-kdns_0.1.0_{name}" for name in names]
    for archive in archives:
        archive.write_bytes(archive.name.encode())
    return gen_krew.render(yaml.safe_load((ROOT / "plugin.yaml").read_text()), archives)


def test_what_it_holds(manifest: dict[str, Any]) -> None:
    assert gen_krew.problems(manifest) == []
    spec = manifest["spec"]
    assert (manifest["metadata"]["name"], spec["version"]) == ("kdns", "v0.1.0")
    assert [platform["bin"] for platform in spec["platforms"]] == ["kubectl-kdns"] * 2 + ["kubectl-kdns.exe"]
    assert all(platform["uri"].endswith(("tar.gz", "zip")) for platform in spec["platforms"])


Break = Callable[[dict[str, Any]], Any]
BREAKS: dict[str, Break] = {
    "apiVersion": lambda m: m.update(apiVersion="v1"),
    "the name": lambda m: m["metadata"].update(name="kubectl-kdns"),
    "the version": lambda m: m["spec"].update(version="0.1.0"),
    "shortDescription": lambda m: m["spec"].update(shortDescription="It does this.\nAnd that."),
    "homepage": lambda m: m["spec"].update(homepage="http://example.com"),
    "no platforms": lambda m: m["spec"].update(platforms=[]),
    "the selector": lambda m: m["spec"]["platforms"][0].update(selector={"matchLabels": {"libc": "musl"}}),
    "same selector": lambda m: m["spec"]["platforms"].append(copy.deepcopy(m["spec"]["platforms"][0])),
    "the uri": lambda m: m["spec"]["platforms"][0].update(uri="https://example.com/kdns.deb"),
    "sha256": lambda m: m["spec"]["platforms"][0].update(sha256="ABC"),
    "the path": lambda m: m["spec"]["platforms"][0].update(bin="../kubectl"),
    "files is empty": lambda m: m["spec"]["platforms"][0].update(files=[]),
}


@pytest.mark.parametrize("rule", BREAKS)
def test_each_rule_is_kept(manifest: dict[str, Any], rule: str) -> None:
    BREAKS[rule](manifest)
    (problem,) = gen_krew.problems(manifest)
    assert rule in problem


def test_archives_of_two_versions_are_none(tmp_path: Path) -> None:
    archives = [tmp_path / f"kubectl-kdns_0.{i}.0_linux_amd64.tar.gz" for i in (1, 2)]
    for archive in archives:
        archive.write_bytes(b"")
    with pytest.raises(SystemExit, match="several versions"):
        gen_krew.render(yaml.safe_load((ROOT / "plugin.yaml").read_text()), archives)
