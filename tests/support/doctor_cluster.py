"""A whole cluster in a scripted API server, healthy until a test breaks it, and DNS pods that answer."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec

from support.api_server import ApiServer, Reply
from support.websocket_server import Serve, WebSocketPeer

Object = dict[str, Any]

COREFILE = """\
.:53 {
    errors
    health
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
        pods insecure
        fallthrough in-addr.arpa ip6.arpa
    }
    forward . /etc/resolv.conf
    cache 30
    loop
    reload
}
"""
DNS_LABELS = {"k8s-app": "kube-dns"}
SERVICE_IP = "10.96.0.10"
CHANGED, STARTED = "2024-01-01T08:00:00Z", "2024-01-01T09:00:00Z"


def answer(rcode: int = 0, address: bytes = b"\x0a\x60\x00\x01", after_s: float = 0.0) -> Serve:
    """A port-forward to a DNS server that answers every question with this rcode, and A record if any."""

    def serve(peer: WebSocketPeer) -> None:
        peer.accept("v4.channel.k8s.io")
        for channel in (0, 1):
            peer.send(channel, (53).to_bytes(2, "little"))
        data = b""
        try:
            while True:
                channel, part = peer.message()
                data += part if channel == 0 else b""
                while len(data) >= 2 and len(data) >= 2 + (size := struct.unpack(">H", data[:2])[0]):
                    query, data = data[2 : 2 + size], data[2 + size :]
                    time.sleep(after_s)
                    reply = _reply(query, rcode, address)
                    peer.send(0, struct.pack(">H", len(reply)) + reply)
        except (EOFError, OSError):
            return

    return serve


def _reply(query: bytes, rcode: int, address: bytes) -> bytes:
    found = address if rcode == 0 else b""
    head = query[:2] + struct.pack(">HHHHH", 0x8580 | rcode, 1, bool(found), 0, 0)
    record = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 5, len(found)) + found
    return head + query[12:] + (record if found else b"")


def refused(peer: WebSocketPeer) -> None:
    """What a kubelet says when nobody listens at the port."""
    peer.accept("v4.channel.k8s.io")
    for channel in (0, 1):
        peer.send(channel, (53).to_bytes(2, "little"))
    peer.send(1, b"dial tcp4 127.0.0.1:53: connect: connection refused")
    peer.close()


def silent(peer: WebSocketPeer) -> None:
    """A server that takes questions and says nothing."""
    peer.accept("v4.channel.k8s.io")
    for channel in (0, 1):
        peer.send(channel, (53).to_bytes(2, "little"))
    peer.wait_for_end()


class DoctorCluster:
    """The objects by a short name, to be changed with `change` before the API server gets them.

    `kubelets` are what configz says, by node; `ports` what the port-forward of a pod leads to.
    """

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {
            "n1": _node("n1", "east"),
            "n2": _node("n2", "west"),
            "system": {"kind": "Namespace", "metadata": {"name": "kube-system", "labels": {}}},
            "shop": {"kind": "Namespace", "metadata": {"name": "shop", "labels": {"team": "shop"}}},
            "a": _coredns("coredns-5d4f-aaaaa", "n1", "10.244.1.2"),
            "b": _coredns("coredns-5d4f-bbbbb", "n2", "10.244.2.2"),
            "deployment": {
                "kind": "Deployment",
                "metadata": {"name": "coredns", "namespace": "kube-system"},
                "spec": {"replicas": 2},
                "status": {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2},
            },
            "config": {
                "kind": "ConfigMap",
                "metadata": {
                    "name": "coredns",
                    "namespace": "kube-system",
                    "creationTimestamp": CHANGED,
                    "managedFields": [{"manager": "kubeadm", "time": CHANGED}],
                },
                "data": {"Corefile": COREFILE},
            },
            "service": {
                "kind": "Service",
                "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": DNS_LABELS},
                "spec": {
                    "clusterIP": SERVICE_IP,
                    "clusterIPs": [SERVICE_IP],
                    "selector": DNS_LABELS,
                    "ports": [
                        {"name": "dns", "port": 53, "protocol": "UDP"},
                        {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                    ],
                },
            },
            "endpoints": {
                "kind": "EndpointSlice",
                "metadata": {
                    "name": "kube-dns-x",
                    "namespace": "kube-system",
                    "labels": {"kubernetes.io/service-name": "kube-dns"},
                },
                "endpoints": [
                    {"addresses": ["10.244.1.2"], "conditions": {"ready": True}},
                    {"addresses": ["10.244.2.2"], "conditions": {"ready": True}},
                ],
                "ports": [
                    {"name": "dns", "port": 53, "protocol": "UDP"},
                    {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
                ],
            },
            "web": pod("shop", "web-5d4f-ccccc", "10.244.1.9", labels={"app": "web"}),
        }
        self.kubelets: dict[str, Object] = {
            name: {"clusterDNS": [SERVICE_IP], "clusterDomain": "cluster.local"} for name in ("n1", "n2")
        }
        self.ports: dict[str, Serve] = {}
        self.allowed = True

    def change(self, name: str, path: str, value: Any) -> None:
        """Sets `spec.containers.0.image` and the like; a value of None takes the key away."""
        *way, last = path.split(".")
        place: Any = self.objects[name]
        for step in way:
            place = place[int(step)] if isinstance(place, list) else place.setdefault(step, {})
        if value is None:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    def corefile(self, text: str) -> None:
        self.change("config", "data.Corefile", text)

    def install(self, server: ApiServer) -> None:
        """Gives it all to the API server."""
        for obj in self.objects.values():
            server.put(obj)
            if obj["kind"] == "Pod" and obj["metadata"]["namespace"] == "kube-system":
                name = obj["metadata"]["name"]
                server.websocket(f"/pods/{name}/portforward$", self.ports.get(name, answer()))
        server.script("GET /version", _json({"gitVersion": "v1.34.4"}), forever=True)
        for node, config in self.kubelets.items():
            server.script(f"/nodes/{node}/proxy/configz", _json({"kubeletconfig": config}), forever=True)
        review = {"status": {"allowed": self.allowed}}
        server.script("POST .*/selfsubjectaccessreviews", _json(review), forever=True)


Break = Callable[[DoctorCluster], None]


def _json(value: Any) -> Reply:
    return Reply(200, json.dumps(value).encode(), {"Content-Type": "application/json"})


def _node(name: str, zone: str) -> Object:
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone}},
        "status": {
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"operatingSystem": "linux", "architecture": "amd64", "kernelVersion": "6.1.0"},
        },
    }


def pod(namespace: str, name: str, ip: str, *, labels: dict[str, str], **spec: Any) -> Object:
    """A running pod of a Deployment."""
    owner = {"kind": "ReplicaSet", "name": name.rpartition("-")[0], "uid": "rs", "controller": True}
    return {
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "labels": {**labels, "pod-template-hash": "5d4f"},
            "ownerReferences": [owner],
        },
        "spec": {"nodeName": "n1", "dnsPolicy": "ClusterFirst", "containers": [{"name": "app"}], **spec},
        "status": {
            "phase": "Running",
            "podIP": ip,
            "podIPs": [{"ip": ip}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def _coredns(name: str, node: str, ip: str) -> Object:
    container = {
        "name": "coredns",
        "image": "registry.k8s.io/coredns/coredns:v1.12.1",
        "args": ["-conf", "/etc/coredns/Corefile"],
        "ports": [
            {"name": "dns", "protocol": "UDP", "containerPort": 53},
            {"name": "dns-tcp", "protocol": "TCP", "containerPort": 53},
        ],
        "resources": {"limits": {"memory": "170Mi"}},
        "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
    }
    items = [{"key": "Corefile", "path": "Corefile"}]
    made = pod("kube-system", name, ip, labels=DNS_LABELS, dnsPolicy="Default", containers=[container])
    made["spec"] |= {
        "nodeName": node,
        "volumes": [{"name": "config", "configMap": {"name": "coredns", "items": items}}],
    }
    made["status"]["containerStatuses"] = [
        {"name": "coredns", "ready": True, "restartCount": 0, "state": {"running": {"startedAt": STARTED}}}
    ]
    return made


def nodelocal(name: str, node: str, *, ready: bool = True) -> Object:
    """A pod of NodeLocal DNSCache, with a Corefile of its own."""
    image = "registry.k8s.io/dns/k8s-dns-node-cache:1.25.0"
    container = {"name": "node-cache", "image": image, "args": ["-localip", f"169.254.20.10,{SERVICE_IP}"]}
    made = pod("kube-system", name, "192.0.2.11", labels={"k8s-app": "node-local-dns"})
    made["metadata"]["ownerReferences"][0] |= {"kind": "DaemonSet", "name": "node-local-dns"}
    made["spec"] |= {
        "nodeName": node,
        "hostNetwork": True,
        "dnsPolicy": "Default",
        "containers": [container],
    }
    state = {"running": {"startedAt": STARTED}} if ready else {"waiting": {"reason": "CrashLoopBackOff"}}
    made["status"]["containerStatuses"] = [{"name": "node-cache", "ready": ready, "state": state}]
    return made


def policy(namespace: str, name: str, **spec: Any) -> Object:
    return {"kind": "NetworkPolicy", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def now_text() -> str:
    """A moment ago, as the API writes it."""
    return datetime.fromtimestamp(time.time() - 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def plain(findings: Any) -> list[Object]:
    result: list[Object] = msgspec.to_builtins(findings)
    return result
