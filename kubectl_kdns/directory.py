"""Who asked and who was asked: names records from the index of addresses, and answers the filter's questions.

A node's address as a client is the node, a pod on its network, or whoever it translates (SNAT): kind `node`;
where a NodeLocal DNSCache runs on it, it is concluded to be that: kind `nodelocal`, and the record says so in
`inferred`.
"""

from __future__ import annotations

from msgspec import UNSET

from kubectl_kdns.address_index import NODELOCAL, NOW, AddressIndex, selector_of
from kubectl_kdns.endpoints import Pod, Who
from kubectl_kdns.model import SERVERS, Client, Lookup, Message, Server

__all__ = ["Directory", "Pod"]


class Directory(AddressIndex):
    """The index with what the pipeline and the filter ask of it."""

    def name(self, record: Lookup | Message) -> None:
        """Fills in who asked and who was asked, as far as the record does not say it itself."""
        time = record.time or NOW
        client, server = record.client, record.server
        if client:
            if client.pod_uid:
                # Whatever the address says: the kernel knew whose it was.
                who = self.who_is_pod(client.pod_uid) or Who("pod")
                _complete(record, client, who)
                client.pod_uid = who.pod_uid or client.pod_uid
                if client.container_id and client.container is UNSET:
                    pod = self._pods.get(client.pod_uid)
                    client.container = pod.container_name(client.container_id) if pod else UNSET
            elif client.ip:
                known = self._known.get(client.ip)
                if known is None or not known.since <= time < known.until:
                    known = self._look_up(client.ip, time)
                who = known.who
                if client.kind or client.namespace or client.node or who.inferred:
                    _complete(record, client, who)
                else:  # as a rule; twice on purpose: without a call and checks it keeps the budget of 1 us
                    client.kind = who.kind
                    client.namespace = who.namespace
                    client.pod = who.pod
                    client.pod_uid = who.pod_uid
                    client.workload = who.workload
                    client.node = who.node
            if client.kind in SERVERS and record.hop == "client":
                _name_hop(record, client)
        if server and server.ip:
            known = self._known.get(server.ip)
            if known is None or not known.since <= time < known.until:
                known = self._look_up(server.ip, time)
            who = known.who
            if server.kind or server.namespace or server.node or who.inferred:
                _complete(record, server, who)
            else:
                server.kind = who.kind
                server.namespace = who.namespace
                server.pod = who.pod
                server.service = who.service
                server.workload = who.workload
                server.node = who.node
            if who is NODELOCAL and client and client.node:
                self._name_nodelocal(record, server, client.node)
            if server.backend and server.backend.ip:
                behind = self._at(server.backend.ip, time).who
                server.backend.pod = server.backend.pod or behind.pod
                server.backend.node = server.backend.node or behind.node

    def labels_match(self, selector: str, client: Client) -> bool:
        """For the filter: whether the client is a pod with such labels. FilterError for a bad selector."""
        pod = self._pods.get(client.pod_uid or "")
        return pod is not None and pod.labels.match(selector_of(selector))

    def backs_service(self, service: str, client: Client) -> bool:
        """For the filter: whether the client is behind NAMESPACE/NAME, or NAME of its own namespace."""
        namespace, _, name = service.rpartition("/")
        known = self._services.get((namespace or client.namespace or "", name))
        if known is None:
            return False
        pod = self._pods.get(client.pod_uid or "")
        if known.selector:
            return pod is not None and pod.namespace == known.namespace and pod.labels.include(known.selector)
        listed = self._endpoints_at.get(client.ip or "")
        return listed is not None and (listed.namespace, listed.service) == (known.namespace, known.name)

    def _name_nodelocal(self, record: Lookup | Message, server: Server, node: str) -> None:
        """A link-local address is answered on the client's own node."""
        pod = self._nodelocal.get(node)
        if pod and server.pod is UNSET:
            server.pod, server.namespace, server.workload = pod.name, pod.namespace, pod.workload
            server.node = node
            record.inferred = [*(record.inferred or ()), "server.pod", "server.node"]


def _name_hop(record: Lookup | Message, client: Client) -> None:
    """A log tells who asks only by the address: a DNS server that asks is a hop of its own."""
    record.hop = client.kind
    if "client.kind" in (record.inferred or ()):
        record.inferred = [*(record.inferred or ()), "hop"]


def _complete(record: Lookup | Message, endpoint: Client | Server, who: Who) -> None:
    """Fills what is absent, unless the record knows better that it was another pod."""
    if endpoint.pod and endpoint.pod != who.pod:
        return
    if endpoint.kind is UNSET:
        endpoint.kind = who.kind
        if who.inferred:
            path = "client.kind" if isinstance(endpoint, Client) else "server.kind"
            record.inferred = [*(record.inferred or ()), path]
    if endpoint.namespace is UNSET:
        endpoint.namespace = who.namespace
    if endpoint.pod is UNSET:
        endpoint.pod = who.pod
    if endpoint.workload is UNSET:
        endpoint.workload = who.workload
    if endpoint.node is UNSET:
        endpoint.node = who.node
    if isinstance(endpoint, Client):
        if endpoint.pod_uid is UNSET:
            endpoint.pod_uid = who.pod_uid
    elif endpoint.service is UNSET:
        endpoint.service = who.service
