"""The flags of this backend (`--hubble-...`) as one checked object, before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from kdns_hubble.address import Address, parse_address
from kubectl_kdns.errors import UsageError
from kubectl_kdns.times import NS_PER_S

DIAL_TIMEOUT_NS = 5 * NS_PER_S
REQUEST_TIMEOUT_NS = 12 * NS_PER_S
"""Both are the defaults of Cilium's `hubble` (hubble/pkg/defaults)."""

_SECRET = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?/[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_TLS_FLAGS = (
    ("ca_file", "--hubble-tls-ca"),
    ("certificate_file", "--hubble-tls-cert"),
    ("key_file", "--hubble-tls-key"),
    ("server_name", "--hubble-tls-server-name"),
    ("from_secret", "--hubble-tls-from-secret"),
    # hubble does the same: a password is not for a connection that anybody can read.
    ("username", "--hubble-basic-auth-username"),
)


class HubbleOptions(Struct, frozen=True):
    """`tls` None is "as the address or the relay's Service says". `namespace` "" is "look for it".

    `from_secret` is "", "auto" or NAMESPACE/NAME. `dial_timeout_ns` is for a connection to come about,
    `request_timeout_ns` for an answer that is not a stream.
    """

    server: Address | None = None
    namespace: str = ""
    tls: bool | None = None
    ca_file: str = ""
    certificate_file: str = ""
    key_file: str = ""
    server_name: str = ""
    from_secret: str = ""
    username: str = ""
    password: str = ""
    dial_timeout_ns: int = DIAL_TIMEOUT_NS
    request_timeout_ns: int = REQUEST_TIMEOUT_NS

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> HubbleOptions:
        """From flags by their long name, `-` as `_`; those that are missing have their default. UsageError
        for what does not fit together."""
        server = flags.get("hubble_server") or ""
        options = cls(
            server=parse_address(server) if server else None,
            namespace=flags.get("hubble_namespace") or "",
            tls=_tls(flags.get("hubble_tls") or ""),
            ca_file=flags.get("hubble_tls_ca") or "",
            certificate_file=flags.get("hubble_tls_cert") or "",
            key_file=flags.get("hubble_tls_key") or "",
            server_name=flags.get("hubble_tls_server_name") or "",
            from_secret=flags.get("hubble_tls_from_secret") or "",
            username=flags.get("hubble_basic_auth_username") or "",
            password=flags.get("hubble_basic_auth_password") or "",
            dial_timeout_ns=_timeout(flags, "hubble_timeout_ns", DIAL_TIMEOUT_NS),
            request_timeout_ns=_timeout(flags, "hubble_request_timeout_ns", REQUEST_TIMEOUT_NS),
        )
        _check(options)
        return options

    def speaks_tls(self, offered: bool, called: str) -> bool:
        """Whether TLS is spoken with what is `called` so and by itself offers TLS, or not.

        Raises UsageError when a flag would have no effect, or send a password in plain text.
        """
        tls = offered if self.tls is None else self.tls
        flag = next((flag for name, flag in _TLS_FLAGS if getattr(self, name)), "")
        if flag and not tls:
            cause = "--hubble-tls is off" if self.tls is False else f"{called} speaks plain text"
            raise UsageError(
                f"{flag} is for TLS, and {cause}",
                hint=f"leave out {flag}; or --hubble-tls on, if it does speak TLS",
            )
        return tls


def _tls(text: str) -> bool | None:
    if text not in ("", "auto", "on", "off"):
        raise UsageError(f"--hubble-tls {text}: not auto, on or off")
    return None if text in ("", "auto") else text == "on"


def _timeout(flags: Mapping[str, Any], name: str, default_ns: int) -> int:
    value: int | None = flags.get(name)
    if value is None:
        return default_ns
    if value <= 0:
        flag = "--" + name.removesuffix("_ns").replace("_", "-")
        raise UsageError(f"{flag}: more than 0 is needed", hint=f"{flag} {default_ns // NS_PER_S}s")
    return value


def _check(options: HubbleOptions) -> None:
    _together("--hubble-tls-cert", options.certificate_file, "--hubble-tls-key", options.key_file)
    user, password = "--hubble-basic-auth-username", "--hubble-basic-auth-password"
    _together(user, options.username, password, options.password)
    if options.from_secret not in ("", "auto") and not _SECRET.fullmatch(options.from_secret):
        raise UsageError(
            f"--hubble-tls-from-secret {options.from_secret}: neither auto nor NAMESPACE/NAME",
            hint="--hubble-tls-from-secret kube-system/hubble-relay-client-certs",
        )
    server = options.server
    if server and server.tls and options.tls is False:
        raise UsageError(f"--hubble-server {server} with --hubble-tls off", hint="leave out one of them")
    if server or options.tls is False:
        options.speaks_tls(server is not None and server.tls, f"--hubble-server {server}")


def _together(flag: str, value: str, other_flag: str, other: str) -> None:
    if bool(value) != bool(other):
        given, missing = (flag, other_flag) if value else (other_flag, flag)
        raise UsageError(f"{given} without {missing}", hint=f"{given} and {missing} belong together")
