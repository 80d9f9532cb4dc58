"""Installs the archive as krew does, and runs it where there is no Python: `make smoke`.

Unpacks that of this platform, picks what the manifest's `files` say, links one program `kubectl-kdns`, and
runs that link with an empty environment. krew's own tools (KREW, VALIDATE_KREW name them) do it as well.
With ROOT, a directory with another system in it (debootstrap makes one), it is unpacked and run in there.
Leaves nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import yaml
from make_archive import this_platform

ROOT = Path(__file__).resolve().parent.parent
SYSTEM = os.environ.get("ROOT", "")
CHROOT = shutil.which("chroot") or "/usr/sbin/chroot"
# Arguments, exit status, and what stdout or stderr has to say.
RUNS: tuple[tuple[str, int, str], ...] = (
    ("--help", 0, "kubectl kdns"),
    ("--version", 0, "kubectl-kdns "),
    ("version", 0, "schema"),
    ("demo --failed", 0, "bank.drop.test"),
    ("demo --journeys", 0, "= arrived at coredns"),
    ("fields", 0, "latency_ms"),
    ("schema", 0, "kdns/v1"),
    ("trace --no-such-flag", 2, "error"),
    ("trace --kubeconfig /nonexistent", 3, "error"),
    ("explain x.test --in pod --kubeconfig /nonexistent", 3, "error"),
)
ROOT_RUNS: tuple[tuple[str, int, str], ...] = (("trace --local --for 1s", 0, "the agent on this machine"),)


def main() -> int:
    manifest_path = ROOT / "dist" / "krew-manifest.yaml"
    spec = yaml.safe_load(manifest_path.read_text())["spec"]
    here = dict(zip(("os", "arch"), this_platform(), strict=True))
    platform = next((each for each in spec["platforms"] if each["selector"]["matchLabels"] == here), None)
    if platform is None:
        sys.exit(f"{manifest_path}: nothing for {here}. Try: make archive krew")
    archive = ROOT / "dist" / platform["uri"].rpartition("/")[2]
    with tempfile.TemporaryDirectory(dir=Path(SYSTEM, "tmp") if SYSTEM else None) as folder:
        program = install(archive, platform, Path(folder))
        runs = RUNS + (ROOT_RUNS if os.geteuid() == 0 else ())
        failed = [problem for run in runs if (problem := run_one(program, *run))]
        if krew := os.environ.get("KREW"):
            failed += by_krew(krew, manifest_path, archive, Path(folder))
        if validate := os.environ.get("VALIDATE_KREW"):
            named = shutil.copy(manifest_path, Path(folder, "kdns.yaml"))  # krew wants the plugin's name
            done = subprocess.run(
                [validate, "-manifest", named, "-skip-install"], capture_output=True, text=True, check=False
            )
            if done.returncode:
                failed.append(done.stderr)
    for problem in failed:
        print(problem, file=sys.stderr)
    print(f"{len(runs) - len(failed)} of {len(runs)} runs of the installed archive are well")
    return bool(failed)


def install(archive: Path, platform: dict[str, object], folder: Path) -> Path:
    """As krew: into a store, and one link."""
    unpacked, store = folder / "unpacked", folder / "store"
    with tarfile.open(archive) as tar:
        tar.extractall(unpacked, filter="data")
    store.mkdir()
    files = platform["files"]
    assert isinstance(files, list)
    for file in files:
        for path in unpacked.glob(file["from"]):
            shutil.move(path, store / file["to"] / path.name)
    link = folder / "bin" / "kubectl-kdns"
    link.parent.mkdir()
    link.symlink_to(inside(store / str(platform["bin"])))
    return link


def inside(path: Path) -> str:
    """The path as the system has it in which the program runs."""
    return f"/{path.relative_to(SYSTEM)}" if SYSTEM else str(path)


def run_one(program: Path, arguments: str, status: int, words: str) -> str:
    """What was wrong; "" for nothing."""
    environment = {"HOME": inside(program.parent), "PATH": "/nonexistent"}
    enter = [CHROOT, SYSTEM] if SYSTEM else []
    command = [*enter, inside(program), *arguments.split()]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    if done.returncode == status and words in done.stdout + done.stderr:
        return ""
    wanted = f"status {done.returncode}, not {status}, or without {words!r}"
    return f"kubectl-kdns {arguments}: {wanted}:\n{done.stderr[-800:]}"


def by_krew(krew: str, manifest: Path, archive: Path, folder: Path) -> list[str]:
    """krew's own installation, from the manifest and the archive here."""
    home = folder / "krew"
    environment = {**os.environ, "KREW_ROOT": str(home), "HOME": str(folder)}
    named = shutil.copy(manifest, folder / "kdns.yaml")
    command = [krew, "install", f"--manifest={named}", f"--archive={archive}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        return [f"krew install: {done.stderr}"]
    return [problem for run in RUNS[:4] if (problem := run_one(home / "bin/kubectl-kdns", *run))]


if __name__ == "__main__":
    sys.exit(main())
