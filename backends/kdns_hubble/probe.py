"""Can Hubble show DNS here, and if not, what is the smallest change that would make it?"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from kdns_hubble.cilium import CiliumState, find_cilium
from kdns_hubble.dial import Dialer
from kdns_hubble.discover import Relay, RelaySearch, find_relay
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.options import HubbleOptions
from kdns_hubble.visibility import dns_policies, look
from kubectl_kdns.backend import Probe
from kubectl_kdns.errors import ClusterError, KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import NS_PER_S, format_duration

DNS = FlowFilter(protocol=("dns",))
_HELM = "helm upgrade cilium cilium/cilium -n {} --reuse-values --set {}"


def probe(cluster: Cluster, flags: Mapping[str, Any]) -> Probe:
    """Only reads. `flags` may have the `namespaces` that are wanted (none: all).

    Raises ClusterError when the cluster cannot be asked, UsageError for unfit flags.
    """
    options = HubbleOptions.of(flags)
    namespaces: tuple[str, ...] = tuple(flags.get("namespaces") or ())
    try:
        if options.server:
            return _seen(cluster, options, namespaces, f"--hubble-server {options.server}")
        search = find_relay(cluster, options.namespace)
        cilium = find_cilium(cluster)
        where = _where(cilium, search.relay)
        return _obstacle(cilium, search.relay) or _seen(cluster, options, namespaces, where, search)
    except KdnsError as error:
        if isinstance(error, ClusterError) and error.status in (0, 401):
            raise  # nobody can tell: the cluster was not reached, or does not know us
        return Probe(False, error.what + (f": {error.cause}" if error.cause else ""), error.hint)


def _obstacle(cilium: CiliumState, relay: Relay | None) -> Probe | None:
    """What keeps Hubble from showing any DNS, before anybody has asked it."""
    namespace = cilium.namespace or "kube-system"
    if not cilium.present and relay is None:
        if cilium.denied:
            what = f"whether there is Cilium cannot be told: {cilium.denied[0]}"
            return Probe(
                False, what, "kubectl kdns backends hubble --rbac (what an administrator has to grant)"
            )
        return Probe(False, "no Cilium was found in this cluster")
    if cilium.flavour == "gke":
        return Probe(False, "GKE's Dataplane V2 has no DNS visibility: Google leaves Cilium's L7 proxy out")
    if cilium.hubble is False:
        fix = _HELM.format(namespace, "hubble.enabled=true --set hubble.relay.enabled=true")
        return Probe(False, f"Hubble is off (enable-hubble in configmap {namespace}/cilium-config)", fix)
    if cilium.l7_proxy is False:
        fix = _HELM.format(namespace, "l7Proxy=true")
        what = f"Cilium's L7 proxy is off (enable-l7-proxy in configmap {namespace}/cilium-config)"
        return Probe(False, f"{what}, so Hubble sees no DNS", fix)
    if relay and relay.trouble:
        fix = f"kubectl -n {relay.namespace} describe pods -l k8s-app=hubble-relay"
        return Probe(False, relay.trouble, fix)
    return None


def _where(cilium: CiliumState, relay: Relay | None) -> str:
    version = f"Cilium {cilium.version}" if cilium.version else "Cilium"
    return f"{version}, hubble-relay {relay}" if relay else f"{version}, no hubble-relay (agents by exec)"


def _seen(
    cluster: Cluster,
    options: HubbleOptions,
    namespaces: tuple[str, ...],
    where: str,
    search: RelaySearch | None = None,
) -> Probe:
    """Whether a DNS flow has been seen, which proves it; else whose DNS is visible by the policies."""
    newest_ns, now_ns = 0, time.time_ns()
    pods = tuple(f"{namespace}/" for namespace in namespaces)
    wanted = [replace(DNS, source_pod=pods), replace(DNS, destination_pod=pods)] if pods else [DNS]
    observer = Dialer(cluster, options, wanted, raw=False, search=search)()
    try:
        newest_ns, now_ns = observer.newest_ns, observer.now_ns or now_ns
    finally:
        observer.close()
    if newest_ns:
        ago = format_duration(max(now_ns - newest_ns, 0) // NS_PER_S * NS_PER_S)
        return Probe(True, f"{where}; the last DNS flow was seen {ago} ago{_shown(cluster)}")
    visibility = look(cluster, namespaces)
    if visibility.covered:
        return Probe(True, f"{where}; {visibility.evidence}; nobody has asked lately")
    return Probe(False, f"{where}; {visibility.evidence}", visibility.fix)


def _shown(cluster: Cluster) -> str:
    """By which policies: of other pods nothing shows, which the choice of a backend should say."""
    try:
        policies = dns_policies(cluster)
    except KdnsError:
        return ""
    return f"; only pods show that policies with DNS rules select: {', '.join(policies)}" if policies else ""
