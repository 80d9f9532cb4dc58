"""Joins the general checks with those that backends bring: lists them, chooses among them, runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from kubectl_kdns.backend import Doctor, backend_infos, load_backend
from kubectl_kdns.doctor import dns_settings, reachability, service, sight
from kubectl_kdns.doctor.facts import ClusterFacts
from kubectl_kdns.doctor.finding import SEVERITIES, Check, Finding, judge
from kubectl_kdns.doctor.inside import Inside
from kubectl_kdns.doctor.parallel import MAX_THREADS, Patience
from kubectl_kdns.doctor.reading import ClusterReader
from kubectl_kdns.errors import ClusterError, UsageError, did_you_mean
from kubectl_kdns.kube import Cluster

PATIENCE_S = 35.0
"""For a backend's own reads, which begin when the general ones are done or given up at the latest."""
INSIDE_S = 90.0
"""Besides, until agents are there and have asked."""
GENERAL: tuple[Check[ClusterFacts], ...] = (
    *service.CHECKS,
    *dns_settings.CHECKS,
    *reachability.CHECKS,
    *sight.CHECKS,
)


class Catalogue:
    """Every check there is, in the order in which they are listed: the backends' first, for they are about
    the DNS server itself."""

    def __init__(self) -> None:
        self.infos = tuple(info for info in backend_infos().values() if info.live)
        loaded = [load_backend(info.name) for info in self.infos]
        self.doctors = [backend for backend in loaded if isinstance(backend, Doctor)]
        self.checks: tuple[Check[Any], ...] = (
            *(check for doctor in self.doctors for check in doctor.checks),
            *GENERAL,
        )

    def choose(self, ids: Sequence[str], *, active: bool) -> frozenset[str]:
        """The ids that are meant, if none is given all that may be made; UsageError for one that does not
        exist, or that needs `active`."""
        existing = [check.id for check in self.checks]
        for wrong in (id_ for id_ in ids if id_ not in existing):
            near = did_you_mean(wrong, existing)
            raise UsageError(
                f"there is no check {wrong!r}" + (f"; {near}" if near else ""),
                hint="kubectl kdns doctor --list",
            )
        barred = {check.id for check in self.checks if check.is_active and not active}
        for id_ in ids:
            if id_ in barred:
                raise UsageError(
                    f"{id_} asks from within pods and nodes",
                    hint=f"kubectl kdns doctor --active --only {id_}",
                )
        return frozenset(ids or existing) - barred


def examine(
    cluster: Cluster,
    catalogue: Catalogue,
    chosen: frozenset[str],
    options: Mapping[str, Any],
    say: Callable[[str], None],
) -> list[Finding]:
    """What the chosen checks say, the worst first. Raises ClusterError when the cluster cannot be asked.

    `say` gets a line before anything is created in the cluster, which is gone again at the end.
    """
    checks = [check for check in GENERAL if check.id in chosen]
    brought = [
        (doctor, own)
        for doctor in catalogue.doctors
        if (own := [check for check in doctor.checks if check.id in chosen])
    ]
    needs = {need for check in checks for need in check.needs}
    needs |= {need for _, own in brought for check in own for need in check.needs}
    pool = ThreadPoolExecutor(MAX_THREADS, "kdns-doctor")
    active = any(check.is_active for _, own in brought for check in own)
    patience = Patience(PATIENCE_S + (INSIDE_S if active else 0))
    inside = Inside(cluster, options, say)
    try:
        _reach(cluster)
        reader = ClusterReader(cluster, pool, frozenset(needs), catalogue.infos, options)
        futures = [
            (own, pool.submit(doctor.facts, cluster, options, reader.facts, _needs(own), inside))
            for doctor, own in brought
        ]
        findings = judge(checks, reader.facts())
        for own, future in futures:
            findings = [*judge(own, patience.wait(future)), *findings]
    finally:
        inside.close()
        # What was given up may still hang: closing the connections ends it.
        cluster.close()
        pool.shutdown(wait=False, cancel_futures=True)
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def _needs(checks: Iterable[Check[Any]]) -> frozenset[str]:
    return frozenset(need for check in checks for need in check.needs)


def _reach(cluster: Cluster) -> None:
    """Whether anybody answers, and knows us: else every check would be unknown, all for one reason."""
    try:
        cluster.get("/version")
    except ClusterError as error:
        if error.status in (0, 401):
            raise
