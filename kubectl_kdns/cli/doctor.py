"""`kubectl kdns doctor`: all that can be known about the cluster's DNS by reading, with the smallest fixes."""

from __future__ import annotations

import sys

from kubectl_kdns.cli.app import Exit
from kubectl_kdns.cli.backend_groups import CorednsOptions, EbpfOptions, HubbleOptions
from kubectl_kdns.cli.groups import ConnectionOptions, InputOptions
from kubectl_kdns.cli.options import Options, comma_list, command, flag
from kubectl_kdns.cli.stream import backend_options, connection_flags
from kubectl_kdns.errors import UsageError, did_you_mean

DESCRIPTION = "Only reads, and asks every CoreDNS pod one name of the cluster; only --active creates something, which is gone when it ends. Exit status: 0 without a failure, 1 with one, 3 when the cluster cannot be asked. docs/doctor.md says what each check means."
EXAMPLES = """
kubectl kdns doctor
kubectl kdns doctor --all
kubectl kdns doctor --active
kubectl kdns doctor --only coredns-ready,corefile-forward
kubectl kdns doctor -o json | jq 'select(.severity == "failure")'
"""
FORMATS = ("text", "json", "yaml")


class DoctorOptions(Options):
    """Which checks, and how to print."""

    only: tuple[str, ...] = flag(
        "--only", metavar="ID[,ID]", help="Only these checks (repeatable)", default=()
    )
    active: bool = flag(
        "--active",
        help="Ask also by UDP, for long answers, and the upstreams: from within DNS pods and nodes, by agents there until it ends",
        default=False,
    )
    list_: bool = flag("--list", help="List all checks and end", default=False)
    all: bool = flag("--all", help="Print also what is ok", default=False)
    output: str = flag("-o", "--output", metavar="FORMAT", help="text, json or yaml", default="text")


GROUPS: list[type[Options]] = [DoctorOptions, CorednsOptions, HubbleOptions, EbpfOptions, ConnectionOptions]


def run(
    options: DoctorOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    ebpf: EbpfOptions,
    connection: ConnectionOptions,
) -> None:
    """Checks, and prints what was found; a failure is exit status 1."""
    from kubectl_kdns.doctor.examination import Catalogue, examine
    from kubectl_kdns.doctor.report import REPORTS, check_list, text_report
    from kubectl_kdns.kube import connect
    from kubectl_kdns.pipeline import interrupt, take_signals

    if options.output not in FORMATS:
        near = did_you_mean(options.output, FORMATS)
        raise UsageError(f"-o {options.output}: {', '.join(FORMATS)}", hint=near)
    catalogue = Catalogue()
    chosen = catalogue.choose(comma_list(options.only), active=options.active or options.list_)
    if options.list_:
        sys.stdout.write(check_list(check for check in catalogue.checks if check.id in chosen))
        return
    flags = backend_options(InputOptions(), coredns, hubble, ebpf)
    # What was created is taken away, whichever signal ends us.
    restore = take_signals(interrupt)
    try:
        findings = examine(connect(connection_flags(connection)), catalogue, chosen, flags, _say)
    finally:
        restore()
    report = REPORTS.get(options.output)
    sys.stdout.write(report(findings) if report else text_report(findings, all_=options.all))
    if any(finding.severity == "failure" for finding in findings):
        raise Exit(1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


COMMAND = command(GROUPS, run)
