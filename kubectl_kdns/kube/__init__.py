"""kubectl's access to a cluster without the `kubernetes` package on the hot path (DESIGN section 7)."""

from kubectl_kdns.kube.cluster import MERGE_PATCH, Cluster, ListResult, connect
from kubectl_kdns.kube.flags import IGNORED_FLAGS, ConnectionFlags
from kubectl_kdns.kube.stream import Stream
from kubectl_kdns.kube.watch import Watch

__all__ = [
    "IGNORED_FLAGS",
    "MERGE_PATCH",
    "Cluster",
    "ConnectionFlags",
    "ListResult",
    "Stream",
    "Watch",
    "connect",
]
