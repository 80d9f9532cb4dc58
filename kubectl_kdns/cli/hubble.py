"""`kubectl kdns hubble policy`: the policy that shows the DNS of pods in Hubble; printed, or made for a while."""

from __future__ import annotations

import sys
from typing import Protocol, cast

from msgspec.structs import replace

from kubectl_kdns.change import Change
from kubectl_kdns.cli.backend_groups import CorednsOptions, HubbleOptions
from kubectl_kdns.cli.change import refuse_without, temporary_change, terminal_to_ask
from kubectl_kdns.cli.groups import (
    ConnectionOptions,
    InputOptions,
    OutputOptions,
    SelectionOptions,
    StreamOptions,
)
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import Bounds, connection_flags, make_request, run_request
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import UsageError
from kubectl_kdns.session import ChangeRequest

DESCRIPTION = (
    "Hubble shows the DNS only of pods that a policy with DNS rules selects. This prints the smallest one for a "
    "namespace: it denies nothing, and allows nothing that is denied now, or else there is none. With --apply "
    "it is made, its lookups are shown, and it is taken away again, whatever happens."
)
EXAMPLES = """
# the policy, to read or to keep
kubectl kdns hubble policy -n shop
kubectl kdns hubble policy -n shop | kubectl apply -f -

# show the DNS of these pods for ten minutes, and leave nothing behind
kubectl kdns hubble policy -n shop -l app=cart --apply --for 10m

# only show what that would change
kubectl kdns hubble policy -n shop --apply --dry-run=server
"""


class PolicyOptions(Options):
    """What to do."""

    what: str = flag(metavar="policy", help="Print or make the policy that shows DNS", default="")
    apply: bool = flag(
        "--apply",
        help="Make the policy, for the time of --for; it is shown and confirmed first",
        default=False,
    )
    yes: bool = flag("-y", "--yes", help="Do not ask", default=False)
    dry_run: str = flag(
        "--dry-run",
        metavar="client|server",
        help="Only show what --apply would change (-o yaml: the whole object)",
        default="",
    )


GROUPS: list[type[Options]] = [
    PolicyOptions,
    SelectionOptions,
    StreamOptions,
    HubbleOptions,
    OutputOptions,
    ConnectionOptions,
]


class _PolicyChange(Change, Protocol):
    """What Hubble's change has besides."""

    def document(self) -> str: ...


def settings_of(selection: SelectionOptions) -> dict[str, object]:
    """Whose DNS, and to which servers; UsageError for what a policy cannot say."""
    if selection.all_namespaces or len(selection.namespace) != 1:
        raise UsageError(
            "a policy is for one namespace: say which",
            hint="kubectl kdns hubble policy -n NAMESPACE",
        )
    if selection.targets:
        raise UsageError(f"{selection.targets[0]}: a policy selects pods by their labels", hint="-l app=NAME")
    return {
        "namespace": selection.namespace[0],
        "selector": selection.selector,
        "to": selection.to,
    }


def change_request(
    options: PolicyOptions, selection: SelectionOptions, stream: StreamOptions
) -> ChangeRequest | None:
    """What --apply asks for; None without it. UsageError for flags that need it or do not fit."""
    settings = settings_of(selection)
    if not options.apply:
        given = {"--yes": options.yes, "--dry-run": options.dry_run, "--for": stream.for_}
        refuse_without("--apply", given)
        return None
    return temporary_change(
        "hubble",
        settings,
        yes=options.yes,
        dry_run=options.dry_run,
        lasts=stream.for_,
        needs_for="--apply needs --for: the policy is taken away again after that time",
        example="kubectl kdns hubble policy -n NAMESPACE --apply --for 10m",
    )


def print_policy(selection: SelectionOptions, connection: ConnectionOptions) -> None:
    """The policy on stdout; on stderr whose DNS is visible now, and what to know."""
    from kubectl_kdns.backend import load_backend
    from kubectl_kdns.kube import connect

    cluster = connect(connection_flags(connection))
    try:
        change = cast(_PolicyChange, load_backend("hubble").change(cluster, settings_of(selection), {}))
        for note in change.notes:
            print(safe_text(note), file=sys.stderr)
        document = change.document()
    finally:
        cluster.close()
    if not document:
        print("nothing to change: all of it is visible already", file=sys.stderr)
    sys.stdout.write(document)


def run(
    options: PolicyOptions,
    selection: SelectionOptions,
    stream: StreamOptions,
    hubble: HubbleOptions,
    output: OutputOptions,
    connection: ConnectionOptions,
) -> None:
    """Prints to this terminal."""
    if options.what != "policy":
        what = f"{safe_text(options.what)!r} is not one" if options.what else "none was said"
        raise UsageError(
            f"kdns hubble does one thing, policy: {what}", hint="kubectl kdns hubble policy -n NS"
        )
    change = change_request(options, selection, stream)
    if change is None:
        print_policy(selection, connection)
        return
    # --for belongs to the change; --to says what the policy is for.
    request = make_request(
        selection.but(to=()),
        stream.but(for_=""),
        InputOptions(),
        CorednsOptions(),
        hubble,
        output,
        connection,
        bounds=Bounds(history=False, follow=True),
        backends=("hubble",),
    )
    run_request(replace(request, change=change, ask=terminal_to_ask()))


COMMAND = command(GROUPS, run)
