"""Pods as far as the search for Hubble and Cilium reads them, and what it was not allowed to read."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec import Struct

from kubectl_kdns.errors import ForbiddenError
from kubectl_kdns.kube.failures import Access


class Denied(Struct, frozen=True):
    """A right that is missing: "list services in the whole cluster", and the command that asks for it."""

    right: str
    hint: str = ""

    def __str__(self) -> str:
        return f"not allowed to {self.right}"


def denied_by(error: ForbiddenError, path: str) -> Denied:
    """From the refusal of GET `path`; a login that was refused (401) is raised again: nobody can tell."""
    if error.status == 401:
        raise error
    access = Access.of("GET", path)
    return Denied(str(access) if access else f"get {path}", error.hint)


class _Meta(Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    deletion_timestamp: str | None = None


class _ContainerPort(Struct, rename="camel"):
    name: str = ""
    container_port: int = 0


class Container(Struct):
    name: str = ""
    image: str = ""
    ports: list[_ContainerPort] | None = None


class _Item(Struct):
    path: str = ""


class _Files(Struct):
    items: list[_Item] | None = None


class _Projection(Struct):
    secret: _Files | None = None


class _Projected(Struct):
    sources: list[_Projection] | None = None


class _Volume(Struct):
    projected: _Projected | None = None


class _PodSpec(Struct, rename="camel"):
    node_name: str = ""
    containers: list[Container] | None = None
    volumes: list[_Volume] | None = None

    def ports_named(self, name: str) -> Iterator[int]:
        for container in self.containers or ():
            for port in container.ports or ():
                if port.name == name and port.container_port:
                    yield port.container_port

    def mounts_file(self, name: str) -> bool:
        """Whether a secret is mounted, by a projected volume, with a file of that name."""
        sources = [s for v in self.volumes or () if v.projected for s in v.projected.sources or ()]
        return any(item.path == name for s in sources if s.secret for item in s.secret.items or ())


class _Reason(Struct):
    reason: str = ""


class _State(Struct):
    waiting: _Reason | None = None
    terminated: _Reason | None = None


class _ContainerStatus(Struct):
    state: _State | None = None


class _Condition(Struct):
    type: str = ""
    status: str = ""


class _PodStatus(Struct, rename="camel"):
    phase: str = ""
    conditions: list[_Condition] | None = None
    container_statuses: list[_ContainerStatus] | None = None


class PodObject(Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _PodSpec = msgspec.field(default_factory=_PodSpec)
    status: _PodStatus = msgspec.field(default_factory=_PodStatus)

    @property
    def has_finished(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def trouble(self) -> str:
        """Why it is not ready, in the words of kubectl; "" when it is."""
        if self.metadata.deletion_timestamp:
            return "is being deleted"
        if any(c.type == "Ready" and c.status == "True" for c in self.status.conditions or ()):
            return ""
        for status in self.status.container_statuses or ():
            state = status.state or _State()
            for reason in (state.waiting, state.terminated):
                if reason and reason.reason:
                    return reason.reason
        return "its checks do not pass" if self.status.phase == "Running" else self.status.phase or "unknown"
