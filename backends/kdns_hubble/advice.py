"""Why nothing is shown: whose DNS is visible at all, and the smallest change that would show more."""

from __future__ import annotations

from collections.abc import Sequence

from kdns_hubble.visibility import look
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster


def advice(cluster: Cluster | None, namespaces: Sequence[str]) -> str:
    """For a stream in which no flow has been seen, of pods in these namespaces (none: all)."""
    if cluster is None:
        return "no DNS flow: whose DNS is visible is not known without the cluster"
    try:
        visibility = look(cluster, namespaces)
    except KdnsError as error:
        return f"no DNS flow: whose DNS is visible is not known: {error.what}"
    where = f"namespace {', '.join(map(safe_text, namespaces))}: " if namespaces else ""
    text = f"no DNS flow: {where}{visibility.evidence}"
    if visibility.covered:
        text += ", and nobody of them has asked in this time"
    return f"{text}. Try: {visibility.fix}" if visibility.fix else text
