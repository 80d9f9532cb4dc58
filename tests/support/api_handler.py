"""The HTTP side of the scripted API server: requests in, lists, watches and logs out."""

from __future__ import annotations

import http.server
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from support.api_store import KIND_OF, RESOURCES, Entry, Expired, selector
from support.pod_log import Cut
from support.websocket_server import WebSocketPeer

if TYPE_CHECKING:
    from support.api_server import ApiServer

PATH = re.compile(
    r"(?P<prefix>/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[a-z]+)(?:/(?P<name>[^/]+))?(?:/(?P<sub>[a-z]+))?"
)


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    """Names in lower case; a repeated header joined by ", "."""
    body: bytes
    connection: int
    """Requests of one connection have the same number."""
    breaks: int = 0
    """How often watches had been ended when it came."""


@dataclass(frozen=True)
class Reply:
    """A scripted answer. `status` 0 closes the connection without one; `cut` closes it within the body.

    `after` holds it back until that event is set.
    """

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    after: threading.Event | None = None


def failure(status: int, reason: str, message: str = "", **headers: str) -> Reply:
    """A Status object, as an API server sends for whatever fails; `Retry_After="1"` is a header."""
    body: dict[str, Any] = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    body |= {"message": message or reason, "reason": reason, "code": status}
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, json.dumps(body).encode(), {"Content-Type": "application/json", **names})


class HttpServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, api: ApiServer, tls: ssl.SSLContext | None) -> None:
        self.api, self.tls, self.count = api, tls, 0
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.count += 1
        try:
            if self.tls:
                request = self.tls.wrap_socket(request, server_side=True)
            self.api.connections.add(request)
            super().finish_request(request, client_address)
        except (OSError, ValueError):
            pass  # the client went away, which is what many tests do
        finally:
            with self.api.changed:
                self.api.connections.discard(request)
                self.api.changed.notify_all()
            if self.tls:
                request.close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: HttpServer

    def setup(self) -> None:
        super().setup()
        self.api, self.number = self.server.api, self.server.count
        self.request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _serve(self) -> None:
        target = urlsplit(self.path)
        path = unquote(target.path).removeprefix(self.api.base_path)
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            headers[name.lower()] = f"{headers[name.lower()]}, {value}" if name.lower() in headers else value
        body = self.rfile.read(int(headers.get("content-length", 0)))
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        request = Request(self.command, path, query, headers, body, self.number)
        self._answer(request)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _answer(self, request: Request) -> None:
        scripted = self.api.scripted(request)
        if scripted:
            return self._reply(scripted)
        if self.api.token and request.headers.get("authorization") != f"Bearer {self.api.token}":
            return self._reply(failure(401, "Unauthorized"))
        serve = self.api.find_websocket(request.path) if "upgrade" in request.headers else None
        if serve:
            self.close_connection = True
            return serve(WebSocketPeer(self.request, self.rfile.read, request.headers))
        match = PATH.fullmatch(request.path)
        kind = KIND_OF.get((match["prefix"], match["plural"])) if match else None
        if not match or not kind:
            return self._reply(failure(404, "NotFound", "the server could not find the requested resource"))
        namespace, name = match["namespace"] or "", match["name"] or ""
        if match["sub"] == "log":
            return self._log(request, namespace, name)
        if request.method == "GET" and not name:
            selects = selector(namespace, request.query)
            watch = request.query.get("watch") in ("true", "1")
            return self._watch(request, kind, selects) if watch else self._list(request, kind, selects)
        return self._one(request, kind, namespace, name)

    def _one(self, request: Request, kind: str, namespace: str, name: str) -> None:
        store = self.api.store
        sent = json.loads(request.body) if request.body and request.method != "DELETE" else {}
        entry = store.get(kind, name or sent.get("metadata", {}).get("name", ""), namespace)
        if request.method == "POST":
            if entry:
                return self._reply(failure(409, "AlreadyExists", f'{kind} "{entry.name}" already exists'))
            sent = {**sent, "kind": kind, "metadata": {"namespace": namespace, **sent["metadata"]}}
            return self._json(json.dumps(store.put(sent)).encode(), 201)
        if not entry:
            return self._reply(failure(404, "NotFound", f'{RESOURCES[kind][1]} "{name}" not found'))
        if request.method in ("PUT", "PATCH"):
            version = sent.get("metadata", {}).get("resourceVersion", "")
            if version and version != entry.object["metadata"]["resourceVersion"]:
                return self._reply(failure(409, "Conflict", "the object has been modified"))
            changed = sent if request.method == "PUT" else _merge_patch(entry.object, sent)
            if request.query.get("dryRun") != "All":
                changed = store.put(changed)
            return self._json(json.dumps(changed).encode())
        if request.method == "DELETE":
            self.api.delete(kind, name, namespace)
        return self._json(entry.raw)

    def _list(self, request: Request, kind: str, selects: Callable[[Entry], bool]) -> None:
        limit, token = int(request.query.get("limit", 0)), request.query.get("continue", "")
        try:
            page, version, token, remaining = self.api.store.page(kind, selects, limit, token)
        except Expired:
            return self._reply(failure(410, "Expired", "The provided continue parameter is too old"))
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if token:
            meta |= {"continue": token, "remainingItemCount": remaining}
        head = json.dumps({"kind": f"{kind}List", "apiVersion": "v1", "metadata": meta})[:-1].encode()
        return self._json(head + b',"items":[' + b",".join(entry.raw for entry in page) + b"]}")

    def _watch(self, request: Request, kind: str, selects: Callable[[Entry], bool]) -> None:
        initial = request.query.get("sendInitialEvents") == "true"
        if initial and not self.api.watch_list:
            return self._reply(
                failure(
                    422, "Invalid", "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch"
                )
            )
        return self._stream(self._events(request, kind, selects, initial), "application/json")

    def _events(
        self, request: Request, kind: str, selects: Callable[[Entry], bool], initial: bool
    ) -> Iterator[bytes]:
        api, store, query = self.api, self.api.store, request.query
        with store.changed:
            bookmarks = api.bookmarks
            asked = query.get("resourceVersion", "")
            version = int(asked) if asked not in ("", "0") else store.version
            first = store.select(kind, selects) if initial or asked in ("", "0") else []
        yield from (_event("ADDED", entry.raw) for entry in first)
        if initial:
            yield _bookmark(kind, version, {"k8s.io/initial-events-end": "true"})
        while True:
            with store.changed:
                try:
                    changes = list(store.since(kind, version, selects))
                except Expired:
                    status = failure(410, "Expired", f"too old resource version: {version}").body
                    yield _event("ERROR", status)
                    return
                version = store.version
                bookmark, bookmarks = bookmarks != api.bookmarks, api.bookmarks
                if not changes and not bookmark:
                    if len(api.watch_breaks) > request.breaks:
                        if api.watch_breaks[request.breaks]:
                            raise Cut
                        return
                    if api.stopping:
                        return
                    store.changed.wait()
                    continue
            yield from (_event(type_, entry.raw) for type_, entry in changes)
            if bookmark and query.get("allowWatchBookmarks") == "true":
                yield _bookmark(kind, version, {})

    def _log(self, request: Request, namespace: str, pod: str) -> None:
        if not self.api.store.get("Pod", pod, namespace):
            return self._reply(failure(404, "NotFound", f'pods "{pod}" not found'))
        container = request.query.get("container", "")
        try:
            lines = self.api.find_log(pod, container, namespace).read(request.query)
        except KeyError:
            message = f'previous terminated container "" in pod "{pod}" not found'
            return self._reply(failure(400, "BadRequest", message))
        return self._stream(lines, "text/plain")

    def _json(self, body: bytes, status: int = 200) -> None:
        self._reply(Reply(status, body, {"Content-Type": "application/json"}))

    def _reply(self, reply: Reply) -> None:
        if reply.after:
            reply.after.wait(10)
        if reply.status == 0:
            self.close_connection = True
            return
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body) + reply.cut))
        self.end_headers()
        self.wfile.write(reply.body)
        self.close_connection |= reply.cut

    def _stream(self, parts: Iterable[bytes], content_type: str) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for part in parts:
                self._chunks(part)
        except Cut:
            self.wfile.write(b"400\r\n{")
            self.close_connection = True
            return
        self.wfile.write(b"0\r\n\r\n")

    def _chunks(self, part: bytes) -> None:
        size = self.api.chunk_bytes or len(part)
        for start in range(0, len(part), size or 1):
            piece = part[start : start + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))


def _event(type_: str, raw: bytes) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type_.encode(), raw)


def _bookmark(kind: str, version: int, annotations: dict[str, str]) -> bytes:
    meta = {"resourceVersion": str(version), "creationTimestamp": None, "annotations": annotations}
    return _event("BOOKMARK", json.dumps({"kind": kind, "apiVersion": "v1", "metadata": meta}).encode())


def _merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge_patch(merged.get(key), value)
    return merged
