"""The agent on this machine, without Kubernetes: as a child whose standard streams carry the frames."""

from __future__ import annotations

import hashlib
import os
import platform
import select
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from kdns_ebpf import wire
from kdns_ebpf.agent_stream import AgentStream
from kdns_ebpf.counters import counters_of
from kubectl_kdns.backend import AgentProgram
from kubectl_kdns.errors import BackendError, UsageError
from kubectl_kdns.model import Record

AGENT_FOLDER = Path(__file__).resolve().parent / "agent"
HEARTBEAT_S = 0.2
END_S = 2.0
READ_BYTES = 64 << 10
"""From 128 KiB on glibc maps new pages for each read and unmaps them: 6 % of what a small batch costs."""
NO_RIGHTS, NO_CGROUP = 3, 4
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
"""GOARCH's name of what `platform.machine()` says, in lower case."""


def agent_binary(architecture: str) -> Path:
    """The agent for GOARCH's name of an architecture; it comes with the package."""
    return AGENT_FOLDER / "bin" / f"kdns-agent-{architecture}"


def agent_programs() -> list[AgentProgram]:
    """Of each architecture the one that came with the package."""
    found = []
    for architecture in sorted(set(ARCHITECTURES.values())):
        path = agent_binary(architecture)
        if path.is_file():
            data = path.read_bytes()
            found.append(AgentProgram(architecture, len(data), hashlib.sha256(data).hexdigest()))
    return found


def own_binary() -> Path:
    """The agent for this machine; UsageError where there is none."""
    if platform.system() != "Linux":
        raise UsageError(
            f"--local needs Linux, this is {platform.system()}",
            hint="kubectl kdns trace --backend ebpf runs the agent on the nodes of a cluster",
        )
    architecture = ARCHITECTURES.get(platform.machine())
    if architecture is None:
        raise UsageError(f"there is no agent for {platform.machine()}, only for x86_64 and aarch64")
    return agent_binary(architecture)


class LocalAgent:
    """A Source: the lookups of all sockets of this machine."""

    in_history = False

    def __init__(self, arguments: Sequence[str], config: bytes, *, raw: bool = False) -> None:
        binary = own_binary()
        # An archive or a copied tree may have lost the mode of the file.
        if not os.access(binary, os.X_OK):
            raise BackendError(
                f"cannot run {binary}", cause="it is not executable", hint=f"chmod +x {binary}"
            )
        self._agent = subprocess.Popen(
            [str(binary), "local", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for us: the agent ends when we have its rest
        )
        self._stream = AgentStream(socket.gethostname(), raw=raw)
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._last_words = b""
        self._write(config)

    @property
    def description(self) -> str:
        return "the agent on this machine"

    @property
    def counters(self) -> Mapping[str, int]:
        return counters_of([self._stream])

    def __iter__(self) -> Iterator[list[Record]]:
        stdout = self._agent.stdout
        assert stdout is not None
        try:
            while True:
                ready, _, _ = select.select([stdout], [], [], HEARTBEAT_S)
                data = os.read(stdout.fileno(), READ_BYTES) if ready else None
                if data == b"":
                    break
                yield self._stream.feed(data) if data else []
        except wire.BadFrame as error:
            raise BackendError("the agent sent what cannot be read", cause=str(error)) from None
        finally:
            self._end()
        if self._stream.ended is None and not self._closing.is_set():
            raise self._failure()

    def close(self) -> None:
        if not self._closing.is_set():
            self._closing.set()
            self._write(wire.frame(wire.CLOSE))

    def _write(self, data: bytes) -> None:
        with self._lock:
            if self._agent.stdin is None or self._agent.stdin.closed:
                return
            with suppress(BrokenPipeError):  # it has ended: its exit status and its last words say why
                self._agent.stdin.write(data)

    def _end(self) -> None:
        with self._lock:
            if self._agent.stdin:
                self._agent.stdin.close()
        try:
            self._agent.wait(END_S)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            self._agent.wait()
        for stream in (self._agent.stdout, self._agent.stderr):
            if stream:
                self._last_words = stream.read()
                stream.close()

    def _failure(self) -> BackendError:
        words = self._last_words.decode("utf-8", "replace").strip()
        words = words.removeprefix("kdns-agent: ").removeprefix("error: ")
        cause = words or f"it ended with status {self._agent.returncode}"
        hint = ""
        if self._agent.returncode == NO_RIGHTS:
            hint = "sudo kubectl-kdns trace --backend ebpf --local (as root, or with CAP_BPF, CAP_NET_ADMIN, "
            hint += "CAP_PERFMON, CAP_DAC_READ_SEARCH, CAP_NET_RAW and, before Linux 5.11, CAP_SYS_RESOURCE)"
        return BackendError("the agent could not work on this machine", cause=cause, hint=hint)
