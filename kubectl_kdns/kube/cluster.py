"""One cluster as kubectl would see it with the same flags: requests, lists, watches and streams."""

from __future__ import annotations

import http.client
import os
import random
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Struct

from kubectl_kdns.errors import ClusterError, ConfigError, GoneError
from kubectl_kdns.kube import client_config, kubeconfig
from kubectl_kdns.kube.client_config import ClientConfig
from kubectl_kdns.kube.failures import (
    Status,
    command_error,
    connection_error,
    not_json,
    status_error,
    upgrade_error,
)
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.kube.login import Login, login_of
from kubectl_kdns.kube.request_log import RequestLog
from kubectl_kdns.kube.stream import Stream
from kubectl_kdns.kube.transport import Answer, Transport
from kubectl_kdns.kube.watch import Watch
from kubectl_kdns.times import NS_PER_S, parse_duration

if TYPE_CHECKING:
    from kubectl_kdns.kube.exec import ExecStream
    from kubectl_kdns.kube.port_forward import PortForward
    from kubectl_kdns.kube.websocket import WebSocket

_random = random.Random()  # not the one that others may have seeded
PAGE_SIZE = 500
MERGE_PATCH = "application/merge-patch+json"
"""The content type of a PATCH by RFC 7396."""
ANSWER_TIMEOUT_S = 75.0
"""An API server ends ordinary requests after 60 s by itself: longer silence is a dead connection."""
WATCH_SPARE_S = 60.0
SILENCE_LIMIT_S = 75.0
"""A websocket is pinged every 20 s: when that long not even an answer to those came, it is dead."""

Query = str | int | bool | Sequence[str] | None
T = TypeVar("T")


class ListResult(Struct, frozen=True):
    """All objects of a list, over its pages, and the version from which a watch goes on."""

    items: list[Any]
    resource_version: str


class _ListMeta(Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")


class Page(Struct, Generic[T]):
    """One page of a list."""

    metadata: _ListMeta = msgspec.field(default_factory=_ListMeta)
    items: list[T] | None = None


class Cluster:
    """`context`, `server` (URL), `namespace` (the context's default) and `user` are what kubeconfig says.

    One object serves several threads. Every method raises ClusterError or one of its children, and
    ConfigError when a login fails. `close` ends everything that is under way.
    """

    def __init__(
        self,
        config: ClientConfig,
        login: Login,
        log: RequestLog,
        *,
        env: Mapping[str, str],
        timeout_s: float = ANSWER_TIMEOUT_S,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.context, self.server = config.context, config.server
        self.namespace, self.user = config.namespace, config.user_name
        self._config, self._log, self._timeout_s = config, log, timeout_s
        self._transport = Transport(config, login, log, env, sleep)

    def get(self, path: str, **query: Query) -> Any:
        """The parsed JSON that the API server gives for `path` (`/api/v1/nodes`)."""
        return self.request("GET", path, query=query)

    def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Query] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        """One request with `body` as JSON, and the parsed JSON of the response."""
        encoded = b"" if body is None else msgspec.json.encode(body)
        return self._decode(path, self._read(method, path, query or {}, encoded, content_type), Any)

    def list(self, path: str, **query: Query) -> ListResult:
        """All objects of a list, page by page; begins again, in one piece, when it expires on the way."""
        try:
            pages = list(self.pages(path, dict[str, Any], **query))
        except GoneError:
            pages = list(self.pages(path, dict[str, Any], **{**query, "limit": None}))
        items = [item for page in pages for item in page.items or ()]
        return ListResult(items, pages[-1].metadata.resource_version)

    def pages(self, path: str, of: type[T], **query: Query) -> Iterator[Page[T]]:
        """The pages of a list with its items as `of`; GoneError when it expires on the way.

        Pages of `limit` (500) objects; None is all in one, and so is resourceVersion=0, which the API server
        answers from its cache.
        """
        token = ""
        limit = query.pop("limit", None if query.get("resourceVersion") == "0" else PAGE_SIZE)
        while True:
            body = self._read("GET", path, {**query, "limit": limit, "continue": token or None})
            page = self._decode(path, body, Page[of])  # type: ignore[valid-type]
            yield page
            token = page.metadata.continue_
            if not token:
                return

    def watch(self, path: str, resource_version: str, **query: Query) -> Watch[dict[str, Any]]:
        """Changes since `resource_version`; GoneError on the way means: list again."""
        return self.watch_as(path, dict[str, Any], resourceVersion=resource_version, **query)

    def watch_as(self, path: str, of: type[T], **query: Query) -> Watch[T]:
        """A watch with its objects as `of`, with bookmarks. The server ends it after 5 to 10 minutes."""
        seconds = 300 + _random.randrange(300)
        query = {"allowWatchBookmarks": True, "timeoutSeconds": seconds, **query, "watch": True}
        stream = self._stream(path, query, seconds + WATCH_SPARE_S)
        return Watch(stream, of, self._config, path)

    def open(self, path: str, **query: Query) -> Stream:
        """The body of a response as it comes: a followed log. Sends nothing before the first `read1`."""
        return self._stream(path, query, None)

    def exec(
        self, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: bool = False
    ) -> ExecStream:
        """A command in a container ("" is the pod's default one). Sends nothing before the first `read1`."""
        from kubectl_kdns.kube.exec import PROTOCOLS, ExecStream

        path = f"{_pod_path(namespace, pod)}/exec"
        query: dict[str, Query] = {"container": container or None, "command": list(command)}
        query |= {"stdin": stdin, "stdout": True, "stderr": True}

        def failed(status: Status | None) -> ClusterError:
            if status is None:
                return self._broken(http.client.IncompleteRead(b""), lost=True)
            return command_error(self._config, f"{command[0]!r} in pod {namespace}/{pod}", status)

        return ExecStream(self._websocket(path, query, PROTOCOLS, SILENCE_LIMIT_S), failed)

    def port_forward(self, namespace: str, pod: str, port: int) -> PortForward:
        """A unix socket that leads to a port of a pod. Sends nothing before somebody connects to it.

        Raises ConfigError when the socket cannot be made.
        """
        from kubectl_kdns.kube.port_forward import PROTOCOLS, PortForward

        path = f"{_pod_path(namespace, pod)}/portforward"
        # No limit to silence: a kubelet does not answer pings while the pod does not read what we sent.
        return PortForward(lambda: self._websocket(path, {"ports": port}, PROTOCOLS, None))

    def close(self) -> None:
        """Ends what is under way, in other threads too, and closes all connections."""
        self._transport.close()

    def _stream(self, path: str, query: Mapping[str, Query], idle_limit_s: float | None) -> Stream:
        watch = bool(query.get("watch"))

        def start(stream: Stream) -> Answer:
            answer = self._transport.send(
                "GET",
                _target(path, query),
                [("Accept", "application/json" if watch else "*/*")],
                timeout_s=idle_limit_s,
                connected=stream.connected,
                sleep=stream.pause,
            )
            if answer.status != 200:
                body = answer.read(ANSWER_TIMEOUT_S)
                raise status_error(self._config, "GET", path, answer.status, body, watch=watch)
            return answer

        return Stream(start, self._broken, idle_limit_s)

    def _websocket(
        self, path: str, query: Mapping[str, Query], protocols: Sequence[str], silence_limit_s: float | None
    ) -> WebSocket:
        from kubectl_kdns.kube.websocket import Handshake, WebSocket

        handshake = Handshake.of(*protocols)

        def start(websocket: WebSocket) -> Answer:
            answer = self._transport.send(
                "GET",
                _target(path, query),
                handshake.headers,
                timeout_s=self._timeout_s,
                connected=websocket.connected,
                sleep=websocket.pause,
                # A command must not be started twice, and a kept connection may have been closed meanwhile.
                fresh=True,
            )
            if answer.status != 101:
                body = answer.read(self._timeout_s)
                self._log.body(body)
                raise upgrade_error(self._config, path, answer.status, body)
            return answer

        def broken(error: Exception, lost: bool) -> ClusterError:
            return self._broken(error, lost=lost)

        return WebSocket(start, handshake, broken, silence_limit_s=silence_limit_s)

    def _read(
        self,
        method: str,
        path: str,
        query: Mapping[str, Query],
        body: bytes = b"",
        content_type: str = "application/json",
    ) -> bytes:
        headers = [("Accept", "application/json")]
        if body:
            headers.append(("Content-Type", content_type))
        try:
            answer = self._transport.send(
                method, _target(path, query), headers, body, timeout_s=self._timeout_s
            )
            content = answer.read(self._timeout_s)
        except (OSError, http.client.HTTPException) as error:
            raise self._broken(error) from error
        self._log.body(content)
        if not 200 <= answer.status < 300:
            raise status_error(self._config, method, path, answer.status, content)
        return content

    def _decode(self, path: str, content: bytes, of: Any) -> Any:
        try:
            return msgspec.json.decode(content, type=of)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise not_json(self._config, path, content) from error

    def _broken(self, error: Exception, *, lost: bool = False) -> ClusterError:
        return connection_error(self._config, self._transport.proxy, error, lost=lost)


def connect(
    flags: ConnectionFlags,
    *,
    log: Callable[[str], object] | None = None,
    sleep: Callable[[float], object] = time.sleep,
) -> Cluster:
    """The cluster that `flags` and kubeconfig choose; sends nothing yet. Raises ConfigError.

    `log` takes the lines of the request log (`-v 6` and more) and defaults to standard error; `sleep` is
    given the seconds before a retry.
    """
    merged = kubeconfig.read(flags.kubeconfig, os.environ, Path.home())
    config = client_config.choose(merged, flags, os.environ)
    return Cluster(
        config,
        login_of(config, time.monotonic),
        RequestLog(flags.v, log or sys.stderr.write),
        env=os.environ,
        timeout_s=_timeout_s(flags.request_timeout),
        sleep=sleep,
    )


def _timeout_s(text: str) -> float:
    """kubectl's `--request-timeout`: seconds, or a duration; 0 leaves it to us."""
    try:
        seconds = float(text) if text.isdecimal() else parse_duration(text) / NS_PER_S
    except ValueError as error:
        raise ConfigError(f"--request-timeout {text!r} is not a duration", hint="5s, 2m or 0") from error
    return seconds or ANSWER_TIMEOUT_S


def _target(path: str, query: Mapping[str, Query]) -> str:
    pairs = [
        (name, str(value).lower() if isinstance(value, bool) else str(value))
        for name, values in query.items()
        for value in (values if isinstance(values, list | tuple) else (values,))
        if value is not None
    ]
    return f"{path}?{urlencode(pairs)}" if pairs else path


def _pod_path(namespace: str, pod: str) -> str:
    return f"/api/v1/namespaces/{quote(namespace, safe='')}/pods/{quote(pod, safe='')}"
