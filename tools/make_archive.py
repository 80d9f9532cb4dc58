"""Makes the archive that krew unpacks, for this platform (`make archive`): kdns with its own Python.

PyInstaller's onedir form, because onefile unpacks itself at every start. What kdns imports by name (commands,
output formats, backends) is told to it here. Inside are the licences of all that is in it, and an SBOM
(CycloneDX 1.5). Runs in an environment that has what kdns needs and PyInstaller, and no more: what else is
there would be found and packed. Its Python is the one that is packed. Prints size and SHA-256.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import platform
import pyexpat
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
import zlib
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import Requirement

from kdns_ebpf.local import ARCHITECTURES
from kubectl_kdns import __version__

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "dist"
ENTRY = ROOT / "kubectl_kdns/__main__.py"
# The package kubernetes serves only the auth-provider of kubeconfigs before 1.26, and is two thirds of all:
# the archive says that the wheel has it. The rest is never used by us.
EXCLUDED = (
    *("kubernetes", "aiohttp", "requests", "oauthlib", "urllib3", "pydantic", "pydantic_core", "yarl"),
    *("rich", "pygments", "markdown_it", "tkinter", "pydoc_data", "setuptools", "pip", "test", "unittest"),
)
MAX_BYTES = 25_000_000
EPOCH = 1_700_000_000
SBOM = "sbom.cdx.json"


def main() -> int:
    system, architecture = this_platform()
    name = f"kubectl-kdns_{__version__}_{system}_{architecture}"
    OUT.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        folder = freeze(Path(work))
        add_notices(folder)
        # Who has Windows has no tar; krew unpacks both.
        archive = OUT / f"{name}{'.zip' if system == 'windows' else '.tar.gz'}"
        (pack_zip if system == "windows" else pack)(folder, archive)
        # Beside it, too: what is in an archive should be known before it is unpacked.
        shutil.copy(folder / SBOM, OUT / f"{name}.cdx.json")
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    Path(f"{archive}.sha256").write_text(f"{digest}  {archive.name}\n", encoding="utf-8", newline="\n")
    size = archive.stat().st_size
    print(f"{archive.relative_to(ROOT)}: {size:,} bytes, sha256 {digest}")
    if size > MAX_BYTES:
        print(f"it is larger than {MAX_BYTES:,} bytes", file=sys.stderr)
    return int(size > MAX_BYTES)


def backends() -> list[str]:
    """The modules that plugin.yaml names."""
    plugin = yaml.safe_load((ROOT / "plugin.yaml").read_text(encoding="utf-8"))
    return [info["module"] for info in plugin["backends"].values()]


def freeze(work: Path) -> Path:
    """The folder that PyInstaller makes, without what it need not have."""
    data = {
        ROOT / "plugin.yaml": "kubectl_kdns",
        ROOT / "kubectl_kdns/demo": "kubectl_kdns/demo",
        ROOT / "kubectl_kdns/cli/pages": "kubectl_kdns/cli/pages",
    }
    command = [
        sys.executable,
        "-m",
        "PyInstaller",
        "--noconfirm",
        "--clean",
        "--onedir",
        "--log-level",
        "WARN",
    ]
    command += ["--name", "kubectl-kdns", "--paths", str(ROOT / "backends"), "--paths", str(ROOT)]
    command += ["--distpath", str(work / "dist"), "--workpath", str(work / "build"), "--specpath", str(work)]
    if platform.system() != "Windows":
        command.append("--strip")
    for source, target in data.items():
        command += ["--add-data", f"{source}{os.pathsep}{target}"]
    for module in ("kubectl_kdns", *backends()):
        command += ["--collect-submodules", module]
    for module in EXCLUDED:
        command += ["--exclude-module", module]
    environment = {**os.environ, "PYTHONHASHSEED": "0", "SOURCE_DATE_EPOCH": str(EPOCH)}
    subprocess.run([*command, str(ENTRY)], check=True, env=environment)
    folder = work / "dist" / "kubectl-kdns"
    # Not as data of PyInstaller, which would strip them: they are to be those that are in git, byte by byte.
    agents = shutil.copytree(ROOT / "backends/kdns_ebpf/agent/bin", folder / "_internal/kdns_ebpf/agent/bin")
    for agent in agents.iterdir():
        agent.chmod(0o755)
    return folder


def this_platform() -> tuple[str, str]:
    """Its system and architecture, as krew's labels `os` and `arch` name them."""
    return platform.system().lower(), ARCHITECTURES[platform.machine().lower()]


def add_notices(folder: Path) -> None:
    """LICENSE, the licences of what is bundled, and the list of it."""
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE")
    shutil.copy(ROOT / "plugin.yaml", folder / "plugin.yaml")
    components: list[dict[str, Any]] = []
    notices = [f"kubectl-kdns {__version__} contains, besides itself:\n", python_notice()]
    for name, version in (("python", platform.python_version()), *linked().items()):
        components.append(
            {"type": "library", "name": name, "version": version, "purl": f"pkg:generic/{name}@{version}"}
        )
    for distribution in sorted(bundled(), key=lambda each: each.name.lower()):
        text = "\n".join(licence_texts(distribution)) or "(see its metadata)"
        stated = licence_of(distribution)
        short = stated if len(stated) < 80 else "see the text"
        notices.append(f"{'=' * 72}\n{distribution.name} {distribution.version} ({short})\n\n{text}\n")
        components.append(
            {
                "type": "library",
                "name": distribution.name,
                "version": distribution.version,
                "purl": f"pkg:pypi/{distribution.name.lower()}@{distribution.version}",
            }
        )
    (folder / "NOTICES.txt").write_text("\n".join(notices), encoding="utf-8", newline="\n")
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "kubectl-kdns", "version": __version__}},
        "components": components,
    }
    (folder / SBOM).write_text(json.dumps(bom, indent=1) + "\n", encoding="utf-8", newline="\n")


def linked() -> dict[str, str]:
    """What Python itself brings along and can tell the version of: those that have had security fixes."""
    openssl = ssl.OPENSSL_VERSION.split()[1]
    return {"openssl": openssl, "zlib": zlib.ZLIB_RUNTIME_VERSION, "expat": pyexpat.EXPAT_VERSION[6:]}


def python_notice() -> str:
    """Python's own licence, and where those of the libraries in it are."""
    library = Path(os.__file__).parent
    texts = [folder / "LICENSE.txt" for folder in (library, library.parent)]
    found = next((path for path in texts if path.is_file()), None)
    if found is None:
        sys.exit(f"no licence of Python at {' or '.join(map(str, texts))}, and an archive has to carry it")
    text = found.read_text(encoding="utf-8")
    return (
        f"{'=' * 72}\nPython {platform.python_version()} (PSF-2.0)\n\n{text}\n"
        "Libraries in it or beside it: OpenSSL (Apache-2.0, the text of LICENSE), zlib, expat, libffi,\n"
        "bzip2, xz, mpdecimal; their notices: https://docs.python.org/3/license.html\n"
    )


def bundled() -> list[metadata.Distribution]:
    """The distributions of which something is inside: those that kdns needs, and what they need."""
    wanted = ["kubectl-kdns"]
    seen: dict[str, metadata.Distribution] = {}
    while wanted:
        name = wanted.pop()
        if name.lower() in seen or name.lower() in EXCLUDED:
            continue
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another platform
        seen[name.lower()] = distribution
        for text in distribution.requires or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                wanted.append(requirement.name)
    del seen["kubectl-kdns"]
    return list(seen.values())


def licence_of(distribution: metadata.Distribution) -> str:
    about = distribution.metadata.json
    return str(about.get("license_expression") or about.get("license") or "")


def licence_texts(distribution: metadata.Distribution) -> list[str]:
    names = ("LICENSE", "LICENCE", "COPYING", "NOTICE")
    files = [file for file in distribution.files or () if file.name.upper().startswith(names)]
    return [text for file in files if (text := file.read_text())]


def pack(folder: Path, archive: Path) -> None:
    """The same files give the same bytes."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = ""
        info.mtime = EPOCH
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=EPOCH) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(folder.rglob("*")):
            tar.add(path, f"kubectl-kdns/{path.relative_to(folder)}", recursive=False, filter=plain)


def pack_zip(folder: Path, archive: Path) -> None:
    """The same, for Windows."""
    date = time.gmtime(EPOCH)[:6]
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"kubectl-kdns/{path.relative_to(folder).as_posix()}"
            info = zipfile.ZipInfo(name, date)
            info.external_attr = (0o755 if os.access(path, os.X_OK) else 0o644) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(info, path.read_bytes())


if __name__ == "__main__":
    sys.exit(main())
