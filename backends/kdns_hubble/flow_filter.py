"""Hubble's FlowFilter as plain data, so that plans can be made and explained without protobuf.

Fields have the names of flow.proto and its meaning: all fields of a filter must match, of a repeated field
one value; of a list of filters one.
"""

from __future__ import annotations

from msgspec import Struct


class FlowFilter(Struct, frozen=True, omit_defaults=True):
    """`source_pod` is "namespace/prefix"; `dns_query` are RE2 patterns, searched for in "name." (lower
    case); `node_name` patterns; `verdict` names of the enum; ports are text."""

    source_ip: tuple[str, ...] = ()
    source_pod: tuple[str, ...] = ()
    source_label: tuple[str, ...] = ()
    destination_ip: tuple[str, ...] = ()
    destination_pod: tuple[str, ...] = ()
    destination_label: tuple[str, ...] = ()
    destination_port: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    protocol: tuple[str, ...] = ()
    reply: tuple[bool, ...] = ()
    dns_query: tuple[str, ...] = ()
    node_name: tuple[str, ...] = ()
