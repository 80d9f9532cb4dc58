"""Which proxy is taken: kubeconfig's, the environment's, or none, by the rules of Go's httpproxy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.errors import ConfigError
from kubectl_kdns.kube.dial import Endpoint
from kubectl_kdns.kube.proxy import Proxy, choose_proxy

SQUID = Proxy("http", "squid", 3128)


@pytest.mark.parametrize(
    ("scheme", "proxy_url", "env", "expected"),
    [
        ("https", "", {}, None),
        ("https", "", {"HTTPS_PROXY": "http://squid:3128"}, SQUID),
        ("https", "", {"https_proxy": "squid:3128"}, SQUID),
        ("https", "", {"HTTPS_PROXY": "", "https_proxy": "squid:3128"}, SQUID),
        ("https", "", {"HTTP_PROXY": "http://squid:3128"}, None),
        ("http", "", {"HTTP_PROXY": "http://squid:3128"}, SQUID),
        ("https", "", {"ALL_PROXY": "http://squid:3128"}, None),
        ("https", "", {"HTTPS_PROXY": "http://squid"}, Proxy("http", "squid", 80)),
        ("https", "socks5://s", {"HTTPS_PROXY": "http://squid:3128"}, Proxy("socks5", "s", 1080)),
        ("https", "socks5h://s:1", {}, Proxy("socks5h", "s", 1)),
        ("https", "http://u%40x:p%3A@squid:3128", {}, Proxy("http", "squid", 3128, "u@x", "p:")),
        ("https", "http://[fd00::2]:8080", {}, Proxy("http", "fd00::2", 8080)),
        ("https", "http://squid:3128", {"NO_PROXY": "*"}, SQUID),
    ],
)
def test_where_the_proxy_comes_from(
    scheme: str, proxy_url: str, env: dict[str, str], expected: Proxy | None
) -> None:
    assert choose_proxy(scheme, "api.example.com", 6443, proxy_url, env) == expected


@pytest.mark.parametrize(
    ("host", "no_proxy", "proxied"),
    [
        ("api.example.com", "", True),
        ("api.example.com", "*", False),
        ("api.example.com", "example.com", False),
        ("api.example.com", ".example.com", False),
        ("api.example.com", "*.example.com", False),
        ("api.example.com", "ample.com", True),
        ("api.example.com", "API.Example.COM", False),
        ("example.com", "example.com", False),
        ("example.com", ".example.com", True),
        ("example.com", "*.example.com", True),
        ("api.example.com", "other,  example.com ,", False),
        ("api.example.com", "example.com:6443", False),
        ("api.example.com", "example.com:443", True),
        ("10.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "11.0.0.0/8,10.1.2.3", False),
        ("10.1.2.3", "10.1.2.3:6443", False),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.4", True),
        ("10.1.2.3", "nonsense/8", True),
        ("fd00::1", "fd00::/8", False),
        ("fd00::1", "[fd00::1]:6443", False),
        ("fd00::1", "[fd00::1]", False),
        ("fd00::1", "fd00::1", False),
        ("localhost", "", False),
        ("127.0.0.1", "", False),
        ("::1", "", False),
    ],
)
def test_no_proxy(host: str, no_proxy: str, proxied: bool) -> None:
    env = {"HTTPS_PROXY": "http://squid:3128", "no_proxy": no_proxy}
    assert choose_proxy("https", host, 6443, "", env) == (SQUID if proxied else None)


@pytest.mark.parametrize("url", ["ftp://x", "http://", "http://x:port", "nonsense", "http://[::1", "://"])
def test_what_is_no_proxy(url: str) -> None:
    with pytest.raises(ConfigError, match="is not the URL of a proxy"):
        choose_proxy("https", "h", 1, url, {})


def test_a_proxy_behind_tls_is_refused_with_a_way_out() -> None:
    with pytest.raises(ConfigError) as error:
        choose_proxy("https", "h", 1, "", {"HTTPS_PROXY": "https://squid:3129"})
    assert str(error.value) == (
        "a proxy that is itself reached by TLS is not supported: the environment variable HTTPS_PROXY\n"
        "Try: http://squid:3129 if that proxy also listens without TLS"
    )


@given(st.text(), st.text(), st.text())
def test_no_text_raises_anything_else(host: str, url: str, no_proxy: str) -> None:
    try:
        proxy = choose_proxy("https", host, 1, "", {"HTTPS_PROXY": url, "NO_PROXY": no_proxy})
    except ConfigError:
        return
    assert proxy is None or proxy.port > 0


@pytest.mark.parametrize(
    ("url", "endpoint", "authority"),
    [
        ("https://api", Endpoint(True, "api", 443, ""), "api"),
        ("https://api:6443/k8s/c", Endpoint(True, "api", 6443, "/k8s/c"), "api:6443"),
        ("http://api:443", Endpoint(False, "api", 443, ""), "api:443"),
        ("https://[fd00::1]:443", Endpoint(True, "fd00::1", 443, ""), "[fd00::1]"),
    ],
)
def test_endpoints(url: str, endpoint: Endpoint, authority: str) -> None:
    assert Endpoint.of(url) == endpoint
    assert endpoint.authority == authority
