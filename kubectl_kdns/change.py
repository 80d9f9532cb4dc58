"""A temporary change to the cluster: shown, confirmed, applied, proven, and taken back whatever happens.

A backend says what the change is (`Change`); here is when each step happens. The time that the change is to
last runs from the last proof that it works, so that `--for 10m` means ten minutes of use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from kubectl_kdns.errors import KdnsError, UsageError
from kubectl_kdns.model import Record
from kubectl_kdns.times import NS_PER_S, format_duration

PROOF_WAIT_NS = 150 * NS_PER_S
PROGRESS_NS = 10 * NS_PER_S


class Change(Protocol):
    """What one backend changes for a while. All methods may raise KdnsError."""

    @property
    def title(self) -> str: ...
    @property
    def notes(self) -> Sequence[str]:
        """What else to know before agreeing, a sentence each."""

    def diff(self) -> str:
        """What would change, as a unified diff; empty when the cluster is already so."""

    def manifest(self) -> Any:
        """The changed object, as `--dry-run -o yaml` prints it."""

    def apply(self, *, dry_run: bool = False) -> None:
        """Makes the change, remembering in the object itself how to undo it."""

    def observe(self, record: Record) -> None:
        """Takes note of a record that may prove that the change works somewhere."""

    def waiting_for(self) -> Sequence[str]:
        """Where the change is not proven yet."""

    def revert(self) -> str:
        """Undoes it, whatever state it is in, and says what was done. Nothing to undo is no error."""


class Leftover(Protocol):
    """Something that an earlier kdns left in the cluster."""

    @property
    def description(self) -> str: ...
    @property
    def in_use(self) -> str:
        """Who still uses it, as far as can be told; "" when nobody does."""

    def heal(self) -> str:
        """Removes it and says what was done."""


def confirm(
    change: Change, *, yes: bool, ask: Callable[[str], str] | None, say: Callable[[str], None]
) -> bool:
    """Shows the diff and gets consent. `ask` is None where nobody can be asked: then `yes` is needed."""
    diff = change.diff()
    for text in (diff or f"nothing to change: {change.title} is already so", *change.notes):
        say(text)
    if not diff or yes:
        return True
    if ask is None:
        raise UsageError(
            "this changes the cluster, and there is no terminal to ask on",
            hint="the same command with --yes (or --dry-run=client to only see the change)",
        )
    return ask(f"{change.title}? [y/N] ").strip().lower() in ("y", "yes")


@dataclass
class TemporaryChange:
    """One change from its application to its end. `now_ns` is a monotonic clock.

    `tick` is to be called often; it is True when the time is over. `done` must be called exactly once.
    """

    change: Change
    lasts_ns: int
    now_ns: Callable[[], int]
    say: Callable[[str], None]
    _applied_ns: int = 0
    _ends_ns: int | None = None
    _next_progress_ns: int = 0
    _waiting: tuple[str, ...] = field(default=())

    def apply(self) -> None:
        """Applies the change; whatever comes of that, `done` is owed."""
        self.change.apply()
        self._applied_ns = self.now_ns()
        self._next_progress_ns = self._applied_ns + PROGRESS_NS
        self._waiting = tuple(self.change.waiting_for())
        if self._waiting:
            self.say(f"applied; waiting until it is live in {', '.join(self._waiting)} (up to 2.5 minutes)")

    def observe(self, record: Record) -> None:
        """Passes a record on to the change, and says what it proved."""
        self.change.observe(record)
        waiting = tuple(self.change.waiting_for())
        if waiting != self._waiting:
            for where in self._waiting:
                if where not in waiting:
                    after = format_duration(self.now_ns() - self._applied_ns)
                    self.say(f"live in {where} after {after}")
            self._waiting = waiting

    def tick(self) -> bool:
        """Whether the time of the change is over."""
        now_ns = self.now_ns()
        if self._ends_ns is None:
            waited_ns = now_ns - self._applied_ns
            if self._waiting and waited_ns < PROOF_WAIT_NS:
                if now_ns >= self._next_progress_ns:
                    self._next_progress_ns += PROGRESS_NS
                    waited_s = waited_ns // NS_PER_S
                    self.say(f"still waiting for {', '.join(self._waiting)} ({waited_s} s)")
                return False
            if self._waiting:
                self.say(
                    f"not live in {', '.join(self._waiting)} after {format_duration(PROOF_WAIT_NS)}: "
                    "going on with the others"
                )
            self._ends_ns = now_ns + self.lasts_ns
            self.say(f"for {format_duration(self.lasts_ns)} from now; Ctrl-C ends it earlier")
        return now_ns >= self._ends_ns

    def done(self) -> None:
        """Takes the change back. If that fails, says how to do it by hand, and raises."""
        try:
            self.say(self.change.revert())
        except KdnsError as error:
            raise KdnsError(
                f"{self.change.title}: could not be taken back",
                cause=str(error),
                hint="kubectl kdns cleanup (it undoes this as soon as the cluster answers)",
            ) from error
