"""exec credential plugins: what they are told, what is believed, and what a person sees when they fail."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.errors import ConfigError, ForbiddenError
from kubectl_kdns.kube import ConnectionFlags, connect, exec_plugin
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.exec_plugin import ExecLogin
from kubectl_kdns.kube.kubeconfig import ClusterEntry, EnvVar, ExecPlugin, Extension, User
from kubectl_kdns.kube.login import Credential
from kubectl_kdns.kube.tls import ClientCertificate
from kubectl_kdns.times import format_time
from support.api_server import ApiServer, failure

V1 = "client.authentication.k8s.io/v1"
V1BETA1 = "client.authentication.k8s.io/v1beta1"


class Plugin:
    """A program in `folder` that does `script`, and the login that runs it. It counts its runs in a file."""

    def __init__(self, folder: Path, script: str, cluster: ClusterEntry | None = None, **plugin: Any) -> None:
        self.runs = folder / "runs"
        self.now_ns = 0
        self.said: list[str] = []
        file = folder / "plugin.py"
        count = f"import json, os, sys\nopen({str(self.runs)!r}, 'a').write('x')\n"
        file.write_text(count + "def answer(**status): print(json.dumps(status))\n" + script)
        plugin = {"api_version": V1, "command": sys.executable, "args": (str(file),), **plugin}
        config = ClientConfig("c", "default", "https://api", cluster or ClusterEntry(), "jane", User())
        self.login = ExecLogin(
            ExecPlugin(**plugin),
            config,
            time_ns=lambda: self.now_ns,
            stdin_is_tty=False,
            say=self.said.append,
        )

    def count(self) -> int:
        return len(self.runs.read_text()) if self.runs.exists() else 0

    def error(self) -> ConfigError:
        with pytest.raises(ConfigError) as error:
            self.login.current()
        return error.value


def credential(version: str = V1, **status: Any) -> str:
    """A script that prints an ExecCredential."""
    document = {"apiVersion": version, "kind": "ExecCredential", "status": status}
    return f"print({json.dumps(document)!r})"


def test_a_token_is_kept_until_it_expires(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path, credential(token="t", expirationTimestamp=format_time(100)))
    assert plugin.login.current() == Credential("Bearer t")
    plugin.now_ns = 99
    plugin.login.current()
    assert plugin.count() == 1
    plugin.now_ns = 100
    plugin.login.current()
    assert plugin.count() == 2


def test_it_is_found_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = Plugin(tmp_path, credential(token="t"), command="log-in", args=("--quiet",))
    command = f'"{sys.executable}" "{tmp_path / "plugin.py"}"'
    if os.name == "nt":
        (tmp_path / "log-in.cmd").write_text(f"@{command} %*\n")
    else:
        (tmp_path / "log-in").write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        (tmp_path / "log-in").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert plugin.login.current() == Credential("Bearer t")
    assert plugin.count() == 1


def test_a_rejected_token_is_asked_for_again(tmp_path: Path) -> None:
    plugin = Plugin(tmp_path, credential(token="t"))
    first = plugin.login.current()
    assert plugin.login.rejected(Credential("Bearer older")), "another thread has a newer one"
    plugin.login.current()
    assert plugin.count() == 1
    assert plugin.login.rejected(first)
    plugin.login.current()
    assert plugin.count() == 2


def test_a_client_certificate(tmp_path: Path) -> None:
    script = credential(V1BETA1, clientCertificateData="cert", clientKeyData="key", token=None)
    plugin = Plugin(tmp_path, script, api_version=V1BETA1)
    assert plugin.login.current() == Credential("", ClientCertificate(b"cert", b"key"))


def test_what_a_plugin_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_OUTSIDE", "1")
    told = tmp_path / "told"
    script = f"""
info = json.loads(os.environ["KUBERNETES_EXEC_INFO"])
told = [info, os.environ["REGION"], os.environ["FROM_OUTSIDE"], sys.argv[1:], sys.stdin.read()]
json.dump(told, open({str(told)!r}, "w"))
{credential(token="t")}
"""
    authority = tmp_path / "ca"
    authority.write_bytes(b"pem")
    cluster = ClusterEntry(
        certificate_authority=str(authority),
        tls_server_name="api.internal",
        extensions=(Extension("other", 1), Extension("client.authentication.k8s.io/exec", {"a": "b"})),
    )
    env = (EnvVar("REGION", "eu"),)
    Plugin(tmp_path, script, cluster, env=env, provide_cluster_info=True).login.current()
    assert json.loads(told.read_text()) == [
        {
            "apiVersion": V1,
            "kind": "ExecCredential",
            "spec": {
                "interactive": False,
                "cluster": {
                    "server": "https://api",
                    "tls-server-name": "api.internal",
                    "certificate-authority-data": "cGVt",
                    "config": {"a": "b"},
                },
            },
        },
        "eu",
        "1",
        [],
        "",
    ]
    Plugin(tmp_path, script, env=env).login.current()
    assert json.loads(told.read_text())[0]["spec"] == {"interactive": False}


def test_messages_are_shown_as_they_come_and_made_safe(tmp_path: Path) -> None:
    script = f"sys.stderr.write('open https://x\\r\\n\\x1b[31mcode: 7 ')\n{credential(token='t')}"
    plugin = Plugin(tmp_path, script)
    plugin.login.current()
    assert "".join(plugin.said) == "open https://x\n\\027[31mcode: 7 "


@pytest.mark.parametrize(
    ("script", "what", "cause"),
    [
        (
            "sys.stderr.write('first\\n\\x1blast\\n\\n'); sys.exit(3)",
            "failed with exit status 3",
            "\\027last",
        ),
        ("sys.exit(1)", "failed with exit status 1", ""),
        ("print('hello')", "did not print an ExecCredential", "JSON is malformed"),
        ("", "did not print an ExecCredential", "Input data was truncated"),
        ("sys.stdout.buffer.write(b'\\xff')", "did not print an ExecCredential", ""),
        ("print('{}')", "did not print an ExecCredential", "it printed '' ''"),
        (credential(V1BETA1, token="t"), "did not print an ExecCredential", f"{V1BETA1!r} 'ExecCredential'"),
        (credential(), "printed neither a token nor a client certificate", ""),
        (credential(token=""), "printed neither a token nor a client certificate", ""),
        (credential(clientKeyData="k"), "printed a client certificate without its key", ""),
        (credential(token="t", expirationTimestamp="soon"), "did not print an ExecCredential", "'soon'"),
    ],
)
def test_failures(tmp_path: Path, script: str, what: str, cause: str) -> None:
    plugin = Plugin(tmp_path, script)
    error = plugin.error()
    assert error.what.startswith(f"exec plugin {sys.executable!r} of user 'jane' {what}")
    assert cause in error.cause
    assert error.hint == f"{sys.executable} {tmp_path / 'plugin.py'}"


def test_a_token_that_no_header_can_hold(tmp_path: Path) -> None:
    assert "has characters that no token has" in Plugin(tmp_path, credential(token="a\nb")).error().what


def test_a_plugin_that_is_not_there(tmp_path: Path) -> None:
    hint = "install it:\n  brew install login\x1b"
    plugin = Plugin(tmp_path, "", command="kdns-no-such-plugin", args=(), install_hint=hint)
    assert str(plugin.error()) == (
        "exec plugin 'kdns-no-such-plugin' of user 'jane' is not installed: No such file or directory\n"
        "Try: install it:\n  brew install login\\027"
    )
    assert "could not be started" in Plugin(tmp_path, "", command="/").error().what


def test_a_plugin_that_needs_a_terminal(tmp_path: Path) -> None:
    assert "needs a terminal" in Plugin(tmp_path, "", interactive_mode="Always").error().what


def test_a_plugin_that_never_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exec_plugin, "UNATTENDED_TIMEOUT_S", 0.2)
    error = Plugin(tmp_path, "import time; time.sleep(60)").error()
    assert "gave no credential within 0 s" in error.what


def test_an_old_version_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        Plugin(tmp_path, "", api_version="client.authentication.k8s.io/v1alpha1")
    assert "speaks 'client.authentication.k8s.io/v1alpha1'" in error.value.what
    assert "update the plugin" in error.value.hint


def test_an_authority_that_cannot_be_told(tmp_path: Path) -> None:
    cluster = ClusterEntry(certificate_authority=str(tmp_path / "missing"))
    error = Plugin(tmp_path, "", cluster, provide_cluster_info=True).error()
    assert "cannot be told the certificate authority" in error.what


def test_a_frozen_archive_does_not_lend_its_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    monkeypatch.setenv("LD_LIBRARY_PATH", "/archive")
    monkeypatch.setenv("LD_LIBRARY_PATH_ORIG", "/outer")
    assert exec_plugin._environment()["LD_LIBRARY_PATH"] == "/outer"
    monkeypatch.delenv("LD_LIBRARY_PATH_ORIG")
    assert "LD_LIBRARY_PATH" not in exec_plugin._environment()


def test_over_the_wire(tmp_path: Path) -> None:
    """A token that the server rejects is asked for again, once; then the server is right."""
    count = tmp_path / "count"
    count.write_text("")
    script = tmp_path / "login"
    script.write_text(
        f"#!{sys.executable}\nimport json\nopen({str(count)!r}, 'a').write('x')\n"
        f"number = len(open({str(count)!r}).read())\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1', 'kind': 'ExecCredential',"
        " 'status': {'token': f't{number}'}}))\n"
    )
    script.chmod(0o755)
    user = {"exec": {"apiVersion": V1, "command": "./login", "interactiveMode": "Never"}}
    with ApiServer(token="t2") as server:
        cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config", user=user))))
        assert cluster.get("/api/v1/pods")["items"] == []
        server.script("GET", failure(401, "Unauthorized"), failure(401, "Unauthorized"))
        with pytest.raises(ForbiddenError):
            cluster.get("/api/v1/pods")
        cluster.close()
    seen = [request.headers["authorization"] for request in server.requests]
    assert seen == ["Bearer t1", "Bearer t2", "Bearer t2", "Bearer t3"]
