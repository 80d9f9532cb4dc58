"""Live runs: connects, starts the directory, chooses backends, wraps a temporary change around the run."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from functools import partial
from typing import Any

from msgspec.structs import replace

from kubectl_kdns.backend import (
    Backend,
    Creator,
    Forward,
    Forwarder,
    Probe,
    Scope,
    Source,
    backend_infos,
    load_backend,
    own_backends,
)
from kubectl_kdns.change import Change, TemporaryChange, confirm
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.filter import Filter, implied_values
from kubectl_kdns.kube import Cluster, connect
from kubectl_kdns.kube.feed import DirectoryFeed
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.model import FORWARDS, Notice, Record
from kubectl_kdns.pipeline import Stop, interrupt, take_signals
from kubectl_kdns.printer import Printer
from kubectl_kdns.session import (
    ChangeRequest,
    StreamRequest,
    make_pipeline,
    run_pipeline,
    source_filter,
)
from kubectl_kdns.times import format_time

DIRECTORY_START_S = 0.3
DIRECTORY_WAIT_S = 10.0
LEFTOVERS_WAIT_S = 2.0


def run_live(request: StreamRequest, filter_: Filter, printer: Printer, stack: ExitStack) -> int:
    """Opens and runs it. Returns the exit status; raises KdnsError when it cannot work here."""
    cluster, feed = connect_and_list(request.connection, printer, stack)
    change = prepare_change(request, cluster, printer)
    if request.change and change is None:
        return 0
    backends = chosen_backends(request, filter_, cluster, printer)
    if not backends:
        return 0
    if change is None:
        stack.callback(warn_of_leftovers(cluster, printer))
    scope = replace(request.scope(), cluster=cluster, directory=feed.directory)
    if request.dry_run:
        show_creations(request, filter_, backends, scope)
        return 0
    stop = Stop()
    temporary: TemporaryChange | None = None
    if request.change and change is not None:
        await_directory(feed, filter_)
        temporary = TemporaryChange(change, request.change.lasts_ns, time.monotonic_ns, printer.status)
        stack.callback(stop.install())
        stack.callback(take_back, temporary, printer)
        temporary.apply()
    else:
        # What a backend creates while it opens has to be taken away again, whichever signal ends that.
        stack.callback(take_signals(interrupt))
    sources: list[Source] = []
    sees_twice = False
    for backend in backends:
        plan = backend.plan(source_filter(request, filter_))
        sees_twice |= plan.sees_twice
        source = backend.open(scope, plan)
        stack.callback(source.close)
        sources.append(source)
        printer.status(f"{backend.name}: {source.description}")
    if request.journeys or request.output.record_to:
        sources.append(Given(where_servers_forward(cluster, scope)))
    if temporary is None:
        # Behind the sources, which connect meanwhile.
        await_directory(feed, filter_)
    pipeline = make_pipeline(
        request,
        filter_,
        sources,
        printer,
        sees_twice=sees_twice,
        environment=feed.directory,
        name=feed.directory.name,
        stop=stop,
        on_tick=temporary.tick if temporary else None,
        on_record=temporary.observe if temporary else None,
    )
    return run_pipeline(pipeline, printer, stack)


def connect_and_list(
    flags: ConnectionFlags, printer: Printer, stack: ExitStack
) -> tuple[Cluster, DirectoryFeed]:
    """The cluster, and the directory, first of all: its list of pods is on its way while backends are still
    being imported. `stack` closes both."""
    cluster = connect(flags)
    stack.callback(cluster.close)
    feed = DirectoryFeed(cluster, say=printer.status)
    stack.callback(feed.close)
    feed.start()
    return cluster, feed


def require_pods(feed: DirectoryFeed, what: str, hint: str) -> None:
    """Waits for the list of pods. Raises KdnsError, which `what` begins, when it does not come."""
    if not feed.wait(DIRECTORY_WAIT_S):
        raise KdnsError(
            what,
            cause=feed.trouble or "the API server is slow",
            hint=f"time kubectl get pods -A >/dev/null{hint}",
        )


class Given:
    """A Source of records that are known beforehand."""

    in_history = False
    description = ""

    def __init__(self, records: list[Record]) -> None:
        self._records = records
        self.counters: dict[str, int] = {}

    def __iter__(self) -> Iterator[list[Record]]:
        yield self._records

    def close(self) -> None:
        """It ends by itself."""


def where_servers_forward(cluster: Cluster, scope: Scope) -> list[Record]:
    """To which ports the cluster's DNS servers forward, for what can be said of lookups that were not seen to
    be forwarded; nothing where that is not known."""
    name, forwards = known_forwards(cluster, scope.options)
    if not name:
        return []
    ports = sorted({each.port for each in forwards})
    text = f"the DNS servers forward to ports {ports}"
    now = format_time(time.time_ns())
    return [Notice(time=now, backend=name, code=FORWARDS, message=text, ports=ports)]


def known_forwards(cluster: Cluster, options: Mapping[str, Any]) -> tuple[str, list[Forward]]:
    """Whom the cluster's DNS servers ask in turn, and the backend that knows it, "" where none does."""
    for name, info in own_backends().items():
        backend = load_backend(name) if info.live else None
        if isinstance(backend, Forwarder):
            with suppress(KdnsError):
                return name, backend.forwards(cluster, options)
    return "", []


def take_back(temporary: TemporaryChange, printer: Printer) -> None:
    """Undoes the change; a signal in the middle of it waits until that is done."""
    restore = take_signals(lambda *_: printer.status("one moment: the change is being taken back"))
    try:
        temporary.done()
    finally:
        restore()


def chosen_backends(
    request: StreamRequest, filter_: Filter, cluster: Cluster, printer: Printer
) -> list[Backend]:
    """The backends that were named, or the first that can work here without a change to the cluster, for the
    namespaces that are wanted; else one that creates something, when that is agreed to. None: it is not."""
    if request.backends:
        return [load_backend(name) for name in request.backends]
    namespaces = implied_values(filter_.expr, "client.namespace")
    options = {**request.options, "namespaces": sorted(map(str, namespaces or ()))}
    probes: dict[str, Probe] = {}
    for name, info in backend_infos().items():
        if info.live:
            backend = load_backend(name)
            probe = probes[name] = backend.probe(cluster, options)
            if probe.usable:
                printer.status(f"backend {name}: {probe.evidence}")
                return [backend]
    for name, probe in probes.items():
        if probe.creates and (request.yes or request.dry_run or request.ask):
            for other, obstacle in probes.items():
                if other != name:
                    printer.status(f"backend {other} cannot work here: {obstacle.evidence}")
            if agreed(request, f"backend {name} {probe.evidence}", printer):
                return [load_backend(name)]
            printer.status("nothing was created")
            return []
    raise BackendError(
        "no backend can work here without a change to the cluster",
        cause="; ".join(f"{name}: {probe.evidence}" for name, probe in probes.items()),
        hint="\n     ".join(probe.fix for probe in probes.values() if probe.fix),
    )


def agreed(request: StreamRequest, what: str, printer: Printer) -> bool:
    """Whether `what` may be done: asks, unless that was said before."""
    if request.yes or request.dry_run or request.ask is None:
        printer.status(what)
        return True
    return request.ask(f"{safe_text(what)}. Go on? [y/N] ").strip().lower() in ("y", "yes")


def show_creations(request: StreamRequest, filter_: Filter, backends: list[Backend], scope: Scope) -> None:
    """What a run would create, on stdout: all of it with -o yaml, else a line an object."""
    objects: list[Any] = []
    for backend in backends:
        if isinstance(backend, Creator):
            objects += backend.creates(scope, backend.plan(filter_), server=request.dry_run == "server")
    if request.output.output == "yaml":
        import yaml

        yaml.safe_dump_all(objects, sys.stdout, sort_keys=False)
        return
    for each in objects:
        metadata = each["metadata"]
        print(f"would create {each['kind']} {safe_text(metadata['namespace'])}/{safe_text(metadata['name'])}")
    if not objects:
        print("would create nothing")


def await_directory(feed: DirectoryFeed, filter_: Filter) -> None:
    """A filter that needs names waits for them; anything else waits a moment, once."""
    if not filter_.needs_directory:
        feed.wait(DIRECTORY_START_S)
    else:
        what = f"the filter needs the names of pods, and they were not listed within {DIRECTORY_WAIT_S:.0f} s"
        require_pods(feed, what, ", or filter by client.ip instead")


def warn_of_leftovers(cluster: Cluster, printer: Printer) -> Callable[[], None]:
    """Says, as soon as the cluster has answered, what an earlier kdns left; never holds up the run.

    Returns what waits for it a moment, at the end of a run that was shorter than the answer took.
    """

    def look() -> None:
        for name, info in own_backends().items():
            if not info.live:
                continue
            try:
                leftovers = load_backend(name).leftovers(cluster)
            except KdnsError:
                continue  # No rights to look: whoever left something had them, and cleanup will say so.
            for leftover in leftovers:
                state = leftover.in_use or "nobody uses it any more; kubectl kdns cleanup undoes it"
                printer.status(f"notice: {leftover.description}: {state}")

    thread = threading.Thread(target=look, name="leftovers", daemon=True)
    thread.start()
    return partial(thread.join, LEFTOVERS_WAIT_S)


def prepare_change(request: StreamRequest, cluster: Cluster, printer: Printer) -> Change | None:
    """The change that was asked for, shown and confirmed; None when it is not to be made."""
    wanted: ChangeRequest | None = request.change
    if wanted is None:
        return None
    settings = {**wanted.settings, "lasts_ns": wanted.lasts_ns}
    change = load_backend(wanted.backend).change(cluster, settings, request.options)
    if wanted.dry_run:
        if wanted.dry_run == "server":
            change.apply(dry_run=True)
        if request.output.output == "yaml":
            import yaml

            yaml.safe_dump(change.manifest(), sys.stdout, sort_keys=False)
        else:
            print(change.diff() or f"nothing to change: {change.title} is already so")
        return None
    ask: Callable[[str], str] | None = request.ask
    if not confirm(change, yes=wanted.yes, ask=ask, say=printer.status):
        printer.status("nothing was changed")
        return None
    return change
