"""The dictionary of journeys: one row for every leaf of `model.Journey`; parts of lookups have the lookup's rows."""

from __future__ import annotations

from dataclasses import replace

from kubectl_kdns import model
from kubectl_kdns.fields import BY_PATH, Field

_TIME = "RFC 3339 UTC, nanoseconds"


def _below(part: str, prefix: str = "") -> list[Field]:
    """The fields of an endpoint, or of another part of a lookup, below another path."""
    return [
        replace(field, path=prefix + path) for path, field in BY_PATH.items() if path.startswith(f"{part}.")
    ]


JOURNEY_FIELDS: tuple[Field, ...] = (
    Field("time", "string", "when the application asked first", unit=_TIME),
    Field("name", "string", "name that the application asked for, without what its search list added"),
    Field("types", "list<string>", "types that it asked for"),
    *_below("client"),
    Field("status", "string", "how the deciding attempt ended", values=model.STATUSES),
    Field("rcode", "string", "response code of the deciding attempt"),
    Field("latency_ms", "double", "from the first query to the last response, at the application", unit="ms"),
    Field("resolved_ips", "list<string>", "addresses in the answer"),
    Field("code", "string", "what the conclusion says, stable, for programs"),
    Field("conclusion", "string", "what became of the request and where, for people"),
    Field("attempts", "list", "the lookups that the application made for it, in order"),
    Field("attempts.time", "string", "when the query was seen", unit=_TIME),
    Field("attempts.name", "string", "name asked for"),
    Field("attempts.type", "string", "type asked for"),
    Field("attempts.status", "string", "how it ended for who asked", values=model.STATUSES),
    Field("attempts.rcode", "string", "response code"),
    Field("attempts.latency_ms", "double", "from the query to the response, at who asked", unit="ms"),
    Field("attempts.resolved_ips", "list<string>", "addresses in the answer"),
    Field("attempts.code", "string", "what the conclusion says, stable, for programs"),
    Field("attempts.conclusion", "string", "what became of this lookup and where, for people"),
    Field("attempts.apart", "int", "lookups that may belong to this one or to another of the same name"),
    Field("attempts.hops", "list", "who asked whom, in the order of the way"),
    Field("attempts.hops.depth", "int", "0 for the application's own, 1 for what its server asked, and so on"),
    Field("attempts.hops.hop", "string", "who asks", values=model.HOPS),
    Field("attempts.hops.sure", "string", "how it was joined: by socket and id, or as the only one that fits", values=("exact", "unique", "likely")),
    Field("attempts.hops.time", "string", "when the query was seen", unit=_TIME),
    *_below("client", "attempts.hops."),
    *_below("server", "attempts.hops."),
    Field("attempts.hops.transport", "string", "what carried it", values=model.TRANSPORTS),
    Field("attempts.hops.status", "string", "how it ended for who asked", values=model.STATUSES),
    Field("attempts.hops.rcode", "string", "response code"),
    Field("attempts.hops.tries", "int", "transmissions of the query", unit="messages"),
    Field("attempts.hops.latency_ms", "double", "from the query to the response, at who asked", unit="ms"),
    Field("attempts.hops.network_ms", "double", "latency at who asked minus latency at the server", unit="ms"),
    Field("attempts.hops.server_ms", "double", "what the server needed besides waiting for those it asked", unit="ms"),
    *_below("upstream", "attempts.hops."),
    *_below("error", "attempts.hops."),
    Field("attempts.hops.seen", "list", "the places where it was seen"),
    Field("attempts.hops.seen.backend", "string", "the backend that saw it"),
    Field("attempts.hops.seen.node", "string", "the node where it was seen"),
    Field("attempts.hops.seen.side", "string", "at which end", values=model.SIDES),
    Field("attempts.hops.seen.latency_ms", "double", "from the query to the response, there", unit="ms"),
)  # fmt: skip
