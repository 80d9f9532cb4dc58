"""A temporary change: confirmed, proven, timed from its last proof, and taken back in every case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from kubectl_kdns.change import PROOF_WAIT_NS, TemporaryChange, confirm
from kubectl_kdns.errors import ClusterError, KdnsError, UsageError
from kubectl_kdns.model import Notice, Record
from kubectl_kdns.times import NS_PER_S


@dataclass
class Fake:
    """A change that is proven by a notice for each place."""

    title: str = "make it blue"
    notes: tuple[str, ...] = ()
    waiting: list[str] = field(default_factory=lambda: ["p1", "p2"])
    fail_apply: bool = False
    fail_revert: bool = False
    text: str = "+ blue"
    calls: list[str] = field(default_factory=list)

    def diff(self) -> str:
        return self.text

    def manifest(self) -> Any:
        return {}

    def apply(self, *, dry_run: bool = False) -> None:
        self.calls.append("dry run" if dry_run else "apply")
        if self.fail_apply:
            raise ClusterError("no answer")

    def observe(self, record: Record) -> None:
        if isinstance(record, Notice):
            self.waiting = [w for w in self.waiting if w != record.message]

    def waiting_for(self) -> Sequence[str]:
        return self.waiting

    def revert(self) -> str:
        self.calls.append("revert")
        if self.fail_revert:
            raise ClusterError("no answer")
        return "it is as it was"


def make(change: Fake, lasts_s: int = 20) -> tuple[TemporaryChange, list[int], list[str]]:
    clock, said = [0], []
    return TemporaryChange(change, lasts_s * NS_PER_S, lambda: clock[0], said.append), clock, said


def test_the_time_runs_from_the_last_proof() -> None:
    temporary, clock, said = make(Fake())
    temporary.apply()
    assert not temporary.tick()
    clock[0] = 40 * NS_PER_S
    temporary.observe(Notice(message="p1"))
    assert not temporary.tick()
    clock[0] = 60 * NS_PER_S
    temporary.observe(Notice(message="p2"))
    assert not temporary.tick()
    clock[0] = 79 * NS_PER_S
    assert not temporary.tick()
    clock[0] = 80 * NS_PER_S
    assert temporary.tick()
    temporary.done()
    assert said == [
        "applied; waiting until it is live in p1, p2 (up to 2.5 minutes)",
        "live in p1 after 40s",
        "still waiting for p2 (40 s)",
        "live in p2 after 1m0s",
        "for 20s from now; Ctrl-C ends it earlier",
        "it is as it was",
    ]


def test_a_place_that_never_proves_it_does_not_hold_up_the_others() -> None:
    temporary, clock, said = make(Fake())
    temporary.apply()
    temporary.observe(Notice(message="p1"))
    clock[0] = PROOF_WAIT_NS
    assert not temporary.tick()
    assert "not live in p2 after 2m30s: going on with the others" in said
    clock[0] += 20 * NS_PER_S
    assert temporary.tick()


def test_a_failed_application_is_taken_back() -> None:
    """Its answer may have been lost, so `done` looks all the same."""
    change = Fake(fail_apply=True)
    temporary, _, _ = make(change)
    with pytest.raises(ClusterError):
        temporary.apply()
    temporary.done()
    assert change.calls == ["apply", "revert"]


def test_a_failed_revert_says_how_to_go_on() -> None:
    temporary, _, _ = make(Fake(fail_revert=True))
    temporary.apply()
    with pytest.raises(KdnsError, match="could not be taken back") as caught:
        temporary.done()
    assert "kubectl kdns cleanup" in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "agreed"), [("y", True), ("YES", True), ("", False), ("n", False), ("yep", False)]
)
def test_consent_is_an_explicit_yes(answer: str, agreed: bool) -> None:
    said: list[str] = []
    assert confirm(Fake(), yes=False, ask=lambda _: answer, say=said.append) is agreed
    assert said == ["+ blue"]


def test_without_a_terminal_yes_is_needed() -> None:
    with pytest.raises(UsageError, match="no terminal"):
        confirm(Fake(), yes=False, ask=None, say=lambda _: None)
    assert confirm(Fake(), yes=True, ask=None, say=lambda _: None)
    assert confirm(Fake(text=""), yes=False, ask=None, say=lambda _: None)
