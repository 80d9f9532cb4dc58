"""A pod's resolv.conf from its spec, for each dnsPolicy, as kubelet writes it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.pod_conf import pod_conf

CLUSTER = "nameserver 10.96.0.10\nsearch shop.svc.k8s.test svc.k8s.test k8s.test\noptions ndots:5\n"


def text_of(spec: dict[str, Any]) -> str:
    return pod_conf(spec, "shop", ["10.96.0.10"], "k8s.test").text


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({}, CLUSTER),
        ({"dnsPolicy": "ClusterFirst"}, CLUSTER),
        ({"dnsPolicy": "ClusterFirstWithHostNet", "hostNetwork": True}, CLUSTER),
        ({"dnsPolicy": "ClusterFirst", "hostNetwork": True}, ""),
        ({"dnsPolicy": "Default"}, ""),
        (
            {"dnsPolicy": "None", "dnsConfig": {"nameservers": ["1.1.1.1"], "searches": ["a.test"]}},
            "nameserver 1.1.1.1\nsearch a.test\n",
        ),
        (
            {"dnsConfig": {"options": [{"name": "ndots", "value": "2"}, {"name": "edns0"}]}},
            CLUSTER.replace("ndots:5", "ndots:5 ndots:2 edns0"),
        ),
        ({"dnsConfig": {"searches": ["svc.k8s.test", "b.test"]}}, CLUSTER.replace("t\no", "t b.test\no")),
    ],
)
def test_each_policy(spec: dict[str, Any], text: str) -> None:
    assert text_of(spec) == text


def test_a_later_option_counts() -> None:
    made = pod_conf({"dnsConfig": {"options": [{"name": "ndots", "value": "2"}]}}, "shop", [], "k8s.test")
    assert made.conf.ndots == 2


def test_what_only_the_node_knows_is_said() -> None:
    assert pod_conf({"dnsPolicy": "Default"}, "shop", [], "k8s.test").unknown
    assert pod_conf({}, "shop", [], "k8s.test").unknown == "search domains of its node"
    assert pod_conf({"dnsPolicy": "None"}, "shop", [], "k8s.test").unknown == ""


OPTION = st.fixed_dictionaries({"name": st.text()}, optional={"value": st.text() | st.none()})
CONFIG = st.fixed_dictionaries(
    {},
    optional={key: st.lists(st.text()) for key in ("nameservers", "searches")}
    | {"options": st.lists(OPTION)},
)


@given(st.sampled_from(["ClusterFirst", "Default", "None", "x", ""]), CONFIG | st.none())
def test_whatever_a_spec_has_it_is_a_file(policy: str, config: dict[str, Any] | None) -> None:
    conf = pod_conf({"dnsPolicy": policy, "dnsConfig": config}, "shop", ["10.96.0.10"], "k8s.test").conf
    assert conf.nameservers
    assert 0 <= conf.ndots <= 15
