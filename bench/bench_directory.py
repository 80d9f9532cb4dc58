"""The directory with 50,000 pods: how fast it fills, the memory it takes, and how fast records are named.

`rows()` measures; as a script it prints them. A scripted API server in another process serves pods of
realistic size (5.6 KB each); a third process fills a directory from it, once by WatchList and once by pages.
The peer is the `kubernetes` package, which lists a twentieth of them. CPU is that of the listing process.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from row import Row

_PODS = 50_000
_PEER_PODS = 2_500
_BATCH = 1_000
_TESTS = Path(__file__).resolve().parent.parent / "tests"


def rows() -> Iterator[Row]:
    with _server("pages") as kubeconfig:
        peer = _child("peer", kubeconfig)
        peer_s = peer["cpu_s"] * _PODS / _PEER_PODS
        yield from _filled("pages", _child("fill", kubeconfig), peer_s)
    with _server("watch-list") as kubeconfig:
        figures = _child("fill", kubeconfig)
        yield from _filled("WatchList", figures, peer_s)
    yield Row("directory: records named", figures["names_per_s"], "goal", 1_000_000)


def _filled(way: str, figures: dict[str, float], peer_s: float) -> Iterator[Row]:
    what = f"directory: {_PODS:,} pods by {way}"
    yield Row(f"{what}, CPU", figures["cpu_s"], "kubernetes package", peer_s, "s")
    yield Row(f"{what}, elapsed", figures["elapsed_s"], "limit", 10, "s")
    yield Row(f"{what}, peak RSS", figures["peak_mb"], "budget", 120, "MB")


@contextlib.contextmanager
def _server(way: str) -> Iterator[str]:
    """The path of a kubeconfig for a server that runs until the end of the block."""
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, __file__, "serve", way], stdin=pipe, stdout=pipe, text=True
    ) as server:
        assert server.stdin
        assert server.stdout
        yield server.stdout.readline().strip()
        server.stdin.close()


def _child(job: str, argument: str) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, job, argument], check=True, stdout=subprocess.PIPE)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def serve(way: str) -> None:
    """Prints the path of a kubeconfig; ends with standard input."""
    sys.path.insert(0, str(_TESTS))
    from support.api_server import ApiServer  # type: ignore[import-not-found, unused-ignore]

    with ApiServer(watch_list=way == "watch-list") as server, tempfile.TemporaryDirectory() as folder:
        for number in range(_PODS):
            server.put(pod(number))
        service = {"kind": "Service", "metadata": {"name": "kube-dns", "namespace": "kube-system"}}
        server.put({**service, "spec": {"clusterIP": "10.96.0.10", "ports": [{"port": 53}]}})
        print(server.kubeconfig(Path(folder) / "config"), flush=True)
        sys.stdin.read()


def fill(kubeconfig: str) -> None:
    """Prints figures as JSON."""
    from kubectl_kdns.kube import ConnectionFlags, connect
    from kubectl_kdns.kube.feed import DirectoryFeed

    cluster = connect(ConnectionFlags(kubeconfig=kubeconfig))
    feed = DirectoryFeed(cluster)
    elapsed, cpu = time.perf_counter(), time.process_time()
    feed.start()
    if not feed.wait(600):
        raise SystemExit(f"not filled: {feed.trouble}")
    figures = {"elapsed_s": time.perf_counter() - elapsed, "cpu_s": time.process_time() - cpu}
    figures["peak_mb"] = _peak_mb()
    figures["names_per_s"] = _names_per_s(feed.directory.name)
    feed.close()
    cluster.close()
    print(json.dumps(figures))


def _peak_mb() -> float:
    """The most memory (RSS) of this program. Not ru_maxrss, which on Linux begins with that of the process
    that started this one."""
    status = Path("/proc/self/status")
    if status.exists():
        (high,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
        return int(high.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2


def _names_per_s(name: Any) -> float:
    """Batches of fresh records, as a pipeline has them, of 200 clients; the best batch."""
    from kubectl_kdns.model import Client, Dns, Lookup, Server

    best_s = float("inf")
    for _ in range(100):
        records = [
            Lookup(
                time="2026-11-23T10:00:00.000000000Z",
                client=Client(ip=_ip(number % 200 * 250), port=5353),
                server=Server(ip="10.96.0.10", port=53),
                dns=Dns(name="example.com"),
            )
            for number in range(_BATCH)
        ]
        started = time.process_time()
        for record in records:
            name(record)
        best_s = min(best_s, time.process_time() - started)
    return _BATCH / best_s


def peer(kubeconfig: str) -> None:
    """Prints figures of the `kubernetes` package as JSON."""
    from kubernetes import client, config

    load: Any = config.load_kube_config
    load(kubeconfig)
    api: Any = client.CoreV1Api()
    started = time.process_time()
    listed, token = 0, None
    while listed < _PEER_PODS:
        page = api.list_pod_for_all_namespaces(limit=500, _continue=token)
        listed, token = listed + len(page.items), page.metadata._continue
    print(json.dumps({"cpu_s": time.process_time() - started}))


def _ip(number: int) -> str:
    return f"10.{100 + number // 65536}.{number // 256 % 256}.{number % 256}"


def pod(number: int) -> dict[str, Any]:
    """One pod of a Deployment of ten, with everything that a real one carries."""
    app = f"app-{number // 10}"
    ip = _ip(number)
    labels = {"app.kubernetes.io/name": app, "app.kubernetes.io/instance": app}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"{app}-5d9c7bf6c8", "uid": "u"}
    condition = {"status": "True", "lastProbeTime": None, "lastTransitionTime": "2026-11-23T09:12:31Z"}
    container = {
        "name": "main",
        "image": f"registry.example.com/team/{app}:1.42.0",
        "env": [{"name": f"SETTING_{i}", "value": "x" * 40} for i in range(12)],
        "resources": {"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": [{"name": "kube-api-access", "mountPath": "/var/run/secrets", "readOnly": True}],
    }
    fields = {
        "f:metadata": {"f:labels": {f"k:{i}": {} for i in range(30)}},
        "f:spec": {f"f:{i}": {} for i in range(90)},
    }
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{app}-5d9c7bf6c8-{number:05x}",
            "namespace": f"team-{number // 10 % 200}",
            "uid": f"{number:08x}-1c6f-4b52-9c1d-0123456789ab",
            "labels": {**labels, "pod-template-hash": "5d9c7bf6c8"},
            "annotations": {"checksum/config": "0" * 64},
            "ownerReferences": [{**owner, "controller": True}],
            "managedFields": [{"manager": "kubelet", "operation": "Update", "fieldsV1": fields}] * 2,
        },
        "spec": {
            "nodeName": f"node-{number % 1000}",
            "containers": [container],
            "tolerations": [{"operator": "Exists"}] * 4,
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "startTime": "2026-11-23T09:12:25Z",
            "conditions": [{"type": t, **condition} for t in ("Ready", "Initialized", "PodScheduled")],
            "containerStatuses": [
                {
                    "name": "main",
                    "image": container["image"],
                    "imageID": "sha256:0",
                    "ready": True,
                    "restartCount": 0,
                    "state": {"running": {}},
                }
            ],
        },
    }


if __name__ == "__main__":
    if len(sys.argv) == 3:
        {"serve": serve, "fill": fill, "peer": peer}[sys.argv[1]](sys.argv[2])
    else:
        for row in rows():
            print(row.line(), flush=True)
