"""API objects as the directory sees them: owners by name, addresses, starts and ends."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns import endpoints
from kubectl_kdns.address_index import AddressIndex
from kubectl_kdns.kube.objects import (
    EndpointSlice,
    Meta,
    Node,
    Owner,
    Pod,
    Service,
    endpoints_of,
    node_of,
    pod_of,
    service_of,
    workload_of,
)
from kubectl_kdns.model import Workload
from kubectl_kdns.times import parse_time

CREATED_NS = parse_time("2026-11-23T10:00:00Z")
MINUTE = CREATED_NS // 60_000_000_000
NOW_NS = parse_time("2026-11-23T12:00:00Z")


@pytest.mark.parametrize(
    ("kind", "name", "labels", "expected"),
    [
        ("ReplicaSet", "web-5d9c7bf6c8", {"pod-template-hash": "5d9c7bf6c8"}, ("Deployment", "web")),
        ("ReplicaSet", "a-b-5d9c", {"pod-template-hash": "5d9c"}, ("Deployment", "a-b")),
        ("ReplicaSet", "web-5d9c", {"pod-template-hash": "other"}, ("ReplicaSet", "web-5d9c")),
        ("ReplicaSet", "web-5d9c", {}, ("ReplicaSet", "web-5d9c")),
        ("ReplicaSet", "web-", {"pod-template-hash": ""}, ("ReplicaSet", "web-")),
        ("ReplicaSet", "web-5d9c", {"rollouts-pod-template-hash": "5d9c"}, ("Rollout", "web")),
        ("Job", f"backup-{MINUTE}", {}, ("CronJob", "backup")),
        ("Job", f"a-b-{MINUTE - 600}", {}, ("CronJob", "a-b")),
        ("Job", "backup-20261123", {}, ("Job", "backup-20261123")),
        ("Job", "backup", {}, ("Job", "backup")),
        ("StatefulSet", "db", {}, ("StatefulSet", "db")),
        ("DaemonSet", "agent", {}, ("DaemonSet", "agent")),
        ("Node", "n1", {}, None),
    ],
)
def test_what_a_pod_belongs_to(
    kind: str, name: str, labels: dict[str, str], expected: tuple[str, str] | None
) -> None:
    meta = Meta(labels=labels, owner_references=[Owner("Other", "x"), Owner(kind, name, True)])
    assert workload_of(meta, CREATED_NS) == (Workload(*expected) if expected else UNSET)


def test_a_bare_pod_belongs_to_nobody() -> None:
    assert workload_of(Meta(), CREATED_NS) is UNSET
    assert workload_of(Meta(owner_references=[Owner("Foo", "not its controller")]), CREATED_NS) is UNSET


def pod(index: AddressIndex, **parts: Any) -> endpoints.Pod:
    base: dict[str, Any] = {
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u1",
            "labels": {"app": "web"},
            "creationTimestamp": "2026-11-23T10:00:00Z",
            "managedFields": [{"anything": ["else"]}],
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {
            "phase": "Running",
            "podIP": "10.1.0.7",
            "podIPs": [{"ip": "10.1.0.7"}, {"ip": "fd00::7"}],
            "startTime": "2026-11-23T10:00:02Z",
        },
    }
    merged = {key: {**value, **parts.get(key, {})} for key, value in base.items()}
    return pod_of(msgspec.json.decode(msgspec.json.encode(merged), type=Pod), index, NOW_NS)


def test_a_running_pod() -> None:
    index = AddressIndex()
    assert pod(index) == endpoints.Pod(
        namespace="shop",
        name="web-1",
        uid="u1",
        labels=index.labels({"app": "web"}),
        node="n1",
        workload=UNSET,
        ips=("10.1.0.7", "fd00::7"),
        start_ns=CREATED_NS + 2_000_000_000,
        end_ns=None,
    )


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ({"spec": {"hostNetwork": True}}, {"ips": ()}),
        ({"status": {"podIPs": None}}, {"ips": ("10.1.0.7",)}),
        ({"status": {"podIPs": [], "podIP": ""}}, {"ips": ()}),
        ({"spec": {"nodeName": ""}}, {"node": UNSET}),
        ({"status": {"startTime": None}}, {"start_ns": CREATED_NS}),
        ({"status": {"startTime": "soon"}}, {"start_ns": CREATED_NS}),
        ({"status": {"phase": "Failed"}}, {"end_ns": NOW_NS}),
        (
            {
                "status": {
                    "phase": "Succeeded",
                    "containerStatuses": [
                        {"state": {"terminated": {"finishedAt": "2026-11-23T10:05:00Z"}}},
                        {"state": {"terminated": {"finishedAt": "2026-11-23T10:04:00Z"}}},
                    ],
                }
            },
            {"end_ns": CREATED_NS + 301_000_000_000},
        ),
        (
            {
                "status": {
                    "phase": "Failed",
                    "containerStatuses": [
                        {"state": {"terminated": {"finishedAt": None}}},
                        {"state": {"waiting": {}}},
                    ],
                }
            },
            {"end_ns": NOW_NS},
        ),
    ],
)
def test_other_pods(parts: dict[str, Any], expected: dict[str, Any]) -> None:
    made = pod(AddressIndex(), **parts)
    assert {name: getattr(made, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("obj", "expected"),
    [
        (
            {
                "metadata": {"name": "kube-dns", "namespace": "kube-system"},
                "spec": {
                    "clusterIP": "10.96.0.10",
                    "clusterIPs": ["10.96.0.10", "fd00::a"],
                    "externalIPs": ["192.0.2.1"],
                    "selector": {"k8s-app": "kube-dns"},
                    "ports": [{"name": "metrics", "port": 9153}, {"name": "dns", "port": 53}],
                },
                "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.2"}, {"hostname": "x"}]}},
            },
            endpoints.Service(
                "kube-system",
                "kube-dns",
                ("10.96.0.10", "fd00::a", "192.0.2.1", "192.0.2.2"),
                {"k8s-app": "kube-dns"},
                True,
            ),
        ),
        (
            {
                "metadata": {"name": "dns", "namespace": "dns", "labels": {"k8s-app": "kube-dns"}},
                "spec": {"clusterIP": "None", "ports": [{"port": 53}]},
            },
            endpoints.Service("dns", "dns", (), {}, True),
        ),
        (
            {
                "metadata": {"name": "coredns", "namespace": "a"},
                "spec": {"clusterIP": "", "ports": [{"port": 80}]},
            },
            endpoints.Service("a", "coredns"),
        ),
        (
            {"metadata": {"name": "out", "namespace": "a"}, "spec": {"type": "ExternalName", "ports": None}},
            endpoints.Service("a", "out"),
        ),
    ],
)
def test_services(obj: dict[str, Any], expected: endpoints.Service) -> None:
    assert service_of(msgspec.convert(obj, Service)) == expected


def test_slices_made_by_hand() -> None:
    slice_: dict[str, Any] = {
        "metadata": {"name": "db-1", "namespace": "a", "labels": {"kubernetes.io/service-name": "db"}},
        "endpoints": [{"addresses": ["192.0.2.1", "192.0.2.2"]}, {"addresses": None}],
    }
    made = endpoints_of(msgspec.convert(slice_, EndpointSlice))
    assert made == endpoints.Endpoints("a", "db-1", "db", ("192.0.2.1", "192.0.2.2"))
    empty = {"metadata": {"name": "x", "namespace": "a"}, "endpoints": None}
    assert endpoints_of(msgspec.convert(empty, EndpointSlice)) == endpoints.Endpoints("a", "x", "x", ())


def test_a_node_has_the_addresses_of_its_tunnels_and_bridges_too() -> None:
    node = {
        "metadata": {
            "name": "n1",
            "annotations": {"projectcalico.org/IPv4IPIPTunnelAddr": "10.9.0.1", "other": "text"},
        },
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00:1::/64", "nonsense"]},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": "192.168.0.1"},
                {"type": "ExternalIP", "address": "192.0.2.9"},
                {"type": "Hostname", "address": "n1"},
            ]
        },
    }
    assert node_of(msgspec.convert(node, Node)) == endpoints.Node(
        "n1",
        ("192.168.0.1", "192.0.2.9", "10.9.0.1", "10.1.0.0", "10.1.0.1", "fd00:1::", "fd00:1::1"),
        ("10.1.0.0/24", "fd00:1::/64", "nonsense"),
    )
    bare = node_of(msgspec.convert({"metadata": {"name": "n2"}}, Node))
    assert bare == endpoints.Node("n2")


def test_what_a_server_calls_things_is_made_safe() -> None:
    evil = {"name": "a\x1b[2J", "namespace": "b\x1b", "uid": "c\x1b"}
    owner = {"kind": "Deploy\x1b", "name": "d\x1b", "controller": True}
    made = pod(AddressIndex(), metadata={**evil, "ownerReferences": [owner]}, spec={"nodeName": "n\x1b"})
    assert (made.name, made.namespace, made.uid, made.node, made.workload) == (
        "a\\027[2J",
        "b\\027",
        "c\\027",
        "n\\027",
        Workload("Deploy\\027", "d\\027"),
    )
    service = service_of(msgspec.convert({"metadata": evil}, Service))
    node = node_of(msgspec.convert({"metadata": evil}, Node))
    slice_ = endpoints_of(msgspec.convert({"metadata": evil}, EndpointSlice))
    assert (service.name, node.name, slice_.service) == ("a\\027[2J",) * 3


TIMES = ["2026-11-23T10:00:00Z", "9999-12-31T23:59:60Z", "0000-00-00T00:00:00Z"]
TEXT = st.text(max_size=12) | st.sampled_from([*TIMES, "Succeeded", "10.1.0.0/24", "::/0"])
KEY = TEXT | st.sampled_from(["name", "uid", "phase", "startTime", "podIP"])
LEAF = st.none() | st.booleans() | st.integers() | TEXT
TREE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3))


@given(st.dictionaries(KEY, TREE), TEXT, TREE)
def test_no_object_raises_anything_but_what_decoding_raises(
    fields: dict[str, Any], text: str, tree: Any
) -> None:
    index = AddressIndex()
    meta = {**fields, "creationTimestamp": text, "ownerReferences": [{"kind": text, "name": text}]}
    status = {**fields, "podIPs": [{"ip": text}], "loadBalancer": tree, "addresses": tree}
    spec = {"podCIDRs": [text], **fields}
    encoded = msgspec.json.encode({"metadata": meta, "spec": spec, "status": status})
    for of, read in (
        (Pod, lambda obj: index.put_pod(pod_of(obj, index, NOW_NS), NOW_NS)),
        (Service, lambda obj: index.put_service(service_of(obj))),
        (Node, lambda obj: index.put_node(node_of(obj))),
        (EndpointSlice, lambda obj: index.put_endpoints(endpoints_of(obj))),
    ):
        try:
            obj = msgspec.json.decode(encoded, type=of)
        except msgspec.DecodeError:
            continue
        read(obj)
