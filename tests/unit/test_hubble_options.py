"""The flags for reaching Hubble: what they become, and what does not fit together."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_hubble.address import Address
from kdns_hubble.options import HubbleOptions
from kubectl_kdns.errors import UsageError


def test_nothing_given_is_hubbles_own_defaults() -> None:
    options = HubbleOptions.of({"coredns_namespace": "dns", "hubble_server": "", "hubble_tls": ""})
    assert options == HubbleOptions()
    assert (options.server, options.tls) == (None, None)
    assert (options.dial_timeout_ns, options.request_timeout_ns) == (5_000_000_000, 12_000_000_000)


def test_everything_given() -> None:
    options = HubbleOptions.of(
        {
            "hubble_server": "tls://relay.example",
            "hubble_namespace": "cilium",
            "hubble_tls": "on",
            "hubble_tls_ca": "ca.crt",
            "hubble_tls_cert": "tls.crt",
            "hubble_tls_key": "tls.key",
            "hubble_tls_server_name": "instance.hubble-relay.cilium.io",
            "hubble_tls_from_secret": "auto",
            "hubble_basic_auth_username": "me",
            "hubble_basic_auth_password": "secret",
            "hubble_timeout_ns": 1,
            "hubble_request_timeout_ns": 2,
        }
    )
    assert options == HubbleOptions(
        server=Address("relay.example", 443, tls=True),
        namespace="cilium",
        tls=True,
        ca_file="ca.crt",
        certificate_file="tls.crt",
        key_file="tls.key",
        server_name="instance.hubble-relay.cilium.io",
        from_secret="auto",
        username="me",
        password="secret",
        dial_timeout_ns=1,
        request_timeout_ns=2,
    )


@pytest.mark.parametrize(("text", "tls"), [("", None), ("auto", None), ("on", True), ("off", False)])
def test_tls(text: str, tls: bool | None) -> None:
    assert HubbleOptions.of({"hubble_tls": text}).tls is tls


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"hubble_tls": "yes"}, "--hubble-tls yes: not auto, on or off"),
        ({"hubble_server": "relay:x"}, "--hubble-server relay:x: 'x' is not a port"),
        ({"hubble_tls_cert": "f"}, "--hubble-tls-cert without --hubble-tls-key"),
        ({"hubble_tls_key": "f"}, "--hubble-tls-key without --hubble-tls-cert"),
        (
            {"hubble_basic_auth_username": "me"},
            "--hubble-basic-auth-username without --hubble-basic-auth-password",
        ),
        (
            {"hubble_basic_auth_password": "x"},
            "--hubble-basic-auth-password without --hubble-basic-auth-username",
        ),
        ({"hubble_tls_from_secret": "certs"}, "--hubble-tls-from-secret certs: neither auto nor"),
        ({"hubble_tls_from_secret": "a/b/c"}, "--hubble-tls-from-secret a/b/c: neither auto nor"),
        ({"hubble_timeout_ns": 0}, "--hubble-timeout: more than 0"),
        ({"hubble_request_timeout_ns": -1}, "--hubble-request-timeout: more than 0"),
        ({"hubble_server": "tls://relay", "hubble_tls": "off"}, "with --hubble-tls off"),
        (
            {"hubble_tls": "off", "hubble_tls_ca": "f"},
            "--hubble-tls-ca is for TLS, and --hubble-tls is off",
        ),
        (
            {"hubble_server": "relay:80", "hubble_tls_from_secret": "auto"},
            "--hubble-tls-from-secret is for TLS, and --hubble-server relay:80 speaks plain text",
        ),
        (
            {
                "hubble_server": "relay:80",
                "hubble_basic_auth_username": "a",
                "hubble_basic_auth_password": "b",
            },
            "--hubble-basic-auth-username is for TLS, and --hubble-server relay:80 speaks plain text",
        ),
    ],
)
def test_mistakes(flags: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        HubbleOptions.of(flags)
    assert says in caught.value.what


@pytest.mark.parametrize(
    ("flag", "offered", "speaks"),
    [("", True, True), ("", False, False), ("on", False, True), ("off", True, False)],
)
def test_the_service_says_whether_tls_is_spoken_unless_the_user_does(
    flag: str, offered: bool, speaks: bool
) -> None:
    options = HubbleOptions.of({"hubble_tls": flag})
    assert options.speaks_tls(offered, "the relay") is speaks


def test_certificates_for_a_relay_in_plain_text() -> None:
    options = HubbleOptions.of({"hubble_tls_ca": "ca.crt"})
    assert options.speaks_tls(True, "the relay")
    with pytest.raises(UsageError, match="--hubble-tls-ca is for TLS, and the relay speaks plain text"):
        options.speaks_tls(False, "the relay")
