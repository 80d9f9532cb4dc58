"""What the commands share that change the cluster for a while: coredns-logs --enable, hubble policy --apply."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from kubectl_kdns.cli.options import duration_ns
from kubectl_kdns.errors import UsageError
from kubectl_kdns.session import ChangeRequest


def refuse_without(switch: str, given: Mapping[str, object]) -> None:
    """UsageError for the first of these flags that has a value: they go with `switch` only."""
    for name, value in given.items():
        if value:
            raise UsageError(f"{name} goes with {switch}")


def temporary_change(
    backend: str,
    settings: Mapping[str, Any],
    *,
    yes: bool,
    dry_run: str,
    lasts: str,
    needs_for: str,
    example: str,
) -> ChangeRequest:
    """The change, for the time of --for (`lasts`), which only a dry run can do without.

    UsageError for flags that do not fit; `needs_for` and `example` say what is missing then.
    """
    if dry_run not in ("", "client", "server", "none"):
        raise UsageError(f"--dry-run={dry_run}: client or server")
    lasts_ns = duration_ns("--for", lasts)
    wanted = "" if dry_run == "none" else dry_run
    if lasts_ns is None and not wanted:
        raise UsageError(needs_for, hint=example)
    return ChangeRequest(backend=backend, settings=settings, lasts_ns=lasts_ns or 0, yes=yes, dry_run=wanted)


def terminal_to_ask() -> Callable[[str], str] | None:
    """What asks for consent; None where there is nobody to ask."""
    return input if sys.stdin.isatty() and sys.stderr.isatty() else None
