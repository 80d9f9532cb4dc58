"""Logins: tokens, passwords, token files that are rotated, impersonation; retries' waits; the request log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.errors import ConfigError
from kubectl_kdns.kube.backoff import Backoff
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.kubeconfig import ClusterEntry, User
from kubectl_kdns.kube.login import (
    Credential,
    FixedLogin,
    PackageLogin,
    TokenFileLogin,
    impersonation,
    login_of,
)
from kubectl_kdns.kube.request_log import RequestLog
from kubectl_kdns.kube.tls import ClientCertificate


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def config(**user: Any) -> ClientConfig:
    return ClientConfig("c", "default", "https://api", ClusterEntry(), "jane", User(**user))


CERTIFICATE = ClientCertificate(b"cert", b"key", "", "")


@pytest.mark.parametrize(
    ("user", "credential"),
    [
        ({}, Credential()),
        ({"token": "abc"}, Credential("Bearer abc")),
        ({"username": "jane", "password": "pä:ss"}, Credential("Basic amFuZTpww6Q6c3M=")),
        (
            {"client_certificate_data": "Y2Vy\ndA==", "client_key_data": "a2V5"},
            Credential("", CERTIFICATE),
        ),
        (
            {"client_certificate": "/c", "client_key": "/k", "token": "t"},
            Credential("Bearer t", ClientCertificate(b"", b"", "/c", "/k")),
        ),
    ],
)
def test_fixed_credentials(user: dict[str, str], credential: Credential) -> None:
    login = login_of(config(**user), Clock())
    assert login == FixedLogin(credential)
    assert login.current() == credential
    assert not login.rejected(credential)


@pytest.mark.parametrize(
    ("user", "what"),
    [
        ({"token": "a b"}, "token of user 'jane' has characters that no token has"),
        ({"token": "a\r\nX-Evil: 1"}, "token of user 'jane' has characters that no token has"),
        ({"client_certificate": "/c"}, "has a client certificate without its key"),
        ({"client_key_data": "a2V5"}, "has a client key without its certificate"),
        (
            {"client_key_data": "!", "client_certificate": "/c"},
            "client-key-data of user 'jane' is not base64",
        ),
    ],
)
def test_what_cannot_be_sent(user: dict[str, str], what: str) -> None:
    with pytest.raises(ConfigError) as error:
        login_of(config(**user), Clock())
    assert what in error.value.what


def test_a_token_file_is_read_again_once_a_minute_and_when_rejected(tmp_path: Path) -> None:
    file, clock = tmp_path / "token", Clock()
    file.write_text("one\n")
    login = login_of(config(token_file=str(file)), clock)
    assert isinstance(login, TokenFileLogin)
    first = login.current()
    assert first == Credential("Bearer one")
    file.write_text("two")
    clock.now += 59
    assert login.current() == first
    clock.now += 2
    assert login.current() == Credential("Bearer two")
    file.write_text("three")
    assert login.rejected(Credential("Bearer two"))
    assert login.current() == Credential("Bearer three")
    assert login.rejected(Credential("Bearer two")), "another thread has it already"
    assert not login.rejected(Credential("Bearer three")), "there is no newer one"
    file.unlink()
    clock.now += 61
    assert login.current() == Credential("Bearer three"), "better an old token than none"


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "cannot read the token file"),
        (b"\xff\xfe", "cannot read the token file"),
        (b"two words", "has characters that no token has"),
    ],
)
def test_a_token_file_that_is_none(tmp_path: Path, content: bytes | None, what: str) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError) as error:
        login_of(config(token_file=str(file)), Clock()).current()
    assert what in error.value.what
    assert str(file) in error.value.what


def test_impersonation() -> None:
    user = User(
        as_="admin", as_uid="7", as_groups=("dev", "ops"), as_user_extra={"acme.com/Project": ("a", "b")}
    )
    assert impersonation(user) == [
        ("Impersonate-User", "admin"),
        ("Impersonate-Uid", "7"),
        ("Impersonate-Group", "dev"),
        ("Impersonate-Group", "ops"),
        ("Impersonate-Extra-acme.com%2Fproject", "a"),
        ("Impersonate-Extra-acme.com%2Fproject", "b"),
    ]
    for bad in ("a\r\nEvil: 1", "\N{SNOWMAN}"):
        with pytest.raises(ConfigError, match="no header can hold"):
            impersonation(User(as_=bad))


KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: c
clusters: [{name: c, cluster: {server: "https://api"}}]
contexts: [{name: c, context: {cluster: c, user: jane}}]
users:
- name: jane
  user: {auth-provider: {name: %s, config: {access-token: abc, expiry: "2999-01-01T00:00:00Z"}}}
"""


def test_an_old_auth_provider_is_left_to_the_kubernetes_package(tmp_path: Path) -> None:
    file = tmp_path / "config"
    for provider in ("gcp", "nobody"):
        file.write_text(KUBECONFIG % provider)
        known = ClientConfig(
            "c",
            "default",
            "https://api",
            ClusterEntry(),
            "jane",
            User(auth_provider={"name": provider}),
            (str(file),),
        )
        login = login_of(known, Clock())
        assert isinstance(login, PackageLogin)
        if provider == "gcp":
            assert login.current() == Credential("Bearer abc")
            assert not login.rejected(Credential("Bearer abc"))
        else:
            with pytest.raises(ConfigError, match="by auth-provider 'nobody'"):
                login.current()


def test_waits_double_up_to_a_limit_with_jitter() -> None:
    low, high = Backoff(0.5, 4, lambda: 0.0), Backoff(0.5, 4, lambda: 1.0)
    assert [low.next_s() for _ in range(5)] == [0.25, 0.5, 1, 2, 2]
    assert [high.next_s() for _ in range(5)] == [0.5, 1, 2, 4, 4]
    high.failures = 10_000
    assert high.next_s() == 4
    high.reset()
    assert high.next_s() == 0.5


SENT = [("Accept", "application/json"), ("Authorization", "Bearer secret")]
RECEIVED = [("Content-Type", "text/\x1b"), ("Set-Cookie", "secret")]


@pytest.mark.parametrize(
    ("level", "lines"),
    [
        (5, []),
        (6, ["GET https://h/p 200 OK in 12 milliseconds"]),
        (
            7,
            [
                "GET https://h/p 200 OK in 12 milliseconds",
                "Request Headers:",
                "    Accept: application/json",
                "    Authorization: Bearer <masked>",
            ],
        ),
        (
            8,
            [
                "GET https://h/p 200 OK in 12 milliseconds",
                "Request Headers:",
                "    Accept: application/json",
                "    Authorization: Bearer <masked>",
                "Response Headers:",
                "    Content-Type: text/\\027",
                "    Set-Cookie: <masked>",
                f"Response Body: {'x' * 1024} [truncated 976 bytes]",
            ],
        ),
    ],
)
def test_the_request_log(level: int, lines: list[str]) -> None:
    written: list[str] = []
    log = RequestLog(level, written.append, lambda: 1_800_000_000.25)
    log.exchange("GET", "https://h/p", SENT, "200 OK", RECEIVED, 0.0123)
    log.body(b"x" * 2000)
    shown = "".join(written).splitlines()
    assert [line.partition("kdns] ")[2] for line in shown] == lines
    assert all(line.startswith("I01") and ".250000 " in line for line in shown)


def test_level_9_shows_more_of_the_body() -> None:
    written: list[str] = []
    RequestLog(9, written.append).body(b"y" * 2000)
    assert written[0].endswith("y" * 2000 + "\n")
