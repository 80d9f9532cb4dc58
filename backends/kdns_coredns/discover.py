"""Finds the CoreDNS and NodeLocal DNSCache pods of a cluster, and how to go on finding them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from kdns_coredns.pods import (
    ConfigSource,
    CorednsPod,
    Mount,
    PodObject,
    coredns_pod,
    has_finished,
    is_kube_dns,
)
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster

__all__ = ["ConfigSource", "CorednsPod", "Discovered", "Mount", "PodQuery", "discover"]

SYSTEM_NAMESPACE = "kube-system"
SERVICE = "kube-dns"
SELECTORS = (
    # kubeadm, EKS, AKS, k3s, RKE2, kops, Kubespray; k8s-app=coredns is older Helm charts and Kubespray.
    "k8s-app in (kube-dns,coredns,node-local-dns,nodelocaldns)",
    # The Helm charts, and what is made of them.
    "app.kubernetes.io/name in (coredns,rke2-coredns,k3s-coredns,node-local-dns)",
    "dns.operator.openshift.io/daemonset-dns",
)


class KubeDnsError(BackendError):
    """The cluster's DNS server is not CoreDNS, but kube-dns."""


class PodQuery(Struct, frozen=True):
    """One list or watch of pods; `namespace` "" is all of them."""

    namespace: str
    selector: str

    @property
    def path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods" if self.namespace else "/api/v1/pods"


class Discovered(Struct, frozen=True):
    """The pods, ordered by namespace and name, and the queries that found some.

    `config_sources` are where their Corefiles come from; `notes` are sentences for the user.
    """

    pods: tuple[CorednsPod, ...]
    queries: tuple[PodQuery, ...]
    notes: tuple[str, ...] = ()

    @property
    def config_sources(self) -> tuple[ConfigSource, ...]:
        return tuple(dict.fromkeys(pod.config for pod in self.pods if pod.config))


def discover(cluster: Cluster, options: Mapping[str, Any]) -> Discovered:
    """Raises BackendError when there is no CoreDNS, ClusterError when nobody can tell.

    The options `coredns_namespace` and `coredns_selector` say where it is; without them, all namespaces are
    searched for the labels that distributions use, and if that is not allowed, kube-system.
    """
    namespace = options.get("coredns_namespace") or ""
    given = options.get("coredns_selector") or ""
    notes: list[str] = []
    queries = [PodQuery(namespace, selector) for selector in ((given,) if given else SELECTORS)]
    try:
        found = _list_all(cluster, queries)
    except ForbiddenError as error:
        if namespace or error.status != 403:
            raise
        notes.append(
            f"not allowed to list pods in all namespaces: CoreDNS was looked for in {SYSTEM_NAMESPACE} only "
            "(--coredns-namespace names another)"
        )
        found = _list_all(cluster, [PodQuery(SYSTEM_NAMESPACE, query.selector) for query in queries])
    if not found and not given:
        found = _behind_service(cluster, namespace or SYSTEM_NAMESPACE)
    objects = _unique(pod for pods in found.values() for pod in pods if not has_finished(pod))
    kube_dns = [pod for pod in objects if is_kube_dns(pod)]
    pods = [pod for obj in objects if not is_kube_dns(obj) and (pod := coredns_pod(obj))]
    if not pods:
        raise _kube_dns_only(kube_dns) if kube_dns else _nothing_found(namespace, given)
    if kube_dns:
        notes.append(
            f"the cluster's DNS server is kube-dns ({len(kube_dns)} pods), which writes no query log: "
            "only what reaches the CoreDNS pods is seen"
        )
    pods.sort(key=lambda pod: (pod.namespace, pod.name))
    return Discovered(tuple(pods), tuple(found), tuple(notes))


def _list_all(cluster: Cluster, queries: Iterable[PodQuery]) -> dict[PodQuery, list[PodObject]]:
    """What each query finds; without those that find nothing."""
    found = {query: _list(cluster, query) for query in queries}
    return {query: pods for query, pods in found.items() if pods}


def _list(cluster: Cluster, query: PodQuery) -> list[PodObject]:
    # Version 0 lets the API server answer from its cache: the list is short, finding it there is not.
    pages = cluster.pages(query.path, PodObject, labelSelector=query.selector, resourceVersion="0")
    return [pod for page in pages for pod in page.items or ()]


def _behind_service(cluster: Cluster, namespace: str) -> dict[PodQuery, list[PodObject]]:
    """The pods behind the Service that every cluster gives its DNS server, whatever their labels."""
    try:
        service = cluster.get(f"/api/v1/namespaces/{namespace}/services/{SERVICE}")
    except (NotFoundError, ForbiddenError):
        return {}
    selector = (service.get("spec") or {}).get("selector") or {}
    if not selector:
        return {}
    query = PodQuery(namespace, ",".join(f"{key}={value}" for key, value in sorted(selector.items())))
    return _list_all(cluster, [query])


def _unique(pods: Iterable[PodObject]) -> list[PodObject]:
    return list({pod.metadata.uid: pod for pod in pods}.values())


def _kube_dns_only(pods: list[PodObject]) -> BackendError:
    meta = pods[0].metadata
    return KubeDnsError(
        "there is no CoreDNS here",
        cause=f"the cluster's DNS server is kube-dns (pod {safe_text(f'{meta.namespace}/{meta.name}')}, as "
        "on GKE), and its log has no queries",
        hint="kubectl kdns backends (packets and Hubble flows do not depend on the DNS server)",
    )


def _nothing_found(namespace: str, selector: str) -> BackendError:
    where = f"in namespace {namespace}" if namespace else "in any namespace"
    if selector:
        return BackendError(
            f"no pods with labels {selector!r} {where}",
            hint=f"kubectl get pods {f'-n {namespace}' if namespace else '-A'} -l {selector!r}",
        )
    return BackendError(
        f"no CoreDNS pods were found {where}",
        cause="none has a label that CoreDNS usually has; the cluster's DNS may run outside of it",
        hint="--coredns-namespace NAMESPACE --coredns-selector LABEL=VALUE, and to find them:\n"
        "     kubectl get pods -A -l k8s-app=kube-dns",
    )
