"""What earlier runs left in the cluster: agents, and whether somebody still uses them."""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from typing import Any

import msgspec
from msgspec import Struct

from kdns_ebpf.agent_objects import collection
from kdns_ebpf.manifest import OWNER_ANNOTATION, SELECTOR, SESSION_LABEL, map_name
from kdns_ebpf.options import NAMESPACE
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.ownership import Ownership


class LeftSession(Struct, frozen=True):
    """All objects of one run in one namespace; fulfils kubectl_kdns.change.Leftover.

    `is_running` is whether an agent of it runs, or may: it ends 30 s after it last heard of its kdns.
    """

    cluster: Cluster
    namespace: str
    session: str
    owner: Ownership | None
    jobs: tuple[str, ...]
    is_running: bool

    @property
    def description(self) -> str:
        count = f"{len(self.jobs)} agent" + ("" if len(self.jobs) == 1 else "s")
        whose = f", started by {self.owner.owner} at {safe_text(self.owner.started)}" if self.owner else ""
        return f"{count} in namespace {self.namespace} (session {safe_text(self.session)}{whose})"

    @property
    def in_use(self) -> str:
        if not self.is_running:
            return ""
        return self.owner.in_use(time.time_ns()) if self.owner else "an agent runs"

    def heal(self) -> str:
        jobs, config_maps = (collection(kind, self.namespace) for kind in ("Job", "ConfigMap"))
        body = {"propagationPolicy": "Background"}
        for path in (*(f"{jobs}/{job}" for job in self.jobs), f"{config_maps}/{map_name(self.session)}"):
            with suppress(NotFoundError):
                self.cluster.request("DELETE", path, body=body)
        return f"{self.description}: taken away"


def left_agents(cluster: Cluster) -> list[LeftSession]:
    """By session: in all namespaces, or the usual one and the context's when not all may be listed. None of
    this process. Raises ClusterError.

    Jobs tell of all: a ConfigMap whose Job is gone is collected by the cluster, and to list ConfigMaps would
    be to fetch everybody's binaries.
    """
    found: dict[tuple[str, str], list[Any]] = {}
    for job in _jobs(cluster):
        metadata = job["metadata"]
        session = (metadata.get("labels") or {}).get(SESSION_LABEL, "")
        if session and not _is_own(_owner(job)):
            found.setdefault((metadata["namespace"], session), []).append(job)
    return [
        LeftSession(
            cluster,
            safe_text(namespace),
            session,
            next(filter(None, map(_owner, jobs)), None),
            tuple(job["metadata"]["name"] for job in jobs),
            any(map(_may_run, jobs)),
        )
        for (namespace, session), jobs in found.items()
    ]


def _jobs(cluster: Cluster) -> list[Any]:
    try:
        return cluster.list("/apis/batch/v1/jobs", labelSelector=SELECTOR).items
    except ForbiddenError as error:
        if error.status == 401:
            raise
    jobs: list[Any] = []
    for namespace in dict.fromkeys((NAMESPACE, cluster.namespace)):
        # Who has no right to list Jobs there cannot have left any.
        with suppress(ForbiddenError):
            jobs += cluster.list(collection("Job", namespace), labelSelector=SELECTOR).items
    return jobs


def _may_run(job: Any) -> bool:
    conditions = (job.get("status") or {}).get("conditions") or ()
    return not any(c.get("type") in ("Complete", "Failed") and c.get("status") == "True" for c in conditions)


def _owner(job: Any) -> Ownership | None:
    text = (job["metadata"].get("annotations") or {}).get(OWNER_ANNOTATION, "")
    with suppress(msgspec.DecodeError):
        return msgspec.json.decode(text, type=Ownership)
    return None


def _is_own(owner: Ownership | None) -> bool:
    return owner is not None and owner.pid == os.getpid() and owner.host == socket.gethostname()
