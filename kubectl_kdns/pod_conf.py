"""The resolv.conf of a pod as its kubelet makes it from the pod's spec, as far as the API tells.

After kubelet's network/dns (kubernetes.io, "DNS for Services and Pods"): what a node's own resolv.conf adds
is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct

from kubectl_kdns.resolver import ResolvConf

OF_CLUSTER = "ndots:5"


class PodConf(Struct, frozen=True):
    """`text` is the file; `unknown` says what of it could not be known, "" nothing that matters."""

    text: str
    unknown: str = ""

    @property
    def conf(self) -> ResolvConf:
        return ResolvConf.parse(self.text)


def pod_conf(spec: Mapping[str, Any], namespace: str, servers: Sequence[str], domain: str) -> PodConf:
    """`spec` is that of the pod; `servers` and `domain` are what its kubelet hands out."""
    policy = spec.get("dnsPolicy") or "ClusterFirst"
    if policy == "ClusterFirst" and spec.get("hostNetwork"):
        policy = "Default"
    nameservers, search, options = list(servers), [], [OF_CLUSTER]
    unknown = ""
    if policy in ("ClusterFirst", "ClusterFirstWithHostNet"):
        search = [f"{namespace}.svc.{domain}", f"svc.{domain}", domain]
        unknown = "search domains of its node"
    else:
        nameservers, options = [], []
        if policy == "Default":
            unknown = "the resolv.conf of its node, which is this pod's"
    own: Mapping[str, Any] = spec.get("dnsConfig") or {}
    nameservers += [str(each) for each in own.get("nameservers") or ()]
    search += [str(each) for each in own.get("searches") or ()]
    options += [
        f"{each.get('name')}:{each['value']}" if each.get("value") else str(each.get("name"))
        for each in own.get("options") or ()
    ]
    lines = [f"nameserver {each}" for each in dict.fromkeys(nameservers)]
    lines += [f"search {' '.join(dict.fromkeys(search))}"] if search else []
    lines += [f"options {' '.join(options)}"] if options else []
    return PodConf("".join(f"{line}\n" for line in lines), unknown)
