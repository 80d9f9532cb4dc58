"""Hubble where there is no relay: `hubble observe` inside a Cilium agent's pod, by exec.

The command reads the agent's own socket (`HUBBLE_SERVER` in its image) and prints a GetFlowsResponse a line,
as protojson (`-o jsonpb`; Cilium's `hubble/cmd/observe/flows.go`).
"""

from __future__ import annotations

import queue
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress

import msgspec
from msgspec import Struct

from kdns_hubble.api_objects import PodObject
from kdns_hubble.cilium import AGENTS
from kdns_hubble.discover import LIKELY_NAMESPACES
from kdns_hubble.flow_filter import FlowFilter
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, ForbiddenError, KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import format_time

CONTAINER = "cilium-agent"
MAX_LINE_BYTES = 16 << 20
HEARTBEAT_S = 0.2
_READ_BYTES = 256 << 10
_MAX_WAITING = 8
_MAX_ERROR_CHARACTERS = 500

# Without a terminal nobody tells a command that its client has gone: it would stay until it next has
# something to print, which may be never. So a second process waits for the end of standard input, which
# comes with the end of the connection, whatever ended it. It is waited for, because an agent that runs as
# process 1 does not collect what others leave behind. Hubble before 0.12 reads flows from standard input
# when that is no device, so it gets one.
_SCRIPT = """exec 3<&0
hubble "$@" --server "${HUBBLE_SERVER:-unix:///var/run/cilium/hubble.sock}" </dev/null 3<&- & observe=$!
exec 2>/dev/null
{ while read -r _; do :; done; kill $observe; } <&3 >/dev/null & watch=$!
wait $observe; status=$?
kill $watch; wait $watch
exit $status"""

_CAUSES = (
    (re.compile("dial unix"), "Hubble is off in this agent, or it is just starting"),
    (re.compile("unknown (flag|shorthand|command)"), "its hubble is too old for this"),
    (re.compile("not found$|No such file"), "there is no hubble program in its image"),
)


class Agent(Struct, frozen=True):
    """A pod of Cilium; `ready` as Kubernetes sees it."""

    namespace: str
    pod: str
    node: str
    ready: bool


def find_agents(cluster: Cluster) -> list[Agent]:
    """All Cilium agents, in any namespace; in the usual ones without the right to list pods everywhere.

    Raises ForbiddenError when nothing may be listed, and ClusterError.
    """
    try:
        return _agents_at(cluster, "/api/v1/pods")
    except ForbiddenError as error:
        agents = []
        if error.status == 403:
            for namespace in LIKELY_NAMESPACES:
                with suppress(ForbiddenError):
                    agents += _agents_at(cluster, f"/api/v1/namespaces/{namespace}/pods")
        if not agents:
            raise
        return agents


def _agents_at(cluster: Cluster, path: str) -> list[Agent]:
    # Version 0 lets the API server answer from its cache.
    pages = cluster.pages(path, PodObject, labelSelector=AGENTS, resourceVersion="0")
    agents = []
    for pod in (pod for page in pages for pod in page.items or () if not pod.has_finished):
        namespace, name = pod.metadata.namespace, pod.metadata.name
        agents.append(
            Agent(safe_text(namespace), safe_text(name), safe_text(pod.spec.node_name), not pod.trouble)
        )
    return sorted(agents, key=lambda agent: (agent.node, agent.pod))


def observe_arguments(
    filters: Sequence[FlowFilter], since_ns: int | None, follow: bool, last: int | None = None
) -> list[str]:
    """What follows `hubble` on the command line.

    `since_ns` (epoch) wins over `last`, because servers differ in what both together mean; with neither, all
    that the agent still has, or with `follow` only what is new. Hubble 0.12 ignores `--allowlist`: the
    filter has to run again on what comes.
    """
    arguments = ["observe", "-o", "jsonpb"]
    if follow:
        arguments.append("--follow")
    if since_ns is not None:
        arguments += ["--since", format_time(since_ns)]
    elif last is not None:
        arguments += ["--last", str(last)]
    elif not follow:
        arguments.append("--all")
    for one in filters:
        arguments += ["--allowlist", msgspec.json.encode(one).decode()]
    return arguments


class AgentStream:
    """One agent's flows. One thread iterates, once; any thread may close, more than once.

    Iterating gives lists of complete lines as they come, and an empty one at least every 0.2 s. It ends
    with the command, or after `close`. Raises BackendError when the command fails or is not allowed, and
    ClusterError when the connection breaks. `skipped` counts lines of more than 16 MiB.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, pod: str, node: str, arguments: Sequence[str]
    ) -> None:
        self._namespace, self._pod, self._node = namespace, pod, node
        command = ["sh", "-c", _SCRIPT, "sh", *arguments]
        self._exec = cluster.exec(namespace, pod, CONTAINER, command, stdin=True)
        self._lines = _Lines()
        self._closed = threading.Event()
        self._queue: queue.Queue[list[bytes] | KdnsError | None] = queue.Queue(_MAX_WAITING)

    @property
    def skipped(self) -> int:
        return self._lines.skipped

    def __iter__(self) -> Iterator[list[bytes]]:
        reader = threading.Thread(target=self._read, name=f"kdns-hubble-{self._node}", daemon=True)
        reader.start()
        try:
            while not self._closed.is_set():
                try:
                    item = self._queue.get(timeout=HEARTBEAT_S)
                except queue.Empty:
                    yield []
                    continue
                if item is None:
                    return
                if isinstance(item, KdnsError):
                    raise item
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """Ends the command as well."""
        self._closed.set()
        self._exec.close()

    def _read(self) -> None:
        try:
            while data := self._exec.read1(_READ_BYTES):
                if lines := self._lines.feed(data):
                    self._put(lines)
            self._put(self._failure())
        except ForbiddenError as error:
            self._put(error if error.status == 401 else self._forbidden(error))
        except KdnsError as error:
            self._put(error)

    def _put(self, item: list[bytes] | KdnsError | None) -> None:
        while not self._closed.is_set():
            with suppress(queue.Full):
                self._queue.put(item, timeout=HEARTBEAT_S)
                return

    def _failure(self) -> BackendError | None:
        """Why the command ended; None when it just did."""
        if not self._exec.exit_code:
            return None
        text = safe_text(self._exec.stderr.decode("utf-8", "replace").strip())[-_MAX_ERROR_CHARACTERS:]
        cause = next((cause for pattern, cause in _CAUSES if pattern.search(text)), "")
        words = [cause, text or f"exit status {self._exec.exit_code}"]
        return BackendError(
            f"`hubble observe` failed in the Cilium agent {self._namespace}/{self._pod} of node {self._node}",
            cause=": ".join(filter(None, words)),
            hint=f"kubectl exec -n {self._namespace} {self._pod} -c {CONTAINER} -- hubble status",
        )

    def _forbidden(self, error: ForbiddenError) -> BackendError:
        return BackendError(
            f"not allowed to run `hubble observe` in the Cilium agents of namespace {self._namespace!r}",
            cause=f"it takes the verbs get and create on pods/exec there ({error.cause})",
            hint=error.hint,
        )


class _Lines:
    """Complete lines out of pieces; what is longer than `MAX_LINE_BYTES` is skipped, and counted."""

    def __init__(self) -> None:
        self.skipped = 0
        self._parts: list[bytes] = []
        self._size = 0
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes]:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines:
            if self._skipping:
                del lines[0]
            elif self._parts:
                lines[0] = b"".join((*self._parts, lines[0]))
            self._parts, self._size, self._skipping = [], 0, False
        if rest and not self._skipping:
            self._parts.append(rest)
            self._size += len(rest)
            if self._size > MAX_LINE_BYTES:
                self.skipped += 1
                self._parts, self._size, self._skipping = [], 0, True
        return [line for line in lines if line]
