"""The objects of a scripted API server: versions, history for watches, selectors, pages.

Objects are kept encoded, so that a test can hold 50,000 pods of realistic size. Versions count up over all
kinds, as in etcd. `compact` forgets history: a watch or a continue token from before is then 410 Gone.
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

RESOURCES = {
    "Pod": ("/api/v1", "pods", True),
    "Service": ("/api/v1", "services", True),
    "ConfigMap": ("/api/v1", "configmaps", True),
    "Node": ("/api/v1", "nodes", False),
    "Namespace": ("/api/v1", "namespaces", False),
    "EndpointSlice": ("/apis/discovery.k8s.io/v1", "endpointslices", True),
    "ReplicaSet": ("/apis/apps/v1", "replicasets", True),
    "Deployment": ("/apis/apps/v1", "deployments", True),
    "DaemonSet": ("/apis/apps/v1", "daemonsets", True),
    "Job": ("/apis/batch/v1", "jobs", True),
    "Event": ("/api/v1", "events", True),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies", True),
}
KIND_OF = {(prefix, plural): kind for kind, (prefix, plural, _) in RESOURCES.items()}


def api_version(kind: str) -> str:
    return RESOURCES[kind][0].split("/", 2)[2]


@dataclass(frozen=True)
class Entry:
    """One version of one object."""

    kind: str
    namespace: str
    name: str
    labels: dict[str, str]
    version: int
    raw: bytes

    @property
    def object(self) -> dict[str, Any]:
        result: dict[str, Any] = msgspec.json.decode(self.raw)
        return result


class Expired(Exception):
    """The version that was asked for is no longer in the history."""


Selects = Callable[[Entry], bool]


class Store:
    """All methods may be called from any thread; `changed` is notified after every change."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.version = 1000
        self.compacted = 0
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._history: list[tuple[str, Entry]] = []

    def put(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Adds or replaces an object; fills in what an API server fills in. Returns it as stored."""
        with self.changed:
            self.version += 1
            kind, meta = obj["kind"], dict(obj.get("metadata", {}))
            if RESOURCES[kind][2]:
                meta.setdefault("namespace", "default")
            key = (kind, meta.get("namespace", ""), meta["name"])
            meta.setdefault("uid", f"uid-{kind.lower()}-{key[1]}-{key[2]}")
            meta.setdefault("creationTimestamp", "2026-11-23T10:00:00Z")
            meta["resourceVersion"] = str(self.version)
            stored = {"apiVersion": api_version(kind), **obj, "metadata": meta}
            event = "MODIFIED" if key in self._entries else "ADDED"
            self._keep(event, key, stored)
            return stored

    def delete(self, kind: str, name: str, namespace: str = "") -> Entry | None:
        with self.changed:
            entry = self._entries.pop((kind, namespace, name), None)
            if entry:
                self.version += 1
                last = entry.object
                last["metadata"]["resourceVersion"] = str(self.version)
                self._history.append(("DELETED", self._entry((kind, namespace, name), last)))
                self.changed.notify_all()
            return entry

    def get(self, kind: str, name: str, namespace: str = "") -> Entry | None:
        return self._entries.get((kind, namespace, name))

    def compact(self) -> None:
        """Forgets the history up to now."""
        with self.changed:
            self.version += 1
            self.compacted = self.version
            self._history.clear()

    def select(self, kind: str, selects: Selects) -> list[Entry]:
        with self.changed:
            return [e for e in self._entries.values() if e.kind == kind and selects(e)]

    def page(self, kind: str, selects: Selects, limit: int, token: str) -> tuple[list[Entry], int, str, int]:
        """(entries, version of the list, token of the next page or "", how many remain). Raises Expired."""
        version, start = self.version, 0
        if token:
            version, start = msgspec.json.decode(base64.b64decode(token))
            if version < self.compacted:
                raise Expired
        entries = self.select(kind, selects)
        page = entries[start : start + limit] if limit else entries
        end = start + len(page)
        rest = len(entries) - end
        token = base64.b64encode(msgspec.json.encode([version, end])).decode() if rest > 0 else ""
        return page, version, token, rest

    def since(self, kind: str, version: int, selects: Selects) -> Iterator[tuple[str, Entry]]:
        """What changed after `version`. Raises Expired."""
        with self.changed:
            if version < self.compacted:
                raise Expired
            return iter(
                [(t, e) for t, e in self._history if e.kind == kind and e.version > version and selects(e)]
            )

    def _keep(self, event: str, key: tuple[str, str, str], stored: dict[str, Any]) -> None:
        entry = self._entry(key, stored)
        self._entries[key] = entry
        self._history.append((event, entry))
        self.changed.notify_all()

    def _entry(self, key: tuple[str, str, str], stored: dict[str, Any]) -> Entry:
        labels = stored["metadata"].get("labels", {})
        return Entry(*key, labels, self.version, msgspec.json.encode(stored))


def selector(namespace: str, query: dict[str, str]) -> Selects:
    """What a list selects: `labelSelector` with `=`, `!=`, `in` and existence, `fieldSelector`."""
    terms = [t for t in re.split(r",(?![^(]*\))", query.get("labelSelector", "")) if t]
    fields = [t.split("=", 1) for t in query.get("fieldSelector", "").replace("==", "=").split(",") if t]
    # Of `path!=value` the path keeps the exclamation mark.

    def label_fits(term: str, labels: dict[str, str]) -> bool:
        if " in (" in term:
            name, values = term.rstrip(")").split(" in (")
            return labels.get(name) in values.split(",")
        if "!=" in term:
            name, value = term.split("!=")
            return labels.get(name) != value
        if "=" in term:
            name, value = term.replace("==", "=").split("=")
            return labels.get(name) == value
        return term in labels

    def field(entry: Entry, path: str) -> Any:
        value: Any = entry.object
        for part in path.split("."):
            value = value.get(part, "")
        return value

    return lambda entry: (
        (not namespace or entry.namespace == namespace)
        and all(label_fits(term, entry.labels) for term in terms)
        and all((field(entry, path.rstrip("!")) == value) != path.endswith("!") for path, value in fields)
    )
