"""`kubectl kdns trace`: streams lookups from live backends or recorded files."""

from __future__ import annotations

import time

from msgspec.structs import replace

from kubectl_kdns.cli.backend_groups import CorednsOptions, EbpfOptions, HubbleOptions
from kubectl_kdns.cli.change import terminal_to_ask
from kubectl_kdns.cli.groups import (
    ConnectionOptions,
    InputOptions,
    OutputOptions,
    SelectionOptions,
    StreamOptions,
)
from kubectl_kdns.cli.options import Options, comma_list, command, flag, moment_ns
from kubectl_kdns.cli.stream import Bounds, make_request, run_request
from kubectl_kdns.errors import UsageError
from kubectl_kdns.session import StreamRequest

DESCRIPTION = (
    "Live from now on, until Ctrl-C, --for or --limit; --since and --last put history before it. "
    "Without --backend the best backend that needs no change to the cluster is chosen, and named."
)
EXAMPLES = """
# every failed lookup in the cluster, as it happens
kubectl kdns trace --failed

# what the pods of one deployment ask, slower than 100 ms
kubectl kdns trace -n shop deploy/cart --slower-than 100ms

# the last ten minutes, and then end
kubectl kdns trace --since 10m --no-follow --rcode SERVFAIL

# packets of every pod, with the process that asked; agents are there as long as this runs
kubectl kdns trace --backend ebpf -n shop

# where each request went, and how it ended
kubectl kdns trace --backend ebpf,coredns -n shop --journeys

# a capture, as JSON lines
kubectl kdns trace --from capture.pcap --failed -o json
"""


class TraceOptions(Options):
    """Where lookups come from, and from when."""

    backend: tuple[str, ...] = flag(
        "--backend",
        metavar="NAMES",
        help="auto (default), or backends by name: hubble, coredns, ebpf (kubectl kdns backends lists them)",
        default=(),
    )
    last: int | None = flag("--last", metavar="N", help="Begin with the last N lookups of the past")
    follow: bool = flag("-f", "--follow", help="Go on with what comes (the default)", default=False)
    no_follow: bool = flag("--no-follow", help="End with the history of --since or --last", default=False)
    journeys: bool = flag(
        "--journeys",
        help="Join what was seen of a request at all places: its hops, how long each took, and the conclusion",
        default=False,
    )
    yes: bool = flag(
        "-y",
        "--yes",
        help="Create what a backend needs (ebpf: its agents' Jobs) without asking",
        default=False,
    )
    dry_run: str = flag(
        "--dry-run",
        metavar="client|server",
        help="Only show what a backend would create (-o yaml: the whole objects)",
        default="",
    )


GROUPS: list[type[Options]] = [
    TraceOptions,
    SelectionOptions,
    StreamOptions,
    InputOptions,
    CorednsOptions,
    HubbleOptions,
    EbpfOptions,
    OutputOptions,
    ConnectionOptions,
]


def bounds_of(options: TraceOptions, stream: StreamOptions, inputs: InputOptions) -> Bounds:
    """Live from now on, unless history is asked for; a file is all history."""
    if options.last is not None and options.last < 1:
        raise UsageError(f"--last {options.last}: at least 1")
    if options.follow and options.no_follow:
        raise UsageError("--follow and --no-follow together", hint="leave out one of them")
    history = bool(stream.since) or options.last is not None
    if options.no_follow and not history and not inputs.from_:
        raise UsageError(
            "--no-follow without history would show nothing", hint="add --since 10m or --last 100"
        )
    return Bounds(
        history=history,
        follow=not options.no_follow,
        since_ns=moment_ns("--since", stream.since, time.time_ns()),
        last=options.last,
    )


def chosen_backends(options: TraceOptions, inputs: InputOptions, ebpf: EbpfOptions) -> tuple[str, ...]:
    """Those that were named, none for auto; UsageError for what does not go with files or this machine."""
    backends = tuple(name for name in comma_list(options.backend) if name != "auto")
    if inputs.from_ and backends:
        raise UsageError("--from reads files, --backend a cluster: choose one")
    if ebpf.local and backends not in ((), ("ebpf",)):
        raise UsageError("--local is for --backend ebpf", hint="leave out the other backends")
    if ebpf.local and inputs.from_:
        raise UsageError("--from reads files, --local this machine: choose one")
    return ("ebpf",) if ebpf.local else backends


def consent(options: TraceOptions, request: StreamRequest) -> StreamRequest:
    """The request with what was said of creating objects in the cluster."""
    if options.dry_run not in ("", "none", "client", "server"):
        raise UsageError(f"--dry-run={options.dry_run}: client or server")
    dry_run = "" if options.dry_run == "none" else options.dry_run
    if dry_run and (request.inputs or request.local):
        raise UsageError("--dry-run is for a cluster: nothing would be created")
    return replace(
        request, yes=options.yes, dry_run=dry_run, ask=terminal_to_ask(), journeys=options.journeys
    )


def run(
    options: TraceOptions,
    selection: SelectionOptions,
    stream: StreamOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    ebpf: EbpfOptions,
    output: OutputOptions,
    connection: ConnectionOptions,
) -> None:
    """Streams to this terminal."""
    backends = chosen_backends(options, inputs, ebpf)
    bounds = bounds_of(options, stream, inputs)
    request = make_request(
        *(selection, stream, inputs, coredns, hubble, output, connection),
        bounds=bounds,
        backends=backends,
        ebpf=ebpf,
    )
    run_request(consent(options, request))


COMMAND = command(GROUPS, run)
