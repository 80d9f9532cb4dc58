"""A relay in a scripted cluster, and the kubelet's way to it: port-forwards that lead to a test's server."""

from __future__ import annotations

import socket
import threading

from support.api_server import ApiServer
from support.hubble_server import HubbleServer
from support.websocket_server import Serve, WebSocketPeer

LABELS = {"k8s-app": "hubble-relay"}
PORT = 4245


def put_relay(
    api: ApiServer, hubble: HubbleServer | None, *, pod: str = "hubble-relay-1", port: int = 80
) -> None:
    """Its Service and a pod whose port leads to `hubble`; without one, the pod is not ready."""
    metadata = {"name": "hubble-relay", "namespace": "kube-system", "labels": LABELS}
    ports = [{"port": port, "targetPort": PORT}]
    api.put({"kind": "Service", "metadata": metadata, "spec": {"selector": LABELS, "ports": ports}})
    conditions = [{"type": "Ready", "status": str(hubble is not None)}]
    api.put(
        {
            "kind": "Pod",
            "metadata": {**metadata, "name": pod},
            "spec": {"nodeName": "kdns-n1"},
            "status": {"phase": "Running", "conditions": conditions},
        }
    )
    if hubble:
        api.websocket(f"/pods/{pod}/portforward$", forward_to(hubble.port))


def forward_to(port: int) -> Serve:
    """A port-forward to that port of this machine."""

    def serve(peer: WebSocketPeer) -> None:
        peer.accept("v4.channel.k8s.io")
        for channel in (0, 1):
            peer.send(channel, PORT.to_bytes(2, "little"))
        with socket.create_connection(("127.0.0.1", port)) as behind:
            down = threading.Thread(target=_pump_down, args=(behind, peer), daemon=True)
            down.start()
            try:
                while True:
                    channel, data = peer.message()
                    if channel == 0:
                        behind.sendall(data)
            except (EOFError, OSError):
                _shut_down(behind)
            down.join()

    return serve


def _pump_down(behind: socket.socket, peer: WebSocketPeer) -> None:
    try:
        while data := behind.recv(65536):
            peer.send(0, data)
        peer.close()
    except OSError:
        return  # the client has gone


def _shut_down(behind: socket.socket) -> None:
    try:
        behind.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # so it is
