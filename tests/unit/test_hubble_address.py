"""Where a Hubble server listens, as people write it."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble.address import Address, parse_address
from kubectl_kdns.errors import UsageError


@pytest.mark.parametrize(
    ("text", "address", "target"),
    [
        ("relay.example", Address("relay.example", 4245), "dns:///relay.example:4245"),
        ("relay.example.", Address("relay.example.", 4245), "dns:///relay.example.:4245"),
        ("localhost:14245", Address("localhost", 14245), "dns:///localhost:14245"),
        ("10.0.0.7:80", Address("10.0.0.7", 80), "dns:///10.0.0.7:80"),
        ("unix-relay:80", Address("unix-relay", 80), "dns:///unix-relay:80"),
        ("[fd00::7]:80", Address("fd00::7", 80), "dns:///[fd00::7]:80"),
        ("[fd00::7]", Address("fd00::7", 4245), "dns:///[fd00::7]:4245"),
        ("tls://relay.example", Address("relay.example", 443, tls=True), "dns:///relay.example:443"),
        ("tls://[::1]:4245", Address("::1", 4245, tls=True), "dns:///[::1]:4245"),
        ("unix:///run/hubble.sock", Address(path="/run/hubble.sock"), "unix:/run/hubble.sock"),
        ("unix:/run/hubble.sock", Address(path="/run/hubble.sock"), "unix:/run/hubble.sock"),
        ("unix:hubble.sock", Address(path="hubble.sock"), "unix:hubble.sock"),
    ],
)
def test_forms(text: str, address: Address, target: str) -> None:
    assert parse_address(text) == address
    assert address.target == target


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "'' is not a host"),
        (":4245", "'' is not a host"),
        ("a b", "'a b' is not a host"),
        ("-x:1", "'-x' is not a host"),
        ("relay:", "'' is not a port"),
        ("relay:0", "'0' is not a port"),
        ("relay:65536", "'65536' is not a port"),
        ("relay:http", "'http' is not a port"),
        ("relay:٤", "'٤' is not a port"),
        ("relay:80/path", "'80/path' is not a port"),
        ("::1", "needs brackets"),
        ("[::1", "not an IPv6 address in brackets"),
        ("[relay]:80", "not an IPv6 address in brackets"),
        ("[::1]80", "not an IPv6 address in brackets"),
        ("https://relay:443", "https:// is not known"),
        ("tls://https://relay", "tls://https:// is not known"),
        ("unix:", "no path"),
        ("unix://run/hubble.sock", "no path"),
    ],
)
def test_mistakes(text: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(text)
    assert caught.value.what.startswith(f"--hubble-server {text}: ")
    assert says in caught.value.what
    assert caught.value.hint


HOSTS = st.one_of(
    st.ip_addresses().map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9.-]{0,20}[a-z0-9])?", fullmatch=True),
)


@given(HOSTS, st.integers(1, 65535), st.booleans())
def test_an_address_reads_as_it_is_written(host: str, port: int, tls: bool) -> None:
    address = Address(host, port, tls=tls)
    assert parse_address(str(address)) == address


@given(st.text())
def test_any_text_is_an_address_or_a_usage_error(text: str) -> None:
    try:
        address = parse_address(text)
    except UsageError:
        return
    assert address.path or 0 < address.port < 65536
    if ":" in address.host:
        ipaddress.IPv6Address(address.host)
