"""Which flows a FlowFilter takes, exactly as an agent of Cilium 1.17 decides it (`pkg/hubble/filters`).

All fields of a filter must match, of a field one value, of a list of filters one; what the blacklist takes is
out. Filters and flows may be of this schema or of kdns's.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import re2
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from support.hubble_labels import selector
from support.hubble_schema import Flow, FlowFilter, as_schema

Predicate = Callable[[Any], bool]

_L4 = {
    "icmp": ("ICMPv4", "ICMPv6"),
    "icmpv4": ("ICMPv4",),
    "icmpv6": ("ICMPv6",),
    "tcp": ("TCP",),
    "udp": ("UDP",),
    "sctp": ("SCTP",),
}
_L7 = {"dns": "dns", "http": "http", "kafka": "kafka"}
_QUIET = re2.Options()
_QUIET.log_errors = False


class FilterError(ValueError):
    """A filter that an agent rejects, in its words; gRPC status UNKNOWN."""


def matches(filter_: Message, flow: Message) -> bool:
    """Whether all fields of the FlowFilter match; FilterError when an agent would reject the filter."""
    return selection([filter_], [])(flow)


def selection(whitelist: Sequence[Message], blacklist: Sequence[Message]) -> Predicate:
    """Which flows GetFlows with these lists returns; lost events and node status are never filtered.

    FilterError for the first filter that an agent would reject.
    """
    wanted, unwanted = (
        [_compiled(filter_.SerializeToString()) for filter_ in filters] for filters in (whitelist, blacklist)
    )

    def takes(flow: Message) -> bool:
        flow = as_schema(Flow, flow)
        return (not wanted or any(match(flow) for match in wanted)) and not any(
            match(flow) for match in unwanted
        )

    return takes


@lru_cache(maxsize=1024)
def _compiled(filter_bytes: bytes) -> Predicate:
    filter_ = FlowFilter.FromString(filter_bytes)
    if unknown := [field.field_number for field in UnknownFieldSet(filter_)]:
        # A real agent skips a field that it does not know, and sends more than was asked for.
        raise FilterError(f"this test server has no field {unknown[0]} of FlowFilter")
    predicates = [_FIELDS[field.name](values) for field, values in filter_.ListFields()]
    return lambda flow: all(predicate(flow) for predicate in predicates)


def _of(end: str, build: Callable[[Any, str], Predicate]) -> Callable[[Any], Predicate]:
    return lambda values: build(values, end)


def _one_of(get: Callable[[Any], Any]) -> Callable[[Any], Predicate]:
    return lambda values: lambda flow: get(flow) in values


def _ip(values: Sequence[str], end: str) -> Predicate:
    addresses, networks = set(), []
    for value in values:
        try:
            if "/" in value:
                networks.append(ipaddress.ip_network(value, strict=False))
            else:
                ipaddress.ip_address(value)
                addresses.add(value)
        except ValueError as error:
            kind = "prefix" if "/" in value else "address"
            raise FilterError(f'invalid IP {kind} "{value}" in filter: {error}') from None

    def match(flow: Any) -> bool:
        text = getattr(flow.IP, end)
        if text in addresses:
            return bool(text)
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return False
        return any(address in network for network in networks)

    return match


def _named(values: Sequence[str], get: Callable[[Any], tuple[str, str]]) -> Predicate:
    """`namespace/prefix`; without a slash the namespace is "default", an empty part is anything."""
    wanted = []
    for value in values:
        if not value:
            raise FilterError("invalid filter, name must not be empty")
        parts = value.split("/")
        wanted.append((parts[0], parts[1]) if len(parts) > 1 else ("default", parts[0]))

    def match(flow: Any) -> bool:
        namespace, name = get(flow)
        if not (namespace or name):
            return False
        return any(name.startswith(prefix) and space in ("", namespace) for space, prefix in wanted)

    return match


def _pod(values: Sequence[str], end: str) -> Predicate:
    return _named(values, lambda flow: (getattr(flow, end).namespace, getattr(flow, end).pod_name))


def _service(values: Sequence[str], end: str) -> Predicate:
    try:
        return _named(values, lambda flow: (getattr(flow, end).namespace, getattr(flow, end).name))
    except FilterError as error:
        raise FilterError(f"invalid {end.replace('_', ' ')} filter: {error}") from None


def _workload(values: Any, end: str) -> Predicate:
    def match(flow: Any) -> bool:
        return any(
            wanted.name in ("", has.name) and wanted.kind in ("", has.kind)
            for has in getattr(flow, end).workloads
            for wanted in values
        )

    return match


def _labels(values: Sequence[str], get: Callable[[Any], Sequence[str]], what: str) -> Predicate:
    try:
        selectors = [selector(value) for value in values]
    except ValueError as error:
        raise FilterError(f"invalid {what} label filter: {error}") from None
    return lambda flow: any(select(get(flow)) for select in selectors)


def _port(values: Sequence[str], end: str) -> Predicate:
    for value in values:
        if not (value.isascii() and value.isdigit() and int(value) < 65536):
            raise FilterError(f'invalid {end} port filter: invalid port "{value}"')
    wanted = {int(value) for value in values}

    def match(flow: Any) -> bool:
        protocol = flow.l4.WhichOneof("protocol")
        return protocol in ("TCP", "UDP", "SCTP") and (
            getattr(getattr(flow.l4, protocol), f"{end}_port") in wanted
        )

    return match


def _protocol(values: Sequence[str]) -> Predicate:
    l4, l7 = set[str](), set[str]()
    for value in values:
        name = value.lower()
        if name in _L4:
            l4.update(_L4[name])
        elif name in _L7:
            l7.add(_L7[name])
        else:
            raise FilterError(f'invalid protocol filter: unknown protocol: "{value}"')
    return lambda flow: flow.l4.WhichOneof("protocol") in l4 or flow.l7.WhichOneof("record") in l7


def _dns_query(values: Sequence[str]) -> Predicate:
    patterns = []
    for value in values:
        try:
            patterns.append(re2.compile(value, _QUIET))
        except re2.error as error:
            reason = error.args[0].decode() if isinstance(error.args[0], bytes) else error.args[0]
            raise FilterError(
                f"invalid DNS query filter: failed to compile regexp: error parsing regexp: {reason}"
            ) from None
    return lambda flow: flow.l7.HasField("dns") and any(p.search(flow.l7.dns.query) for p in patterns)


def _reply(values: Sequence[bool]) -> Predicate:
    """A dropped flow that does not say whether it is a reply is none; any other such flow never matches."""

    def match(flow: Any) -> bool:
        known = flow.HasField("is_reply") or flow.verdict == 2
        return known and flow.is_reply.value in values

    return match


def _event_type(values: Any) -> Predicate:
    def match(flow: Any) -> bool:
        return flow.HasField("event_type") and any(
            wanted.type in (0, flow.event_type.type)
            and (not wanted.match_sub_type or wanted.sub_type == flow.event_type.sub_type)
            for wanted in values
        )

    return match


_ANY_NAME = r"[-0-9_a-z]+(?:\.[-0-9_a-z]+)*"


def _node_name(values: Sequence[str]) -> Predicate:
    patterns = []
    for value in values:
        if not value:
            raise FilterError("empty pattern")
        parts = value.split("/")
        if len(parts) > 2:
            raise FilterError("too many slashes in pattern")
        cluster, node = ["", *parts][-2:]
        patterns.append("/".join(_name_pattern(part) if part else _ANY_NAME for part in (cluster, node)))
    wanted = re.compile("|".join(patterns))

    def match(flow: Any) -> bool:
        name = flow.node_name
        return bool(name) and bool(wanted.fullmatch(name if "/" in name else f"default/{name}"))

    return match


def _fqdn(values: Sequence[str], end: str) -> Predicate:
    wanted = re.compile("|".join(_name_pattern(value) for value in values))
    return lambda flow: any(wanted.fullmatch(name) for name in getattr(flow, end))


def _name_pattern(pattern: str) -> str:
    """A name with `*`, as a regular expression for lower-case names."""
    name = pattern.strip().removesuffix(".").lower()
    if not name:
        raise FilterError("empty pattern")
    if name.endswith("."):
        raise FilterError("multiple trailing dots in pattern")
    if wrong := re.search(r"[^-_.*0-9a-z]", name):
        raise FilterError(f"'{wrong.group()}': invalid rune in pattern")
    return name.replace(".", r"\.").replace("*", "[-.0-9a-z]*")


_FIELDS: dict[str, Callable[[Any], Predicate]] = {
    "source_ip": _of("source", _ip),
    "destination_ip": _of("destination", _ip),
    "source_pod": _of("source", _pod),
    "destination_pod": _of("destination", _pod),
    "source_service": _of("source_service", _service),
    "destination_service": _of("destination_service", _service),
    "source_workload": _of("source", _workload),
    "destination_workload": _of("destination", _workload),
    "source_label": lambda values: _labels(values, lambda flow: flow.source.labels, "source"),
    "destination_label": lambda values: _labels(values, lambda flow: flow.destination.labels, "destination"),
    "node_labels": lambda values: _labels(values, lambda flow: flow.node_labels, "node"),
    "source_fqdn": _of("source_names", _fqdn),
    "destination_fqdn": _of("destination_names", _fqdn),
    "source_port": _of("source", _port),
    "destination_port": _of("destination", _port),
    "source_identity": _one_of(lambda flow: flow.source.identity),
    "destination_identity": _one_of(lambda flow: flow.destination.identity),
    "protocol": _protocol,
    "dns_query": _dns_query,
    "reply": _reply,
    "event_type": _event_type,
    "node_name": _node_name,
    "verdict": _one_of(lambda flow: flow.verdict),
    "uuid": _one_of(lambda flow: flow.uuid),
    "ip_version": _one_of(lambda flow: flow.IP.ipVersion),
    "traffic_direction": _one_of(lambda flow: flow.traffic_direction),
    "drop_reason_desc": _one_of(lambda flow: flow.drop_reason_desc),
}
