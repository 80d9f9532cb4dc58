"""Logs and watches as they come: chunk borders, silence, breaks, the end, and `close` from another thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kubectl_kdns.errors import ClusterError, ForbiddenError, GoneError, NotFoundError
from kubectl_kdns.kube import Cluster, ConnectionFlags, Stream, connect
from support.api_server import ApiServer, PodLog, Reply, failure

LOG = "/api/v1/namespaces/default/pods/p/log"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put({"kind": "Pod", "metadata": {"name": "p"}})
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


def read_all(stream: Stream) -> bytes:
    parts = []
    while part := stream.read1():
        parts.append(part)
    stream.close()
    return b"".join(parts)


class Reader(threading.Thread):
    """Reads a stream to its end in a thread of its own; `done` is its content or its error."""

    def __init__(self, stream: Stream) -> None:
        super().__init__(daemon=True)
        self.stream = stream
        self.parts: list[bytes] = []
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while part := self.stream.read1():
                self.parts.append(part)
        except ClusterError as error:
            self.error = error

    def result(self) -> bytes:
        self.join(10)
        assert not self.is_alive(), "the reader hangs"
        if self.error:
            raise self.error
        return b"".join(self.parts)


@pytest.mark.parametrize("chunk_bytes", [0, 1, 7, 4096])
def test_a_log_whatever_its_chunks(server: ApiServer, cluster: Cluster, chunk_bytes: int) -> None:
    server.chunk_bytes = chunk_bytes
    lines = [f"line {number} äöü" for number in range(200)]
    server.log("p").write(*lines)
    assert read_all(cluster.open(LOG)).decode().splitlines() == lines


def test_a_small_read_gives_little(server: ApiServer, cluster: Cluster) -> None:
    server.log("p").write("x" * 100)
    stream = cluster.open(LOG)
    assert len(stream.read1(10)) <= 10
    stream.close()


def test_lines_come_when_they_are_written(server: ApiServer, cluster: Cluster) -> None:
    log = server.log("p")
    stream = cluster.open(LOG, follow=True)
    log.write("one")
    assert stream.read1() == b"one\n"
    log.write("two")
    assert stream.read1() == b"two\n"
    log.write("three")
    log.restart()
    assert (stream.read1(), stream.read1(), stream.read1()) == (b"three\n", b"", b"")


def test_a_break_in_the_middle_is_an_error(server: ApiServer, cluster: Cluster) -> None:
    log = server.log("p")
    log.write("one")
    stream = cluster.open(LOG, follow=True)
    assert stream.read1() == b"one\n"
    log.cut()
    with pytest.raises(ClusterError, match="lost the connection"):
        read_all(stream)
    assert stream.read1() == b"", "after the error it has ended"


def test_a_connection_that_is_reset_is_an_error(server: ApiServer, cluster: Cluster) -> None:
    log = server.log("p")
    log.write("one")
    reader = Reader(cluster.open(LOG, follow=True))
    log.wait_for_readers()
    server.cut_connections()
    with pytest.raises(ClusterError):
        reader.result()
    assert reader.parts == [b"one\n"]


@pytest.mark.parametrize("silent", [True, False])
def test_close_from_another_thread_wakes_the_reader(
    server: ApiServer, cluster: Cluster, silent: bool
) -> None:
    log, stream = server.log("p"), cluster.open(LOG, follow=True)
    if not silent:
        log.write("one")
        assert stream.read1() == b"one\n"
    reader = Reader(stream)
    log.wait_for_readers()
    stream.close()
    assert reader.result() == b""
    stream.close()


def test_close_ends_the_wait_for_an_answer(server: ApiServer, cluster: Cluster) -> None:
    held = threading.Event()
    server.script("/log", Reply(after=held))
    reader = Reader(cluster.open(LOG, follow=True))
    server.wait_for(lambda server: len(server.requests) == 1)
    reader.stream.close()
    assert reader.result() == b""
    held.set()


def test_close_before_the_first_read_sends_nothing(server: ApiServer, cluster: Cluster) -> None:
    stream = cluster.open(LOG)
    stream.close()
    assert stream.read1() == b""
    assert server.requests == []


def test_close_of_the_cluster_ends_streams(server: ApiServer, cluster: Cluster) -> None:
    reader = Reader(cluster.open(LOG, follow=True))
    server.log("p").wait_for_readers()
    cluster.close()
    with pytest.raises(ClusterError):
        reader.result()


def test_close_ends_the_wait_before_another_try(server: ApiServer, cluster: Cluster) -> None:
    server.script("GET", failure(429, "TooManyRequests", Retry_After="30"))
    reader = Reader(cluster.open(LOG))
    server.wait_for(lambda server: len(server.requests) == 1)
    reader.stream.close()
    assert reader.result() == b""


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (failure(403, "Forbidden", "no"), ForbiddenError, "auth can-i get pods --subresource=log -n default"),
        (failure(404, "NotFound", 'pods "p" not found'), NotFoundError, 'pods "p" not found'),
        (failure(400, "BadRequest", "waiting to start"), ClusterError, "waiting to start"),
        (Reply(0), ClusterError, "closed the connection without an answer"),
    ],
)
def test_the_first_read_raises_what_the_answer_is(
    server: ApiServer, cluster: Cluster, reply: Reply, kind: type[ClusterError], text: str
) -> None:
    server.script("/log", reply)
    with pytest.raises(kind) as error:
        cluster.open(LOG).read1()
    assert text in str(error.value)


# Watches


def watch_names(cluster: Cluster, version: str, count: int) -> list[tuple[str, str]]:
    watch = cluster.watch("/api/v1/pods", version)
    seen = []
    for type_, obj in watch:
        seen.append((type_, obj["metadata"]["name"]))
        if len(seen) == count:
            watch.close()
    return seen


def test_changes_since_a_list(server: ApiServer, cluster: Cluster) -> None:
    version = cluster.list("/api/v1/pods").resource_version
    server.put({"kind": "Pod", "metadata": {"name": "a"}})
    server.put({"kind": "Pod", "metadata": {"name": "a", "labels": {"x": "y"}}})
    server.delete("Pod", "a")
    expected = [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    assert watch_names(cluster, version, 3) == expected
    query = server.requests[-1].query
    assert 300 <= int(query.pop("timeoutSeconds")) < 600
    assert query == {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": version}


def test_events_cut_into_pieces(server: ApiServer, cluster: Cluster) -> None:
    server.chunk_bytes = 11
    version = cluster.list("/api/v1/pods").resource_version
    for number in range(20):
        server.put({"kind": "Pod", "metadata": {"name": f"p{number}", "annotations": {"x": "y" * 5000}}})
    assert watch_names(cluster, version, 20) == [("ADDED", f"p{number}") for number in range(20)]


def test_a_watch_ends_orderly(server: ApiServer, cluster: Cluster) -> None:
    watch = iter(cluster.watch("/api/v1/pods", cluster.list("/api/v1/pods").resource_version))
    server.put({"kind": "Pod", "metadata": {"name": "a"}})
    assert next(watch)[0] == "ADDED"
    server.end_watches()
    assert list(watch) == []


def test_a_watch_breaks(server: ApiServer, cluster: Cluster) -> None:
    watch = iter(cluster.watch("/api/v1/pods", cluster.list("/api/v1/pods").resource_version))
    server.put({"kind": "Pod", "metadata": {"name": "a"}})
    assert next(watch)[0] == "ADDED"
    server.end_watches(cut=True)
    with pytest.raises(ClusterError, match="lost the connection"):
        next(watch)


def test_bookmarks_come_along(server: ApiServer, cluster: Cluster) -> None:
    version = cluster.list("/api/v1/pods").resource_version
    watch = iter(cluster.watch("/api/v1/pods", version))
    server.put({"kind": "Pod", "metadata": {"name": "a"}})
    next(watch)
    server.send_bookmarks()
    type_, obj = next(watch)
    assert (type_, obj["metadata"]["resourceVersion"]) == ("BOOKMARK", str(server.store.version))
    watch.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("as_status", [True, False])
def test_history_that_is_gone(server: ApiServer, cluster: Cluster, as_status: bool) -> None:
    version = cluster.list("/api/v1/pods").resource_version
    server.store.compact()
    if as_status:
        server.script("watch=", failure(410, "Expired", "too old"))
    with pytest.raises(GoneError):
        list(cluster.watch("/api/v1/pods", version))


@pytest.mark.parametrize(
    ("body", "kind", "text"),
    [
        (b"<html>hello</html>\n", ClusterError, "not JSON: 'hello'"),
        (b'{"type": "ADDED", "object": {', ClusterError, "not JSON"),
        (
            b'{"type":"ERROR","object":{"kind":"Status","code":403,"message":"no"}}\n',
            ForbiddenError,
            "watch pods",
        ),
        (b'{"type":"ERROR","object":{"kind":"Status","code":500,"message":"etcd"}}\n', ClusterError, "etcd"),
    ],
)
def test_what_is_no_event(
    server: ApiServer, cluster: Cluster, body: bytes, kind: type[ClusterError], text: str
) -> None:
    server.script("watch=", Reply(200, body))
    with pytest.raises(kind) as error:
        list(cluster.watch("/api/v1/pods", "1"))
    assert text in str(error.value)


# The scripted log itself, because the tests of those who follow logs rest on it


def lines(cluster: Cluster, **query: Any) -> list[str]:
    return read_all(cluster.open(LOG, **query)).decode().splitlines()


@pytest.fixture
def log(server: ApiServer) -> PodLog:
    log = server.log("p")
    for second in range(4):
        log.write(f"a{second}", f"b{second}", at=f"2026-11-23T10:00:0{second}.5Z")
    return log


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, "a0 b0 a1 b1 a2 b2 a3 b3"),
        ({"tailLines": 3}, "b2 a3 b3"),
        ({"tailLines": 0}, ""),
        ({"sinceTime": "2026-11-23T10:00:02Z"}, "a2 b2 a3 b3"),
        ({"sinceTime": "2026-11-23T10:00:02.9Z"}, "a2 b2 a3 b3"),
        ({"sinceTime": "2026-11-23T10:00:01Z", "tailLines": 3}, "b2 a3 b3"),
        ({"sinceTime": "2026-11-23T10:00:03Z", "tailLines": 4}, "a3 b3"),
        ({"sinceSeconds": 1}, ""),
    ],
)
@pytest.mark.usefixtures("log")
def test_which_lines_a_kubelet_gives(cluster: Cluster, query: dict[str, Any], expected: str) -> None:
    assert lines(cluster, **query) == expected.split()


def test_timestamps_have_nine_digits(cluster: Cluster, log: PodLog) -> None:
    assert lines(cluster, timestamps=True, tailLines=1) == ["2026-11-23T10:00:03.500000000Z b3"]
    log.write("next")
    assert lines(cluster, timestamps=True, tailLines=1) == ["2026-11-23T10:00:03.501000000Z next"]


def test_rotation_and_restart(server: ApiServer, cluster: Cluster, log: PodLog) -> None:
    reader = Reader(cluster.open(LOG, follow=True, tailLines=1))
    log.wait_for_readers()
    with pytest.raises(ClusterError, match="previous terminated container"):
        lines(cluster, previous=True)
    log.rotate()
    log.write("c")
    assert lines(cluster) == ["c"]
    log.restart()
    assert reader.result() == b"b3\nc\n"
    assert lines(cluster) == []
    assert lines(cluster, previous=True) == ["c"]
    with pytest.raises(NotFoundError):
        cluster.open(LOG.replace("/p/", "/other/")).read1()
    server.delete("Pod", "p")
    with pytest.raises(NotFoundError):
        lines(cluster)
