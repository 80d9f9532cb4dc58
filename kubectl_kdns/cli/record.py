"""`kubectl kdns record FILE`: keeps what a trace sees, so that it can be replayed."""

from __future__ import annotations

import os
import sys

from msgspec.structs import replace

from kubectl_kdns.cli.backend_groups import CorednsOptions, EbpfOptions, HubbleOptions
from kubectl_kdns.cli.groups import (
    ConnectionOptions,
    InputOptions,
    OutputOptions,
    SelectionOptions,
    StreamOptions,
)
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import make_request, run_request
from kubectl_kdns.cli.trace import TraceOptions, bounds_of, chosen_backends, consent
from kubectl_kdns.errors import UsageError

DESCRIPTION = "Takes the flags of trace, and writes kdns JSON lines (compressed when FILE ends with .gz) until Ctrl-C, --for or --limit. kubectl kdns trace --from FILE shows the same stream again."
EXAMPLES = """
kubectl kdns record incident.jsonl.gz --for 5m
kubectl kdns trace --from incident.jsonl.gz --failed
"""


class RecordOptions(Options):
    """Where to."""

    file: str = flag(metavar="FILE", help="The file to write; - is stdout", default="")
    force: bool = flag("--force", help="Overwrite an existing file", default=False)


GROUPS: list[type[Options]] = [RecordOptions, TraceOptions, SelectionOptions, StreamOptions, InputOptions, CorednsOptions, HubbleOptions, EbpfOptions, ConnectionOptions]  # fmt: skip


def run(
    record: RecordOptions,
    options: TraceOptions,
    selection: SelectionOptions,
    stream: StreamOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    ebpf: EbpfOptions,
    connection: ConnectionOptions,
) -> None:
    """Writes the file."""
    if not record.file:
        raise UsageError("record needs a file to write", hint="kubectl kdns record incident.jsonl")
    if record.file != "-" and os.path.exists(record.file) and not record.force:
        raise UsageError(f"{record.file} exists", hint="another name, or --force to overwrite it")
    if options.dry_run not in ("", "none"):
        raise UsageError("record writes a file", hint=f"kubectl kdns trace --dry-run={options.dry_run}")
    request = make_request(
        *(selection, stream, inputs, coredns, hubble, OutputOptions(output="json"), connection),
        bounds=bounds_of(options, stream, inputs),
        backends=chosen_backends(options, inputs, ebpf),
        ebpf=ebpf,
    )
    if options.journeys:
        raise UsageError(
            "a recording has what journeys are made of", hint="kubectl kdns trace --from FILE --journeys"
        )
    # Every place that saw a lookup is kept: a replay joins them again.
    request = replace(consent(options, request), all_sightings=True)
    to = "" if record.file == "-" else record.file
    run_request(replace(request, output=replace(request.output, record_to=to)))
    if record.file != "-":
        print(
            f"recorded to {record.file}; kubectl kdns trace --from {record.file} replays it", file=sys.stderr
        )


COMMAND = command(GROUPS, run)
