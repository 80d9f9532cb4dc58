"""`kdns version`: what the API server says of itself is made safe before a terminal sees it."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from support.api_server import ApiServer, Reply

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("output", ["text", "json"])
def test_the_clusters_version_is_made_safe(tmp_path: Path, output: str) -> None:
    with ApiServer() as server:
        body = json.dumps({"gitVersion": "v1.34.4\x1b[31m"}).encode()
        server.script("GET /version", Reply(200, body, {"Content-Type": "application/json"}), forever=True)
        kubeconfig = server.kubeconfig(tmp_path / "config")
        command = [
            sys.executable,
            "-m",
            "kubectl_kdns",
            "version",
            "-o",
            output,
            "--kubeconfig",
            str(kubeconfig),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    text = json.loads(done.stdout)["cluster"] if output == "json" else done.stdout
    assert "v1.34.4" in text
    assert "\x1b" not in text


def test_all_of_it_without_a_cluster() -> None:
    command = [sys.executable, "-m", "kubectl_kdns", "version", "--client", "-o"]
    as_json = subprocess.run([*command, "json"], capture_output=True, text=True, timeout=60, check=True)
    found = json.loads(as_json.stdout)
    assert list(found) == ["kdns", "schema", "python", "backends", "agents"]
    assert found["backends"] == ["hubble", "coredns", "ebpf", "replay"]
    for architecture, agent in found["agents"].items():
        binary = ROOT / f"backends/kdns_ebpf/agent/bin/kdns-agent-{architecture}"
        assert agent == {
            "sha256": hashlib.sha256(binary.read_bytes()).hexdigest(),
            "bytes": binary.stat().st_size,
        }
    assert list(found["agents"]) == ["amd64", "arm64"]
    as_yaml = subprocess.run([*command, "yaml"], capture_output=True, text=True, timeout=60, check=True)
    assert yaml.safe_load(as_yaml.stdout) == found
    as_text = subprocess.run(
        [*command, "text"], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert f"sha256 {found['agents']['arm64']['sha256'][:12]}" in as_text
    assert (as_json.stderr, as_yaml.stderr) == ("", "")


def test_a_format_that_there_is_not() -> None:
    command = [sys.executable, "-m", "kubectl_kdns", "version", "--client", "-o", "jsn"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert 'did you mean "json"?' in done.stderr
