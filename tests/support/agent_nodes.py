"""What a cluster does with the agents' Jobs, played on a scripted API server: pods, refusals, garbage."""

from __future__ import annotations

import threading
from typing import Any, Self

from support.api_server import ApiServer
from support.api_store import Entry

NAMESPACE = "kube-system"
DENIED = (
    'Error creating: pods "{job}-x" is forbidden: violates PodSecurity "baseline:latest": host namespaces'
)
NO_IMAGE = {"waiting": {"reason": "ErrImageNeverPull", "message": "Container image is not present"}}
RUNNING = {"running": {"startedAt": "2026-11-23T10:00:00Z"}}


def node(name: str, *, ready: bool = True, **more: Any) -> dict[str, Any]:
    """A node as the API server has it, with pause among its images; `more` replaces parts of its status."""
    info = {"architecture": "amd64", "operatingSystem": "linux", "kernelVersion": "6.1.0"}
    status = {
        "nodeInfo": {**info, **more.pop("node_info", {})},
        "images": [
            {"names": ["registry.k8s.io/coredns/coredns:v1.12.1"], "sizeBytes": 75_000_000},
            {"names": ["registry.k8s.io/pause@sha256:0", "registry.k8s.io/pause:3.10"], "sizeBytes": 20_000},
        ],
        "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
    }
    metadata = {"name": name, "labels": more.pop("labels", {})}
    spec = {"taints": [{"key": key, "effect": "NoSchedule"} for key in more.pop("taints", ())]}
    return {"kind": "Node", "metadata": metadata, "spec": spec, "status": {**status, **more}}


class AgentNodes:
    """The Job controller, the kubelets and the garbage collector, as a context manager.

    `outcomes` are by node the state of the container, or "denied" or "nothing" for a pod that is never made;
    without one it runs. `images` has by node the image that was asked for.
    """

    def __init__(self, server: ApiServer, **outcomes: Any) -> None:
        self.server, self.outcomes = server, outcomes
        self.images: dict[str, str] = {}
        self._done: set[str] = set()
        self._stopping = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.server.changed:
            self._stopping = True
            self.server.changed.notify_all()
        self._thread.join()

    def left(self) -> list[str]:
        """Whatever of the agents is there, and stays: what the garbage collector takes is not waited for."""
        kinds = ("Job", "ConfigMap", "Pod")
        with self.server.changed:
            self._collect()
            return [f"{e.kind} {e.name}" for kind in kinds for e in self.server.store.select(kind, _is_ours)]

    def pods(self) -> dict[str, str]:
        """Names by node."""
        pods = self.server.store.select("Pod", _is_ours)
        return {entry.object["spec"]["nodeName"]: entry.name for entry in pods}

    def _work(self) -> None:
        with self.server.changed:
            while not self._stopping:
                jobs = {entry.name: entry for entry in self.server.store.select("Job", _is_ours)}
                for name in jobs.keys() - self._done:
                    self._done.add(name)
                    self._make_pod(jobs[name])
                self._collect()
                self.server.changed.wait()

    def _make_pod(self, job: Entry) -> None:
        spec = job.object["spec"]["template"]["spec"]
        outcome = self.outcomes.get(spec["nodeName"].replace("-", "_"), RUNNING)
        self.images[spec["nodeName"]] = spec["containers"][0]["image"]
        if outcome == "denied":
            self._warn("Job", job.name, DENIED.format(job=job.name))
        elif outcome != "nothing":
            metadata = {**job.object["spec"]["template"]["metadata"], "name": f"{job.name}-x"}
            self.server.put(
                {
                    "kind": "Pod",
                    "metadata": {**metadata, "namespace": NAMESPACE, "annotations": {"job": job.name}},
                    "spec": spec,
                    "status": {"phase": "Pending", "containerStatuses": [{"state": outcome}]},
                }
            )

    def _warn(self, kind: str, name: str, message: str) -> None:
        about = {"kind": kind, "name": name, "namespace": NAMESPACE}
        event = {"involvedObject": about, "type": "Warning", "reason": "FailedCreate", "message": message}
        self.server.put({"kind": "Event", "metadata": {"name": f"{name}.1", "namespace": NAMESPACE}, **event})

    def _collect(self) -> None:
        jobs = {entry.name for entry in self.server.store.select("Job", _is_ours)}
        for entry in self.server.store.select("Pod", _is_ours):
            if entry.object["metadata"]["annotations"]["job"] not in jobs:
                self.server.delete("Pod", entry.name, NAMESPACE)
        for entry in self.server.store.select("ConfigMap", _is_ours):
            (owner,) = entry.object["metadata"]["ownerReferences"]
            if owner["name"] not in jobs:
                self.server.delete("ConfigMap", entry.name, NAMESPACE)


def _is_ours(entry: Entry) -> bool:
    return entry.labels.get("app.kubernetes.io/name") == "kdns-agent"
