"""Who we are to the API server, on every request: certificate, token, password, plugin; and as whom we act.

A login is asked for its credential before each request and told when the server rejected one (401): tokens
in files are rotated, plugins give new ones.
"""

from __future__ import annotations

import base64
import os
import threading
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import quote

from msgspec import Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ConfigError
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.kubeconfig import User
from kubectl_kdns.kube.tls import ClientCertificate, client_certificate

TOKEN_FILE_PERIOD_S = 60.0
"""A service account's token is rotated: client-go reads its file again once a minute."""


class Credential(Struct, frozen=True):
    """`authorization` is the value of that header, or ""."""

    authorization: str = ""
    certificate: ClientCertificate | None = None


class Login(Protocol):
    def current(self) -> Credential:
        """Raises ConfigError."""

    def rejected(self, credential: Credential) -> bool:
        """The server answered 401 to it; true when another one may be had."""


class FixedLogin(Struct, frozen=True):
    credential: Credential

    def current(self) -> Credential:
        return self.credential

    def rejected(self, credential: Credential) -> bool:  # noqa: ARG002
        return False


class TokenFileLogin:
    """A bearer token in a file, read again once a minute and when the server rejects it."""

    def __init__(
        self, path: str, certificate: ClientCertificate | None, monotonic: Callable[[], float]
    ) -> None:
        self._path, self._certificate, self._monotonic = path, certificate, monotonic
        self._credential = Credential()
        self._read_at = 0.0
        self._lock = threading.Lock()

    def current(self) -> Credential:
        with self._lock:
            if not self._credential.authorization or self._monotonic() - self._read_at > TOKEN_FILE_PERIOD_S:
                self._read()
            return self._credential

    def rejected(self, credential: Credential) -> bool:
        with self._lock:
            if credential == self._credential:
                self._read()
            return credential != self._credential

    def _read(self) -> None:
        self._read_at = self._monotonic()
        try:
            with open(self._path, encoding="utf-8") as file:
                token = file.read().strip()
        except (OSError, UnicodeDecodeError) as error:
            if self._credential.authorization:
                return  # the old one may still be good, and says so better than we could
            cause = error.strerror if isinstance(error, OSError) else "it is not text"
            raise ConfigError(f"cannot read the token file '{self._path}'", cause=cause or "") from error
        self._credential = Credential(bearer(token, f"token file '{self._path}'"), self._certificate)


class PackageLogin:
    """Ways to log in that only the `kubernetes` package knows: `auth-provider` of old kubeconfigs."""

    def __init__(self, config: ClientConfig, certificate: ClientCertificate | None) -> None:
        self._config, self._certificate = config, certificate
        self._credential: Credential | None = None
        self._lock = threading.Lock()

    def current(self) -> Credential:
        with self._lock:
            if self._credential is None:
                self._credential = self._ask()
            return self._credential

    def rejected(self, credential: Credential) -> bool:
        with self._lock:
            if credential == self._credential:
                self._credential = self._ask()
            return credential != self._credential

    def _ask(self) -> Credential:
        config = self._config
        name = config.user.auth_provider.get("name", "")
        try:
            from kubernetes import client
            from kubernetes import config as package

            answer = client.Configuration()
            load: Any = package.load_kube_config
            # From the files themselves, because a refreshed token has to be written back to them.
            load(os.pathsep.join(config.files), config.context or None, answer)
            authorization = answer.auth_settings().get("BearerToken", {}).get("value") or ""
        except ModuleNotFoundError:
            authorization, cause = "", "this kdns comes without the `kubernetes` package (pipx's has it)"
        except Exception as error:  # noqa: BLE001 - whatever it is, that provider does not log us in
            authorization, cause = "", safe_text(f"{type(error).__name__}: {error}")
        else:
            cause = "the `kubernetes` package gave no token for it"
        if not authorization:
            raise ConfigError(
                f"cannot log in user {config.user_name!r} by auth-provider {name!r}",
                cause=cause,
                hint="your cloud's command that writes kubeconfig (kubectl dropped auth-provider in 1.26)",
            )
        return Credential(authorization, self._certificate)


def login_of(config: ClientConfig, monotonic: Callable[[], float]) -> Login:
    """The login that kubeconfig and flags ask for; a given token or password wins over a plugin.

    Raises ConfigError.
    """
    user, name = config.user, config.user_name
    certificate = client_certificate(user, name)
    if user.token:
        return FixedLogin(Credential(bearer(user.token, f"token of user {name!r}"), certificate))
    if user.username:
        both = f"{user.username}:{user.password}".encode()
        return FixedLogin(Credential("Basic " + base64.b64encode(both).decode(), certificate))
    if user.token_file:
        return TokenFileLogin(user.token_file, certificate, monotonic)
    if user.exec:
        from kubectl_kdns.kube.exec_plugin import ExecLogin

        return ExecLogin(user.exec, config)
    if user.auth_provider:
        return PackageLogin(config, certificate)
    return FixedLogin(Credential("", certificate))


def bearer(token: str, what: str) -> str:
    """The value of Authorization for a token. Raises ConfigError when no header can hold it."""
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(f"the {what} has characters that no token has", cause="a line break or a blank?")
    return f"Bearer {token}"


def impersonation(user: User) -> list[tuple[str, str]]:
    """Headers of `--as` and its kin (kubernetes.io "User impersonation"). Raises ConfigError."""
    headers = [("Impersonate-User", user.as_)] if user.as_ else []
    headers += [("Impersonate-Uid", user.as_uid)] if user.as_uid else []
    headers += [("Impersonate-Group", group) for group in user.as_groups]
    for key, values in user.as_user_extra.items():
        headers += [(f"Impersonate-Extra-{quote(key.lower(), safe='')}", value) for value in values]
    for name, value in headers:
        if not value.isprintable() or not _is_latin1(value):
            raise ConfigError(f"no header can hold {value!r}", cause=f"it is the value of {name}")
    return headers


def _is_latin1(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True
