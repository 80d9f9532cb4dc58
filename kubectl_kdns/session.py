"""One run of a streaming command: from a checked request to open sources, a pipeline and an exit status."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import IO, TYPE_CHECKING, Any

from kubectl_kdns.backend import Backend, Scope, Source, backend_infos, load_backend
from kubectl_kdns.errors import BackendError, InputError, KdnsError, UsageError
from kubectl_kdns.filter import Filter, parse_filter
from kubectl_kdns.filter.flags import FilterFlags, flags_expression
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.model import Loss, Lookup, Message, Notice, Record
from kubectl_kdns.pipeline import Pipeline, Stop
from kubectl_kdns.times import NS_PER_S, format_time

if TYPE_CHECKING:
    from kubectl_kdns.directory import Directory
    from kubectl_kdns.kube import Cluster

DIRECTORY_START_S = 0.3
DIRECTORY_WAIT_S = 10.0


@dataclass(frozen=True)
class ChangeRequest:
    """A temporary change to the cluster that goes with the run (coredns-logs --enable)."""

    backend: str
    settings: Mapping[str, Any]
    lasts_ns: int
    yes: bool
    dry_run: str


@dataclass(frozen=True)
class StreamRequest:
    """Everything that a streaming command was asked for. Times are nanoseconds (since the epoch)."""

    connection: ConnectionFlags
    filters: FilterFlags
    explain_filter: bool = False
    backends: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    history: bool = False
    follow: bool = True
    since_ns: int | None = None
    until_ns: int | None = None
    tail: int | None = None
    last: int | None = None
    previous: bool = False
    for_ns: int | None = None
    limit: int | None = None
    timeout_ns: int = 5 * NS_PER_S
    messages: bool = False
    raw: bool = False
    output: str = "table"
    columns: str = ""
    headers: bool = True
    color: str = "auto"
    time_form: str = "local"
    summary: str = "text"
    record_to: str = ""
    now_ns: int = 0
    change: ChangeRequest | None = None
    ask: Callable[[str], str] | None = None
