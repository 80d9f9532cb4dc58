"""Flows without a relay: `hubble observe` in every Cilium agent, over a scripted API server, merged."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kdns_hubble import agent_flows, live_flows
from kdns_hubble.dial import Dialer
from kdns_hubble.options import HubbleOptions
from kdns_hubble.uptimes import UptimeWatch
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from support.api_server import ApiServer, failure
from support.hubble_flows import Pod, json_lines, request, response
from support.hubble_live import DNS, Run, end_of, threads
from support.websocket_server import Serve, WebSocketPeer

V5 = "v5.channel.k8s.io"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_flows, "RETRY_S", 0.02)
    monkeypatch.setattr(agent_flows, "LOOK_S", 0.02)
    monkeypatch.setattr(live_flows, "PAUSES_S", (0.0, 0.01))
    monkeypatch.setattr(live_flows, "UptimeWatch", partial(UptimeWatch, every_s=0.05))


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server
    end_of(threads)


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


def agent(name: str, node: str, *, ready: bool = True) -> dict[str, Any]:
    return {
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
        "spec": {"nodeName": node},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": str(ready)}]},
    }


def lines(name: str, node: str) -> bytes:
    asked = request(f"{name}.", client=Pod(f"client-{node}", "10.244.1.93", node=node))
    return json_lines([asked, response(asked, ips=["192.0.2.1"])]).encode()


class Agents:
    """The exec endpoints of agents, by pod: what each `hubble observe` prints, and how it ends."""

    def __init__(self, server: ApiServer) -> None:
        self.commands: list[str] = []
        self._server = server

    def serve(self, pod: str, *runs: Callable[[WebSocketPeer], None]) -> None:
        """The first command in that pod is the first of these; the last is for all that follow."""
        left = list(runs)

        def serve(peer: WebSocketPeer) -> None:
            self.commands.append(pod)
            (left.pop(0) if len(left) > 1 else left[0])(peer)

        self._server.websocket(f"/pods/{pod}/exec$", serve)

    def count(self, pod: str) -> int:
        return self.commands.count(pod)


def prints(*data: bytes, stays: bool = False, code: int = 0, stderr: bytes = b"") -> Serve:
    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        for piece in data:
            peer.send(1, piece)
        if stays:
            peer.wait_for_end()
            return
        if stderr:
            peer.send(2, stderr)
        peer.exit(code)

    return serve


FAILS = prints(code=1, stderr=b"dial unix: connection refused\n")


@pytest.fixture
def agents(server: ApiServer) -> Agents:
    server.put(agent("cilium-a", "n1"))
    server.put(agent("cilium-b", "n2"))
    return Agents(server)


def live(cluster: Cluster, **scope: Any) -> Run:
    return Run(dial=Dialer(cluster, HubbleOptions(), DNS, raw=False), **scope)


def states(run: Run) -> list[tuple[Any, Any]]:
    return [
        (r.code, r.node) for r in list(run.records) if r.kind == "notice" and str(r.code).startswith("node")
    ]


def test_all_agents_as_one_stream(cluster: Cluster, agents: Agents) -> None:
    agents.serve("cilium-a", prints(lines("a.test", "n1"), stays=True))
    agents.serve("cilium-b", prints(lines("b.test", "n2"), stays=True))
    with live(cluster) as run:
        assert (
            run.source.description
            == "no hubble-relay was found: `hubble observe` in 2 Cilium agents, by exec"
        )
        run.wait_for_names("a.test", "b.test")
    assert run.names() == {"a.test": 1, "b.test": 1}
    assert not run.codes()


def test_history_and_then_live_have_no_doubles(cluster: Cluster, agents: Agents) -> None:
    a, b, c = lines("a.test", "n1"), lines("b.test", "n2"), lines("c.test", "n1")
    agents.serve("cilium-a", prints(a), prints(a, c, stays=True))
    agents.serve("cilium-b", prints(b), prints(b, stays=True))
    with live(cluster, history=True) as run:
        run.wait_for_names("a.test", "b.test", "c.test")
    assert set(run.names().values()) == {1}


def test_history_alone(cluster: Cluster, agents: Agents) -> None:
    agents.serve("cilium-a", prints(lines("a.test", "n1")))
    agents.serve("cilium-b", FAILS)
    with live(cluster, history=True, follow=False) as run:
        run.wait_for_end()
    assert run.names() == {"a.test": 1}
    assert states(run) == [("node_error", "n2")]
    assert agents.count("cilium-b") == 1
    assert not run.failure


@pytest.mark.parametrize("quiet", [True, False])
def test_an_agent_that_fails_first_is_asked_again(cluster: Cluster, agents: Agents, quiet: bool) -> None:
    """Whether the others have said anything by then, or not."""
    agents.serve("cilium-a", FAILS, FAILS, prints(lines("late.test", "n1"), stays=True))
    agents.serve("cilium-b", prints(*([] if quiet else [lines("b.test", "n2")]), stays=True))
    with live(cluster) as run:
        run.wait_for_names("late.test")
    assert states(run) == [("node_error", "n1"), ("node_connected", "n1")]


def test_an_agent_that_comes_back_as_another_pod(server: ApiServer, cluster: Cluster, agents: Agents) -> None:
    go = threading.Event()

    def first(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, lines("before.test", "n1"))
        go.wait(10)

    agents.serve("cilium-a", first, FAILS)
    agents.serve("cilium-c", prints(lines("after.test", "n1"), stays=True))
    agents.serve("cilium-b", prints(stays=True))
    with live(cluster) as run:
        run.wait_for_names("before.test")
        server.delete("Pod", "cilium-a", "kube-system")
        server.put(agent("cilium-c", "n1"))
        go.set()
        run.wait_for_names("after.test")
    assert states(run) == [("node_error", "n1"), ("node_connected", "n1")]


def test_an_agent_of_a_node_that_joins(server: ApiServer, cluster: Cluster, agents: Agents) -> None:
    agents.serve("cilium-a", prints(stays=True))
    agents.serve("cilium-b", prints(stays=True))
    agents.serve("cilium-new", prints(lines("new.test", "n3"), stays=True))
    with live(cluster) as run:
        server.wait_for(lambda _: agents.count("cilium-b") == 1)
        server.put(agent("cilium-new", "n3", ready=False))
        server.put(agent("cilium-new", "n3"))
        run.wait_for_names("new.test")


@pytest.mark.parametrize("scope", [{}, {"history": True, "follow": False}])
def test_all_fail(cluster: Cluster, agents: Agents, scope: dict[str, Any]) -> None:
    agents.serve("cilium-a", FAILS)
    agents.serve("cilium-b", FAILS)
    with live(cluster, **scope) as run:
        run.wait_for_end()
    assert isinstance(run.failure, BackendError)
    assert "Hubble is off in this agent" in run.failure.cause
    assert run.codes().keys() <= {"node_error"}


def test_exec_that_is_not_allowed(server: ApiServer, cluster: Cluster, agents: Agents) -> None:
    server.script("/exec", failure(403, "Forbidden", "cannot create pods/exec"), forever=True)
    with live(cluster) as run:
        run.wait_for_end()
    assert isinstance(run.failure, KdnsError)
    assert "not allowed to run `hubble observe`" in run.failure.what
    assert agents.commands == []


def test_no_agent_is_ready(server: ApiServer, cluster: Cluster) -> None:
    server.put(agent("cilium-a", "n1", ready=False))
    with pytest.raises(BackendError, match="no hubble-relay was found, and no Cilium agent is ready"):
        live(cluster)


def test_a_relay_that_is_ready_now(server: ApiServer, cluster: Cluster, agents: Agents) -> None:
    agents.serve("cilium-a", prints(lines("a.test", "n1"), stays=True))
    agents.serve("cilium-b", prints(stays=True))
    with live(cluster) as run:
        run.wait_for_names("a.test")
        relay = agent("hubble-relay-1", "n2")
        relay["metadata"]["labels"] = {"k8s-app": "hubble-relay"}
        server.put(relay)
        run.wait_for_notice("reconnecting")
    assert "hubble-relay kube-system/hubble-relay is ready now" in run.messages("reconnecting")[0]


def test_close_ends_the_commands(server: ApiServer, cluster: Cluster, agents: Agents) -> None:
    ended = threading.Semaphore(0)

    def serve(peer: WebSocketPeer) -> None:
        peer.accept(V5)
        peer.send(1, lines("a.test", "n1"))
        peer.wait_for_end()
        ended.release()

    agents.serve("cilium-a", serve)
    agents.serve("cilium-b", serve)
    with live(cluster) as run:
        server.wait_for(lambda _: len(agents.commands) == 2)
        run.wait_for_names("a.test")
        run.source.close()
        run.wait_for_end(1)
    assert ended.acquire(timeout=10)
    assert ended.acquire(timeout=10)
