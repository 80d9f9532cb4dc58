"""kdns without what Python on Windows lacks: every module, a recording, a cluster through port-forwards."""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.api_server import ApiServer
from support.certificates import Authority
from support.doctor_cluster import DoctorCluster

ROOT = Path(__file__).resolve().parents[2]
AS_ON_WINDOWS = ROOT / "tests/support/windows"
IMPORT_ALL = """
import importlib, pathlib, sys
for root in map(pathlib.Path, sys.argv[1:]):
    for path in sorted(root.rglob("*.py")):
        name = ".".join(path.relative_to(root.parent).with_suffix("").parts)
        if not name.endswith("__main__"):
            importlib.import_module(name.removesuffix(".__init__"))
"""


def run(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": str(AS_ON_WINDOWS), **environ}
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, env=env, timeout=120, check=False
    )


def kdns(*argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return run("-m", "kubectl_kdns", *argv, **environ)


def test_it_is_taken_away() -> None:
    assert "cannot import name 'AF_UNIX'" in run("-c", "from socket import AF_UNIX").stderr
    assert "as on Windows" in run("-c", "import fcntl").stderr


def test_every_module_can_be_imported() -> None:
    backends = sorted(path for path in (ROOT / "backends").iterdir() if path.name.startswith("kdns_"))
    done = run("-c", IMPORT_ALL, str(ROOT / "kubectl_kdns"), *map(str, backends))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_recording() -> None:
    done = kdns("demo", "--journeys")
    assert done.returncode == 0, done.stderr
    assert "arrived at coredns" in done.stdout


def test_a_cluster_and_the_ports_of_its_pods(tmp_path: Path) -> None:
    with ApiServer() as server:
        DoctorCluster().install(server)
        done = kdns("doctor", "--all", KUBECONFIG=str(server.kubeconfig(tmp_path / "config")))
    assert (done.returncode, done.stderr) == (0, "")
    answered = [line for line in done.stdout.splitlines() if "lookup-answers" in line]
    assert len(answered) == 2
    assert all("NOERROR in" in line for line in answered)


def test_this_machine_cannot_be_watched() -> None:
    done = kdns("trace", "--local", "--backend", "ebpf")
    assert done.returncode in (2, 3)
    assert "Traceback" not in done.stderr
    assert "error: " in done.stderr


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the openssl command makes the certificates")
def test_a_client_certificate_in_kubeconfig(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "ca")
    pem = dict(zip(("certificate", "key"), authority.issue("jane"), strict=True))
    user = {f"client-{what}-data": base64.b64encode(path.read_bytes()).decode() for what, path in pem.items()}
    with ApiServer(tls=authority.server_context("mutual", clients=True)) as server:
        DoctorCluster().install(server)
        config = server.kubeconfig(tmp_path / "config", user=user)
        trust = ("--certificate-authority", str(authority.certificate))
        done = kdns("doctor", *trust, KUBECONFIG=str(config))
    assert (done.returncode, done.stderr) == (0, "")
