"""`kubectl kdns cleanup`: undoes what a killed kdns left in the cluster."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from kubectl_kdns.backend import backend_infos, load_backend
from kubectl_kdns.cli.groups import ConnectionOptions
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import connection_flags
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ForbiddenError, UsageError

if TYPE_CHECKING:
    from kubectl_kdns.change import Leftover

DESCRIPTION = "A run that ends in order leaves nothing; this is for one that was killed. What another running kdns still uses is left alone, unless --all is given."
EXAMPLES = """
kubectl kdns cleanup --dry-run=client
kubectl kdns cleanup
"""


class CleanupOptions(Options):
    """What to undo."""

    all: bool = flag("--all", help="Also what another kdns still uses", default=False)
    dry_run: str = flag("--dry-run", metavar="client", help="Only say what would be undone", default="")


GROUPS: list[type[Options]] = [CleanupOptions, ConnectionOptions]


def run(options: CleanupOptions, connection: ConnectionOptions) -> None:
    """Heals everything that every live backend finds, one line each."""
    if options.dry_run not in ("", "none", "client"):
        raise UsageError(f"--dry-run={options.dry_run}: client is what there is")
    from kubectl_kdns.kube import connect

    cluster = connect(connection_flags(connection))
    leftovers: list[Leftover] = []
    for info in backend_infos().values():
        if info.live:
            try:
                leftovers += load_backend(info.name).leftovers(cluster)
            except ForbiddenError as error:
                if error.status == 401:
                    raise
                # Who has no right to one backend's objects may well have left some of another's.
                print(f"notice: not looked at for {info.name}: {safe_text(error.what)}", file=sys.stderr)
    for leftover in leftovers:
        description = safe_text(leftover.description)
        if leftover.in_use and not options.all:
            print(f"left alone: {description} ({safe_text(leftover.in_use)}; --all undoes it)")
        elif options.dry_run == "client":
            print(f"would undo: {description}")
        else:
            print(safe_text(leftover.heal()))
    if not leftovers:
        print("nothing to clean up", file=sys.stderr)


COMMAND = command(GROUPS, run)
