"""`kubectl kdns coredns-logs`: kubectl's `logs` for DNS, and the switch for CoreDNS's log."""

from __future__ import annotations

import time

from msgspec.structs import replace

from kubectl_kdns.cli.backend_groups import CorednsOptions, HubbleOptions
from kubectl_kdns.cli.change import refuse_without, temporary_change, terminal_to_ask
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
from kubectl_kdns.session import ChangeRequest, StreamRequest

DESCRIPTION = (
    "History first, and done; -f goes on. Every CoreDNS and NodeLocal DNSCache pod is read, wherever it is. "
    "With --enable the log is switched on for a while, watched, and switched off again, whatever happens."
)
EXAMPLES = """
# what failed, with the upstream and the cause
kubectl kdns coredns-logs --rcode SERVFAIL

# follow the slow ones
kubectl kdns coredns-logs -f --slower-than 500ms

# CoreDNS does not log: switch errors on for ten minutes, and show them meanwhile
kubectl kdns coredns-logs --enable --for 10m

# only show what that would change
kubectl kdns coredns-logs --enable --dry-run=client
"""


class LogOptions(Options):
    """Which part of the logs."""

    follow: bool = flag("-f", "--follow", help="Go on with what comes", default=False)
    tail: int | None = flag("--tail", metavar="N", help="Begin with the last N lines of each log")
    previous: bool = flag(
        "-p", "--previous", help="The log of the container before its restart", default=False
    )


class EnableOptions(Options):
    """Switching the log on for a while."""

    enable: bool = flag(
        "--enable",
        help="Switch CoreDNS's log on, for the time of --for; the change is shown and confirmed first",
        default=False,
    )
    yes: bool = flag("-y", "--yes", help="Do not ask", default=False)
    dry_run: str = flag(
        "--dry-run",
        metavar="client|server",
        help="Only show what --enable would change (-o yaml: the whole object)",
        default="",
    )


GROUPS: list[type[Options]] = [
    LogOptions,
    EnableOptions,
    SelectionOptions,
    StreamOptions,
    InputOptions,
    CorednsOptions,
    OutputOptions,
    ConnectionOptions,
]

LOG_CLASSES = ("all", "success", "denial", "error")


def change_request(
    options: EnableOptions, selection: SelectionOptions, stream: StreamOptions
) -> ChangeRequest | None:
    """What --enable asks for; None without it. UsageError for flags that need it or do not fit."""
    if not options.enable:
        refuse_without("--enable", {"--yes": options.yes, "--dry-run": options.dry_run})
        return None
    classes = comma_list(selection.response_class) or ("error",)
    bad = [name for name in classes if name not in LOG_CLASSES]
    if bad:
        raise UsageError(f"--class {bad[0]}: one of {', '.join(LOG_CLASSES)}")
    return temporary_change(
        "coredns",
        {"classes": classes},
        yes=options.yes,
        dry_run=options.dry_run,
        lasts=stream.for_,
        needs_for="--enable needs --for: the log is switched off again after that time",
        example="kubectl kdns coredns-logs --enable --for 10m",
    )


def run(
    options: LogOptions,
    enable: EnableOptions,
    selection: SelectionOptions,
    stream: StreamOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    output: OutputOptions,
    connection: ConnectionOptions,
) -> None:
    """Prints to this terminal."""
    if options.tail is not None and options.tail < 0:
        options = options.but(tail=None)  # kubectl's --tail=-1: everything
    if options.previous and options.follow:
        raise UsageError("--previous has ended: nothing to follow", hint="leave out -f")
    change = change_request(enable, selection, stream)
    if change and inputs.from_:
        raise UsageError("--enable changes a cluster, --from reads files: choose one")
    if change:
        # --for belongs to the change; --class says what is logged, so it is no filter on top; errors count.
        stream = stream.but(for_="")
        selection = selection.but(response_class=())
    bounds = Bounds(
        history=not change,
        follow=options.follow or change is not None,
        since_ns=moment_ns("--since", stream.since, time.time_ns()),
        tail=options.tail,
        previous=options.previous,
    )
    request: StreamRequest = make_request(
        *(selection, stream, inputs, coredns, HubbleOptions(), output, connection),
        bounds=bounds,
        backends=("coredns",),
    )
    run_request(replace(request, change=change, ask=terminal_to_ask()))


COMMAND = command(GROUPS, run)
