"""`kubectl kdns doctor`: all that can be known about DNS in a cluster by reading, as findings.

`finding` and `facts` are the words; `service`, `dns_settings`, `reachability` and `sight` are the general
checks, pure; `reading` is the edge that reads the cluster; `examination` joins them with what backends know.
"""

from kubectl_kdns.doctor.facts import ClusterFacts
from kubectl_kdns.doctor.finding import (
    Check,
    Finding,
    Target,
    Unread,
    Verdict,
    check,
    counted,
    failure,
    info,
    judge,
    known,
    ok,
    unknown,
    warning,
)

__all__ = [
    "Check",
    "ClusterFacts",
    "Finding",
    "Target",
    "Unread",
    "Verdict",
    "check",
    "counted",
    "failure",
    "info",
    "judge",
    "known",
    "ok",
    "unknown",
    "warning",
]
