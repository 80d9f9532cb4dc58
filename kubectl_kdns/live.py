"""Live runs: connects, starts the directory, chooses backends, wraps a temporary change around the run."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

from msgspec.structs import replace

from kubectl_kdns.backend import Backend, Probe, Source, backend_infos, load_backend, own_backends
from kubectl_kdns.change import Change, TemporaryChange, confirm
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.filter import Filter, implied_values
from kubectl_kdns.kube import Cluster, connect
from kubectl_kdns.kube.feed import DirectoryFeed
from kubectl_kdns.pipeline import Stop, take_signals
from kubectl_kdns.printer import Printer
from kubectl_kdns.session import ChangeRequest, StreamRequest, make_pipeline, run_pipeline

DIRECTORY_START_S = 0.3
DIRECTORY_WAIT_S = 10.0
LEFTOVERS_WAIT_S = 2.0


def run_live(request: StreamRequest, filter_: Filter, printer: Printer, stack: ExitStack) -> int:
    """Opens and runs it. Returns the exit status; raises KdnsError when it cannot work here."""
    cluster = connect(request.connection)
    stack.callback(cluster.close)
    # First of all, for the list of pods is on its way while the backend is still being imported.
    feed = DirectoryFeed(cluster, say=printer.status)
    stack.callback(feed.close)
    feed.start()
    change = prepare_change(request, cluster, printer)
    if request.change and change is None:
        return 0
    backends = chosen_backends(request, filter_, cluster, printer)
    if change is None:
        stack.callback(warn_of_leftovers(cluster, printer))
    scope = replace(request.scope(), cluster=cluster, directory=feed.directory)
    stop = Stop()
    temporary: TemporaryChange | None = None
    if request.change and change is not None:
        await_directory(feed, filter_)
        temporary = TemporaryChange(change, request.change.lasts_ns, time.monotonic_ns, printer.status)
        stack.callback(stop.install())
        stack.callback(take_back, temporary, printer)
        temporary.apply()
    sources: list[Source] = []
    for backend in backends:
        source = backend.open(scope, backend.plan(filter_))
        stack.callback(source.close)
        sources.append(source)
        printer.status(f"{backend.name}: {source.description}")
    if temporary is None:
        # Behind the sources, which connect meanwhile.
        await_directory(feed, filter_)
    pipeline = make_pipeline(
        request,
        filter_,
        sources,
        printer,
        environment=feed.directory,
        name=feed.directory.name,
        stop=stop,
        on_tick=temporary.tick if temporary else None,
        on_record=temporary.observe if temporary else None,
    )
    return run_pipeline(pipeline, printer, stack)


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
    namespaces that are wanted."""
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
    raise BackendError(
        "no backend can work here without a change to the cluster",
        cause="; ".join(f"{name}: {probe.evidence}" for name, probe in probes.items()),
        hint="\n     ".join(probe.fix for probe in probes.values() if probe.fix),
    )


def await_directory(feed: DirectoryFeed, filter_: Filter) -> None:
    """A filter that needs names waits for them; anything else waits a moment, once."""
    if not filter_.needs_directory:
        feed.wait(DIRECTORY_START_S)
    elif not feed.wait(DIRECTORY_WAIT_S):
        raise KdnsError(
            f"the filter needs the names of pods, and they were not listed within {DIRECTORY_WAIT_S:.0f} s",
            cause=feed.trouble or "the API server is slow",
            hint="time kubectl get pods -A >/dev/null, or filter by client.ip instead",
        )


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
