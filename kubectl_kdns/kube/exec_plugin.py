"""Credentials from a program that kubeconfig names (client.authentication.k8s.io/v1 and v1beta1).

As in kubectl: the program gets KUBERNETES_EXEC_INFO, may talk to the user on the terminal, and its answer is
kept in memory until it expires or the server rejects it.
"""

from __future__ import annotations

import base64
import codecs
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import IO, Any

import msgspec
from msgspec import Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ConfigError
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.kubeconfig import ExecPlugin
from kubectl_kdns.kube.login import Credential, bearer
from kubectl_kdns.kube.tls import ClientCertificate
from kubectl_kdns.times import parse_time

API_VERSIONS = ("client.authentication.k8s.io/v1", "client.authentication.k8s.io/v1beta1")
EXEC_EXTENSION = "client.authentication.k8s.io/exec"
UNATTENDED_TIMEOUT_S = 120.0
"""Without a terminal nobody can finish a login that waits for a person."""


class _Status(Struct, rename="camel"):
    expiration_timestamp: str | None = None
    token: str | None = None
    client_certificate_data: str | None = None
    client_key_data: str | None = None


class _ExecCredential(Struct, rename="camel"):
    api_version: str = ""
    kind: str = ""
    status: _Status | None = None


class ExecLogin:
    """Runs the plugin when there is no credential, when it expired, and when the server rejected it."""

    def __init__(
        self,
        plugin: ExecPlugin,
        config: ClientConfig,
        *,
        time_ns: Callable[[], int] = time.time_ns,
        stdin_is_tty: bool | None = None,
        say: Callable[[str], object] | None = None,
    ) -> None:
        if plugin.api_version not in API_VERSIONS:
            raise ConfigError(
                f"exec plugin {plugin.command!r} of user {config.user_name!r} speaks "
                f"{plugin.api_version!r}, not {' or '.join(API_VERSIONS)}",
                hint="update the plugin, and let it write the kubeconfig anew",
            )
        self._plugin, self._config, self._time_ns = plugin, config, time_ns
        self._tty = sys.stdin is not None and sys.stdin.isatty() if stdin_is_tty is None else stdin_is_tty
        self._say = say or sys.stderr.write
        self._credential: Credential | None = None
        self._expires_ns: int | None = None
        self._lock = threading.Lock()

    def current(self) -> Credential:
        with self._lock:
            expired = self._expires_ns is not None and self._time_ns() >= self._expires_ns
            if self._credential is None or expired:
                self._credential, self._expires_ns = self._ask()
            return self._credential

    def rejected(self, credential: Credential) -> bool:
        with self._lock:
            if credential == self._credential:
                self._credential = None
            return True

    def _ask(self) -> tuple[Credential, int | None]:
        plugin = self._plugin
        mode = plugin.interactive_mode or "IfAvailable"
        if mode == "Always" and not self._tty:
            raise self._error("needs a terminal", cause="standard input is not one")
        interactive = mode != "Never" and self._tty
        code, output, messages = self._run(interactive)
        if code:
            last = next((line for line in reversed(messages.splitlines()) if line.strip()), "")
            raise self._error(f"failed with exit status {code}", cause=safe_text(last.strip()))
        return self._read(output)

    def _run(self, interactive: bool) -> tuple[int, bytes, str]:
        """(exit status, standard output, standard error; the latter was shown as it came)."""
        plugin = self._plugin
        env = {
            **_environment(),
            **{variable.name: variable.value for variable in plugin.env},
            "KUBERNETES_EXEC_INFO": msgspec.json.encode(self._info(interactive)).decode(),
        }
        command = plugin.command
        if (
            os.name == "nt"
        ):  # where the system finds programs by their name only, and kubectl batch files, too
            command = shutil.which(command) or command
        try:
            process = subprocess.Popen(
                [command, *plugin.args],
                env=env,
                stdin=None if interactive else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        except (OSError, ValueError) as error:
            missing = isinstance(error, FileNotFoundError)
            cause = (isinstance(error, OSError) and error.strerror) or str(error)
            raise self._error("is not installed" if missing else "could not be started", cause) from error
        output: list[bytes] = []
        messages: list[str] = []
        assert process.stdout
        assert process.stderr
        readers = [
            threading.Thread(target=_collect, args=(process.stdout, output), daemon=True),
            threading.Thread(target=_relay, args=(process.stderr, messages, self._say), daemon=True),
        ]
        for reader in readers:
            reader.start()
        try:
            code = process.wait(None if self._tty else UNATTENDED_TIMEOUT_S)
        except subprocess.TimeoutExpired as error:
            raise self._error(
                f"gave no credential within {UNATTENDED_TIMEOUT_S:.0f} s",
                cause="it may wait for a person, and standard input is not a terminal",
            ) from error
        finally:
            process.kill()
            process.wait()
            for reader in readers:
                reader.join(1)  # a child that it left behind may hold the pipes open
        return code, b"".join(output), "".join(messages)

    def _info(self, interactive: bool) -> dict[str, Any]:
        spec: dict[str, Any] = {"interactive": interactive}
        if self._plugin.provide_cluster_info:
            cluster = self._config.cluster
            info = {
                "server": self._config.server,
                "tls-server-name": cluster.tls_server_name,
                "insecure-skip-tls-verify": cluster.insecure_skip_tls_verify,
                "certificate-authority-data": self._authority(),
                "proxy-url": cluster.proxy_url,
                "config": next((e.extension for e in cluster.extensions if e.name == EXEC_EXTENSION), None),
            }
            spec["cluster"] = {key: value for key, value in info.items() if value}
        return {"apiVersion": self._plugin.api_version, "kind": "ExecCredential", "spec": spec}

    def _authority(self) -> str:
        cluster = self._config.cluster
        if cluster.certificate_authority_data or not cluster.certificate_authority:
            return cluster.certificate_authority_data
        try:
            with open(cluster.certificate_authority, "rb") as file:
                return base64.b64encode(file.read()).decode()
        except OSError as error:
            cause = f"{cluster.certificate_authority}: {error.strerror}"
            raise self._error("cannot be told the certificate authority", cause) from error

    def _read(self, output: bytes) -> tuple[Credential, int | None]:
        try:
            answer = msgspec.json.decode(output, type=_ExecCredential)
            status = answer.status or _Status()
            expires_ns = parse_time(status.expiration_timestamp) if status.expiration_timestamp else None
        except (ValueError, UnicodeDecodeError) as error:
            raise self._error("did not print an ExecCredential", cause=safe_text(str(error))) from error
        if answer.kind != "ExecCredential" or answer.api_version != self._plugin.api_version:
            raise self._error(
                "did not print an ExecCredential",
                cause=f"it printed {answer.api_version!r} {answer.kind!r}, asked was "
                f"{self._plugin.api_version!r}",
            )
        certificate = None
        if status.client_certificate_data and status.client_key_data:
            certificate = ClientCertificate(
                status.client_certificate_data.encode(), status.client_key_data.encode()
            )
        elif status.client_certificate_data or status.client_key_data:
            raise self._error("printed a client certificate without its key, or a key without it")
        if not status.token and not certificate:
            raise self._error("printed neither a token nor a client certificate")
        token = bearer(status.token, f"token of exec plugin {self._plugin.command!r}") if status.token else ""
        return Credential(token, certificate), expires_ns

    def _error(self, what: str, cause: str = "") -> ConfigError:
        command = " ".join([self._plugin.command, *self._plugin.args])
        return ConfigError(
            f"exec plugin {self._plugin.command!r} of user {self._config.user_name!r} {what}",
            cause=cause,
            hint=_one_paragraph(self._plugin.install_hint) or command,
        )


def _one_paragraph(text: str) -> str:
    return "\n".join(safe_text(line) for line in text.strip().splitlines())


def _environment() -> dict[str, str]:
    """Ours, but in a frozen archive without the library path that its loader set for itself."""
    env = dict(os.environ)
    if getattr(sys, "frozen", False):
        outer = env.pop("LD_LIBRARY_PATH_ORIG", None)
        env.pop("LD_LIBRARY_PATH", None)
        if outer is not None:
            env["LD_LIBRARY_PATH"] = outer
    return env


def _collect(pipe: IO[bytes], into: list[bytes]) -> None:
    with pipe:
        while data := os.read(pipe.fileno(), 65536):
            into.append(data)


def _relay(pipe: IO[bytes], into: list[str], say: Callable[[str], object]) -> None:
    """Shows messages as they come, prompts without a line end too: a person may have to act on them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    with pipe:
        while data := os.read(pipe.fileno(), 4096):
            lines = decoder.decode(data).replace("\r\n", "\n").expandtabs().split("\n")
            text = "\n".join(map(safe_text, lines))
            into.append(text)
            say(text)
