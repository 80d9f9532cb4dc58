"""`kdns version`: what the API server says of itself is made safe before a terminal sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.api_server import ApiServer, Reply


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
