"""One cluster as kubectl would see it with the same flags: requests, lists, watches and streams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.kube.stream import Stream

Query = str | int | bool | None


@dataclass(frozen=True)
class ListResult:
    """All objects of a list, over its pages, and the version from which a watch goes on."""

    items: list[Any]
    resource_version: str


class Watch:
    """A closable iterator of (type, object): ADDED, MODIFIED, DELETED and BOOKMARK as they come."""

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Cluster:
    """`context`, `server` (URL), `namespace` (the context's default) and `user` are what kubeconfig says.

    One object serves several threads. Every method raises ClusterError or one of its children.
    """

    context: str
    server: str
    namespace: str
    user: str

    def get(self, path: str, **query: Query) -> Any:
        """The parsed JSON that the API server gives for `path` (`/api/v1/nodes`)."""
        raise NotImplementedError

    def request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Query] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """One request with `body` as JSON, and the parsed JSON of the response."""
        raise NotImplementedError

    def list(self, path: str, **query: Query) -> ListResult:
        """All objects of a list, page by page; begins again when the list expires on the way."""
        raise NotImplementedError

    def watch(self, path: str, resource_version: str, **query: Query) -> Watch:
        """Changes since `resource_version`; GoneError, when opened or on the way, means: list again."""
        raise NotImplementedError

    def open(self, path: str, **query: Query) -> Stream:
        """The body of a response as it comes: a followed log. Sends nothing before the first `read1`."""
        raise NotImplementedError


def connect(flags: ConnectionFlags, *, log: Callable[[str], None] | None = None) -> Cluster:
    """The cluster that `flags` and kubeconfig choose; sends nothing yet. Raises ConfigError.

    `log` takes the lines of the request log (`-v 6` and more) and defaults to standard error.
    """
    raise NotImplementedError
