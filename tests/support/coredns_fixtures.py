"""Fixtures for tests that follow the log of a CoreDNS pod, `kube-system/coredns-a`, in a scripted cluster."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kdns_coredns import pod_log
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from support.api_server import ApiServer, PodLog
from support.following import coredns_object


@pytest.fixture
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pod_log, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr(pod_log, "LONGEST_WAIT_S", 0.05)


@pytest.fixture
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    left = [t.name for t in set(threading.enumerate()) - before if t.name.startswith(("log ", "reflector "))]
    assert left == []


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(coredns_object("coredns-a"))
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "kubeconfig"))))
    yield cluster
    cluster.close()


@pytest.fixture
def log(server: ApiServer) -> PodLog:
    return server.log("coredns-a", namespace="kube-system")
