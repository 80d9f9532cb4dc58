"""`kubectl kdns explain NAME --in POD`: where does this lookup go from there, and where does it die?"""

from __future__ import annotations

import sys

from kubectl_kdns.cli.app import Exit
from kubectl_kdns.cli.backend_groups import EbpfOptions
from kubectl_kdns.cli.groups import ConnectionOptions, InputOptions, OutputOptions
from kubectl_kdns.cli.options import Options, comma_list, command, duration_ns, flag
from kubectl_kdns.cli.stream import backend_options, connection_flags, printer_options
from kubectl_kdns.errors import UsageError
from kubectl_kdns.explain import ExplainRequest, run_explain

DESCRIPTION = (
    "Asks as a program in that pod would, with its resolv.conf and from its network, without any tool in its image; "
    "watches every hop meanwhile, and says where the lookup went and where it died. Agents are on the nodes of the "
    "pod and of the DNS servers until it ends. Exit status 1: the name was not resolved."
)
EXAMPLES = """
# why does this name not resolve there?
kubectl kdns explain payments.shop --in deploy/checkout -n shop

# one lookup in twenty fails: over which DNS pod, which upstream?
kubectl kdns explain example.com --in cart-5d9c7 -n shop --count 100 --interval 100ms

# A and AAAA at once lose one of both? not if they are asked one after the other
kubectl kdns explain example.com --in cart-5d9c7 -n shop --count 20 --one-by-one

# the application's own next lookup
kubectl kdns explain payments.shop --in deploy/checkout -n shop --watch

# nothing may be created here
kubectl kdns explain payments.shop --in deploy/checkout -n shop --no-agent
"""


class ExplainOptions(Options):
    """What, and from where."""

    name: str = flag(metavar="NAME", help="The name, as the application has it", default="")
    where: str = flag(
        "--in",
        metavar="POD|KIND/NAME",
        help="From this pod, a pod of this workload, or node/NAME",
        default="",
    )
    type: tuple[str, ...] = flag("--type", metavar="TYPES", help="Types to ask for (A,AAAA)", default=())
    watch: bool = flag("--watch", help="Do not ask: wait for the pod's own next lookup", default=False)
    count: int | None = flag("--count", metavar="N", help="Ask (or watch) so many times", default=None)
    interval: str = flag("--interval", metavar="DURATION", help="Between two of them", default="1s")
    for_: str = flag("--for", metavar="DURATION", help="End after this time", default="")
    timeout: str = flag(
        "--timeout",
        metavar="DURATION",
        help="A query without a response is unanswered after this time",
        default="5s",
    )
    one_by_one: bool = flag(
        "--one-by-one",
        help="Ask for one type after the other, as `options single-request` makes a resolver do",
        default=False,
    )
    no_agent: bool = flag(
        "--no-agent",
        help="Create nothing: ask the DNS servers through the API server, and read logs and objects",
        default=False,
    )
    namespace: str = flag("-n", "--namespace", metavar="NAMESPACE", help="Of the pod", default="")


GROUPS: list[type[Options]] = [ExplainOptions, EbpfOptions, OutputOptions, ConnectionOptions]


def run(
    options: ExplainOptions, ebpf: EbpfOptions, output: OutputOptions, connection: ConnectionOptions
) -> None:
    """Prints journeys, the conclusion, and what to try."""
    if not options.name:
        raise UsageError("explain needs a name", hint="kubectl kdns explain example.com --in POD")
    if not options.where:
        raise UsageError(
            "explain needs to know from where", hint="--in POD, --in deploy/NAME or --in node/NAME"
        )
    if options.count is not None and options.count < 1:
        raise UsageError(f"--count {options.count}: at least 1")
    if options.no_agent and options.watch:
        raise UsageError("to see the pod's own lookup takes an agent: --watch does not go with --no-agent")
    if options.watch and options.one_by_one:
        raise UsageError("--one-by-one says how to ask, and --watch does not ask")
    if output.output.partition("=")[0] not in ("table", "wide", "json", "yaml"):
        raise UsageError(f"-o {output.output}: table, json or yaml")
    interval_ns, timeout_ns = (
        duration_ns("--interval", options.interval),
        duration_ns("--timeout", options.timeout),
    )
    assert interval_ns is not None
    if not timeout_ns:
        raise UsageError(f"--timeout {options.timeout}: more than 0 is needed")
    request = ExplainRequest(
        connection=connection_flags(connection),
        name=options.name,
        where=options.where,
        types=tuple(each.upper() for each in comma_list(options.type)) or ("A", "AAAA"),
        namespace=options.namespace,
        watch=options.watch,
        count=options.count or 1,
        interval_ns=interval_ns,
        for_ns=duration_ns("--for", options.for_),
        timeout_ns=timeout_ns,
        one_by_one=options.one_by_one,
        use_agent=not options.no_agent,
        options=backend_options(InputOptions(), ebpf),
        output=printer_options(output),
    )
    status = run_explain(request, sys.stdout, sys.stderr)
    if status:
        raise Exit(status)


COMMAND = command(GROUPS, run)
