"""Renders dist/krew-manifest.yaml from plugin.yaml and the archives there (`make krew`), and checks it.

A platform stands in it when its archive is there: a checkout has the one it built, a release all of them, and
is refused (`--all`) when one is missing. The rules are those of krew's `internal/index/validation` and of its
naming guide.
"""

from __future__ import annotations

import hashlib
import re
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
API_VERSION = "krew.googlecontainertools.github.com/v1alpha2"
PROGRAM = "kubectl-kdns"
_ARCHIVE = re.compile(
    rf"{PROGRAM}_(?P<version>[^_]+)_(?P<os>linux|darwin|windows)_(?P<arch>amd64|arm64)\.(tar\.gz|zip)"
)
PLATFORMS = {"linux_amd64", "linux_arm64", "darwin_amd64", "darwin_arm64", "windows_amd64"}
"""Those of a release (.github/workflows/release.yaml)."""
_SEMVER = re.compile(r"v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?")
CAVEATS = """\
The backend that watches packets creates agents on nodes for as long as a command runs, and says so before:
  kubectl kdns backends
says what works in your cluster, and what it needs.
"""


def main() -> int:
    archives = sorted(path for path in (ROOT / "dist").glob("*") if _ARCHIVE.fullmatch(path.name))
    if not archives:
        print("there is no archive in dist. Try: make archive", file=sys.stderr)
        return 1
    found = {f"{m['os']}_{m['arch']}" for path in archives if (m := _ARCHIVE.fullmatch(path.name))}
    if "--all" in sys.argv[1:] and found != PLATFORMS:
        print(f"archives are missing in dist: {', '.join(sorted(PLATFORMS - found))}", file=sys.stderr)
        return 1
    manifest = render(yaml.safe_load((ROOT / "plugin.yaml").read_text()), archives)
    for problem in problems(manifest):
        print(f"krew-manifest.yaml: {problem}", file=sys.stderr)
        return 1
    out = ROOT / "dist" / "krew-manifest.yaml"
    out.write_text(yaml.safe_dump(manifest, sort_keys=False))
    print(f"{out.relative_to(ROOT)}: {len(manifest['spec']['platforms'])} platform(s)")
    return 0


def render(plugin: dict[str, Any], archives: list[Path]) -> dict[str, Any]:
    """The manifest of one version, which all archives have."""
    platforms, versions = [], set()
    for archive in archives:
        found = _ARCHIVE.fullmatch(archive.name)
        assert found
        versions.add(found["version"])
        platforms.append(
            {
                "selector": {"matchLabels": {"os": found["os"], "arch": found["arch"]}},
                "uri": f"{plugin['homepage']}/releases/download/v{found['version']}/{archive.name}",
                "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
                "bin": PROGRAM + (".exe" if found["os"] == "windows" else ""),
                "files": [{"from": f"{PROGRAM}/*", "to": "."}],
            }
        )
    if len(versions) != 1:
        raise SystemExit(f"archives of several versions in dist: {', '.join(sorted(versions))}")
    return {
        "apiVersion": API_VERSION,
        "kind": "Plugin",
        "metadata": {"name": plugin["name"]},
        "spec": {
            "version": f"v{versions.pop()}",
            "homepage": plugin["homepage"],
            "shortDescription": plugin["shortDescription"],
            "description": plugin["description"],
            "caveats": CAVEATS,
            "platforms": platforms,
        },
    }


def problems(manifest: dict[str, Any]) -> list[str]:
    """What krew, or its review, would refuse; empty when nothing."""
    found = []
    spec = manifest.get("spec") or {}
    name = (manifest.get("metadata") or {}).get("name") or ""
    if manifest.get("apiVersion") != API_VERSION or manifest.get("kind") != "Plugin":
        found.append("apiVersion or kind is not krew's")
    if not re.fullmatch(r"[a-z][a-z0-9-]*", name) or name.startswith(("kube-", "kubectl-")):
        found.append(f"the name {name!r}: lower case, no kube- before it")
    if not _SEMVER.fullmatch(str(spec.get("version", ""))):
        found.append(f"the version {spec.get('version')!r} is not v and a semantic version")
    short = str(spec.get("shortDescription") or "")
    if not short or "\n" in short or len(short) > 50 or short.endswith("."):
        found.append("shortDescription: one line of up to 50 characters, without a full stop")
    if not spec.get("description") or not str(spec.get("homepage") or "").startswith("https://"):
        found.append("description and an https homepage are needed")
    platforms = spec.get("platforms") or []
    if not platforms:
        found.append("no platforms")
    for platform in platforms:
        found += _problems_of(platform)
    labels = [str(platform.get("selector")) for platform in platforms]
    if len(set(labels)) != len(labels):
        found.append("two platforms have the same selector")
    return found


def _problems_of(platform: dict[str, Any]) -> list[str]:
    found = []
    labels = (platform.get("selector") or {}).get("matchLabels") or {}
    if not labels or not labels.keys() <= {"os", "arch"}:
        found.append(f"the selector {labels}: os and arch, and nothing else")
    if not re.fullmatch(r"https://\S+\.(tar\.gz|zip)", str(platform.get("uri", ""))):
        found.append(f"the uri {platform.get('uri')!r} is not https to a .tar.gz or .zip")
    if not re.fullmatch(r"[0-9a-f]{64}", str(platform.get("sha256", ""))):
        found.append("sha256 has 64 lower-case hexadecimal digits")
    paths = [file.get(end) for file in platform.get("files") or () for end in ("from", "to")]
    for where in (platform.get("bin"), *paths):
        if not where or str(where).startswith("/") or ".." in str(where).split("/"):
            found.append(f"the path {where!r} is not inside of the archive")
    if "files" in platform and not platform["files"]:
        found.append("files is empty")
    return found


if __name__ == "__main__":
    sys.exit(main())
