"""Runs kdns under Python for Windows in Wine (`make windows`): tests, the archive, and the program in that.

Python for Windows is inside a Go module (python-build-standalone, packed by go-embed-python), wheels are
PyPI's. Needs go and wine64 (Debian: wine64, no 32 bit part), no display. By hand, not in CI: 5 minutes. Wine
is not Windows: it has no symbolic links, no PowerShell, and no DLL that rpds and pydantic ask for; what is
left out for that is in LEFT_OUT. Everything is below build/windows; `run ARGUMENT...` runs kdns there.

    tools/windows.py [run ARGUMENT...]
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from kubectl_kdns import __version__

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build/windows"
PYTHON = BUILD / "python"
SITE = PYTHON / "Lib/site-packages"
MODULE = "github.com/kluctl/go-embed-python@v0.0.0-3.14.6-20260610-1"
MINOR = MODULE.partition("v0.0.0-")[2].rpartition(".")[0]  # 3.14: what a release carries
FILES = "python/internal/data/windows-amd64"
NEEDS = ("pyinstaller==6.22.*", "pefile", "pywin32-ctypes", "colorama", "truststore")
"""Also what our dependencies want on Windows only: pip reads `sys_platform` for the machine it runs on."""
TESTS_NEED = ("pytest", "hypothesis", "cel-expr-python")
WINE = next((path for path in ("/usr/lib/wine/wine64", "/usr/bin/wine64") if os.path.exists(path)), "")
INTEGRATION = ("windows", "kube_exec_plugin", "replay_files", "replay_inputs")
LEFT_OUT = {
    "tests/unit/test_ebpf_agent.py": "the agent is for Linux",
    "tests/unit/test_schema.py": "jsonschema needs rpds",
    "tests/unit/test_kube_login.py::test_an_old_auth_provider_is_left_to_the_kubernetes_package": "pydantic",
    "tests/unit/test_hubble_credentials.py::test_otherwise_the_authorities_of_this_machine": "its own store",
    "tests/unit/test_hubble_credentials.py::test_a_machine_without_authorities": "the same",
    "tests/unit/test_kube_kubeconfig.py::test_every_part_of_a_file": "paths of POSIX",
    "tests/unit/test_kube_kubeconfig.py::test_an_explicit_file_must_be_readable": "it says otherwise",
    "tests/integration/test_kube_exec_plugin.py::test_messages_are_shown_as_they_come_and_made_safe": "CRLF",
    "tests/integration/test_kube_exec_plugin.py::test_a_plugin_that_is_not_there": "an error in POSIX' words",
    "tests/integration/test_kube_exec_plugin.py::test_over_the_wire": "a script with #!",
    "tests/integration/test_replay_inputs.py::test_what_cannot_be_read": "errors in POSIX' words",
    "tests/integration/test_replay_inputs.py::test_an_error_leaves_nothing_open": "looks into /proc",
}


def main() -> int:
    if not WINE or not shutil.which("go"):
        print("this needs wine64 and go: apt-get install wine64 golang", file=sys.stderr)
        return 2
    if sys.argv[1:2] == ["run"]:
        return wine("-m", "kubectl_kdns", *sys.argv[2:], checkout=True)
    install()
    left_out = [argument for test in LEFT_OUT for argument in ("--deselect", test)]
    ignored = [f"--ignore={test}" for test in LEFT_OUT if "::" not in test]
    chosen = ["tests/unit", *(f"tests/integration/test_{name}.py" for name in INTEGRATION)]
    options = ["-q", "-W", "error", "-p", "no:cacheprovider", "--tb=short", *ignored, *left_out]
    failed = wine("-m", "pytest", *chosen, *options, checkout=True)
    failed |= wine("tools/make_archive.py")
    archive = ROOT / f"dist/kubectl-kdns_{__version__}_windows_amd64.zip"
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(BUILD / "unpacked")
    program = BUILD / "unpacked/kubectl-kdns/kubectl-kdns.exe"
    return failed | wine("demo", "--journeys", program=program)


def install() -> None:
    """Python, our wheel and what it needs, afresh; Wine's own files stay."""
    shutil.rmtree(PYTHON, ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    download = ["go", "mod", "download", "-json", MODULE]
    found = json.loads(subprocess.run(download, stdout=subprocess.PIPE, cwd=BUILD).stdout)
    if "Dir" not in found:
        sys.exit(f"{' '.join(download)}: {found.get('Error')}")
    folder = Path(found["Dir"]) / FILES
    for path in folder.rglob("*"):
        target = PYTHON / path.relative_to(folder)
        if path.is_dir():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".gz":
            target.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, target)
    # The one file of Python's that this module leaves out for Windows and the archive wants.
    shutil.copy(folder.parent / f"linux-amd64/lib/python{MINOR}/LICENSE.txt", PYTHON)
    # Both would end in Wine 8's "unimplemented function"; Python does without either.
    (PYTHON / "DLLs/_wmi.pyd").unlink()
    SITE.mkdir(exist_ok=True)
    (SITE / "sitecustomize.py").write_text("import _winapi\ndel _winapi.CopyFile2\n")
    wheels = BUILD / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    pip = [sys.executable, "-m", "pip"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "-w", str(wheels), str(ROOT)], check=True)
    for_windows = ["--platform", "win_amd64", "--python-version", MINOR, "--only-binary=:all:"]
    packages = [str(next(wheels.glob("*.whl"))), *NEEDS, *TESTS_NEED]
    command = [*pip, "install", "-q", "--target", str(SITE), "--no-compile", *for_windows]
    subprocess.run([*command, *packages], check=True)


def wine(*arguments: str, program: Path = PYTHON / "python.exe", checkout: bool = False) -> int:
    """The exit status. Python in Wine wants pipes for its standard streams; KUBECONFIG and, for `checkout`,
    the sources are given as Windows names them."""
    environment = {**os.environ, "WINEPREFIX": str(BUILD / "prefix"), "WINEDEBUG": "-all", "PYTHONUTF8": "1"}
    if "KUBECONFIG" in environment:
        environment["KUBECONFIG"] = windows_path(environment["KUBECONFIG"])
    if checkout:
        environment["PYTHONPATH"] = ";".join(map(windows_path, (str(ROOT), str(ROOT / "backends"))))
    process = subprocess.Popen(
        [WINE, str(program), *arguments],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    )
    assert process.stdout
    shutil.copyfileobj(process.stdout, sys.stdout.buffer)
    sys.stdout.flush()
    return process.wait()


def windows_path(path: str) -> str:
    return "Z:" + path.replace("/", "\\")


if __name__ == "__main__":
    sys.exit(main())
