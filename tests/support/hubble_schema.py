"""Hubble's messages as a relay knows them, for tests: a second schema beside `hubble_pb2`, which is cut down.

Names and numbers of `api/v1/{observer,flow,relay}/*.proto` of Cilium 1.17, as far as DNS meets them. It is
on its own so that a mistake in `hubble.proto` cannot hide: what these classes write, kdns has to read.
"""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf import field_mask_pb2 as _mask
from google.protobuf import timestamp_pb2 as _timestamp
from google.protobuf import wrappers_pb2 as _wrappers
from google.protobuf.message import Message

PACKAGE = "kdns.test.hubble"

# One enum a line; values count from 0 unless a number stands there.
ENUMS = """
Verdict VERDICT_UNKNOWN FORWARDED DROPPED ERROR AUDIT REDIRECTED TRACED TRANSLATED
FlowType UNKNOWN_TYPE L3_L4 L7 SOCK
L7FlowType UNKNOWN_L7_TYPE REQUEST RESPONSE SAMPLE
IPVersion IP_NOT_USED IPv4 IPv6
TrafficDirection TRAFFIC_DIRECTION_UNKNOWN INGRESS EGRESS
DropReason DROP_REASON_UNKNOWN INVALID_SOURCE_IP=132 POLICY_DENIED UNSUPPORTED_L3_PROTOCOL=139 POLICY_DENY=181
LostEventSource UNKNOWN_LOST_EVENT_SOURCE PERF_EVENT_RING_BUFFER OBSERVER_EVENTS_QUEUE HUBBLE_RING_BUFFER
NodeState UNKNOWN_NODE_STATE NODE_CONNECTED NODE_UNAVAILABLE NODE_GONE NODE_ERROR
"""

# One message a line: name=number:type, `*` for repeated, `oneof/` before the name of a member of a oneof.
MESSAGES = """
GetFlowsRequest number=1:uint64 follow=3:bool blacklist=5:*FlowFilter whitelist=6:*FlowFilter since=7:Timestamp until=8:Timestamp first=9:bool field_mask=10:FieldMask experimental=999:RequestExperimental
RequestExperimental field_mask=1:FieldMask
GetFlowsResponse response_types/flow=1:Flow response_types/node_status=2:NodeStatusEvent response_types/lost_events=3:LostEvent node_name=1000:string time=1001:Timestamp
ServerStatusRequest
ServerStatusResponse num_flows=1:uint64 max_flows=2:uint64 seen_flows=3:uint64 uptime_ns=4:uint64 num_connected_nodes=5:UInt32Value num_unavailable_nodes=6:UInt32Value unavailable_nodes=7:*string version=8:string flows_rate=9:double
GetNodesRequest
GetNodesResponse nodes=1:*Node
Node name=1:string version=2:string address=3:string state=4:NodeState tls=5:TLS uptime_ns=6:uint64 num_flows=7:uint64 max_flows=8:uint64 seen_flows=9:uint64
TLS enabled=1:bool server_name=2:string
GetNamespacesRequest
GetNamespacesResponse namespaces=1:*Namespace
Namespace cluster=1:string namespace=2:string
NodeStatusEvent state_change=1:NodeState node_names=2:*string message=3:string
LostEvent source=1:LostEventSource num_events_lost=2:uint64 cpu=3:Int32Value
Flow time=1:Timestamp verdict=2:Verdict drop_reason=3:uint32 ethernet=4:Ethernet IP=5:IP l4=6:Layer4 source=8:Endpoint destination=9:Endpoint Type=10:FlowType node_name=11:string source_names=13:*string destination_names=14:*string l7=15:Layer7 reply=16:bool event_type=19:CiliumEventType source_service=20:Service destination_service=21:Service traffic_direction=22:TrafficDirection drop_reason_desc=25:DropReason is_reply=26:BoolValue uuid=34:string node_labels=37:*string file=38:FileInfo egress_allowed_by=21001:*Policy ingress_allowed_by=21002:*Policy egress_denied_by=21004:*Policy ingress_denied_by=21005:*Policy Summary=100000:string
Ethernet source=1:string destination=2:string
IP source=1:string destination=2:string ipVersion=3:IPVersion encrypted=4:bool source_xlated=5:string
Layer4 protocol/TCP=1:TCP protocol/UDP=2:Ports protocol/ICMPv4=3:ICMP protocol/ICMPv6=4:ICMP protocol/SCTP=5:Ports
TCP source_port=1:uint32 destination_port=2:uint32 flags=3:TCPFlags
TCPFlags FIN=1:bool SYN=2:bool RST=3:bool PSH=4:bool ACK=5:bool
Ports source_port=1:uint32 destination_port=2:uint32
ICMP type=1:uint32 code=2:uint32
Endpoint ID=1:uint32 identity=2:uint32 namespace=3:string labels=4:*string pod_name=5:string workloads=6:*Workload cluster_name=7:string
Workload name=1:string kind=2:string
Layer7 type=1:L7FlowType latency_ns=2:uint64 record/dns=100:DNS record/http=101:HTTP
DNS query=1:string ips=2:*string ttl=3:uint32 cnames=4:*string observation_source=5:string rcode=6:uint32 qtypes=7:*string rrtypes=8:*string
HTTP code=1:uint32 method=2:string url=3:string protocol=4:string
CiliumEventType type=1:int32 sub_type=2:int32
Service name=1:string namespace=2:string
FileInfo name=1:string line=2:uint32
Policy name=1:string namespace=2:string labels=3:*string revision=4:uint64 kind=5:string
FlowFilter source_ip=1:*string source_pod=2:*string destination_ip=3:*string destination_pod=4:*string verdict=5:*Verdict event_type=6:*EventTypeFilter source_fqdn=7:*string destination_fqdn=8:*string source_label=10:*string destination_label=11:*string protocol=12:*string source_port=13:*string destination_port=14:*string reply=15:*bool source_service=16:*string destination_service=17:*string dns_query=18:*string source_identity=19:*uint32 destination_identity=20:*uint32 node_name=24:*string ip_version=25:*IPVersion source_workload=26:*Workload destination_workload=27:*Workload uuid=29:*string traffic_direction=30:*TrafficDirection drop_reason_desc=33:*DropReason node_labels=36:*string
EventTypeFilter type=1:int32 match_sub_type=2:bool sub_type=3:int32
HealthCheckRequest service=1:string
HealthCheckResponse status=1:int32
"""  # noqa: E501 (a table)

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    name: getattr(_Field, f"TYPE_{name.upper()}")
    for name in ("string", "bool", "double", "int32", "uint32", "uint64")
}
_KNOWN = ("Timestamp", "FieldMask", "BoolValue", "Int32Value", "UInt32Value")


def _file() -> descriptor_pb2.FileDescriptorProto:
    known = [module.DESCRIPTOR.name for module in (_mask, _timestamp, _wrappers)]
    file = descriptor_pb2.FileDescriptorProto(
        name="kdns_test_hubble.proto", package=PACKAGE, syntax="proto3", dependency=known
    )
    for line in ENUMS.split("\n")[1:-1]:
        name, *values = line.split()
        enum = file.enum_type.add(name=name)
        number = -1
        for value in values:
            value, _, given = value.partition("=")
            number = int(given) if given else number + 1
            enum.value.add(name=value, number=number)
    enums = {enum.name for enum in file.enum_type}
    for line in MESSAGES.split("\n")[1:-1]:
        name, *fields = line.split()
        message = file.message_type.add(name=name)
        for field in fields:
            _add_field(message, field, enums)
    return file


def _add_field(message: descriptor_pb2.DescriptorProto, text: str, enums: set[str]) -> None:
    name, _, rest = text.partition("=")
    oneof, _, name = name.rpartition("/")
    number, _, kind = rest.partition(":")
    field = message.field.add(name=name, number=int(number), label=_Field.LABEL_OPTIONAL)
    if kind.startswith("*"):
        field.label, kind = _Field.LABEL_REPEATED, kind[1:]
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_ENUM if kind in enums else _Field.TYPE_MESSAGE
        field.type_name = f".{'google.protobuf' if kind in _KNOWN else PACKAGE}.{kind}"
    if oneof:
        if oneof not in [one.name for one in message.oneof_decl]:
            message.oneof_decl.add(name=oneof)
        field.oneof_index = [one.name for one in message.oneof_decl].index(oneof)


_pool = descriptor_pool.Default()
_pool.Add(_file())


def _class(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))


Flow = _class("Flow")
FlowFilter = _class("FlowFilter")
GetFlowsRequest = _class("GetFlowsRequest")
GetFlowsResponse = _class("GetFlowsResponse")
GetNamespacesRequest = _class("GetNamespacesRequest")
GetNamespacesResponse = _class("GetNamespacesResponse")
GetNodesRequest = _class("GetNodesRequest")
GetNodesResponse = _class("GetNodesResponse")
HealthCheckRequest = _class("HealthCheckRequest")
HealthCheckResponse = _class("HealthCheckResponse")
ServerStatusRequest = _class("ServerStatusRequest")
ServerStatusResponse = _class("ServerStatusResponse")

M = TypeVar("M", bound=Message)


def as_schema(kind: type[M], message: Message) -> M:
    """`message`, which may be of kdns's own schema, as `kind` of this one; unknown fields come along."""
    return message if isinstance(message, kind) else kind.FromString(message.SerializeToString())
