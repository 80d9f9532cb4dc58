"""The oracle of FlowFilter itself: cases read from Cilium's `pkg/hubble/filters` and seen on a real relay."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_hubble import hubble_pb2 as pb
from support.hubble_filters import FilterError, matches, selection
from support.hubble_flows import (
    CLIENT,
    COREDNS,
    POLICY_VERDICT,
    Pod,
    denied,
    dropped_packet,
    refused,
    request,
    response,
)
from support.hubble_schema import Flow, FlowFilter

ASK = request("a.example.com.", "AAAA")
ANSWER = response(ASK, ips=["2001:db8::1"])
PACKET = dropped_packet(protocol="TCP")
V6 = request(client=Pod("six", "fd00::17", "lab"), server=Pod("dns", "fd00::53", "kube-system"))

MATCHES: list[tuple[dict[str, Any], Any, bool]] = [
    ({}, ASK, True),
    ({"protocol": ["dns"]}, ASK, True),
    ({"protocol": ["DNS"]}, ANSWER, True),
    ({"protocol": ["dns"]}, PACKET, False),
    ({"protocol": ["udp"]}, ASK, True),
    ({"protocol": ["tcp"]}, ASK, False),
    ({"protocol": ["dns", "tcp"]}, PACKET, True),
    ({"source_pod": ["lab/client"]}, ASK, True),
    ({"source_pod": ["lab/client-w4q7t"]}, ASK, True),
    ({"source_pod": ["lab/client-w4q7tx"]}, ASK, False),
    ({"source_pod": ["lab/"]}, ASK, True),
    ({"source_pod": ["la/"]}, ASK, False),
    ({"source_pod": ["/client"]}, ASK, True),
    ({"source_pod": ["client"]}, ASK, False),
    ({"source_pod": ["default/", "lab/"]}, ASK, True),
    ({"source_pod": ["client"]}, request(client=Pod("client-1", "10.0.0.1", "default")), True),
    ({"source_pod": ["lab/"]}, ANSWER, False),
    ({"destination_pod": ["lab/"]}, ANSWER, True),
    ({"source_pod": ["/"]}, ASK, True),
    ({"source_pod": ["/"]}, Flow(), False),
    ({"source_label": ["k8s:app=client"]}, ASK, True),
    ({"source_label": ["app=client"]}, ASK, True),
    ({"source_label": ["any:app=client"]}, ASK, True),
    ({"source_label": ["reserved:app=client"]}, ASK, False),
    ({"source_label": ["app"]}, ASK, True),
    ({"source_label": ["app=client,nope"]}, ASK, False),
    ({"source_label": ["nope", "app=client"]}, ASK, True),
    ({"source_label": ["io.kubernetes.pod.namespace=lab"]}, ASK, True),
    ({"source_label": ["app!=client"]}, ASK, False),
    ({"source_label": ["app!=server"]}, ASK, True),
    ({"source_label": ["!nope"]}, ASK, True),
    ({"reply": [False]}, ASK, True),
    ({"reply": [True]}, ASK, False),
    ({"reply": [True, False]}, ANSWER, True),
    ({"reply": [False]}, PACKET, True),
    ({"reply": [True]}, PACKET, False),
    ({"reply": [False]}, Flow(verdict="FORWARDED"), False),
    ({"dns_query": ["example"]}, ASK, True),
    ({"dns_query": [r"^a\.example\.com\.$"]}, ASK, True),
    ({"dns_query": [r"^a\.example\.com$"]}, ASK, False),
    ({"dns_query": ["EXAMPLE"]}, ASK, False),
    ({"dns_query": ["(?i)EXAMPLE"]}, ASK, True),
    ({"dns_query": ["nope", r"com\.$"]}, ASK, True),
    ({"dns_query": [""]}, ASK, True),
    ({"dns_query": [""]}, PACKET, False),
    ({"node_name": ["kdns-n1"]}, ASK, True),
    ({"node_name": ["default/kdns-n1"]}, ASK, True),
    ({"node_name": ["other/kdns-n1"]}, ASK, False),
    ({"node_name": ["*n1"]}, ASK, True),
    ({"node_name": ["KDNS-*"]}, ASK, True),
    ({"node_name": ["default/"]}, ASK, True),
    ({"node_name": ["/kdns-n1"]}, ASK, True),
    ({"node_name": ["kdns"]}, ASK, False),
    ({"node_name": ["kdns", "kdns-n1"]}, ASK, True),
    ({"destination_port": ["53"]}, ASK, True),
    ({"destination_port": ["53"]}, ANSWER, False),
    ({"source_port": ["53"]}, ANSWER, True),
    ({"destination_port": ["54", "53"]}, PACKET, True),
    ({"verdict": ["DROPPED"]}, PACKET, True),
    ({"verdict": ["DROPPED"]}, denied(), True),
    ({"verdict": ["ERROR"]}, refused(ASK), True),
    ({"verdict": ["FORWARDED", "ERROR"]}, ASK, True),
    ({"source_ip": [CLIENT.ip]}, ASK, True),
    ({"source_ip": ["10.244.0.0/16"]}, ASK, True),
    ({"source_ip": ["10.244.1.93/8"]}, ASK, True),
    ({"source_ip": ["10.245.0.0/16"]}, ASK, False),
    ({"destination_ip": [CLIENT.ip]}, ANSWER, True),
    ({"source_ip": ["fd00::/8"]}, V6, True),
    ({"source_ip": ["fd00:0::17"]}, V6, False),  # addresses are compared as text
    ({"source_ip": ["0.0.0.0/0"]}, V6, False),
    ({"source_ip": ["0.0.0.0/0"]}, Flow(), False),
    ({"event_type": [{"type": 129}]}, ASK, True),
    ({"event_type": [{"type": 1}]}, PACKET, True),
    ({"event_type": [{"type": 5}]}, dropped_packet(event_type=POLICY_VERDICT), True),
    ({"source_workload": [{"name": "client"}]}, ASK, True),
    ({"source_workload": [{"kind": "DaemonSet"}]}, ASK, True),
    ({"destination_workload": [{"name": "coredns"}]}, ASK, False),  # it is not an endpoint of this node
    ({"uuid": [ASK.uuid]}, ASK, True),
    ({"uuid": [ASK.uuid]}, ANSWER, False),
    ({"protocol": ["dns"], "reply": [False], "source_pod": ["lab/"], "verdict": ["FORWARDED"]}, ASK, True),
    ({"protocol": ["dns"], "reply": [True], "source_pod": ["lab/"], "verdict": ["FORWARDED"]}, ASK, False),
]


@pytest.mark.parametrize("schema", [FlowFilter, pb.FlowFilter], ids=["tests", "kdns"])
@pytest.mark.parametrize(("fields", "flow", "wanted"), MATCHES)
def test_every_field_of_a_filter(schema: Any, fields: dict[str, Any], flow: Any, wanted: bool) -> None:
    assert matches(schema(**fields), flow) is wanted


def test_a_flow_may_be_of_kdns_own_schema() -> None:
    flow = pb.Flow.FromString(ASK.SerializeToString())
    assert matches(FlowFilter(source_label=["app=client"], event_type=[{"type": 129}]), flow)


@pytest.mark.parametrize("service", ["default/kubernetes", "kube-system/kube-dns"])
def test_services_are_not_in_flows_of_dns(service: str) -> None:
    assert not matches(FlowFilter(destination_service=[service]), ASK)


def test_lists_are_or_and_the_blacklist_wins() -> None:
    dns, drops = FlowFilter(protocol=["dns"]), FlowFilter(destination_port=["53"], verdict=["DROPPED"])
    assert selection([], [])(PACKET)
    assert selection([dns, drops], [])(PACKET)
    assert selection([dns, drops], [])(ASK)
    assert not selection([dns], [])(PACKET)
    assert not selection([dns, drops], [FlowFilter(verdict=["DROPPED"])])(PACKET)
    assert not selection([], [dns])(ASK)


@pytest.mark.parametrize(
    ("labels", "select", "wanted"),
    [
        (["label1"], "label1", True),
        (["label1=val1"], "label1", True),
        (["label1"], "label1=val1", False),
        (["label1=val1=toomuch"], "label1=val1", False),
        (["label1"], "label1 in (val1, val2), label3 notin ()", False),
        (["label1=val1"], "label1 in (val1, val2), label3 notin ()", True),
        (["label1=val2", "label2=val1", "label3=val3"], "label1 in (val1, val2), label3 notin ()", True),
        (["label1=val2", "label3"], "label1 in (val1, val2), label3 notin ()", False),
        ([], "", True),
        ([""], "", True),
        (["k8s.app=bar"], "k8s:app=bar", False),
        (["container:foo=bar", "reserved:host"], "reserved:host", True),
        (["$host"], "reserved:host", True),
        (["k8s.app=bar"], "!k8s:app", True),
        (["k8s:app=bar"], "!k8s:app", False),
        (["any.key"], "any:key", False),
        (["reserved:key"], "key", True),
        (["k8s:key.with.dot"], "key.with.dot", True),
        (["key:with.dot"], "key.with.dot", False),
        (["k8s:label.com/foobar=x"], "label.com/foobar=x", True),
        (["n=5"], "n > 4", True),
        (["n=5"], "n < 4", False),
        (["n=five"], "n > 4", False),
        (["a=b"], "a in (b,)", True),
        (["a"], "a in (b,)", True),
        (["a=b"], "a==b", True),
    ],
)
def test_label_selectors_of_ciliums_own_tests(labels: list[str], select: str, wanted: bool) -> None:
    assert matches(FlowFilter(source_label=[select]), Flow(source={"labels": labels})) is wanted


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"dns_query": ["("]}, r"invalid DNS query filter: failed to compile regexp: error parsing regexp: "),
        ({"dns_query": [r"(?=a)"]}, "failed to compile regexp"),
        ({"source_pod": [""]}, "invalid filter, name must not be empty"),
        ({"source_ip": ["10.0.0"]}, 'invalid IP address "10.0.0" in filter'),
        ({"source_ip": ["10.0.0.0/33"]}, 'invalid IP prefix "10.0.0.0/33" in filter'),
        ({"protocol": ["quic"]}, 'invalid protocol filter: unknown protocol: "quic"'),
        ({"destination_port": ["65536"]}, 'invalid destination port filter: invalid port "65536"'),
        ({"source_port": ["dns"]}, 'invalid source port filter: invalid port "dns"'),
        ({"node_name": [""]}, "empty pattern"),
        ({"node_name": ["a/b/c"]}, "too many slashes in pattern"),
        ({"node_name": ["n1.."]}, "multiple trailing dots in pattern"),
        ({"node_name": ["n{1,2}"]}, "invalid rune in pattern"),
        ({"source_label": ["()"]}, "invalid source label filter: "),
        ({"destination_label": ["="]}, "invalid destination label filter: "),
        ({"node_labels": ["!"]}, "invalid node label filter: "),
        ({"source_label": ["any:k8s:bla"]}, "invalid source label filter: "),
        ({"source_label": ["a in (b c)"]}, "invalid source label filter: "),
        ({"source_label": ["a,"]}, "invalid source label filter: "),
    ],
)
def test_what_an_agent_rejects(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(FilterError) as error:
        selection([FlowFilter(), FlowFilter(**fields)], [])
    assert says in str(error.value)


def test_a_field_that_this_server_does_not_know_is_not_passed_over() -> None:
    http_path = FlowFilter.FromString(b"\xb2\x01\x01/")  # field 22
    with pytest.raises(FilterError, match="no field 22"):
        matches(http_path, ASK)


def test_an_answer_comes_from_the_server() -> None:
    assert matches(FlowFilter(source_pod=[f"kube-system/{COREDNS.name}"], source_port=["53"]), ANSWER)
