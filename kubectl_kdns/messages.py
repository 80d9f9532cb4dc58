"""A DNS message seen at one place, and the records that are made of one or two of them.

Made for the hot path: a sighting is a plain tuple, a decoded message is shared and never copied.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Protocol, TypeAlias

from msgspec import UNSET, Struct

from kubectl_kdns.dns.wire import DecodedMessage
from kubectl_kdns.model import API_VERSION, Client, Dns, Error, Lookup, Maybe, Message, Server
from kubectl_kdns.times import format_time, ms

NO_ID = -1

Exchange: TypeAlias = tuple[Maybe[str], Maybe[int], Maybe[str], Maybe[int], str, int]
"""What a query and its response share outside of the question: client ip and port, server ip and port,
transport, and the message id, NO_ID where the source has none."""

Sighting: TypeAlias = tuple[int, Exchange, DecodedMessage, int, Any]
"""One message seen once: time (ns since the epoch, 0 unknown), exchange, message, its bytes on the wire (more
than it has if the capture cut it), and its origin: what the maker of records needs to know besides."""


class Vantage(NamedTuple):
    """Where messages are seen; absent is unknown."""

    backend: str
    node: Maybe[str] = UNSET
    hop: Maybe[str] = UNSET
    side: Maybe[str] = UNSET


class Asked(Struct, gc=False):
    """A query (or a response whose query was not seen), and how its lookup goes on: `last_ns` is the time of
    its last try, `answered_ns` that of the response, 0 without one. `deadline`, and `told` (when its record
    was made), are on the clock of a pairing. `behind` are lookups that cannot be told from this one but by
    their time, in its order."""

    time_ns: int
    exchange: Exchange
    message: DecodedMessage
    size: int
    origin: Any
    last_ns: int
    deadline: int
    tries: int = 1
    answered_ns: int = 0
    told: int = 0
    behind: deque[Asked] | None = None


class RecordMaker(Protocol):
    """Makes records of what a pairing has put together. Hot: `lookup` is called for each."""

    vantage: Vantage

    def lookup(self, asked: Asked, status: str, response: Sighting | None, late: bool = False) -> Lookup:
        """The lookup of a query and of its response, if it has one."""

    def response(self, response: Sighting) -> Lookup:
        """The lookup of a response whose query was not seen: its time stands for the query's."""

    def message(self, sighting: Sighting) -> Message:
        """The message itself."""


class PayloadRecords:
    """Records of messages that were seen as bytes; the origin is their payload in hex, "" if not wanted."""

    def __init__(self, vantage: Vantage) -> None:
        self.vantage = vantage

    def lookup(self, asked: Asked, status: str, response: Sighting | None, late: bool = False) -> Lookup:
        backend, node, hop, side = self.vantage
        client_ip, client_port, server_ip, server_port, transport, id_ = asked.exchange
        time_ns = asked.time_ns
        query = named = answer = asked.message
        latency_ms: Maybe[float] = UNSET
        response_bytes: Maybe[int] = UNSET
        if response is not None:
            response_ns, _, answer, response_bytes, _ = response
            if response_ns >= time_ns > 0:
                latency_ms = ms(response_ns - time_ns)
            if query.name is UNSET:
                named = answer
        record = Lookup(
            API_VERSION,
            "lookup",
            format_time(time_ns) if time_ns else UNSET,
            backend,
            node,
            hop,
            side,
            status,
            latency_ms,
            asked.tries,
            True if late else UNSET,
            transport,
            UNSET,
            Client(client_ip, client_port),
            Server(server_ip, server_port),
            Dns(
                id_ if id_ != NO_ID else UNSET,
                query.opcode,
                named.name,
                named.type,
                named.class_,
                answer.rcode,
                answer.response_class,
                answer.flags,
                answer.answers,
                answer.resolved_ips,
                asked.size,
                response_bytes,
                query.edns,
            ),
        )
        if query.malformed or answer.malformed:
            record.error = _error(asked, response)
        if asked.origin:
            record.raw = f"{asked.origin} {response[4]}" if response else asked.origin
        return record

    def response(self, response: Sighting) -> Lookup:
        backend, node, hop, side = self.vantage
        time_ns, exchange, message, size, raw = response
        return Lookup(
            time=format_time(time_ns) if time_ns else UNSET,
            backend=backend,
            node=node,
            hop=hop,
            side=side,
            status="answered",
            transport=exchange[4],
            inferred=["time"] if time_ns else UNSET,
            client=Client(exchange[0], exchange[1]),
            server=Server(exchange[2], exchange[3]),
            dns=_dns(exchange, message, response_bytes=size),
            error=_error(None, response),
            raw=raw or UNSET,
        )

    def message(self, sighting: Sighting) -> Message:
        backend, node, hop, side = self.vantage
        time_ns, exchange, message, size, raw = sighting
        if message.is_response:
            direction, dns = "response", _dns(exchange, message, response_bytes=size)
        else:
            direction, dns = "query", _dns(exchange, message, query_bytes=size)
        dns.edns = message.edns
        return Message(
            time=format_time(time_ns) if time_ns else UNSET,
            backend=backend,
            node=node,
            hop=hop,
            side=side,
            direction=direction,
            transport=exchange[4],
            client=Client(exchange[0], exchange[1]),
            server=Server(exchange[2], exchange[3]),
            dns=dns,
            error=_error(None, sighting),
            raw=raw or UNSET,
        )


def _dns(
    exchange: Exchange,
    message: DecodedMessage,
    *,
    query_bytes: Maybe[int] = UNSET,
    response_bytes: Maybe[int] = UNSET,
) -> Dns:
    return Dns(
        id=UNSET if exchange[5] == NO_ID else exchange[5],
        opcode=message.opcode,
        name=message.name,
        type=message.type,
        class_=message.class_,
        rcode=message.rcode,
        response_class=message.response_class,
        flags=message.flags,
        answers=message.answers,
        resolved_ips=message.resolved_ips,
        query_bytes=query_bytes,
        response_bytes=response_bytes,
    )


def _error(asked: Asked | None, sighting: Sighting | None) -> Maybe[Error]:
    """What is wrong with the messages; where only the capture cut one short, it says that."""
    messages = [(asked.message, asked.size)] if asked else []
    if sighting:
        messages.append((sighting[2], sighting[3]))
    faults: list[str] = []
    for message, size in messages:
        direction = "response" if message.is_response else "query"
        if message.cut and message.size < size:
            faults.append(f"{direction}: only {message.size} of its {size} bytes were captured")
        elif message.malformed:
            faults.append(f"{direction}: {message.malformed}")
    return Error("malformed", "; ".join(faults)) if faults else UNSET
