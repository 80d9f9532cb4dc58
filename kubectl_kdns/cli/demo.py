"""`kubectl kdns demo`: replays a recording of a real cluster through the whole pipeline."""

from __future__ import annotations

import sys
import time
from importlib.resources import as_file, files

from kubectl_kdns.cli.groups import OutputOptions, SelectionOptions
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import filter_flags, printer_options, run_request
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.session import StreamRequest

DESCRIPTION = (
    "The recording is of a shop in a real cluster, by Hubble and CoreDNS's logs at once, with faults in it: a "
    "mistyped name, a slow upstream, upstreams that fail, search lists that multiply every question, and "
    "policies that forbid some. Filters and outputs work on it as they do on a cluster."
)
EXAMPLES = """
kubectl kdns demo
kubectl kdns demo --failed -o wide
kubectl kdns demo --slower-than 500ms -o json
kubectl kdns demo --journeys --failed
"""


class DemoOptions(Options):
    """Which recording."""

    journeys: bool = flag(
        "--journeys",
        help="The same shop by packets: each request with all its hops, how long each took, and the conclusion",
        default=False,
    )


GROUPS: list[type[Options]] = [DemoOptions, SelectionOptions, OutputOptions]

WHAT_TO_SEE = """
What to look at:
1. checkout asks for "paymnets", through all of its search list, and gets NXDOMAIN each time: a typo for payments.
   kubectl kdns demo --name 'paymnets*'
2. bank.drop.test ends in SERVFAIL after seconds, with the upstream and "i/o timeout" beside it; rates.servfail.test
   ends at once, for its upstream itself says SERVFAIL; smtp.slow.test is answered, after 700 ms.
   kubectl kdns demo --rcode SERVFAIL
3. web asks for www.example.com and sends eight questions for each answer: ndots and the search list. A dot at the end
   of the name, or ndots:2 in the pod's dnsConfig, makes it two.
   kubectl kdns demo deploy/web --name 'www.example.com*'
4. reports may not ask for exports.partner.test, and legacy may not ask at all: network policies. No log of CoreDNS
   would ever show these; Hubble does.
   kubectl kdns demo --status denied
5. The same shop by packets, with every hop of each request and a sentence about how it ended.
   kubectl kdns demo --journeys
"""
WHAT_JOURNEYS_SHOW = """
What to look at, in the line behind each "=":
1. bank.drop.test arrived at a CoreDNS pod, which asked its upstream three times and got no answer.
   kubectl kdns demo --journeys --unanswered
2. smtp.slow.test took 702 ms, and 701 of them were spent at the upstream; rates.servfail.test is the upstream's own.
   kubectl kdns demo --journeys --slower-than 500ms
3. "paymnets" goes through all of the search list, and then out of the cluster, before it is denied.
   kubectl kdns demo --journeys --rcode NXDOMAIN
4. api.example.com was asked of 8.8.8.8, past the cluster's DNS; ledger.example.com of an address that nobody has.
"""


def run(options: DemoOptions, selection: SelectionOptions, output: OutputOptions) -> None:
    """Replays it to this terminal, then tells in a few points what to look at."""
    name = "packets.jsonl.gz" if options.journeys else "shop.jsonl.gz"
    with as_file(files("kubectl_kdns") / "demo" / name) as recording:
        run_request(
            StreamRequest(
                connection=ConnectionFlags(),
                filters=filter_flags(selection),
                explain_filter=selection.explain_filter,
                inputs=(str(recording),),
                journeys=options.journeys,
                output=printer_options(output),
                now_ns=time.time_ns(),
            )
        )
    print(WHAT_JOURNEYS_SHOW if options.journeys else WHAT_TO_SEE, file=sys.stderr)


COMMAND = command(GROUPS, run)
