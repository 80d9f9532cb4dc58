"""The edge of the general checks: reads what they need from the API server, all at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from kubectl_kdns.backend import BackendInfo, Probe, load_backend
from kubectl_kdns.doctor import objects
from kubectl_kdns.doctor.facts import ClusterFacts, KubeletFacts, ServiceFacts
from kubectl_kdns.doctor.finding import Unread
from kubectl_kdns.doctor.parallel import Patience, each
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.objects import DNS_SERVICE_NAMES

PATIENCE_S = 20.0
"""A read that takes longer is given up: what depends on it is unknown, and the rest is told."""
MAX_KUBELETS = 20
"""So many are asked for their configuration: they are nearly always made by one hand."""
NODELOCAL_UPSTREAM = "kube-dns-upstream"
"""The second Service of the DNS pods, by which NodeLocal DNSCache reaches them."""
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"

T = TypeVar("T")
R = TypeVar("R")


class ClusterReader:
    """Starts at once to read the facts that are `wanted`, by their field in ClusterFacts."""

    def __init__(
        self,
        cluster: Cluster,
        pool: ThreadPoolExecutor,
        wanted: frozenset[str],
        backends: Iterable[BackendInfo],
        options: Mapping[str, Any],
    ) -> None:
        self._cluster, self._pool, self._options = cluster, pool, options
        self._backends = tuple(backends)
        self._patience = Patience(PATIENCE_S)
        self._found: Future[tuple[ServiceFacts, ...]] = Future()
        if not wanted.isdisjoint(("services", "endpoints")):
            # First into the pool: what waits for it in there must not keep it out.
            self._found = pool.submit(self._services)
        reads: dict[str, Callable[[], Any]] = {
            "nodes": lambda: self._list("/api/v1/nodes", objects.NodeObject, objects.node_facts),
            "pods": self._pods,
            "services": lambda: self._found.result(),
            "endpoints": self._endpoints,
            "namespaces": self._namespaces,
            "policies": lambda: self._list(
                "/apis/networking.k8s.io/v1/networkpolicies", objects.PolicyObject, objects.policy_facts
            ),
            "kubelets": self._kubelets,
            "probes": self._probes,
            "rights": self._rights,
        }
        self._futures = {name: pool.submit(read) for name, read in reads.items() if name in wanted}

    def facts(self) -> ClusterFacts:
        """All of them, once they are there."""
        return ClusterFacts(**{name: self._patience.wait(future) for name, future in self._futures.items()})

    def _list(self, path: str, of: type[T], fact: Callable[[T], R], **query: str) -> tuple[R, ...]:
        pages = self._cluster.pages(path, of, **query)
        return tuple(fact(item) for page in pages for item in page.items or ())

    def _pods(self) -> Any:
        # Those that have ended ask nobody.
        running = "status.phase!=Succeeded,status.phase!=Failed"
        return self._list("/api/v1/pods", objects.PodObject, objects.pod_facts, fieldSelector=running)

    def _services(self) -> tuple[ServiceFacts, ...]:
        found = self._list("/api/v1/services", objects.ServiceObject, objects.service_facts)
        return tuple(
            service
            for service in found
            if service.name in DNS_SERVICE_NAMES
            or (service.name != NODELOCAL_UPSTREAM and any(number == 53 for _, number in service.ports))
        )

    def _endpoints(self) -> Any:
        names = dict.fromkeys([*DNS_SERVICE_NAMES, *(service.name for service in self._found.result())])
        return self._list(
            "/apis/discovery.k8s.io/v1/endpointslices",
            objects.SliceObject,
            objects.endpoint_facts,
            labelSelector=f"kubernetes.io/service-name in ({','.join(names)})",
        )

    def _namespaces(self) -> dict[str, Mapping[str, str]]:
        pairs = self._list(
            "/api/v1/namespaces", objects.NodeObject, lambda n: (n.metadata.name, n.metadata.labels or {})
        )
        # Namespaces have this label from the API server; a policy that selects by it must find it.
        return {name: {"kubernetes.io/metadata.name": name, **labels} for name, labels in pairs}

    def _kubelets(self) -> tuple[KubeletFacts, ...]:
        nodes = self._list("/api/v1/nodes", objects.NodeObject, objects.node_facts)
        ready = [node.name for node in nodes if node.ready][:MAX_KUBELETS]

        def ask(node: str) -> KubeletFacts | KdnsError | None:
            try:
                return objects.kubelet_facts(node, self._cluster.get(f"/api/v1/nodes/{node}/proxy/configz"))
            except KdnsError as error:
                return error

        answers = each(ask, ready)
        found = tuple(answer for answer in answers if isinstance(answer, KubeletFacts))
        errors = [answer for answer in answers if isinstance(answer, KdnsError)]
        # Virtual nodes and those of a provider may not answer: the others will do.
        if errors and not found:
            raise errors[0]
        return found

    def _probes(self) -> dict[str, Probe]:
        def probe(info: BackendInfo) -> Probe:
            try:
                return load_backend(info.name).probe(self._cluster, self._options)
            except KdnsError as error:
                return Probe(False, Unread.of(error).reason, error.hint)

        return dict(zip([info.name for info in self._backends], each(probe, self._backends), strict=True))

    def _rights(self) -> dict[str, tuple[str, ...]]:
        wanted = {info.name: tuple(_accesses(info)) for info in self._backends}
        distinct = list(dict.fromkeys(access for all_ in wanted.values() for access in all_))
        allowed = dict(zip(distinct, each(self._may, distinct), strict=True))
        return {
            name: tuple(_words(access) for access in accesses if not allowed[access])
            for name, accesses in wanted.items()
        }

    def _may(self, access: tuple[str, str, str, str]) -> bool:
        verb, group, resource, namespace = access
        name, _, sub = resource.partition("/")
        attributes = {
            "verb": verb,
            "group": group,
            "resource": name,
            "subresource": sub,
            "namespace": namespace,
        }
        body = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        }
        # The API server answers this POST and keeps nothing of it; `kubectl auth can-i` does the same.
        answer = self._cluster.request("POST", _REVIEWS, body=body)
        return bool((answer.get("status") or {}).get("allowed"))


def _accesses(info: BackendInfo) -> Iterable[tuple[str, str, str, str]]:
    for rule in info.rbac:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                for verb in rule["verbs"]:
                    yield verb, group, resource, rule.get("namespace", "")


def _words(access: tuple[str, str, str, str]) -> str:
    verb, group, resource, namespace = access
    what = f"{verb} {resource}{f'.{group}' if group else ''}"
    return f"{what} in {namespace}" if namespace else what
