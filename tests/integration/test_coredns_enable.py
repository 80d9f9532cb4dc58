"""Switching the log on against a scripted API server: nobody's edit is lost, and everything is undone."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from kdns_coredns.enable import LogSwitch, left_switches, undo
from kdns_coredns.pods import ConfigSource
from kdns_coredns.switch import ANNOTATION, LABEL, state_of_json, with_log
from kubectl_kdns.errors import BackendError, ClusterError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from kubectl_kdns.model import Notice
from kubectl_kdns.ownership import process_start
from kubectl_kdns.times import NS_PER_S
from support.api_server import ApiServer, failure

COREFILE = ".:53 {\n    errors\n    forward . /etc/resolv.conf\n    reload\n}\n"
CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "coredns", "namespace": "kube-system", "annotations": {"theirs": "kept"}},
    "data": {"Corefile": COREFILE, "other": "kept\n"},
}
SOURCE = ConfigSource("kube-system", "coredns", "Corefile")
NOW_NS = 1_800_000_000 * NS_PER_S


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        server.put(copy.deepcopy(CONFIG))
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


def config(cluster: Cluster) -> Any:
    return cluster.get("/api/v1/namespaces/kube-system/configmaps/coredns")


def switch(cluster: Cluster, classes: tuple[str, ...] = ("error",)) -> LogSwitch:
    return LogSwitch(cluster, SOURCE, (), classes, 600 * NS_PER_S, config(cluster), now_ns=lambda: NOW_NS)


def essence(found: Any) -> Any:
    """The object without what every write changes."""
    metadata = {
        k: v for k, v in found["metadata"].items() if k not in ("resourceVersion", "uid", "creationTimestamp")
    }
    return {**found, "metadata": {k: v for k, v in metadata.items() if v}}


def test_on_and_off_again_leaves_it_byte_for_byte(cluster: Cluster) -> None:
    before = config(cluster)
    change = switch(cluster)
    change.apply()
    during = config(cluster)
    assert during["data"] == {"Corefile": with_log(COREFILE, ["error"], change.session), "other": "kept\n"}
    assert during["metadata"]["labels"] == {LABEL: change.session}
    state = state_of_json(during["metadata"]["annotations"][ANNOTATION])
    assert state
    assert (state.original, state.pid) == (COREFILE, os.getpid())
    assert "is as it was" in change.revert()
    assert essence(config(cluster)) == essence(before)
    assert change.revert() == "nothing was changed"


def test_a_dry_run_writes_nothing(cluster: Cluster) -> None:
    before = config(cluster)
    change = switch(cluster)
    change.apply(dry_run=True)
    assert config(cluster) == before
    assert change.manifest()["data"]["Corefile"] == with_log(COREFILE, ["error"], change.session)


def test_a_change_by_somebody_else_meanwhile_survives(cluster: Cluster) -> None:
    change = switch(cluster)
    change.apply()
    theirs = config(cluster)
    theirs["data"]["Corefile"] = theirs["data"]["Corefile"].replace("errors\n", "errors\n    cache 30\n")
    cluster.request("PUT", "/api/v1/namespaces/kube-system/configmaps/coredns", body=theirs)
    assert "only our lines are out" in change.revert()
    assert config(cluster)["data"]["Corefile"] == COREFILE.replace("errors\n", "errors\n    cache 30\n")
    assert ANNOTATION not in config(cluster)["metadata"]["annotations"]


def test_a_change_between_reading_and_writing_is_never_overwritten(cluster: Cluster) -> None:
    change = switch(cluster)
    theirs = config(cluster)
    theirs["data"]["other"] = "new\n"
    cluster.request("PUT", "/api/v1/namespaces/kube-system/configmaps/coredns", body=theirs)
    with pytest.raises(BackendError, match="changed by somebody else"):
        change.apply()
    assert change.revert().startswith("nothing to switch off")
    assert config(cluster)["data"] == {"Corefile": COREFILE, "other": "new\n"}


def test_a_lost_answer_is_looked_after(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server made the change and its answer got lost: revert finds it and undoes it."""
    change = switch(cluster)
    request = cluster.request

    def lose_the_answer(*args: Any, **kwargs: Any) -> Any:
        request(*args, **kwargs)
        raise ClusterError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "request", lose_the_answer)
        with pytest.raises(ClusterError):
            change.apply()
    assert ANNOTATION in config(cluster)["metadata"]["annotations"]
    assert "is as it was" in change.revert()


def test_two_at_once_do_not_fight(cluster: Cluster) -> None:
    first = switch(cluster)
    first.apply()
    second = switch(cluster, ("all",))
    with pytest.raises(BackendError, match="switched on already") as caught:
        second.apply()
    assert "kubectl kdns cleanup" in str(caught.value)
    second.revert()
    first.revert()
    assert config(cluster)["data"]["Corefile"] == COREFILE


def test_conflicts_while_reverting_are_retried(cluster: Cluster, server: ApiServer) -> None:
    change = switch(cluster)
    change.apply()
    conflict = failure(409, "Conflict", "the object has been modified")
    server.script("^PATCH .*/configmaps/coredns", conflict)
    assert "is as it was" in change.revert()


def test_leftovers_are_found_and_healed(cluster: Cluster) -> None:
    change = switch(cluster)
    change.apply()
    (left,) = left_switches(cluster, NOW_NS)
    assert "in use by" in left.in_use
    assert "kube-system/coredns" in left.description
    # Its time is over.
    (left,) = left_switches(cluster, NOW_NS + 3600 * NS_PER_S)
    assert left.in_use == ""
    assert "is as it was" in left.heal()
    assert left_switches(cluster, NOW_NS) == []


def test_the_process_that_is_gone_no_longer_uses_it(cluster: Cluster) -> None:
    change = switch(cluster)
    change.apply()
    state = state_of_json(config(cluster)["metadata"]["annotations"][ANNOTATION])
    assert state
    gone = subprocess.Popen(["true"])
    gone.wait()
    assert state.in_use(NOW_NS)
    assert replace(state, pid=gone.pid).in_use(NOW_NS) == ""
    assert replace(state, process_start="1").in_use(NOW_NS) == ""
    assert replace(state, host="elsewhere", pid=gone.pid).in_use(NOW_NS)
    assert process_start(gone.pid) == ""


def test_a_foreign_session_is_not_undone(cluster: Cluster) -> None:
    change = switch(cluster)
    change.apply()
    assert undo(cluster, "kube-system", "coredns", "other").startswith("nothing to switch off")
    assert ANNOTATION in config(cluster)["metadata"]["annotations"]


def test_pods_prove_the_reload(cluster: Cluster) -> None:
    change = switch(cluster)
    change._waiting = ["coredns-a", "coredns-ab"]
    change.observe(Notice(code="log_off", message="coredns-a: off"))
    change.observe(Notice(code="corefile_reloaded", message="coredns-a: Corefile reloaded"))
    assert change.waiting_for() == ["coredns-ab"]


def test_a_server_that_is_gone_is_said(cluster: Cluster, server: ApiServer) -> None:
    change = switch(cluster)
    change.apply()
    server.script("/configmaps/coredns", failure(403, "Forbidden", "no"), forever=True)
    with pytest.raises(ClusterError):
        change.revert()
