"""GetFlowsRequest of plain data."""

from __future__ import annotations

from collections.abc import Sequence

from google.protobuf.timestamp_pb2 import Timestamp
from msgspec import structs

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.flow_filter import FlowFilter

FIELD_MASK = (
    "time",
    "uuid",
    "verdict",
    "IP.source",
    "IP.destination",
    "l4",
    "source.namespace",
    "source.pod_name",
    "source.workloads",
    "destination.namespace",
    "destination.pod_name",
    "destination.workloads",
    "node_name",
    "l7.type",
    "l7.dns",
    "is_reply",
    "drop_reason_desc",
    "egress_denied_by",
    "ingress_denied_by",
    "event_type.type",
    "traffic_direction",
)
"""What kdns reads of a Flow, as paths of flow.proto. A server refuses the request for a path that it does not
know. Cilium has obeyed `field_mask` since 1.16, which has all of these; older servers send whole flows."""


def flows_request(
    filters: Sequence[FlowFilter],
    *,
    since_ns: int | None = None,
    until_ns: int | None = None,
    follow: bool = False,
    number: int = 0,
    first: bool = False,
    mask: bool = True,
) -> pb.GetFlowsRequest:
    """Asks for flows that one of the filters takes; times are nanoseconds since the epoch.

    Of the past: what is kept from `since_ns` on; without it the newest `number` of each node (the oldest with
    `first`, which excludes `follow`); with number 0 all that is kept, or none of it with `follow`.
    Raises ValueError for a verdict that the API has not.
    """
    request = pb.GetFlowsRequest(
        number=number,
        follow=follow,
        first=first,
        whitelist=[pb.FlowFilter(**structs.asdict(filter_)) for filter_ in filters],
        since=_timestamp(since_ns),
        until=_timestamp(until_ns),
    )
    if mask:
        request.field_mask.paths.extend(FIELD_MASK)
    return request


def _timestamp(time_ns: int | None) -> Timestamp | None:
    if time_ns is None:
        return None
    timestamp = Timestamp()
    timestamp.FromNanoseconds(time_ns)
    return timestamp
