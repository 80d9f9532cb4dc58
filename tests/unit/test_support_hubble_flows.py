"""Flows for tests: the same as those of a real Cilium 1.17.4, and readable by kdns's own schema."""

from __future__ import annotations

import json
from typing import Any

import pytest
from google.protobuf import json_format

from kdns_hubble import hubble_pb2 as pb
from support.hubble_flows import (
    CLIENT,
    COREDNS,
    NO_TTL,
    POLICY_VERDICT,
    START_NS,
    Pod,
    denied,
    dropped_packet,
    enveloped,
    json_fields,
    json_line,
    json_lines,
    large,
    lost,
    node_status,
    of_the_future,
    refused,
    request,
    response,
    seen_ns,
    unknown_response,
)
from support.hubble_schema import Flow, GetFlowsResponse

# Printed by `hubble observe -o jsonpb` of Cilium 1.17.4; of the labels and of node_labels only some are left.
REAL = """{"flow":{"time":"2026-11-23T14:06:42.753169789Z","uuid":"ed04e209-1308-4dcc-b0fa-6771fa4db95c",
"verdict":"FORWARDED","IP":{"source":"10.244.1.14","destination":"10.244.2.57","ipVersion":"IPv4"},
"l4":{"TCP":{"source_port":53,"destination_port":52278}},"source":{"identity":34227,"cluster_name":"default",
"namespace":"kube-system","labels":["k8s:k8s-app=kube-dns"],"pod_name":"coredns-66bc5c9577-4ml4q"},
"destination":{"ID":1144,"identity":14144,"cluster_name":"default","namespace":"kdns-v-a",
"labels":["k8s:app=web"],"pod_name":"web-jkz8f","workloads":[{"name":"web","kind":"DaemonSet"}]},"Type":"L7",
"node_name":"kdns-n2","node_labels":["kubernetes.io/hostname=kdns-n2","kubernetes.io/os=linux"],
"l7":{"type":"RESPONSE","dns":{"query":"example.com.","ips":["93.184.215.14"],"ttl":8,
"observation_source":"proxy","qtypes":["A"],"rrtypes":["A"]}},"reply":true,"event_type":{"type":129},
"traffic_direction":"EGRESS","is_reply":true,
"Summary":"DNS Answer \\"93.184.215.14\\" TTL: 8 (Proxy example.com. A)"},
"node_name":"kdns-n2","time":"2026-11-23T14:06:42.753169789Z"}"""

ASK = request("a.example.com.", "AAAA")


def test_a_response_is_the_one_of_a_real_cilium() -> None:
    web = Pod("web-jkz8f", "10.244.2.57", "kdns-v-a", "k8s:app=web", "kdns-n2", ("web", "DaemonSet"), 14144)
    dns = Pod(
        "coredns-66bc5c9577-4ml4q", "10.244.1.14", "kube-system", "k8s:k8s-app=kube-dns", identity=34227
    )
    real = json.loads(REAL)
    flow = response(request(client=web, server=dns, port=52278, protocol="TCP"), ips=["93.184.215.14"], ttl=8)
    flow.uuid = real["flow"]["uuid"]
    flow.time.FromJsonString(real["flow"]["time"])
    for end in (flow.source, flow.destination):
        end.labels[:] = [label for label in end.labels if "app=" in label]
    assert json.loads(json_line(enveloped(flow))) == real


def test_what_is_written_is_read_by_kdns() -> None:
    answer = response(ASK, rcode=3, cnames=["b.example.com."], after_ns=5)
    read = pb.GetFlowsResponse.FromString(enveloped(answer).SerializeToString())
    assert (read.WhichOneof("response_types"), read.node_name) == ("flow", "kdns-n1")
    flow = read.flow
    assert flow.time.ToNanoseconds() == START_NS + 5
    assert (flow.verdict, flow.is_reply.value, flow.uuid) == (pb.FORWARDED, True, answer.uuid)
    ip, l4, l7 = pb.IP.FromString(flow.IP), pb.Layer4.FromString(flow.l4), pb.Layer7.FromString(flow.l7)
    assert (ip.source, ip.destination) == (COREDNS.ip, CLIENT.ip)
    assert (l4.UDP.source_port, l4.UDP.destination_port) == (53, 40000)
    assert (l7.type, l7.dns.query, l7.dns.rcode, l7.dns.ttl) == (pb.RESPONSE, "a.example.com.", 3, 30)
    assert (list(l7.dns.qtypes), list(l7.dns.rrtypes), list(l7.dns.cnames)) == (
        ["AAAA"],
        ["CNAME"],
        ["b.example.com."],
    )
    client = pb.Endpoint.FromString(flow.destination)
    assert (client.namespace, client.pod_name) == ("lab", CLIENT.name)
    assert [(one.name, one.kind) for one in client.workloads] == [("client", "DaemonSet")]
    assert not pb.Endpoint.FromString(flow.source).workloads


def numbers(file: Any) -> dict[str, int]:
    """Every field and enum value of a schema, by name."""
    found = {}
    for message in file.message_types_by_name.values():
        found |= {f"{message.name}.{field.name}": field.number for field in message.fields}
    for enum in file.enum_types_by_name.values():
        found |= {f"{enum.name}.{value.name}": value.number for value in enum.values}
    return found


def test_both_schemas_agree_where_they_meet() -> None:
    ours, kdns = numbers(Flow.DESCRIPTOR.file), numbers(pb.DESCRIPTOR)
    both = ours.keys() & kdns.keys()
    assert len(both) > 100
    assert {name: kdns[name] for name in both} == {name: ours[name] for name in both}


def test_what_never_gets_a_response() -> None:
    again = refused(ASK)
    assert (again.verdict, again.l7.type, again.l7.dns.query) == (3, 1, "a.example.com.")
    assert again.uuid != ASK.uuid
    assert seen_ns(again) > seen_ns(ASK)
    no = denied("x.test.")
    assert (no.verdict, no.l7.type, no.drop_reason_desc) == (2, 1, 0)


@pytest.mark.parametrize("event_type", [1, POLICY_VERDICT])
def test_a_dropped_packet_has_no_l7_and_does_not_say_whether_it_is_a_reply(event_type: int) -> None:
    flow = dropped_packet(event_type=event_type)
    assert (flow.drop_reason_desc, flow.event_type.type, flow.l4.UDP.destination_port) == (
        133,
        event_type,
        53,
    )
    assert not flow.HasField("l7")
    assert not flow.HasField("is_reply")


def test_an_answer_without_addresses_has_the_ttl_that_is_none() -> None:
    assert response(ASK).l7.dns.ttl == NO_TTL


def test_protojson_leaves_defaults_out_and_writes_64_bits_as_text() -> None:
    fields = json_fields(enveloped(response(ASK)))
    assert "rcode" not in fields["flow"]["l7"]["dns"]
    assert json_fields(lost(count=3))["lost_events"] == {
        "source": "OBSERVER_EVENTS_QUEUE",
        "num_events_lost": "3",
    }
    status = json_fields(node_status("NODE_GONE", "kdns-n1", "kdns-n2"))["node_status"]
    assert status == {"state_change": "NODE_GONE", "node_names": ["kdns-n1", "kdns-n2"]}


def test_lines_are_envelopes_and_a_bare_flow_is_the_legacy_form() -> None:
    flow, gone = json_lines([ASK, node_status("NODE_GONE", "kdns-n1")]).splitlines()
    assert set(json.loads(flow)) == {"flow", "node_name", "time"}
    assert set(json.loads(gone)) == {"node_status", "node_name", "time"}
    assert json.loads(json_line(ASK)) == json.loads(flow)["flow"]
    assert json_format.Parse(flow, GetFlowsResponse()) == enveloped(ASK)


def test_a_message_of_kdns_prints_as_the_same_line() -> None:
    message = enveloped(response(ASK, ips=["2001:db8::1"]))
    assert json_line(pb.GetFlowsResponse.FromString(message.SerializeToString())) == json_line(message)


def test_the_future() -> None:
    flow = of_the_future(response(ASK))
    read = pb.Flow.FromString(flow.SerializeToString())
    assert (read.verdict, read.drop_reason_desc) == (42, 250)
    assert pb.Layer7.FromString(read.l7).dns.query == "a.example.com."
    assert json_fields(flow)["verdict"] == 42
    message = pb.GetFlowsResponse.FromString(unknown_response())
    assert (message.WhichOneof("response_types"), message.node_name) == (None, "kdns-n1")


def test_a_large_flow_is_still_a_flow() -> None:
    data = large(request(), 1 << 20).SerializeToString()
    assert len(data) > 1 << 20
    assert pb.Flow.FromString(data).node_name == "kdns-n1"
