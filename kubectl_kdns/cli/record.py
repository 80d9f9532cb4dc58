"""`kubectl kdns record FILE`: keeps what a trace sees, so that it can be replayed."""

from __future__ import annotations

import os
import sys

from msgspec.structs import replace

from kubectl_kdns.cli.groups import (
    ConnectionOptions,
    CorednsOptions,
    HubbleOptions,
    InputOptions,
    OutputOptions,
    SelectionOptions,
    StreamOptions,
)
from kubectl_kdns.cli.options import Options, comma_list, command, flag
from kubectl_kdns.cli.stream import make_request, run_request
from kubectl_kdns.cli.trace import TraceOptions, bounds_of
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


GROUPS: list[type[Options]] = [RecordOptions, TraceOptions, SelectionOptions, StreamOptions, InputOptions, CorednsOptions, HubbleOptions, ConnectionOptions]  # fmt: skip


def run(
    record: RecordOptions,
    options: TraceOptions,
    selection: SelectionOptions,
    stream: StreamOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    connection: ConnectionOptions,
) -> None:
    """Writes the file."""
    if not record.file:
        raise UsageError("record needs a file to write", hint="kubectl kdns record incident.jsonl")
    if record.file != "-" and os.path.exists(record.file) and not record.force:
        raise UsageError(f"{record.file} exists", hint="another name, or --force to overwrite it")
    backends = tuple(name for name in comma_list(options.backend) if name != "auto")
    request = make_request(
        *(selection, stream, inputs, coredns, hubble, OutputOptions(output="json"), connection),
        bounds=bounds_of(options, stream, inputs),
        backends=backends,
    )
    to = "" if record.file == "-" else record.file
    run_request(replace(request, output=replace(request.output, record_to=to)))
    if record.file != "-":
        print(
            f"recorded to {record.file}; kubectl kdns trace --from {record.file} replays it", file=sys.stderr
        )


COMMAND = command(GROUPS, run)
