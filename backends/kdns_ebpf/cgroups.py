"""What a cgroup's path says: the pod's UID, the container's id, or the unit of systemd.

The forms are those of the kubelet's drivers (cgroupfs, systemd), of containerd, CRI-O, Docker and podman.
"""

from __future__ import annotations

import re

from msgspec import UNSET, Struct

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.model import Maybe

_POD = re.compile(r"pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12}|[0-9a-f]{32})(?:\.slice)?(?=/|$)")
_CONTAINER = re.compile(r"(?:^|[/:-])([0-9a-f]{64})(?:\.scope)?(?=/|$)")
_UNIT = re.compile(r"/([^/]+\.(?:service|scope|socket|slice))(?=/[^/]*$|$)")


class Place(Struct, frozen=True):
    """Whose a cgroup is. `unit` is only given outside of containers."""

    pod_uid: Maybe[str] = UNSET
    container_id: Maybe[str] = UNSET
    unit: Maybe[str] = UNSET


NOWHERE = Place()


def place_of(path: str) -> Place:
    """Of a path below the root of cgroup v2, such as /kubepods/burstable/pod<UID>/<container id>."""
    container = _CONTAINER.search(path)
    pod = _POD.search(path)
    # A static pod's UID is a hash without dashes.
    pod_uid = pod[1].replace("_", "-") if pod else UNSET
    if pod or container:
        return Place(pod_uid, container[1] if container else UNSET)
    units = _UNIT.findall(path)
    return Place(unit=safe_text(units[-1])) if units else NOWHERE
