"""GetFlowsRequest as Hubble reads it."""

from __future__ import annotations

import pytest

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.requests import FIELD_MASK, flows_request
from support.hubble_flows import START_NS
from support.hubble_schema import Flow, GetFlowsRequest, as_schema

EVERY_FIELD = FlowFilter(
    source_ip=("10.0.0.1",),
    source_pod=("shop/cart-", "shop/web-"),
    source_label=("k8s:a=b",),
    destination_ip=("fd00::1",),
    destination_pod=("shop/",),
    destination_label=("k8s:c=d",),
    destination_port=("53",),
    verdict=("DROPPED", "ERROR"),
    protocol=("dns",),
    reply=(False, True),
    dns_query=("^a",),
    node_name=("n1",),
)


def test_filters_are_written_field_by_field() -> None:
    whitelist = flows_request([EVERY_FIELD, FlowFilter()]).whitelist
    assert len(whitelist) == 2
    assert {descriptor.name for descriptor, _ in whitelist[0].ListFields()} == set(
        FlowFilter.__struct_fields__
    )
    assert list(whitelist[0].source_pod) == ["shop/cart-", "shop/web-"]
    assert list(whitelist[0].verdict) == [pb.DROPPED, pb.ERROR]
    assert list(whitelist[0].reply) == [False, True]
    assert whitelist[1].ListFields() == []


def test_a_relay_reads_what_is_asked_for() -> None:
    request = as_schema(
        GetFlowsRequest,
        flows_request([], since_ns=START_NS, until_ns=0, follow=True, number=20, first=True),
    )
    assert (request.follow, request.number, request.first) == (True, 20, True)
    assert request.since.ToNanoseconds() == START_NS
    assert request.HasField("until")
    assert request.until.ToNanoseconds() == 0


def test_what_is_not_asked_for_is_absent() -> None:
    assert flows_request([], mask=False) == pb.GetFlowsRequest()


def test_a_mask_has_paths_of_a_flow_only() -> None:
    mask = flows_request([]).field_mask
    assert list(mask.paths) == list(FIELD_MASK)
    for path in FIELD_MASK:
        descriptor = Flow.DESCRIPTOR
        for name in path.split("."):
            descriptor = descriptor.fields_by_name[name].message_type


def test_a_verdict_of_no_version_is_refused() -> None:
    with pytest.raises(ValueError, match="EATEN"):
        flows_request([FlowFilter(verdict=("EATEN",))])
