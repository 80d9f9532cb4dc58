"""What a check is and what it says: the words of every check, and the one place where they are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, Literal, TypeVar

from msgspec import UNSET, Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.model import API_VERSION, Maybe

SEVERITIES = ("failure", "warning", "unknown", "info", "ok")
"""The worst first: the order in which findings are shown."""

INSIDE = "inside"
"""The need of a check for what is asked from within pods and nodes: it is made with --active only."""

F = TypeVar("F")
T = TypeVar("T")


class Target(Struct, frozen=True):
    """What a finding is about; no namespace where it has none."""

    kind: str
    name: str
    namespace: Maybe[str] = UNSET

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


CLUSTER = Target("cluster", "cluster")


class Verdict(Struct, frozen=True):
    """What one check says about one object. `fix` is the smallest change, a command where there is one."""

    severity: str
    on: Target
    evidence: str
    fix: str = ""


class Finding(Struct, frozen=True, kw_only=True):
    """What a check of `doctor` says about one object."""

    apiVersion: str = API_VERSION
    kind: Literal["finding"] = "finding"
    check: str
    topic: str
    severity: str
    on: Target
    evidence: str
    fix: Maybe[str] = UNSET


class Check(Struct, Generic[F], frozen=True):
    """One question about a cluster. `id` is stable; `worst` is the worst that it can say.

    `needs` are the facts that it looks at, by their field: no others are read for it. `fix` says in general
    what `Verdict.fix` says in detail.
    """

    id: str
    topic: str
    help: str
    worst: str
    needs: tuple[str, ...]
    fix: str
    judge: Callable[[F], Iterable[Verdict]]

    @property
    def is_active(self) -> bool:
        """Whether it needs agents in the cluster."""
        return INSIDE in self.needs


class Unread(Struct, frozen=True):
    """In the place of a fact that could not be read: why, and what would help."""

    reason: str
    fix: str = ""

    @classmethod
    def of(cls, error: KdnsError) -> Unread:
        return cls(f"{error.what}: {error.cause}" if error.cause else error.what, error.hint)


NOT_ASKED = Unread("not read, because no check that was asked for needs it")


class NotKnownError(Exception):
    """Ends a check that cannot be decided."""

    def __init__(self, unread: Unread) -> None:
        super().__init__(unread.reason)
        self.unread = unread


def known(fact: T | Unread) -> T:
    """The fact; where it could not be read, the check that asks is `unknown`, and says why."""
    if isinstance(fact, Unread):
        raise NotKnownError(fact)
    return fact


def check(
    id_: str, *, topic: str, help: str, worst: str, needs: Sequence[str], fix: str
) -> Callable[[Callable[[F], Iterable[Verdict]]], Check[F]]:
    """Makes a check of the function that judges."""

    def make(judge: Callable[[F], Iterable[Verdict]]) -> Check[F]:
        return Check(id_, topic, help, worst, tuple(needs), fix, judge)

    return make


def failure(on: Target, evidence: str, fix: str) -> Verdict:
    return Verdict("failure", on, evidence, fix)


def warning(on: Target, evidence: str, fix: str) -> Verdict:
    return Verdict("warning", on, evidence, fix)


def unknown(on: Target, evidence: str, fix: str = "") -> Verdict:
    return Verdict("unknown", on, evidence, fix)


def info(on: Target, evidence: str, fix: str = "") -> Verdict:
    return Verdict("info", on, evidence, fix)


def ok(on: Target, evidence: str) -> Verdict:
    return Verdict("ok", on, evidence)


def counted(count: int, noun: str) -> str:
    """`1 pod`, `2 pods`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def judge(checks: Iterable[Check[Any]], facts: Any) -> list[Finding]:
    """What these checks say about the facts, nothing but why if those are `Unread`.

    All text is made safe here, once, for every output.
    """
    return [_finding(each, verdict) for each in checks for verdict in _verdicts(each, facts)]


def _verdicts(each: Check[Any], facts: Any) -> list[Verdict]:
    verdicts: list[Verdict] = []
    try:
        verdicts.extend(each.judge(known(facts)))
    except NotKnownError as error:
        verdicts.append(unknown(CLUSTER, error.unread.reason, error.unread.fix))
    return verdicts


def _finding(each: Check[Any], verdict: Verdict) -> Finding:
    on = verdict.on
    namespace = safe_text(on.namespace) if on.namespace else UNSET
    return Finding(
        check=each.id,
        topic=each.topic,
        severity=verdict.severity,
        on=Target(safe_text(on.kind), safe_text(on.name), namespace),
        evidence=safe_text(verdict.evidence),
        # A fix keeps its lines: it may be a manifest.
        fix="\n".join(map(safe_text, verdict.fix.split("\n"))) or UNSET,
    )
