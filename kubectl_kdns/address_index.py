"""Which pod, Service or node had an address, and when: an index without I/O, fed by `kubectl_kdns.kube.feed`.

An address is a pod's from the pod's start until its end; what ended stays known for late events for a while.
Pods on the host network have no address of their own and are found by UID only.

Changes take a lock; reading does not, but for an address that is new or has changed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from functools import lru_cache
from typing import TypeVar
from weakref import WeakValueDictionary

from msgspec import UNSET, Struct, structs

from kubectl_kdns.endpoints import Endpoints, Labels, Node, Pod, Service, Who
from kubectl_kdns.filter.selector import parse_selector
from kubectl_kdns.ranges import Ranges
from kubectl_kdns.times import NS_PER_S, format_time

KEEP_NS = 600 * NS_PER_S
MAX_ENDED = 100_000
MAX_KNOWN = 65_536
NOW, _ALWAYS = "8", "9"
"""As times: after every start and before `_ALWAYS`; later than every time that `format_time` writes."""
_LOCAL_NETWORKS = ("127.0.0.0/8", "::1/128", "fe80::/10", "0.0.0.0/32", "::/128")
UNKNOWN, EXTERNAL, NODELOCAL = Who("unknown"), Who("external"), Who("nodelocal")

_Addressed = TypeVar("_Addressed", Service, Endpoints, Node)

selector_of = lru_cache(maxsize=256)(parse_selector)


class Known(Struct, frozen=True, gc=False):
    """`who` from `since` until just before `until`, as RFC 3339 text, which compares as time does."""

    since: str
    until: str
    who: Who


class AddressIndex:
    """`ready` is set when all that is to be listed has been listed once."""

    def __init__(self, keep_ns: int = KEEP_NS) -> None:
        self.ready = threading.Event()
        self._keep_ns = keep_ns
        self._lock = threading.Lock()
        self._labels: WeakValueDictionary[int, Labels] = WeakValueDictionary()  # by hash: keys cost memory
        self._pods: dict[str, Pod] = {}  # by UID; those that ended too
        self._static: dict[str, str] = {}  # UIDs by those that the nodes know
        self._pods_at: dict[str, tuple[Pod, ...]] = {}  # by address, in order of their starts
        self._ended: deque[tuple[int, Pod]] = deque()
        self._nodelocal: dict[str, Pod] = {}  # by node
        self._services: dict[tuple[str, str], Service] = {}
        self._dns_services: list[tuple[str, str]] = []
        self._service_at: dict[str, Service] = {}
        self._endpoints: dict[tuple[str, str], Endpoints] = {}
        self._endpoints_at: dict[str, Endpoints] = {}
        self._nodes: dict[str, Node] = {}
        self._node_at: dict[str, Node] = {}
        self._ranges = Ranges(*_LOCAL_NETWORKS)
        self._known: dict[str, Known] = {}  # by address
        self._known_uids: dict[str, Who] = {}

    # Asking

    def who(self, ip: str, time_ns: int | None = None) -> Who | None:
        """Who had that address then, or has it now; None when that is not known."""
        time = NOW if time_ns is None else format_time(time_ns)
        found = self._at(ip, time).who
        return None if found is UNKNOWN else found

    def who_is_pod(self, uid: str) -> Who | None:
        """The pod with that UID, on the host network too."""
        return self._known_uids.get(uid) or self._look_up_uid(uid)

    def pods(self, namespace: str = "", selector: str = "") -> list[Pod]:
        """The pods that run now; FilterError for a bad selector."""
        parsed = selector_of(selector)
        with self._lock:
            pods = list(self._pods.values())
        return [
            pod
            for pod in pods
            if pod.end_ns is None
            and (not namespace or pod.namespace == namespace)
            and pod.labels.match(parsed)
        ]

    def node_names(self) -> list[str]:
        with self._lock:
            return list(self._nodes)

    def service_names(self) -> list[tuple[str, str]]:
        """(namespace, name) of each."""
        with self._lock:
            return list(self._services)

    # Feeding

    def labels(self, mapping: Mapping[str, str]) -> Labels:
        """The one object for a set of labels."""
        key = hash(frozenset(mapping.items()))
        labels = self._labels.get(key)
        if labels is None or labels.mapping != mapping:
            labels = self._labels[key] = Labels(mapping)
        return labels

    def put_pod(self, pod: Pod, now_ns: int) -> None:
        """Adds or changes a pod; `end_ns` says that it has ended."""
        with self._lock:
            old = self._pods.get(pod.uid)
            if old == pod or (old and old.end_ns is not None):
                return
            if old and old.ips:
                self._take_from_addresses(old)
                if old.ips != pod.ips and pod.end_ns is None:
                    # A new sandbox gave it another address: until now it had the old one.
                    self._put_at_addresses(moved := structs.replace(old, end_ns=now_ns))
                    self._ended.append((now_ns, moved))
                    pod = structs.replace(pod, start_ns=now_ns)
                else:
                    pod = structs.replace(pod, start_ns=max(pod.start_ns, old.start_ns), ips=old.ips)
            self._pods[pod.uid] = pod
            self._known_uids.pop(pod.uid, None)
            if pod.static_uid:
                self._static[pod.static_uid] = pod.uid
                self._known_uids.pop(pod.static_uid, None)
            self._put_at_addresses(pod)
            if pod.labels.kind == "nodelocal" and pod.node:
                self._put_nodelocal(pod, pod.node)
            if pod.end_ns is not None:
                self._ended.append((now_ns, pod))
            self._expire(now_ns)

    def drop_pod(self, uid: str, now_ns: int) -> None:
        """The pod is gone, since now."""
        pod = self._pods.get(uid)
        if pod and pod.end_ns is None:
            self.put_pod(structs.replace(pod, end_ns=now_ns), now_ns)

    def put_service(self, service: Service) -> None:
        with self._lock:
            key = (service.namespace, service.name)
            old = self._services.get(key)
            if old == service:
                return
            self._services[key] = service
            self._replace(self._service_at, old, service)
            for ip in service.ips:
                self._widen(ip, 2)
            self._forget_coredns(old, service)

    def drop_service(self, key: tuple[str, str]) -> None:
        with self._lock:
            old = self._services.pop(key, None)
            self._replace(self._service_at, old, None)
            self._forget_coredns(old)

    def put_endpoints(self, endpoints: Endpoints) -> None:
        with self._lock:
            key = (endpoints.namespace, endpoints.name)
            self._replace(self._endpoints_at, self._endpoints.get(key), endpoints)
            self._endpoints[key] = endpoints

    def drop_endpoints(self, key: tuple[str, str]) -> None:
        with self._lock:
            self._replace(self._endpoints_at, self._endpoints.pop(key, None), None)

    def put_node(self, node: Node) -> None:
        with self._lock:
            old = self._nodes.get(node.name)
            if old == node:
                return
            self._nodes[node.name] = node
            self._replace(self._node_at, old, node)
            for ip in node.ips:
                self._widen(ip, 3)
            for network in node.pod_networks:
                if self._ranges.add(network):
                    self._known.clear()

    def drop_node(self, name: str) -> None:
        with self._lock:
            self._replace(self._node_at, self._nodes.pop(name, None), None)

    def set_ready(self) -> None:
        """Everything was listed once: an address in no known range is external from now on."""
        with self._lock:
            self.ready.set()
            self._known.clear()

    # All below is called with the lock held, or takes it for what is new

    def _at(self, ip: str, time: str) -> Known:
        known = self._known.get(ip)
        return known if known and known.since <= time < known.until else self._look_up(ip, time)

    def _look_up(self, ip: str, time: str) -> Known:
        with self._lock:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            known = self._known[ip] = self._find(ip, time)
            return known

    def _look_up_uid(self, uid: str) -> Who | None:
        with self._lock:
            pod = self._pods.get(self._static.get(uid, uid))
            if pod is None:
                return None
            who = self._known_uids[uid] = self._who_of(pod)
            return who

    def _find(self, ip: str, time: str) -> Known:
        found, since, until = None, "", _ALWAYS
        for pod in self._pods_at.get(ip, ()):
            start = format_time(pod.start_ns)
            if time < start:
                until = min(until, start)
                break
            end = _ALWAYS if pod.end_ns is None else format_time(pod.end_ns)
            found, since, until = (pod, start, end) if time < end else (None, end, _ALWAYS)
        return Known(since, until, self._who_of(found) if found else self._who_else(ip))

    def _who_of(self, pod: Pod) -> Who:
        kind, dns_service = pod.labels.kind, self._dns_service_of(pod)
        if kind == "pod" and dns_service:
            kind = "coredns"
        return Who(
            kind,
            pod.namespace,
            pod.name,
            pod.uid,
            pod.workload,
            pod.node,
            dns_service.name if dns_service and kind == "coredns" else UNSET,
        )

    def _who_else(self, ip: str) -> Who:
        """Who has an address that is no pod's."""
        if service := self._service_at.get(ip):
            return Who("service", service.namespace, service=service.name)
        if node := self._node_at.get(ip):
            hides = node.name in self._nodelocal
            return Who("nodelocal" if hides else "node", node=node.name, inferred=hides)
        if endpoints := self._endpoints_at.get(ip):
            return Who("external", endpoints.namespace, service=endpoints.service)
        # By convention NodeLocal listens on a link-local address (169.254.20.10, 169.254.25.10); those of
        # 169.254.169.0/24 are the cloud's own.
        if ip.startswith("169.254.") and not ip.startswith("169.254.169."):
            return NODELOCAL
        return EXTERNAL if self.ready.is_set() and self._ranges.outside(ip) else UNKNOWN

    def _dns_service_of(self, pod: Pod) -> Service | None:
        services = (self._services[key] for key in self._dns_services if key[0] == pod.namespace)
        return next((service for service in services if pod.labels.include(service.selector)), None)

    def _put_at_addresses(self, pod: Pod) -> None:
        for ip in pod.ips:
            pods = (*self._pods_at.get(ip, ()), pod)
            self._pods_at[ip] = tuple(sorted(pods, key=_start)) if len(pods) > 1 else pods
            self._known.pop(ip, None)
            self._widen(ip, 2)

    def _take_from_addresses(self, pod: Pod) -> None:
        for ip in pod.ips:
            rest = tuple(other for other in self._pods_at.get(ip, ()) if other is not pod)
            if rest:
                self._pods_at[ip] = rest
            else:
                self._pods_at.pop(ip, None)
            self._known.pop(ip, None)

    def _put_nodelocal(self, pod: Pod, node: str) -> None:
        if pod.end_ns is None:
            self._nodelocal[node] = pod
        elif (current := self._nodelocal.get(node)) and current.uid == pod.uid:
            del self._nodelocal[node]
        for ip in self._nodes[node].ips if node in self._nodes else ():
            self._known.pop(ip, None)

    def _expire(self, now_ns: int) -> None:
        """Forgets what ended long ago, or too much of it."""
        while self._ended and (self._ended[0][0] < now_ns - self._keep_ns or len(self._ended) > MAX_ENDED):
            _, pod = self._ended.popleft()
            self._take_from_addresses(pod)
            if self._pods.get(pod.uid) is pod:
                del self._pods[pod.uid]
                self._known_uids.pop(pod.uid, None)
                if self._static.get(pod.static_uid) == pod.uid:
                    del self._static[pod.static_uid]
                    self._known_uids.pop(pod.static_uid, None)

    def _replace(self, index: dict[str, _Addressed], old: _Addressed | None, new: _Addressed | None) -> None:
        """Puts the addresses of `new` in the place of those of `old`."""
        for ip in old.ips if old else ():
            if index.get(ip) is old:
                del index[ip]
            self._known.pop(ip, None)
        if new:
            for ip in new.ips:
                index[ip] = new
                self._known.pop(ip, None)

    def _widen(self, ip: str, ipv4_octets: int) -> None:
        if self._ranges.add_around(ip, ipv4_octets):
            self._known.clear()

    def _forget_coredns(self, *services: Service | None) -> None:
        """Whom a Service of the cluster's DNS chooses is CoreDNS: all pods are looked at anew."""
        for service in services:
            if service and service.dns:
                self._known.clear()
                self._known_uids.clear()
        self._dns_services = [key for key, service in self._services.items() if service.dns]


def _start(pod: Pod) -> int:
    return pod.start_ns
