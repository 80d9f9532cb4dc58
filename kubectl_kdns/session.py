"""One run of a streaming command: from a checked request to open sources, a pipeline and an exit status."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, TextIO

from msgspec import UNSET, Struct, field

from kubectl_kdns.backend import Plan, Scope, Source, backend_infos, find_backend, load_backend
from kubectl_kdns.errors import InputError, UsageError
from kubectl_kdns.filter import Filter, implied_values, parse_filter
from kubectl_kdns.filter.explain import explain
from kubectl_kdns.filter.flags import FilterFlags, flags_expression
from kubectl_kdns.inputs import Input, open_inputs
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.model import Lookup, Record
from kubectl_kdns.pipeline import Accept, Pipeline, Stage, Stop, added
from kubectl_kdns.printer import Printer, PrinterOptions
from kubectl_kdns.sightings import NearestSightings
from kubectl_kdns.times import NS_PER_S, format_time


class ChangeRequest(Struct, frozen=True):
    """A temporary change to the cluster that goes with the run (coredns-logs --enable)."""

    backend: str
    settings: Mapping[str, Any]
    lasts_ns: int
    yes: bool
    dry_run: str


class StreamRequest(Struct, frozen=True):
    """Everything that a streaming command was asked for. Times are nanoseconds (since the epoch)."""

    connection: ConnectionFlags
    filters: FilterFlags
    output: PrinterOptions = field(default_factory=PrinterOptions)
    explain_filter: bool = False
    backends: tuple[str, ...] = ()
    local: bool = False
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
    all_sightings: bool = False
    journeys: bool = False
    now_ns: int = 0
    change: ChangeRequest | None = None
    ask: Callable[[str], str] | None = None
    yes: bool = False
    dry_run: str = ""

    def runs_for_s(self) -> float | None:
        """The end of a live run: after --for, or when the time of --until has come."""
        ends = [self.for_ns] if self.for_ns is not None else []
        if self.until_ns is not None and self.until_ns > self.now_ns and not self.inputs:
            ends.append(self.until_ns - self.now_ns)
        return min(ends) / NS_PER_S if ends else None

    def scope(self) -> Scope:
        """What a backend needs to know of it; the cluster and the directory are added where there are any."""
        return Scope(
            history=self.history,
            follow=self.follow and (self.until_ns is None or self.until_ns > self.now_ns),
            since_ns=self.since_ns,
            tail=self.tail,
            last=self.last,
            previous=self.previous,
            raw=self.raw,
            messages=self.messages,
            progress=self.journeys,
            timeout_ns=self.timeout_ns,
            options=self.options,
        )


def run_stream(request: StreamRequest, out: TextIO, err: TextIO) -> int:
    """Runs it; data to `out`, status to `err`. Returns the exit status; raises KdnsError."""
    filter_ = parse_filter(flags_expression(request.filters))
    if request.journeys:
        check_journeys(request)
    for name in request.backends:
        find_backend(name)
    if request.explain_filter:
        out.write(explain_text(request, filter_))
        return 0
    with ExitStack() as stack:
        printer = Printer(request.output, out, err)
        stack.callback(printer.close)
        if request.inputs:
            source = Recorded(request, filter_, stack)
            printer.status(source.description)
            pipeline = make_pipeline(request, filter_, [source], printer)
            pipeline.on_tick = partial(tell_progress, pipeline, printer)
            return run_pipeline(pipeline, printer, stack)
        if request.local:
            return run_local(request, filter_, printer, stack)
        from kubectl_kdns.live import run_live

        return run_live(request, filter_, printer, stack)


def run_local(request: StreamRequest, filter_: Filter, printer: Printer, stack: ExitStack) -> int:
    """What one backend sees on this machine; there is no cluster to ask for names."""
    backend = load_backend(request.backends[0])
    plan = backend.plan(source_filter(request, filter_))
    source = backend.open(request.scope(), plan)
    stack.callback(source.close)
    printer.status(f"{backend.name}: {source.description}")
    pipeline = make_pipeline(request, filter_, [source], printer, sees_twice=plan.sees_twice)
    return run_pipeline(pipeline, printer, stack)


def make_pipeline(
    request: StreamRequest,
    filter_: Filter,
    sources: Sequence[Source],
    printer: Printer,
    *,
    sees_twice: bool = False,
    **more: Any,
) -> Pipeline:
    """The pipeline of a request; `more` are what only live runs have (names, changes)."""
    environment = more.pop("environment", None)
    # One log sees a lookup once; files, packets, and several backends, may see it at several places.
    several = bool(request.inputs) or len(sources) > 1 or sees_twice
    accept = filter_.compile(environment) if filter_.expr is not None else None
    joins = joins_of(request, accept, several)
    if request.journeys:
        accept = None  # it chooses journeys by what was asked; their other hops may not fit it
    if accept and "SERVFAIL" in (implied_values(filter_.expr, "dns.rcode") or ()):
        accept = PerhapsServfail(accept)
    return Pipeline(
        sources=sources,
        sink=printer,
        accept=accept,
        limit=request.limit,
        joins=joins,
        last=request.last,
        live_from=format_time(request.now_ns) if request.last else "",
        since=format_time(request.since_ns) if request.since_ns else "",
        until=format_time(request.until_ns) if request.until_ns else "",
        for_s=request.runs_for_s(),
        **more,
    )


def check_journeys(request: StreamRequest) -> None:
    """UsageError for what does not go with --journeys."""
    form = request.output.output.partition("=")[0]
    if form not in ("table", "wide", "json", "yaml"):
        raise UsageError(f"--journeys does not go with -o {form}", hint="-o table, json or yaml")
    for flag, given in (("--messages", request.messages), ("--all-sightings", request.all_sightings)):
        if given:
            raise UsageError(f"--journeys and {flag} together", hint=f"leave out {flag}")


def joins_of(request: StreamRequest, accept: Accept | None, several: bool) -> Stage | None:
    """What makes one line, or one journey, of several lookups."""
    if request.journeys:
        from kubectl_kdns.journeys import Journeys

        return Journeys(request.timeout_ns, accept, None if request.inputs else time.time_ns)
    return NearestSightings() if several and not request.all_sightings else None


def source_filter(request: StreamRequest, filter_: Filter) -> Filter:
    """What backends may leave out: a journey needs all hops, also those that the filter does not want."""
    return parse_filter("") if request.journeys else filter_


def tell_progress(pipeline: Pipeline, printer: Printer) -> bool:
    """How far a long file has been read; never a reason to end."""
    printer.progress(f"{pipeline.counts.seen:,} lookups read, {pipeline.counts.shown:,} shown")
    return False


class PerhapsServfail:
    """A filter for SERVFAIL that counts the lookups which may be one: the log does not say how they ended."""

    def __init__(self, accept: Accept) -> None:
        self._accept = accept
        self.count = 0

    def __call__(self, record: Any) -> bool:
        if self._accept(record):
            return True
        if isinstance(record, Lookup) and record.status == "unwritten" and record.dns:
            record.status, record.dns.rcode = "answered", "SERVFAIL"
            self.count += self._accept(record)
            record.status, record.dns.rcode = "unwritten", UNSET
        return False

    @property
    def notice(self) -> str:
        return (
            f"notice: {self.count} more lookups have no answer in the log: SERVFAIL or dropped, it does not "
            "say which. Try: --status unwritten instead of --rcode"
        )


def run_pipeline(pipeline: Pipeline, printer: Printer, stack: ExitStack) -> int:
    """Runs it under our signal handlers, prints the figures, and gives the exit status."""
    stop: Stop = pipeline.stop
    stack.callback(stop.install())
    try:
        pipeline.run()
    finally:
        counts = pipeline.counts
        if isinstance(pipeline.accept, PerhapsServfail) and pipeline.accept.count:
            printer.status(pipeline.accept.notice)
        filtered = counts.filtered + (pipeline.joins.filtered if pipeline.joins else 0)
        printer.finish(seen=counts.seen, filtered=filtered, counters=pipeline.counters())
    return 128 + stop.signal if stop.signal else 0


class Recorded:
    """Recorded files as one source, one after the other; each is read by the backend that knows its kind.

    Raises InputError for a file that cannot be read or that no backend knows, before any is decoded.
    """

    in_history = False

    def __init__(self, request: StreamRequest, filter_: Filter, stack: ExitStack) -> None:
        backends = [load_backend(name) for name in backend_infos()]
        self._counted: dict[str, int] = {}
        self._current: Source | None = None
        self._closed = False
        self._opened: list[Callable[[], Source]] = []
        kinds = []
        scope = request.scope()
        for item in open_inputs(request.inputs):
            stack.callback(item.stream.close)
            backend = next((b for b in backends if b.sniff(item.head)), None)
            if backend is None and (request.options.get("corefile") or request.options.get("log_format")):
                backend = load_backend("coredns")  # whoever says the format says what it is
            if backend is None:
                raise _unknown_kind(item)
            kinds.append(f"{item.name} ({backend.name})")
            plan: Plan = backend.plan(source_filter(request, filter_))
            self._opened.append(partial(backend.decode, item.stream, scope, plan))
        self.description = f"reading {', '.join(kinds)}"

    @property
    def counters(self) -> Mapping[str, int]:
        return added(self._counted, self._current.counters if self._current else {})

    def __iter__(self) -> Iterator[list[Record]]:
        for open_source in self._opened:
            if self._closed:
                return
            self._current = open_source()
            yield from self._current
            self._counted, self._current = added(self._counted, self._current.counters), None

    def close(self) -> None:
        self._closed = True
        if current := self._current:
            current.close()


def _unknown_kind(item: Input) -> InputError:
    return InputError(
        f"{item.name}: of no kind that kdns knows",
        cause="not a CoreDNS log, not Hubble's or kdns's JSON lines, not pcap or pcapng",
        hint="--corefile FILE or --log-format FORMAT for a CoreDNS log of a format of its own; for Hubble,\n"
        "     record with: hubble observe --protocol dns -o jsonpb",
    )


def explain_text(request: StreamRequest, filter_: Filter) -> str:
    """What --explain-filter prints: the expression, and what each backend takes over of it."""
    lines = [explain(filter_)]
    for name, info in backend_infos().items():
        if request.backends and name not in request.backends:
            continue
        takes = load_backend(name).plan(filter_).takes
        lines.append(
            f"{info.name:10} {'; '.join(takes) if takes else 'takes nothing over: all events are read'}"
        )
    return "\n".join(lines) + "\n"
