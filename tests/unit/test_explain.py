"""Pieces of explain: from which pod, over which sockets, and who asked."""

from __future__ import annotations

import os
import sys
from typing import Any

import pytest

from kubectl_kdns.directory import Directory, Pod
from kubectl_kdns.endpoints import Node
from kubectl_kdns.errors import BackendError, UsageError
from kubectl_kdns.model import Client, Process, Workload
from kubectl_kdns.pod_transport import LINUX_ERRORS, PodTransport
from kubectl_kdns.resolver import Reply, question
from kubectl_kdns.target import dns_nodes, find_target


def directory() -> Directory:
    made = Directory()
    labels: dict[str, dict[str, str]] = {
        "coredns-a": {"k8s-app": "kube-dns"},
        "local-1": {"k8s-app": "node-local-dns"},
        "local-2": {"k8s-app": "node-local-dns"},
    }
    for name, namespace, node in (
        ("web-1", "shop", "n1"),
        ("web-2", "shop", "n2"),
        ("coredns-a", "kube-system", "n3"),
        ("local-1", "kube-system", "n1"),
        ("local-2", "kube-system", "n2"),
    ):
        workload = Workload("Deployment", "web") if namespace == "shop" else Workload("DaemonSet", "dns")
        pod = Pod(namespace, name, f"uid-{name}", made.labels(labels.get(name, {})), node, workload)
        made.put_pod(pod, 0)
        made.put_node(Node(node))
    return made


@pytest.mark.parametrize("where", ["web-1", "pod/web-1", "deploy/web", "deployment/web"])
def test_a_pod_or_one_of_a_workload(where: str) -> None:
    target = find_target(directory(), where, "shop")
    assert (target.pod, target.node, target.uid) == ("web-1", "n1", "uid-web-1")
    assert target.text == "pod shop/web-1"


def test_a_node() -> None:
    target = find_target(directory(), "node/n2", "shop")
    assert (target.node, target.uid, target.text) == ("n2", "", "node n2")
    client = target.client(Client(ip="192.0.2.1", namespace="kube-system", pod="kdns-x"))
    assert (client.kind, client.node, bool(client.pod)) == ("node", "n2", False)


@pytest.mark.parametrize(
    ("where", "words"),
    [("wbe-1", "web-1"), ("deploy/nothing", "no such pod"), ("node/n9", "no node n9"), ("bogus/x", "bogus")],
)
def test_what_is_not_there(where: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_target(directory(), where, "shop")
    assert words in f"{caught.value} {caught.value.hint}"


def test_dns_servers_that_a_pod_may_reach() -> None:
    assert sorted(dns_nodes(directory(), "n1")) == ["n1", "n3"]


def test_what_the_agent_asked_is_the_pods() -> None:
    target = find_target(directory(), "web-1", "shop")
    seen = Client(ip="10.0.1.2", pod="kdns-agent", namespace="kube-system", process=Process(7, "agent-amd64"))
    client = target.client(seen)
    assert (client.ip, client.namespace, client.pod, client.node) == ("10.0.1.2", "shop", "web-1", "n1")
    assert not client.process
    assert seen.pod == "kdns-agent"


class Pipe:
    """Answers what is sent in the order of `script`: an errno, bytes, or None for silence."""

    resolv_conf = ""

    def __init__(self, *script: Any) -> None:
        self.script, self.sent, self.inbox = list(script), [], []  # type: ignore[var-annotated]

    def send(self, slot: int, server: str, port: int, message: bytes, *, over_tcp: bool) -> None:
        self.sent.append((slot, server, port, over_tcp))
        answer = self.script.pop(0)
        if isinstance(answer, int):
            self.inbox.append((slot, answer, b""))
        elif answer is not None:
            self.inbox.append((slot, 0, message[:2] + answer))

    def receive(self, timeout_s: float) -> tuple[int, int, bytes] | None:
        return self.inbox.pop() if self.inbox and timeout_s > 0 else None  # in another order

    def close(self) -> None: ...


NXDOMAIN = bytes.fromhex("8183 0000 0000 0000 0000".replace(" ", ""))


def test_a_socket_a_server_and_what_came_back_by_its_id() -> None:
    asked: set[tuple[str, str, int]] = set()
    pipe = Pipe(NXDOMAIN, None, 111, NXDOMAIN)
    transport = PodTransport(pipe, asked)
    first = [question("a.test", type_, id_, "10.0.0.1") for type_, id_ in (("A", 1), ("AAAA", 2))]
    assert transport.exchange(first, 0.01) == [
        Reply(rcode="NXDOMAIN", size_bytes=12),
        Reply(problem="timed out"),
    ]
    other = [question("a.test", "A", 3, "10.0.0.2"), question("a.test", "A", 4, "10.0.0.1", over_tcp=True)]
    refused, denied = transport.exchange(other, 0.01)
    assert (refused.problem, denied.rcode) == ("connection refused", "NXDOMAIN")
    assert [(slot, over_tcp) for slot, _, _, over_tcp in pipe.sent] == [(0, False)] * 2 + [
        (1, False),
        (2, True),
    ]
    assert asked == {("a.test", "A", 1), ("a.test", "AAAA", 2), ("a.test", "A", 3), ("a.test", "A", 4)}


@pytest.mark.skipif(sys.platform != "linux", reason="compares them with this Linux's own")
def test_an_agents_errors_have_linux_names() -> None:
    assert {number: os.strerror(number).lower() for number in LINUX_ERRORS} == LINUX_ERRORS


def test_an_answer_to_another_question_is_none() -> None:
    pipe = Pipe(NXDOMAIN)
    transport = PodTransport(pipe, set())
    (asked,) = [question("a.test", "A", 1, "10.0.0.1")]
    pipe.inbox.append((0, 0, b"\0\7" + NXDOMAIN))
    assert transport.exchange([asked], 0.01) == [Reply(rcode="NXDOMAIN", size_bytes=12)]
    assert PodTransport(Pipe(None), set()).exchange([asked], 0.001) == [Reply(problem="timed out")]


def test_more_servers_than_sockets_are_refused_and_not_asked_of_another() -> None:
    transport = PodTransport(Pipe(*[NXDOMAIN] * 65), set())
    asked = [question("a.test", "A", n, f"10.0.0.{n}") for n in range(65)]
    assert len(transport.exchange(asked[:64], 0.01)) == 64
    with pytest.raises(BackendError, match="64 servers at most"):
        transport.exchange(asked[64:], 0.01)
