"""The flags of kubectl that say which cluster to talk to, and as whom, as plain data (`kubectl options`)."""

from __future__ import annotations

from msgspec import Struct

IGNORED_FLAGS = {
    "cache-dir": "kdns caches nothing on disk",
    "disable-compression": "kdns never asks for compressed responses",
    "kuberc": "aliases and defaults of kubectl's own commands",
    "log-flush-frequency": "kdns writes its log lines at once",
    "match-server-version": "kdns works with every version of the API that it knows",
    "profile": "kdns is not a Go program",
    "profile-output": "kdns is not a Go program",
    "vmodule": "kdns has one level for all its parts: -v",
    "warnings-as-errors": "the requests of kdns are not what the user wrote",
}
"""Flags of kubectl that are accepted, because aliases and scripts carry them, but mean nothing here: why."""


class ConnectionFlags(Struct, frozen=True):
    """kubectl's connection flags by kubectl's names and with kubectl's meaning; empty means not given.

    `request_timeout` is a duration or a number of seconds; it ends where a stream (a watch, a log that is
    followed) begins. `v` is the verbosity of the request log, 6 to 9.
    """

    kubeconfig: str = ""
    context: str = ""
    cluster: str = ""
    user: str = ""
    server: str = ""
    token: str = ""
    username: str = ""
    password: str = ""
    certificate_authority: str = ""
    client_certificate: str = ""
    client_key: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    as_: str = ""
    as_uid: str = ""
    as_group: tuple[str, ...] = ()
    as_user_extra: tuple[str, ...] = ()
    request_timeout: str = "0"
    v: int = 0
