"""`kubectl kdns trace`: streams lookups from live backends or recorded files."""

from __future__ import annotations

import time

from kubectl_kdns.cli.groups import (
    ConnectionOptions,
    CorednsOptions,
    HubbleOptions,
    InputOptions,
    OutputOptions,
    SelectionOptions,
    StreamOptions,
)
from kubectl_kdns.cli.options import Options, comma_list, command, flag, moment_ns
from kubectl_kdns.cli.stream import Bounds, make_request, run_request
from kubectl_kdns.errors import UsageError

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

# a capture, as JSON lines
kubectl kdns trace --from capture.pcap --failed -o json
"""


class TraceOptions(Options):
    """Where lookups come from, and from when."""

    backend: tuple[str, ...] = flag(
        "--backend",
        metavar="NAMES",
        help="auto (default), or backends by name: hubble, coredns (kubectl kdns backends lists them)",
        default=(),
    )
    last: int | None = flag("--last", metavar="N", help="Begin with the last N lookups of the past")
    follow: bool = flag("-f", "--follow", help="Go on with what comes (the default)", default=False)
    no_follow: bool = flag("--no-follow", help="End with the history of --since or --last", default=False)


GROUPS: list[type[Options]] = [
    TraceOptions,
    SelectionOptions,
    StreamOptions,
    InputOptions,
    CorednsOptions,
    HubbleOptions,
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


def run(
    options: TraceOptions,
    selection: SelectionOptions,
    stream: StreamOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    output: OutputOptions,
    connection: ConnectionOptions,
) -> None:
    """Streams to this terminal."""
    backends = tuple(name for name in comma_list(options.backend) if name != "auto")
    if inputs.from_ and backends:
        raise UsageError("--from reads files, --backend a cluster: choose one")
    bounds = bounds_of(options, stream, inputs)
    run_request(
        make_request(
            *(selection, stream, inputs, coredns, hubble, output, connection),
            bounds=bounds,
            backends=backends,
        )
    )


COMMAND = command(GROUPS, run)
