"""`kubectl kdns upstreams`: how well those answer whom the cluster's DNS servers ask in turn."""

from __future__ import annotations

import sys

from kubectl_kdns.cli.app import Exit
from kubectl_kdns.cli.backend_groups import CorednsOptions, EbpfOptions, HubbleOptions
from kubectl_kdns.cli.groups import ConnectionOptions, InputOptions, OutputOptions
from kubectl_kdns.cli.options import Options, comma_list, command, duration_ns, flag
from kubectl_kdns.cli.stream import backend_options, connection_flags, printer_options
from kubectl_kdns.errors import UsageError
from kubectl_kdns.upstream_run import UpstreamsRequest, run_upstreams

DESCRIPTION = (
    "Of every CoreDNS and NodeLocal DNSCache pod and each of its upstreams: queries, response codes, time-outs, "
    "retries, latency, and the last failure. Only what really goes upstream is counted, so no cache needs to be "
    "switched off. Agents are on the DNS servers' nodes meanwhile; with --backend coredns only lookups count whose "
    "upstream the log names (failed ones, or a format with {/forward/upstream})."
)
EXAMPLES = """
# half a minute of it
kubectl kdns upstreams

# until Ctrl-C, drawn anew every two seconds
kubectl kdns upstreams --watch

# from a recording
kubectl kdns upstreams --from incident.jsonl.gz -o json
"""


class UpstreamsOptions(Options):
    """How long, and by what."""

    for_: str = flag("--for", metavar="DURATION", help="Watch for this time", default="30s")
    watch: bool = flag("--watch", help="Until Ctrl-C, drawn anew every two seconds", default=False)
    backend: tuple[str, ...] = flag(
        "--backend", metavar="NAMES", help="Watch by ebpf (default), hubble or coredns", default=()
    )


GROUPS: list[type[Options]] = [
    UpstreamsOptions,
    InputOptions,
    CorednsOptions,
    HubbleOptions,
    EbpfOptions,
    OutputOptions,
    ConnectionOptions,
]


def run(
    options: UpstreamsOptions,
    inputs: InputOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    ebpf: EbpfOptions,
    output: OutputOptions,
    connection: ConnectionOptions,
) -> None:
    """Prints the table at the end."""
    if output.output.partition("=")[0] not in ("table", "wide", "json", "yaml"):
        raise UsageError(f"-o {output.output}: table, json or yaml")
    if inputs.from_ and (options.watch or options.backend):
        raise UsageError("--from reads files, --watch and --backend a cluster: choose one")
    request = UpstreamsRequest(
        connection=connection_flags(connection),
        backends=tuple(comma_list(options.backend)) or ("ebpf",),
        inputs=inputs.from_,
        watch=options.watch,
        for_ns=None if options.watch else duration_ns("--for", options.for_),
        options=backend_options(inputs, coredns, hubble, ebpf),
        output=printer_options(output),
    )
    status = run_upstreams(request, sys.stdout, sys.stderr)
    if status:
        raise Exit(status)


COMMAND = command(GROUPS, run)
