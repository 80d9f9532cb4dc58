"""The checks of what was asked from within pods and nodes, pure: which way is broken, and where."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from kdns_coredns.doctor_facts import LARGE_TCP, LARGE_UDP, TCP, UDP, InsideFacts, PathFacts, UpstreamFacts
from kdns_coredns.doctor_paths import CHECKS, active_large, active_tcp, active_udp, active_upstreams
from kubectl_kdns.doctor import Check, Target, Unread
from kubectl_kdns.resolver import Reply
from support.doctor_facts import (
    FORWARD,
    LOST,
    PODS,
    SERVICE,
    condition,
    coredns,
    coredns_pod,
    nodelocal,
    paths,
    said,
)

A, B = "pod kube-system/coredns-a", "pod kube-system/coredns-b"
WELL, REFUSED = Reply("NOERROR", True), Reply(problem="connection refused")


def between(asker: str, server: str, *ways: str) -> Any:
    """Whether a path is that one; "" is any."""

    def fits(path: PathFacts) -> bool:
        return asker in ("", str(path.asker)) and server in ("", str(path.server)) and path.way in ways

    return fits


def upstream(udp: Reply = WELL, tcp: Reply = WELL, **changes: Any) -> InsideFacts:
    """As both CoreDNS pods see it."""
    forward = replace(FORWARD, **changes.pop("forward", {}))
    first = UpstreamFacts(PODS[0], forward, "192.0.2.53", udp, tcp)
    return paths(upstreams=tuple(replace(first, pod=pod, **changes) for pod in PODS))


CASES: list[tuple[Check[Any], InsideFacts, list[tuple[str, str, str]]]] = [
    (active_udp, paths(), [("ok", "paths coredns", "12 answers of 3 servers by UDP, from 2 of 3 nodes")]),
    (
        active_udp,
        paths(between("", B, UDP, LARGE_UDP)),
        [("failure", B, f"no answer by UDP (timed out), asked from node n1, node n2, {A} and 1 more")],
    ),
    (
        active_udp,
        paths(between("node n1", "", UDP)),
        [("failure", "node n1", f"no answer by UDP (timed out) from {A}, {B}, service kube-system/kube-dns")],
    ),
    (
        active_tcp,
        paths(between("node n1", B, TCP)),
        [
            (
                "failure",
                "node n1",
                f"no answer by TCP (timed out) from {B}; {A}, service kube-system/kube-dns answered",
            )
        ],
    ),
    (
        active_udp,
        paths(not_entered=((Target("node", "n2"), Unread("there is no agent on node n2", "look")),)),
        [
            ("unknown", "node n2", "nothing could be asked from there: there is no agent on node n2"),
            ("ok", "paths coredns", "12 answers of 3 servers by UDP, from 2 of 3 nodes"),
        ],
    ),
    (
        active_large,
        paths(between("", "", LARGE_TCP)),
        [
            ("ok", "paths coredns", "12 answers of up to 528 bytes of 3 servers by large UDP"),
            *(
                (
                    "failure",
                    server,
                    f"no answer by large TCP (timed out), asked from node n1, node n2, {A} and 1 more",
                )
                for server in ("service kube-system/kube-dns", A, B)
            ),
        ],
    ),
    (  # what does not come at all is not blamed for its length
        active_large,
        paths(between("", "", UDP, LARGE_UDP)),
        [("ok", "paths coredns", "12 answers of up to 1716 bytes of 3 servers by large TCP")],
    ),
    (
        active_upstreams,
        paths(),
        [("ok", "paths coredns", "1 upstream answers, by UDP and by TCP")],
    ),
    (
        active_upstreams,
        upstream(LOST, REFUSED),
        [
            (
                "failure",
                "upstream 192.0.2.53",
                "forward . in configmap kube-system/coredns:9: no answer by UDP (timed out) nor by TCP "
                "(connection refused)",
            )
        ],
    ),
    (
        active_upstreams,
        upstream(LOST),
        [
            (
                "failure",
                "upstream 192.0.2.53",
                "forward . in configmap kube-system/coredns:9: no answer by UDP (timed out) to "
                f"{A}, {B}; by TCP it answers",
            )
        ],
    ),
    (
        active_upstreams,
        upstream(tcp=LOST),
        [
            (
                "warning",
                "upstream 192.0.2.53",
                f"forward . in configmap kube-system/coredns:9: no answer by TCP (timed out) to {A}, {B}: "
                "what is too long for UDP is lost",
            )
        ],
    ),
    (
        active_upstreams,
        upstream(Reply("SERVFAIL")),
        [
            (
                "warning",
                "upstream 192.0.2.53",
                "forward . in configmap kube-system/coredns:9: answers SERVFAIL for NS of .",
            )
        ],
    ),
    (
        active_upstreams,
        upstream(problem="it is asked over tls"),
        [
            (
                "info",
                "upstream 192.0.2.53",
                "forward . in configmap kube-system/coredns:9: not tried: it is asked over tls",
            )
        ],
    ),
    (
        active_upstreams,
        upstream(address=SERVICE.ips[0]),
        [
            (
                "failure",
                f"upstream {SERVICE.ips[0]}",
                "forward . in configmap kube-system/coredns:9: that is service kube-system/kube-dns itself: "
                "lookups go round until they time out",
            )
        ],
    ),
    (
        active_upstreams,
        upstream(address="127.0.0.53"),
        [
            (
                "failure",
                "upstream 127.0.0.53",
                f"forward . in configmap kube-system/coredns:9: that is {A} itself: lookups go round until "
                "they time out",
            )
        ],
    ),
]


@pytest.mark.parametrize(("check", "inside", "expected"), CASES)
def test_what_a_check_says(
    check: Check[Any], inside: InsideFacts, expected: list[tuple[str, str, str]]
) -> None:
    assert said(check, coredns(inside=inside)) == expected


def test_every_check_has_a_case() -> None:
    assert {check.id for check, _, _ in CASES} == {check.id for check in CHECKS}


def test_a_server_that_returns_no_padding() -> None:
    inside = paths()
    short = tuple(replace(path, reply=Reply("NOERROR", True, size_bytes=80)) for path in inside.paths)
    found = said(active_large, coredns(inside=replace(inside, paths=short)))
    assert [(severity, on) for severity, on, _ in found] == [("info", "service kube-system/kube-dns")] * 2
    assert "80 bytes, so long ones were not tried" in found[0][2]


@pytest.mark.parametrize(
    "pod",
    [
        coredns_pod(condition=condition(host_network=True)),  # systemd-resolved may be at home there
        nodelocal(),
    ],
)
def test_a_resolver_of_the_node_is_no_loop(pod: Any) -> None:
    one = UpstreamFacts(pod, FORWARD, "127.0.0.53", WELL, WELL)
    assert [each for each, _, _ in said(active_upstreams, coredns(inside=paths(upstreams=(one,))))] == ["ok"]


def test_nodelocal_may_ask_the_service() -> None:
    one = UpstreamFacts(nodelocal(), FORWARD, SERVICE.ips[0], WELL, WELL)
    assert [each for each, _, _ in said(active_upstreams, coredns(inside=paths(upstreams=(one,))))] == ["ok"]
