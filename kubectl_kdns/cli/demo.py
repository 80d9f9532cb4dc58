"""`kubectl kdns demo`: replays a recording of a real cluster through the whole pipeline."""

from __future__ import annotations

import sys
import time
from importlib.resources import as_file, files

from kubectl_kdns.cli.groups import OutputOptions, SelectionOptions
from kubectl_kdns.cli.options import Options, command
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
"""
GROUPS: list[type[Options]] = [SelectionOptions, OutputOptions]

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
"""


def run(selection: SelectionOptions, output: OutputOptions) -> None:
    """Replays it to this terminal, then tells in three points what to look at."""
    with as_file(files("kubectl_kdns") / "demo" / "shop.jsonl.gz") as recording:
        run_request(
            StreamRequest(
                connection=ConnectionFlags(),
                filters=filter_flags(selection),
                explain_filter=selection.explain_filter,
                inputs=(str(recording),),
                output=printer_options(output),
                now_ns=time.time_ns(),
            )
        )
    print(WHAT_TO_SEE, file=sys.stderr)


COMMAND = command(GROUPS, run)
