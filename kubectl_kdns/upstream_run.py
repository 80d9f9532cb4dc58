"""`upstreams`: watches what the cluster's DNS servers ask in turn, and prints how well they are answered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, TextIO

from msgspec import Struct, field
from msgspec.structs import replace

from kubectl_kdns.backend import Forward, Scope, load_backend
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.flags import FilterFlags
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.live import DIRECTORY_WAIT_S, connect_and_list, known_forwards, require_pods
from kubectl_kdns.model import Lookup, Record, Summary, UpstreamHealth
from kubectl_kdns.pipeline import Pipeline, Stop, interrupt, take_signals
from kubectl_kdns.printer import Printer, PrinterOptions
from kubectl_kdns.session import Recorded, StreamRequest
from kubectl_kdns.target import dns_nodes
from kubectl_kdns.times import NS_PER_S, format_time, ms
from kubectl_kdns.upstreams import Upstreams

FILTER = 'hop in ["coredns", "nodelocal"] || has(upstream.ip)'
REDRAW_S = 2.0
_CLEAR = "\x1b[2J\x1b[H"


class UpstreamsRequest(Struct, frozen=True):
    """`backends` are those to watch with, `inputs` files instead; times are nanoseconds."""

    connection: ConnectionFlags
    backends: tuple[str, ...] = ("ebpf",)
    inputs: tuple[str, ...] = ()
    watch: bool = False
    for_ns: int | None = None
    timeout_ns: int = 5 * NS_PER_S
    options: Mapping[str, Any] = field(default_factory=dict)
    output: PrinterOptions = field(default_factory=PrinterOptions)


def run_upstreams(request: UpstreamsRequest, out: TextIO, err: TextIO) -> int:
    """The exit status; raises KdnsError when nothing can be watched."""
    with ExitStack() as stack:
        printer = Printer(replace(request.output, summary="none"), out, err)
        stack.callback(printer.close)
        watch = _Watch(printer, out if request.watch and out.isatty() else None)
        stop = Stop()
        if request.inputs:
            stream = StreamRequest(
                request.connection, FilterFlags(), inputs=request.inputs, options=request.options
            )
            source = Recorded(stream, parse_filter(""), stack)
            printer.status(source.description)
            pipeline = Pipeline([source], watch, stop=stop)
        else:
            pipeline = _live(request, watch, stop, printer, stack)
        stack.callback(stop.install())
        pipeline.run()
        watch.print()
        return 128 + stop.signal if stop.signal and not request.watch else 0


def _live(
    request: UpstreamsRequest, watch: _Watch, stop: Stop, printer: Printer, stack: ExitStack
) -> Pipeline:
    cluster, feed = connect_and_list(request.connection, printer, stack)
    what = f"the pods were not listed within {DIRECTORY_WAIT_S:.0f} s: nobody knows which are DNS servers"
    require_pods(feed, what, "")
    options = {**request.options, "for_ns": request.for_ns}
    # Only there DNS servers ask.
    options["agent_node"] = sorted(dns_nodes(feed.directory))
    _, watch.forwards = known_forwards(cluster, options)
    scope = Scope(cluster=cluster, directory=feed.directory, timeout_ns=request.timeout_ns, options=options)
    stack.callback(take_signals(interrupt))
    sources = []
    for name in request.backends:
        backend = load_backend(name)
        source = backend.open(scope, backend.plan(parse_filter(FILTER)))
        stack.callback(source.close)
        sources.append(source)
        printer.status(f"{name}: {source.description}")
    return Pipeline(
        sources,
        watch,
        name=feed.directory.name,
        stop=stop,
        for_s=request.for_ns / NS_PER_S if request.for_ns else None,
        on_tick=watch.redraw,
    )


class _Watch:
    """A sink that adds up. `screen` is a terminal that is drawn anew now and then."""

    def __init__(self, printer: Printer, screen: TextIO | None) -> None:
        self.forwards: list[Forward] = []
        self._printer, self._screen = printer, screen
        self._upstreams = Upstreams()
        self._begun_ns, self._drawn_s = time.monotonic_ns(), time.monotonic()

    def write(self, records: Sequence[Record]) -> None:
        self._upstreams.add(records)
        # The summary of a recording is about something else.
        others = [record for record in records if not isinstance(record, Lookup | Summary)]
        if others:
            self._printer.write(others)

    def flush(self) -> None:
        self._printer.flush()

    def redraw(self) -> bool:
        """Never a reason to end."""
        if self._screen is not None and time.monotonic() - self._drawn_s > REDRAW_S:
            self._drawn_s = time.monotonic()
            self._screen.write(_CLEAR)
            self._screen.flush()
            self.print()
        return False

    def print(self) -> None:
        now, duration_ms = format_time(time.time_ns()), ms(time.monotonic_ns() - self._begun_ns)
        records: list[UpstreamHealth] = [
            pair.record(now, duration_ms, self.forwards) for pair in self._upstreams.all
        ]
        self._printer.print_upstreams(records)
