"""Checks of what kdns itself could see here: each backend's probe, and the rights that its rules ask for."""

from __future__ import annotations

from collections.abc import Iterator

from kubectl_kdns.doctor.facts import ClusterFacts
from kubectl_kdns.doctor.finding import Target, Verdict, check, info, known, ok

TOPIC = "What kdns can see"


@check(
    "backend-usable",
    topic=TOPIC,
    help="Which backends can work here",
    worst="info",
    needs=("probes",),
    fix="What `kubectl kdns backends` says",
)
def backend_usable(facts: ClusterFacts) -> Iterator[Verdict]:
    for name, probe in known(facts.probes).items():
        on = Target("backend", name)
        if probe.usable:
            yield ok(on, probe.evidence)
        else:
            answer = "works on request" if probe.creates else "cannot work here"
            yield info(on, f"{answer}: {probe.evidence}", probe.fix)


@check(
    "backend-rights",
    topic=TOPIC,
    help="Whether this user has the rights that each backend needs",
    worst="info",
    needs=("rights",),
    fix="The RBAC that `kubectl kdns backends NAME --rbac` prints",
)
def backend_rights(facts: ClusterFacts) -> Iterator[Verdict]:
    for name, missing in known(facts.rights).items():
        on = Target("backend", name)
        if missing:
            more = f" and {len(missing) - 4} more" if missing[4:] else ""
            yield info(
                on,
                f"this user may not {', '.join(missing[:4])}{more}",
                f"kubectl kdns backends {name} --rbac | kubectl apply -f - (then bind it to the user)",
            )
        else:
            yield ok(on, "this user has all rights that it needs")


CHECKS = (backend_usable, backend_rights)
