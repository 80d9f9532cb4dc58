"""A cluster of objects in memory, also of secrets, for tests of what is looked for without a network."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from kubectl_kdns.errors import ForbiddenError, NotFoundError
from kubectl_kdns.kube.cluster import Page
from support.api_store import KIND_OF, Store, selector


class ObjectCluster:
    """Lists and gets from a Store. `namespace` is the context's; `secrets` are by namespace/name.

    `forbidden` are paths that nobody may read, with the status that says so; `asked` what was read.
    """

    def __init__(self, *objects: dict[str, Any]) -> None:
        self.namespace = "default"
        self.store = Store()
        for obj in objects:
            self.store.put(obj)
        self.secrets: dict[str, dict[str, str]] = {}
        self.forbidden: dict[str, int] = {}
        self.asked: list[str] = []

    def pages(self, path: str, of: Any, **query: Any) -> Iterator[Page[Any]]:
        prefix, namespace, plural, _ = self._parts(path)
        entries = self.store.select(KIND_OF[prefix, plural], selector(namespace, query))
        yield Page(items=[msgspec.json.decode(one.raw, type=of) for one in entries[: query.get("limit")]])

    def get(self, path: str) -> Any:
        prefix, namespace, plural, name = self._parts(path)
        if plural == "secrets":
            if f"{namespace}/{name}" in self.secrets:
                return {"data": self.secrets[f"{namespace}/{name}"]}
            raise NotFoundError(f"no {path}", status=404)
        entry = self.store.get(KIND_OF[prefix, plural], name, namespace)
        if not entry:
            raise NotFoundError(f"no {path}", status=404)
        return entry.object

    def _parts(self, path: str) -> tuple[str, str, str, str]:
        self.asked.append(path)
        if path in self.forbidden:
            raise ForbiddenError(f"not allowed: {path}", status=self.forbidden[path], hint=f"can-i {path}")
        prefix, _, rest = path.partition("/namespaces/")
        if rest:
            namespace, plural, *name = rest.split("/")
            return prefix, namespace, plural, name[0] if name else ""
        prefix, _, plural = path.rpartition("/")
        return prefix, "", plural, ""
