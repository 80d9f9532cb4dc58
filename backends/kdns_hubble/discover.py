"""Finds Hubble's relay in a cluster, whatever its namespace: its Service, its port, its pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Struct

from kdns_hubble.api_objects import Denied, PodObject, denied_by
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ForbiddenError, NotFoundError
from kubectl_kdns.kube import Cluster

NAME = "hubble-relay"
SELECTORS = (f"k8s-app={NAME}", f"app.kubernetes.io/name={NAME}")
GKE_NAMESPACE = "gke-managed-dpv2-observability"
LIKELY_NAMESPACES = ("kube-system", "cilium", GKE_NAMESPACE)
"""Where to look without the right to list all namespaces, besides the context's own."""
CONTAINER_PORT = 4245
"""Where a relay listens by itself, in Cilium's chart its container port `grpc`."""
CERTIFICATE_NAME = "instance.hubble-relay.cilium.io"
"""Cilium's certificate is for *.hubble-relay.cilium.io: any one label will do."""

_TLS_PORT, _PLAIN_PORT = 443, 80


class RelayPod(Struct, frozen=True):
    """`reason` says why it is not ready: "CrashLoopBackOff", "Pending", "is being deleted"."""

    name: str
    node: str
    ready: bool
    reason: str = ""


class Relay(Struct, frozen=True):
    """`service` is "" and `port` 0 when there are pods without a Service; `target_port` is the pods'."""

    namespace: str
    service: str
    port: int
    tls: bool
    target_port: int
    pods: tuple[RelayPod, ...] = ()

    @property
    def ready_pods(self) -> tuple[RelayPod, ...]:
        return tuple(pod for pod in self.pods if pod.ready)

    @property
    def trouble(self) -> str:
        """Why nobody answers: none of its pods is ready, and why; "" when one is."""
        if self.ready_pods:
            return ""
        reasons = ", ".join(f"{pod.name}: {pod.reason}" for pod in self.pods) or "it has no pods"
        return f"hubble-relay {self} is not ready ({reasons})"

    @property
    def server_name(self) -> str:
        """The name that its certificate is for, which is not that by which it is reached."""
        if self.namespace == GKE_NAMESPACE:
            return f"{self.service or NAME}.{self.namespace}.svc.cluster.local"
        return CERTIFICATE_NAME

    def __str__(self) -> str:
        return f"{self.namespace}/{self.service or NAME}"


class RelaySearch(Struct, frozen=True):
    """What was found. `others` are further relays; `denied` what could not be looked at."""

    relay: Relay | None = None
    others: tuple[Relay, ...] = ()
    denied: tuple[Denied, ...] = ()


class _ServicePort(Struct, rename="camel"):
    port: int = 0
    name: str = ""
    target_port: int | str = 0


class _ServiceSpec(Struct):
    ports: list[_ServicePort] | None = None
    selector: dict[str, str] | None = None


class _ServiceMeta(Struct):
    name: str = ""
    namespace: str = ""


class _ServiceObject(Struct):
    metadata: _ServiceMeta = msgspec.field(default_factory=_ServiceMeta)
    spec: _ServiceSpec = msgspec.field(default_factory=_ServiceSpec)


_ServiceAndPort = tuple[_ServiceObject, _ServicePort]


def find_relay(cluster: Cluster, namespace: str = "") -> RelaySearch:
    """Two requests where the relay is as Cilium's chart makes it; `namespace` "" looks in all of them.

    Never raises for what is missing or not allowed; ClusterError when the cluster cannot be asked.
    """
    search = _Search(cluster, namespace)
    relays = [search.relay_of(*found) for found in search.services()] or search.without_service()
    # A relay that answers before one that does not, then Cilium's usual namespace.
    relays.sort(key=lambda relay: (not relay.ready_pods, relay.namespace != "kube-system", str(relay)))
    return RelaySearch(relays[0] if relays else None, tuple(relays[1:]), tuple(dict.fromkeys(search.denied)))


class _Search:
    """One search, with what it was not allowed to see."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._prefix = f"/api/v1/namespaces/{namespace}" if namespace else "/api/v1"
        self._namespace = namespace
        self.denied: list[Denied] = []

    def services(self) -> list[_ServiceAndPort]:
        path = f"{self._prefix}/services"
        queries = [{"labelSelector": selector} for selector in SELECTORS]
        queries.append({"fieldSelector": f"metadata.name={NAME}"})
        try:
            for query in queries:
                # Version 0 lets the API server answer from its cache.
                pages = self._cluster.pages(path, _ServiceObject, resourceVersion="0", **query)
                found = [pair for page in pages for one in page.items or () for pair in _with_port(one)]
                if found:
                    return found
        except ForbiddenError as error:
            self.denied.append(denied_by(error, path))
            return [] if self._namespace else list(self._likely_services())
        return []

    def _likely_services(self) -> Iterator[_ServiceAndPort]:
        for namespace in dict.fromkeys((*LIKELY_NAMESPACES, self._cluster.namespace)):
            path = f"/api/v1/namespaces/{namespace}/services/{NAME}"
            try:
                yield from _with_port(msgspec.convert(self._cluster.get(path), _ServiceObject))
            except NotFoundError:
                continue
            except ForbiddenError as error:
                self.denied.append(denied_by(error, path))

    def relay_of(self, service: _ServiceObject, port: _ServicePort) -> Relay:
        namespace = service.metadata.namespace
        labels = service.spec.selector or {"k8s-app": NAME}
        selector = ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
        pods = self._pods(f"/api/v1/namespaces/{namespace}/pods", selector)
        if port.port in (_TLS_PORT, _PLAIN_PORT):
            tls = port.port == _TLS_PORT
        else:
            tls = any(pod.spec.mounts_file("server.crt") for pod in pods)
        target = port.target_port
        target_port = target if isinstance(target, int) else _container_port(pods, target)
        return Relay(
            namespace=safe_text(namespace),
            service=safe_text(service.metadata.name),
            port=port.port,
            tls=tls,
            target_port=target_port or CONTAINER_PORT,
            pods=_relay_pods(pods),
        )

    def without_service(self) -> list[Relay]:
        """The pods themselves, where somebody has taken the Service away."""
        pods = self._pods(f"{self._prefix}/pods", SELECTORS[0])
        namespaces = sorted({pod.metadata.namespace for pod in pods})
        relays = []
        for namespace in namespaces:
            own = [pod for pod in pods if pod.metadata.namespace == namespace]
            tls = any(pod.spec.mounts_file("server.crt") for pod in own)
            port = _container_port(own, "grpc") or CONTAINER_PORT
            relays.append(Relay(safe_text(namespace), "", 0, tls, port, _relay_pods(own)))
        return relays

    def _pods(self, path: str, selector: str) -> list[PodObject]:
        try:
            pages = self._cluster.pages(path, PodObject, labelSelector=selector, resourceVersion="0")
            return [pod for page in pages for pod in page.items or () if not pod.has_finished]
        except ForbiddenError as error:
            self.denied.append(denied_by(error, path))
            return []


def _with_port(service: _ServiceObject) -> list[_ServiceAndPort]:
    """With the port of its API; none for the chart's other Service of the same label, that of the metrics."""
    ports = service.spec.ports or []
    grpc = [port for port in ports if port.target_port in ("grpc", CONTAINER_PORT)]
    others = [port for port in ports if "metrics" not in (port.name, port.target_port)]
    return [(service, port) for port in (grpc or others)[:1]]


def _container_port(pods: Sequence[PodObject], name: str) -> int:
    """0 when no container has a port of that name."""
    return next((port for pod in pods for port in pod.spec.ports_named(name)), 0)


def _relay_pods(pods: Sequence[PodObject]) -> tuple[RelayPod, ...]:
    found = []
    for pod in pods:
        name, node, trouble = map(safe_text, (pod.metadata.name, pod.spec.node_name, pod.trouble))
        found.append(RelayPod(name, node, not trouble, trouble))
    return tuple(sorted(found, key=lambda pod: (not pod.ready, pod.name)))
