"""What it costs to start: CPU of the whole process, beside the budget and beside the bare interpreter."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence

from row import Row

_RUNS = 7
_CONNECTED = """
import sys
from kubectl_kdns.cli.app import main
main(["trace", "--server", "http://127.0.0.1:9", "--backend", "coredns", "--failed"])
"""


def rows() -> Iterator[Row]:
    bare = _cpu_ms([sys.executable, "-c", "pass"])
    page = _cpu_ms([sys.executable, "-m", "kubectl_kdns", "--help"])
    command = _cpu_ms([sys.executable, "-m", "kubectl_kdns", "trace", "--help"])
    trace = _cpu_ms([sys.executable, "-c", _CONNECTED])
    yield Row("start: kdns --help", page, "budget", 25, "ms")
    yield Row("start: kdns trace --help", command, "bare interpreter", bare, "ms")
    yield Row("start: trace until it connects", trace, "budget", 150, "ms")


def _cpu_ms(command: Sequence[str]) -> float:
    """The median of a few runs: user and system time of the process, with compiled modules cached."""
    environ = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environ["KUBECONFIG"] = os.devnull
    spent = []
    for _ in range(_RUNS + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return 1000 * statistics.median(spent[1:])


if __name__ == "__main__":
    for row in rows():
        print(row.line())
