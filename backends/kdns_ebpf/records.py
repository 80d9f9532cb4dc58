"""Makes records of what an agent sends: a lookup with all that the kernel knew of who asked."""

from __future__ import annotations

from functools import lru_cache
from socket import AF_INET, AF_INET6, inet_ntop

from msgspec import UNSET

from kdns_ebpf import wire
from kdns_ebpf.cgroups import NOWHERE, Place, place_of
from kdns_ebpf.wire import WireLookup
from kubectl_kdns.directory import Directory
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.dns.wire import decode_message
from kubectl_kdns.messages import NO_ID, Asked, Exchange, PayloadRecords, Sighting, Vantage
from kubectl_kdns.model import Lookup, Maybe, Message, Process, Server, ServerBackend, Socket

NAME = "ebpf"
MAX_PLACES = 65536
_TRANSPORTS = {17: "udp", 6: "tcp"}
_STATUSES = {wire.ANSWERED: "answered", wire.UNANSWERED: "unanswered", wire.PENDING: "pending"}
_SIDES: dict[int, Maybe[str]] = {wire.SIDE_CLIENT: "client", wire.SIDE_SERVER: "server"}
_ID_BYTES = 2


class AgentRecords:
    """Records of one agent's frames. A client is `hop: client` until the directory knows that it is a server.

    CGROUP frames say what the ids of cgroups mean; `directory` who a pod is.
    """

    def __init__(self, node: Maybe[str], *, raw: bool, directory: Directory | None = None) -> None:
        self._raw, self._directory = raw, directory
        self._places: dict[int, Place] = {}
        self._makers = {
            side: PayloadRecords(Vantage(NAME, node, "client", _SIDES.get(side, UNSET)))
            for side in (wire.SIDE_CLIENT, wire.SIDE_SERVER, wire.SIDE_NODE)
        }
        self._node = node

    def learn_cgroup(self, id_: int, path: str) -> None:
        if len(self._places) >= MAX_PLACES:
            self._places.clear()
        self._places[id_] = place_of(path)

    def lookup(self, head: WireLookup, query: bytes, response: bytes) -> Lookup:
        maker = self._makers.get(head.side) or self._makers[wire.SIDE_NODE]
        exchange = _exchange(head)
        answer: Sighting | None = None
        if head.response_ns:
            answer = self._sighting(head.response_ns, exchange, response, head.response_size)
        if head.status == wire.NO_QUERY and answer is not None:
            record = maker.response(answer)
        else:
            asked = Asked(
                head.query_ns,
                exchange,
                decode_message(query),
                head.query_size,
                query.hex() if self._raw else "",
                head.last_ns,
                0,
                head.tries,
            )
            status = _STATUSES.get(head.status, "answered")
            record = maker.lookup(asked, status, answer, bool(head.flags & wire.LATE))
        self._add_origin(record, head)
        return record

    def message(self, head: WireLookup, query: bytes, response: bytes) -> Message:
        maker = self._makers.get(head.side) or self._makers[wire.SIDE_NODE]
        if head.flags & wire.IS_RESPONSE:
            sighting = self._sighting(head.response_ns, _exchange(head), response, head.response_size)
        else:
            sighting = self._sighting(head.query_ns, _exchange(head), query, head.query_size)
        record = maker.message(sighting)
        self._add_origin(record, head)
        return record

    def _sighting(self, time_ns: int, exchange: Exchange, payload: bytes, size: int) -> Sighting:
        return time_ns, exchange, decode_message(payload), size, payload.hex() if self._raw else ""

    def _add_origin(self, record: Lookup | Message, head: WireLookup) -> None:
        """What the packet itself does not say: the socket's owner, and what the server's address became."""
        client, server = record.client, record.server
        if client and head.side == wire.SIDE_CLIENT:
            place = self._places.get(head.cgroup, NOWHERE)
            client.pod_uid, client.container_id = place.pod_uid, place.container_id
            client.container, client.node = place.unit, self._node
            if head.pid:
                client.process = Process(head.pid, _text(head.process) or UNSET)
        if server and head.flags & wire.BACKEND:
            server.backend = ServerBackend(_address(head.backend_ip, head.family), head.backend_port)
        if server and head.side == wire.SIDE_SERVER:
            server.node = self._node
            self._add_answering_pod(server, head)
        if head.cookie:
            record.socket = Socket(head.cookie, head.netns or UNSET)

    def _add_answering_pod(self, server: Server, head: WireLookup) -> None:
        """Whose socket it is, where the address is not that pod's own: NodeLocal takes the Service's."""
        pod_uid = self._places.get(head.cgroup, NOWHERE).pod_uid
        who = self._directory.who_is_pod(pod_uid) if self._directory and pod_uid else None
        if who is None or self._directory is None or not server.ip:
            return
        addressed = self._directory.who(server.ip)
        if addressed is None or addressed.pod != who.pod:
            server.backend = ServerBackend(pod=who.pod, node=who.node)


def _exchange(head: WireLookup) -> Exchange:
    return (
        _address(head.client_ip, head.family),
        head.client_port,
        _address(head.server_ip, head.family),
        head.server_port,
        _TRANSPORTS.get(head.protocol, "udp"),
        head.id if head.query_captured + head.response_captured >= _ID_BYTES else NO_ID,
    )


@lru_cache(maxsize=65536)
def _address(address: bytes, family: int) -> str:
    return inet_ntop(AF_INET, address[:4]) if family == 4 else inet_ntop(AF_INET6, address)


@lru_cache(maxsize=4096)
def _text(name: bytes) -> str:
    return safe_text(name.split(b"\0", 1)[0].decode("utf-8", "replace"))
