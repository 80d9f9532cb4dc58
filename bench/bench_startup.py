"""What it costs to start: CPU of the whole process, beside the budget and beside the bare interpreter."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from row import Row

_RUNS = 7
_CONNECTED = """
import os, socket, threading, time
first = threading.Lock()
def connect(*_):
    first.acquire()  # several lists begin at once; never released
    os.write(1, str(1000 * time.process_time()).encode())
    os._exit(0)
socket.socket.connect = socket.socket.connect_ex = connect
from kubectl_kdns.cli.app import main
main(["trace", "--server", "http://127.0.0.1:9", "--backend", "coredns", "--failed"])
"""


def rows() -> Iterator[Row]:
    bare = _cpu_ms([sys.executable, "-c", "pass"])
    page = _cpu_ms([str(Path(sys.executable).with_name("kubectl-kdns")), "--help"])
    yield Row("start: kdns --help", page, "budget", 25, "ms")
    yield Row("start: kdns --help", page, "bare interpreter", bare, "ms")
    trace = statistics.median(_until_connected_ms() for _ in range(_RUNS))
    yield Row("start: trace until it connects", trace, "budget", 150, "ms")
    yield Row("start: trace until it connects", trace, "import typer, yaml, ssl, http", _peer_ms(), "ms")


def _until_connected_ms() -> float:
    """CPU of the process when it first opens a connection."""
    done = subprocess.run([sys.executable, "-c", _CONNECTED], stdout=subprocess.PIPE, env=_environ())
    return float(done.stdout)


def _peer_ms() -> float:
    return _cpu_ms([sys.executable, "-c", "import typer, yaml, ssl, http.client, msgspec"])


def _environ() -> dict[str, str]:
    """Compiled modules are cached, as in any installation; no cluster is known."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return environ | {"KUBECONFIG": os.devnull}


def _cpu_ms(command: Sequence[str]) -> float:
    """The median of a few runs: user and system time of the process."""
    spent = []
    for _ in range(_RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=_environ())
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1000 * statistics.median(spent[1:])


if __name__ == "__main__":
    for row in rows():
        print(row.line())
