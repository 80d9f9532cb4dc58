"""A scripted API server on loopback: lists, watches, logs, and every way in which they go wrong.

    with ApiServer() as server:
        server.put({"kind": "Pod", "metadata": {"name": "coredns-1", "namespace": "kube-system"}, ...})
        log = server.log("coredns-1", namespace="kube-system")
        log.write('[INFO] 10.0.0.1:53 - ...')
        cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))

Objects may be put and deleted at any time and watchers see it. `script` queues answers for requests to come;
`requests` has what came. `chunk_bytes` cuts streams into chunks of that size, in the middle of lines too.
A test waits for what the server saw with `wait_for`, never by sleeping.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from support.api_handler import HttpServer, Reply, Request, failure
from support.api_store import RESOURCES, Store
from support.pod_log import PodLog
from support.websocket_server import Serve

__all__ = ["ApiServer", "PodLog", "Reply", "Request", "failure"]


class ApiServer:
    """`tls` (a server context) makes it HTTPS; `token` is then asked for on every request.

    `watch_list` says whether it offers `sendInitialEvents`; `base_path` stands before every path (Rancher).
    """

    def __init__(
        self,
        *,
        tls: ssl.SSLContext | None = None,
        token: str = "",
        watch_list: bool = True,
        base_path: str = "",
        chunk_bytes: int = 0,
    ) -> None:
        self.store = Store()
        self.token, self.watch_list, self.base_path, self.chunk_bytes = (
            token,
            watch_list,
            base_path,
            chunk_bytes,
        )
        self.requests: list[Request] = []
        self.changed = self.store.changed
        self.connections: set[socket.socket] = set()
        self.stopping = False
        self.watch_breaks: list[bool] = []
        self.bookmarks = 0
        self._logs: dict[tuple[str, str, str], PodLog] = {}
        self._scripts: list[tuple[Callable[[Request], bool], list[Reply], bool]] = []
        self._upgrades: list[tuple[str, Serve]] = []
        self._http = HttpServer(self, tls)
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True)
        self.port = self._http.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}{base_path}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self.changed:
            self.stopping = True
            self.changed.notify_all()
        for log in self._logs.values():
            log.close()
        self._http.shutdown()
        self.cut_connections()
        self._http.server_close()
        self._thread.join()

    # What a test does to the cluster

    def kubeconfig(
        self, path: Path, *, namespace: str = "default", user: dict[str, Any] | None = None
    ) -> Path:
        """Writes a kubeconfig with the context `test`, cluster `test`, user `tester`; JSON is YAML."""
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url}}],
            "users": [{"name": "tester", "user": user or {}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": "tester", "namespace": namespace}}
            ],
        }
        path.write_text(json.dumps(config))
        return path

    def put(self, obj: dict[str, Any]) -> dict[str, Any]:
        """Adds or changes an object (kind and metadata.name at least); returns it as stored."""
        return self.store.put(obj)

    def delete(self, kind: str, name: str, namespace: str = "default") -> None:
        """Deletes an object; the logs of a pod end with it."""
        self.store.delete(kind, name, namespace if RESOURCES[kind][2] else "")
        for (log_namespace, pod, _), log in self._logs.items():
            if kind == "Pod" and (log_namespace, pod) == (namespace, name):
                log.close()

    def log(self, pod: str, container: str = "", namespace: str = "default") -> PodLog:
        """The log of a container; "" serves every container that has no log of its own."""
        return self._logs.setdefault((namespace, pod, container), PodLog())

    def find_log(self, pod: str, container: str, namespace: str) -> PodLog:
        """What a request gets: the container's own log, else the pod's."""
        return self._logs.get((namespace, pod, container)) or self.log(pod, "", namespace)

    def script(
        self, matches: str | Callable[[Request], bool], *replies: Reply, forever: bool = False
    ) -> None:
        """The next requests that match get these replies: a regex on `METHOD /path?query`, or a predicate."""
        pattern = re.compile(matches) if isinstance(matches, str) else None

        def fits(request: Request) -> bool:
            if pattern is None:
                return matches(request)  # type: ignore[operator]
            query = "&".join(f"{k}={v}" for k, v in request.query.items())
            return bool(pattern.search(f"{request.method} {request.path}?{query}"))

        with self.changed:
            self._scripts.append((fits, list(replies), forever))

    def websocket(self, pattern: str, serve: Serve) -> None:
        """Websocket requests whose path matches are handed to `serve`, each in a thread of its own."""
        self._upgrades.append((pattern, serve))

    def find_websocket(self, path: str) -> Serve | None:
        return next((serve for pattern, serve in self._upgrades if re.search(pattern, path)), None)

    def end_watches(self, *, cut: bool = False) -> None:
        """All watches that are open come to an end, orderly or in the middle of a chunk."""
        with self.changed:
            self.watch_breaks.append(cut)
            self.changed.notify_all()

    def send_bookmarks(self) -> None:
        """Every watch that asked for them gets a bookmark."""
        with self.changed:
            self.bookmarks += 1
            self.changed.notify_all()

    def cut_connections(self) -> None:
        """Closes all connections, idle ones too."""
        for connection in list(self.connections):
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    # What a test sees

    def wait_for(self, happened: Callable[[ApiServer], bool], timeout_s: float = 10) -> None:
        """Until `happened` is true of this server; looks after every request and every change."""
        with self.changed:
            if not self.changed.wait_for(lambda: happened(self), timeout_s):
                seen = "\n".join(f"{r.method} {r.path} {r.query}" for r in self.requests[-20:])
                raise AssertionError(f"did not happen within {timeout_s} s; last requests:\n{seen}")

    def count(self, pattern: str) -> int:
        """How many requests came whose `METHOD /path` matches."""
        return sum(bool(re.search(pattern, f"{r.method} {r.path}")) for r in self.requests)

    def scripted(self, request: Request) -> Reply | None:
        with self.changed:
            # A watch that was asked for before they are ended is ended too, however late its thread goes on.
            request.breaks = len(self.watch_breaks)
            self.requests.append(request)
            self.changed.notify_all()
            for fits, replies, forever in self._scripts:
                if replies and fits(request):
                    return replies[0] if forever else replies.pop(0)
        return None
