"""`hubble observe` in Cilium agents, over a scripted API server; and its script, in a shell of ours."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble import agents as module
from kdns_hubble.agents import Agent, AgentStream, find_agents, observe_arguments
from kdns_hubble.flow_filter import FlowFilter
from kubectl_kdns.errors import BackendError, ClusterError, ForbiddenError, KdnsError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from support.api_server import ApiServer, failure
from support.websocket_server import Serve, WebSocketPeer, serving

V5 = "v5.channel.k8s.io"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


def pod(name: str, namespace: str = "kube-system", *, node: str = "n1", ready: bool = True) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": {"k8s-app": "cilium"}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


# Which agents there are


def test_agents_in_any_namespace(server: ApiServer, cluster: Cluster) -> None:
    server.put(pod("cilium-b", "network", node="n2", ready=False))
    server.put(pod("cilium-a", "network"))
    server.put({**pod("other"), "metadata": {"name": "other", "namespace": "network"}})
    server.put({**pod("done", "network"), "status": {"phase": "Failed"}})
    assert find_agents(cluster) == [
        Agent("network", "cilium-a", "n1", ready=True),
        Agent("network", "cilium-b", "n2", ready=False),
    ]


def test_without_the_right_to_look_everywhere(server: ApiServer, cluster: Cluster) -> None:
    server.put(pod("cilium-a"))
    server.script("/api/v1/pods", failure(403, "Forbidden", "no"), forever=True)
    server.script("/namespaces/cilium/pods", failure(403, "Forbidden", "no"), forever=True)
    assert [agent.pod for agent in find_agents(cluster)] == ["cilium-a"]
    server.delete("Pod", "cilium-a", "kube-system")
    with pytest.raises(ForbiddenError, match="list pods in the whole cluster"):
        find_agents(cluster)


# What hubble is asked for


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (([], None, True), "--follow"),
        (([], None, False), "--all"),
        (([], None, False, 20), "--last 20"),
        (([], 1_790_000_000_000_000_001, True), "--follow --since 2026-09-21T14:13:20.000000001Z"),
        (([], 1_790_000_000_000_000_000, False, 20), "--since 2026-09-21T14:13:20.000000000Z"),
    ],
)
def test_the_span_of_time(asked: Any, expected: str) -> None:
    assert " ".join(observe_arguments(*asked)) == f"observe -o jsonpb {expected}"


def test_filters_are_what_flow_proto_calls_them() -> None:
    filters = [FlowFilter(source_pod=("shop/",), reply=(False,)), FlowFilter(protocol=("dns",))]
    assert observe_arguments(filters, None, True)[4:] == [
        "--allowlist",
        '{"source_pod":["shop/"],"reply":[false]}',
        "--allowlist",
        '{"protocol":["dns"]}',
    ]


# Its output


def stream(cluster: Cluster) -> AgentStream:
    return AgentStream(cluster, "kube-system", "cilium-a", "n1", ["observe", "--follow"])


def read(agent: AgentStream) -> list[bytes]:
    return [line for lines in agent for line in lines]


def saying(*pieces: bytes, exit_code: int = 0, stderr: bytes = b"") -> Serve:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        for piece in pieces:
            peer.send(1, piece)
        if stderr:
            peer.send(2, stderr)
        peer.exit(exit_code)

    return serve


def test_lines(server: ApiServer, cluster: Cluster) -> None:
    server.websocket("/exec$", saying(b'{"a":', b'1}\n{"b"', b":2}\n\n{}\n", b"cut"))
    agent = stream(cluster)
    assert read(agent) == [b'{"a":1}', b'{"b":2}', b"{}"]
    assert agent.skipped == 0
    request = server.requests[0]
    assert request.path == "/api/v1/namespaces/kube-system/pods/cilium-a/exec"
    assert (request.query["container"], request.query["stdin"]) == ("cilium-agent", "true")


@given(st.lists(st.sampled_from([b"", b"a", b"b" * 40, b"\n", b"c\nd", b"\n\n", b"e" * 90])), st.data())
def test_lines_however_they_are_cut(parts: list[bytes], data: st.DataObject) -> None:
    text = b"".join(parts)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MAX_LINE_BYTES", 100)
        lines, fed, rest = module._Lines(), [], text
        while rest:
            size = data.draw(st.integers(1, len(rest)))
            fed += lines.feed(rest[:size])
            rest = rest[size:]
        whole = text.split(b"\n")[:-1]
        # Only a line that comes in one piece may be longer.
        assert [line for line in fed if len(line) <= 100] == [line for line in whole if 0 < len(line) <= 100]
        assert lines.skipped + sum(len(line) > 100 for line in fed) >= sum(len(line) > 100 for line in whole)


def test_a_line_that_is_too_long(
    server: ApiServer, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 1000)
    server.websocket("/exec$", saying(b"one\n", *[b"x" * 400] * 9, b"\n", b"two\n"))
    agent = stream(cluster)
    assert read(agent) == [b"one", b"two"]
    assert agent.skipped == 1


def test_silence_gives_heartbeats(server: ApiServer, cluster: Cluster) -> None:
    go_on = threading.Event()

    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        go_on.wait(10)
        peer.send(1, b"one\n")
        peer.exit(0)

    server.websocket("/exec$", serve)
    batches = iter(stream(cluster))
    assert next(batches) == []
    go_on.set()
    assert [batch for batch in batches if batch] == [[b"one"]]


def test_a_slow_reader_holds_the_agent(server: ApiServer, cluster: Cluster) -> None:
    block = b'{"flow":{}}\n' * 5000
    sent: list[int] = []

    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        for number in range(600):
            peer.send(1, block)
            sent.append(number)
        peer.exit(0)

    serve, done = serving(serve)
    server.websocket("/exec$", serve)
    batches = iter(stream(cluster))
    count = len(next(batches))
    assert not done.wait(0.3)
    assert len(sent) < 600, "it does not keep in memory what nobody takes"
    assert count + sum(map(len, batches)) == 600 * 5000


# Why it failed


@pytest.mark.parametrize(
    ("stderr", "text"),
    [
        (b"unknown flag: --allowlist\n", "its hubble is too old for this: unknown flag: --allowlist"),
        (
            b'rpc error: code = Unavailable desc = "dial unix /x.sock: connect: connection refused"',
            "Hubble is off in this agent",
        ),
        (b"sh: 2: hubble: not found\n", "there is no hubble program in its image"),
        (b"some\x1b thing\n", "some\\027 thing"),
        (b"", "exit status 1"),
    ],
)
def test_a_command_that_fails(server: ApiServer, cluster: Cluster, stderr: bytes, text: str) -> None:
    server.websocket("/exec$", saying(b"one\n", exit_code=1, stderr=stderr))
    batches = iter(stream(cluster))
    assert next(batch for batch in batches if batch) == [b"one"]
    with pytest.raises(BackendError) as error:
        list(batches)
    assert "kube-system/cilium-a of node n1" in error.value.what
    assert text in error.value.cause
    assert error.value.hint == "kubectl exec -n kube-system cilium-a -c cilium-agent -- hubble status"


def test_exec_that_is_not_allowed(server: ApiServer, cluster: Cluster) -> None:
    server.script("/exec", failure(403, "Forbidden", 'cannot create resource "pods/exec"'))
    with pytest.raises(BackendError) as error:
        read(stream(cluster))
    assert "verbs get and create on pods/exec" in error.value.cause
    assert "auth can-i create pods --subresource=exec -n kube-system" in error.value.hint


def test_a_login_that_is_refused(server: ApiServer, cluster: Cluster) -> None:
    server.script("/exec", failure(401, "Unauthorized"))
    with pytest.raises(ForbiddenError, match="does not accept the credentials"):
        read(stream(cluster))


def test_an_agent_that_goes_away(server: ApiServer, cluster: Cluster) -> None:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, b"one\n")

    server.websocket("/exec$", serve)
    with pytest.raises(ClusterError, match="lost the connection"):
        read(stream(cluster))


# close


@pytest.mark.parametrize("flood", [False, True])
def test_close_from_another_thread(server: ApiServer, cluster: Cluster, flood: bool) -> None:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, b"one\n")
        while flood:
            peer.send(1, b"x\n" * 5000)
        peer.wait_for_end()

    server.websocket("/exec$", serve)
    agent = stream(cluster)
    started, ended = threading.Event(), threading.Event()
    errors: list[KdnsError] = []

    def consume() -> None:
        try:
            for batch in agent:
                if batch:
                    started.set()
        except KdnsError as error:
            errors.append(error)
        ended.set()

    threading.Thread(target=consume, daemon=True).start()
    assert started.wait(10)
    agent.close()
    agent.close()
    assert ended.wait(10)
    assert errors == []


def test_close_before_it_is_read(server: ApiServer, cluster: Cluster) -> None:
    agent = stream(cluster)
    agent.close()
    assert read(agent) == []
    assert server.requests == []


# What runs in the pod


@pytest.fixture
def run_script(tmp_path: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Runs it with a program `hubble` that is this shell script."""

    def run(hubble: str, *arguments: str) -> subprocess.Popen[bytes]:
        program = tmp_path / "hubble"
        if hubble:
            program.write_text(f"#!/bin/sh\n{hubble}\n")
            program.chmod(program.stat().st_mode | stat.S_IXUSR)
        command = ["/bin/sh", "-c", module._SCRIPT, "sh", *arguments]
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin" if hubble else str(tmp_path)}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env)

    return run


def test_the_script_is_transparent(run_script: Callable[..., subprocess.Popen[bytes]]) -> None:
    hubble = 'for one; do echo "[$one]"; done; echo oh >&2; cat; exit 3'
    process = run_script(hubble, "observe", "a b", '{"x":["$y"]}')
    assert process.stdin is not None
    assert process.wait(10) == 3, "it ends with hubble, not with its input"
    out, err = process.communicate()
    server = "[--server]\n[unix:///var/run/cilium/hubble.sock]\n"
    assert out.decode() == '[observe]\n[a b]\n[{"x":["$y"]}]\n' + server
    assert err == b"oh\n"


def test_the_script_ends_with_its_input(run_script: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = run_script("echo $$; exec sleep 60", "observe")
    assert process.stdin is not None
    assert process.stdout is not None
    hubble = int(process.stdout.readline())
    os.kill(hubble, 0)
    process.stdin.close()
    assert process.wait(10) != 0
    with pytest.raises(ProcessLookupError):
        os.kill(hubble, 0)
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stdout.close()
    process.stderr.close()


def test_the_script_without_hubble(run_script: Callable[..., subprocess.Popen[bytes]]) -> None:
    process = run_script("", "observe")
    assert process.wait(10) == 127
    _, err = process.communicate()
    assert b"not found" in err
