"""The texts by which gRPC and servers say what went wrong, and what becomes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble.address import Address
from kdns_hubble.failures import HubbleError, Peer, call_error, no_connection, proxies_of
from kdns_hubble.handshake import Greeting
from kubectl_kdns.dns.names import safe_text

REACH = "failed to connect to all addresses; last error: "
PEER = Peer("the relay", Address("relay.example", 443), trusts="this machine", dial_timeout_ns=5_000_000_000)
TLS = Peer("the relay", Address("relay.example", 443), tls=True, trusts="this machine")


def error_of(
    details: str, peer: Peer = PEER, code: str = "UNAVAILABLE", greeting: Greeting | None = None
) -> HubbleError:
    def greet() -> Greeting:
        assert greeting is not None, "the text says it all"
        return greeting

    return call_error(code, details, peer, (), greet)


@pytest.mark.parametrize(
    ("details", "cause"),
    [
        (
            "UNKNOWN: ipv4:10.0.0.1:443: Failed to connect to remote host: No route to host",
            "there is no route to it",
        ),
        (
            "UNKNOWN: ipv6: Failed to connect to remote host: Network is unreachable",
            "there is no route to it",
        ),
        ("connect failed: addr: unix:/s error: Permission denied", "this user may not open the socket"),
        ("UNKNOWN: connection attempt timed out before receiving SETTINGS frame", "no answer within 5 s"),
        ("UNKNOWN: tcp handshaker shutdown", "no answer within 5 s"),
        ("UNAVAILABLE: Handshake read failed (Endpoint closing)", "no answer within 5 s"),
        (
            "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: certificate is not yet valid: OK",
            "its certificate is not valid yet",
        ),
        (
            "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: self-signed certificate in chain: OK",
            "its certificate is not signed by an authority of this machine",
        ),
        (
            "Tls handshake failed: CERTIFICATE_VERIFY_FAILED: unsuitable certificate purpose: OK",
            "its certificate is not good: unsuitable certificate purpose",
        ),
        ("something that nobody has seen", REACH + "something that nobody has seen"),
    ],
)
def test_texts_that_no_test_can_provoke(details: str, cause: str) -> None:
    error = error_of(REACH + details)
    assert error.cause.startswith(cause)
    assert error.what == "cannot connect to the relay"
    assert error.hint


@pytest.mark.parametrize(
    ("peer", "greeting", "cause"),
    [
        (PEER, Greeting(True), "it speaks TLS"),
        (PEER, Greeting(True, wants_certificate=True), "it speaks TLS"),
        (PEER, Greeting(False), "it closed the connection without a word"),
        (PEER, Greeting(), "it closed the connection without a word"),
        (TLS, Greeting(False), "it speaks plain text"),
        (TLS, Greeting(True, wants_certificate=True), "it wants a client certificate"),
        (TLS, Greeting(True), "it closed the connection without a word"),
    ],
)
@pytest.mark.parametrize("text", ["Socket closed", "recvmsg:Connection reset by peer", "Broken pipe"])
def test_a_closed_connection_is_explained_by_a_greeting(
    peer: Peer, greeting: Greeting, cause: str, text: str
) -> None:
    assert error_of(f"{REACH}UNAVAILABLE: {text}", peer, greeting=greeting).cause.startswith(cause)


def test_names_of_a_certificate_that_could_not_be_had() -> None:
    error = error_of(REACH + "Hostname Verification Check failed.", TLS, greeting=Greeting(True))
    assert error.cause == "its certificate is not for relay.example"
    assert error.hint == "--hubble-tls-server-name NAME"


@pytest.mark.parametrize(
    "details",
    [
        "Socket closed",
        "Stream removed (Socket closed (GOAWAY received; Error code: 11; Debug Text: too_many_pings))",
        "keepalive watchdog timeout",
        "Connection reset by peer",
    ],
)
def test_a_stream_that_broke_is_lost(details: str) -> None:
    error = error_of(details)
    assert (error.lost, error.what, error.cause) == (True, "lost the connection to the relay", details)


def test_a_server_that_was_silent() -> None:
    error = no_connection(PEER, ("https_proxy", "HTTP_PROXY"))
    assert error.cause == (
        "no answer within 5 s (--hubble-timeout); https_proxy and HTTP_PROXY are not used for Hubble"
    )


def test_proxies_are_those_that_grpc_knows() -> None:
    env = {"HTTPS_PROXY": "http://p:1", "http_proxy": "", "NO_PROXY": "*", "ALL_PROXY": "x"}
    assert proxies_of(env) == ("HTTPS_PROXY",)


CODES = ["UNAVAILABLE", "UNIMPLEMENTED", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL", "UNKNOWN"]


@given(st.sampled_from(CODES), st.text(), st.booleans(), st.booleans())
def test_any_text_becomes_one_safe_message(code: str, text: str, reach: bool, tls: bool) -> None:
    error = call_error(code, (REACH if reach else "") + text, TLS if tls else PEER, (), Greeting)
    assert error.code == code
    assert "the relay" in error.what
    assert safe_text(error.what + error.cause) == error.what + error.cause
