"""Requests against a scripted API server: what is sent, what is tried again, and what goes wrong."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.errors import (
    ClusterError,
    ConfigError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
)
from kubectl_kdns.kube import Cluster, ConnectionFlags, ListResult, connect
from kubectl_kdns.kube.transport import MAX_RETRIES
from support.api_server import ApiServer, Reply, failure

Connect = Callable[..., Cluster]


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        yield server


@pytest.fixture
def waits() -> list[float]:
    """What would have been slept between retries."""
    return []


@pytest.fixture
def connect_to(tmp_path: Path, waits: list[float]) -> Iterator[Connect]:
    clusters: list[Cluster] = []

    def make(server: ApiServer, user: dict[str, Any] | None = None, **flags: Any) -> Cluster:
        log = flags.pop("log", None)
        path = server.kubeconfig(tmp_path / "config", user=user)
        clusters.append(connect(ConnectionFlags(kubeconfig=str(path), **flags), log=log, sleep=waits.append))
        return clusters[-1]

    yield make
    for cluster in clusters:
        cluster.close()


def put_pods(server: ApiServer, count: int) -> None:
    for number in range(count):
        server.put({"kind": "Pod", "metadata": {"name": f"p{number}"}})


def test_what_a_cluster_says_of_itself(server: ApiServer, connect_to: Connect) -> None:
    cluster = connect_to(server)
    assert (cluster.context, cluster.server, cluster.namespace, cluster.user) == (
        "test",
        server.url,
        "default",
        "tester",
    )
    assert server.requests == [], "connecting sends nothing"


def test_get_and_what_is_sent(server: ApiServer, connect_to: Connect) -> None:
    server.put({"kind": "Node", "metadata": {"name": "n1"}})
    cluster = connect_to(server, {"token": "secret", "as": "bob", "as-groups": ["a", "b"]})
    node = cluster.get("/api/v1/nodes/n1", pretty=True, limit=5, left_out=None, text="a b&c")
    assert node["metadata"]["name"] == "n1"
    [request] = server.requests
    assert request.query == {"pretty": "true", "limit": "5", "text": "a b&c"}
    headers = request.headers
    assert headers.pop("user-agent").startswith("kubectl-kdns/")
    assert headers == {
        "host": f"127.0.0.1:{server.port}",
        "accept-encoding": "identity",
        "accept": "application/json",
        "authorization": "Bearer secret",
        "impersonate-user": "bob",
        "impersonate-group": "a, b",
    }


def test_a_path_in_the_url_stands_before_every_path(connect_to: Connect) -> None:
    with ApiServer(base_path="/k8s/clusters/c-1") as server:
        put_pods(server, 1)
        assert len(connect_to(server).list("/api/v1/pods").items) == 1


def test_writing(server: ApiServer, connect_to: Connect) -> None:
    cluster = connect_to(server)
    path = "/api/v1/namespaces/default/configmaps"
    made = cluster.request("POST", path, body={"metadata": {"name": "c"}, "data": {"a": "1"}})
    with pytest.raises(ConflictError):
        cluster.request("POST", path, body={"metadata": {"name": "c"}})
    changed = cluster.request("PUT", f"{path}/c", body={**made, "data": {"a": "2"}})
    with pytest.raises(ConflictError, match="the object has been modified"):
        cluster.request("PUT", f"{path}/c", body={**made, "data": {"a": "3"}})
    patch = {"data": {"a": None, "b": "4"}}
    merge = "application/merge-patch+json"
    patched = cluster.request("PATCH", f"{path}/c", body=patch, content_type=merge)
    assert (changed["data"], patched["data"]) == ({"a": "2"}, {"b": "4"})
    assert server.requests[-1].headers["content-type"] == merge
    cluster.request("DELETE", f"{path}/c", query={"dryRun": None})
    with pytest.raises(NotFoundError):
        cluster.get(f"{path}/c")


def test_lists_come_in_pages(server: ApiServer, connect_to: Connect) -> None:
    put_pods(server, 1101)
    result = connect_to(server).list("/api/v1/pods", labelSelector=None)
    assert isinstance(result, ListResult)
    assert [pod["metadata"]["name"] for pod in result.items] == [f"p{number}" for number in range(1101)]
    assert result.resource_version == str(server.store.version)
    assert [request.query.get("limit") for request in server.requests] == ["500"] * 3
    assert len({request.connection for request in server.requests}) == 1, "the connection is kept"


def test_a_list_from_the_cache_comes_in_one_piece(server: ApiServer, connect_to: Connect) -> None:
    put_pods(server, 600)
    assert len(connect_to(server).list("/api/v1/pods", resourceVersion="0").items) == 600
    assert [request.query for request in server.requests] == [{"resourceVersion": "0"}]


def test_a_list_that_expires_begins_again_in_one_piece(server: ApiServer, connect_to: Connect) -> None:
    put_pods(server, 600)
    server.script("continue=", failure(410, "Expired"))
    assert len(connect_to(server).list("/api/v1/pods").items) == 600
    assert [sorted(request.query) for request in server.requests] == [["limit"], ["continue", "limit"], []]


def test_an_idle_connection_that_the_server_closed_is_replaced(
    server: ApiServer, connect_to: Connect
) -> None:
    put_pods(server, 1)
    cluster = connect_to(server)
    for expected in (1, 2, 3):
        assert len(cluster.list("/api/v1/pods").items) == 1
        server.cut_connections()
        server.wait_for(lambda server: not server.connections)
        assert len(server.requests) == expected


def test_a_connection_that_breaks_under_a_get_is_tried_once_more(
    server: ApiServer, connect_to: Connect
) -> None:
    put_pods(server, 1)
    cluster = connect_to(server)
    cluster.get("/api/v1/pods")
    server.script("GET", Reply(0))
    assert len(cluster.get("/api/v1/pods")["items"]) == 1
    server.script("GET", Reply(0), Reply(0))
    with pytest.raises(ClusterError, match="closed the connection without an answer"):
        cluster.get("/api/v1/pods")


def test_what_writes_is_never_sent_twice(server: ApiServer, connect_to: Connect) -> None:
    cluster = connect_to(server)
    cluster.list("/api/v1/pods")
    server.script("POST", Reply(0))
    with pytest.raises(ClusterError, match="closed the connection without an answer"):
        cluster.request("POST", "/api/v1/namespaces/default/configmaps", body={"metadata": {"name": "c"}})
    assert server.count("POST") == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_a_busy_server_is_asked_again_later(
    server: ApiServer, connect_to: Connect, waits: list[float], status: int
) -> None:
    server.script("GET", failure(status, "TooManyRequests"), failure(status, "Timeout"))
    assert connect_to(server).list("/api/v1/pods").items == []
    assert len(server.requests) == 3
    assert 0.25 <= waits[0] <= 0.5 <= waits[1] <= 1


def test_it_waits_as_long_as_it_is_told(server: ApiServer, connect_to: Connect, waits: list[float]) -> None:
    server.script(
        "GET", failure(500, "InternalError", Retry_After="7"), failure(429, "x", Retry_After="3600")
    )
    connect_to(server).list("/api/v1/pods")
    assert waits == [7, 30]


def test_it_does_not_ask_for_ever(server: ApiServer, connect_to: Connect, waits: list[float]) -> None:
    server.script("GET", failure(429, "TooManyRequests", "slow down"), forever=True)
    with pytest.raises(ClusterError, match="slow down") as error:
        connect_to(server).get("/api/v1/pods")
    assert (error.value.status, len(waits)) == (429, MAX_RETRIES)


@pytest.mark.parametrize(("method", "status"), [("GET", 500), ("POST", 503)])
def test_what_is_not_tried_again(
    server: ApiServer, connect_to: Connect, waits: list[float], method: str, status: int
) -> None:
    server.script(method, failure(status, "InternalError", "etcd is gone"))
    with pytest.raises(ClusterError, match="etcd is gone"):
        connect_to(server).request(method, "/api/v1/namespaces/a/configmaps", body={"metadata": {}})
    assert (len(server.requests), waits) == (1, [])


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (failure(401, "Unauthorized"), ForbiddenError, "does not accept the credentials of user 'tester'"),
        (failure(403, "Forbidden", "pods is forbidden"), ForbiddenError, "can-i list pods -A"),
        (failure(404, "NotFound"), NotFoundError, "failed with status 404"),
        (failure(410, "Expired"), GoneError, "failed with status 410"),
        (Reply(200, b"<html>Sign in</html>"), ClusterError, "not JSON: 'Sign in'"),
        (Reply(200, b'{"items": ["\xff"]}'), ClusterError, "not JSON"),
        (Reply(302, b"", {"Location": "https://login"}), ClusterError, "HTTP status 302"),
        (Reply(200, b'{"items": ', cut=True), ClusterError, "in the middle of an answer"),
    ],
)
def test_errors(
    server: ApiServer, connect_to: Connect, reply: Reply, kind: type[ClusterError], text: str
) -> None:
    server.script("GET", reply, forever=True)
    with pytest.raises(kind) as error:
        connect_to(server).get("/api/v1/pods")
    assert text in str(error.value)
    assert "'test'" in str(error.value)


def test_a_new_token_is_tried_once_when_the_old_is_rejected(connect_to: Connect, tmp_path: Path) -> None:
    with ApiServer(token="new") as server:
        file = tmp_path / "token"
        file.write_text("old")
        cluster = connect_to(server, {"tokenFile": str(file)})
        with pytest.raises(ForbiddenError):
            cluster.get("/api/v1/pods")
        file.write_text("new")
        assert cluster.get("/api/v1/pods")["items"] == []
        seen = [request.headers["authorization"] for request in server.requests]
        assert seen == ["Bearer old", "Bearer old", "Bearer new"]


def test_a_server_that_says_nothing_times_out(server: ApiServer, connect_to: Connect) -> None:
    held = threading.Event()
    server.script("GET", Reply(after=held))
    with pytest.raises(ClusterError, match="no answer in time"):
        connect_to(server, request_timeout="100ms").get("/api/v1/pods")
    held.set()


def test_nobody_listens(connect_to: Connect) -> None:
    with ApiServer() as server:
        pass
    with pytest.raises(ClusterError) as error:
        connect_to(server).get("/api/v1/pods")
    assert str(error.value) == (
        f"cannot reach the API server {server.url} of context 'test': "
        "connection refused; nothing listens there\n"
        "Try: kubectl --context test get --raw /version"
    )


def test_a_bad_timeout(server: ApiServer, connect_to: Connect) -> None:
    with pytest.raises(ConfigError, match="--request-timeout 'soon' is not a duration"):
        connect_to(server, request_timeout="soon")
    for good in ("0", "30", "1m30s"):
        connect_to(server, request_timeout=good)


def test_close_ends_what_is_under_way_in_other_threads(server: ApiServer, connect_to: Connect) -> None:
    held = threading.Event()
    server.script("GET", Reply(after=held))
    cluster = connect_to(server)
    failed: list[Exception] = []

    def get() -> None:
        try:
            cluster.get("/api/v1/pods")
        except ClusterError as error:
            failed.append(error)

    thread = threading.Thread(target=get)
    thread.start()
    server.wait_for(lambda server: len(server.requests) == 1)
    cluster.close()
    thread.join(5)
    held.set()
    assert len(failed) == 1
    with pytest.raises(ClusterError):
        cluster.get("/api/v1/pods")


def test_the_request_log(server: ApiServer, connect_to: Connect) -> None:
    lines: list[str] = []
    cluster = connect_to(server, {"token": "secret"}, v=8, log=lines.append)
    cluster.get("/api/v1/pods", limit=1)
    text = "".join(lines)
    assert f"GET {server.url}/api/v1/pods?limit=1 200 OK in " in text
    assert "    Authorization: Bearer <masked>\n" in text
    assert 'Response Body: {"kind": "PodList"' in text
    assert "secret" not in text


def test_several_threads_share_it(server: ApiServer, connect_to: Connect) -> None:
    put_pods(server, 20)
    cluster = connect_to(server)
    counts: list[int] = []

    def work() -> None:
        counts.extend(len(cluster.list("/api/v1/pods", limit=7).items) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == [20] * 30


def test_connecting_imports_nothing_heavy(server: ApiServer, tmp_path: Path) -> None:
    kubeconfig = server.kubeconfig(tmp_path / "config", user={"token": "t"})
    script = (
        "import sys\nfrom kubectl_kdns.kube import ConnectionFlags, connect\n"
        f"connect(ConnectionFlags(kubeconfig={str(kubeconfig)!r})).get('/api/v1/pods')\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    loaded = set(done.stdout.split())
    assert "http.client" in loaded
    assert not loaded & {"kubernetes", "requests", "urllib3", "subprocess", "tempfile", "websocket", "typer"}
