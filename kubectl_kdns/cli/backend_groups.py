"""The groups of flags that belong to one backend each; those that commands share are in groups.py."""

from __future__ import annotations

from kubectl_kdns.cli.options import Options, flag


class CorednsOptions(Options):
    """Where CoreDNS is."""

    coredns_namespace: str = flag(
        "--coredns-namespace", metavar="NS", help="Namespace of CoreDNS, when it is not found", default=""
    )
    coredns_selector: str = flag(
        "--coredns-selector",
        metavar="SELECTOR",
        help="Labels of CoreDNS's pods, when it is not found",
        default="",
    )
    max_log_requests: int = flag(
        "--max-log-requests", metavar="N", help="Follow at most so many logs at once", default=50
    )


class HubbleOptions(Options):
    """Where Hubble is. The names are those of Cilium's `hubble`, with hubble- before them."""

    hubble_server: str = flag(
        "--hubble-server",
        metavar="ADDRESS",
        help="HOST:PORT, tls://HOST:PORT or unix:PATH of a relay or a Cilium agent, instead of a port-forward to the relay in the cluster",
        default="",
    )
    hubble_namespace: str = flag(
        "--hubble-namespace",
        metavar="NS",
        help="Namespace of hubble-relay, when there are several",
        default="",
    )
    hubble_tls: str = flag(
        "--hubble-tls",
        metavar="WHEN",
        help="on, off or auto: as the relay's Service says (port 443 is TLS)",
        default="auto",
    )
    hubble_tls_ca: str = flag(
        "--hubble-tls-ca",
        metavar="FILE",
        help="Authorities that the server's certificate may be from",
        default="",
    )
    hubble_tls_cert: str = flag(
        "--hubble-tls-cert", metavar="FILE", help="Client certificate, for mutual TLS", default=""
    )
    hubble_tls_key: str = flag("--hubble-tls-key", metavar="FILE", help="Its key", default="")
    hubble_tls_server_name: str = flag(
        "--hubble-tls-server-name",
        metavar="NAME",
        help="Name to expect in the server's certificate",
        default="",
    )
    hubble_tls_from_secret: str = flag(
        "--hubble-tls-from-secret",
        metavar="auto | NS/NAME",
        help="Take authorities and client certificate from a secret of the cluster (auto: Cilium's own)",
        default="",
    )
    hubble_basic_auth_username: str = flag(
        "--hubble-basic-auth-username", metavar="NAME", help="User name for basic authentication", default=""
    )
    hubble_basic_auth_password: str = flag(
        "--hubble-basic-auth-password", metavar="PASSWORD", help="Its password", default=""
    )
    hubble_timeout: str = flag(
        "--hubble-timeout", metavar="DURATION", help="Give up on a connection after this time", default="5s"
    )
    hubble_request_timeout: str = flag(
        "--hubble-request-timeout",
        metavar="DURATION",
        help="Give up on an answer that is no stream after this time",
        default="12s",
    )


class EbpfOptions(Options):
    """The agents that watch packets (backend ebpf), on nodes or on this machine."""

    local: bool = flag(
        "--local",
        help="Watch this machine, without Kubernetes (--backend ebpf; as root)",
        default=False,
    )
    agent_namespace: str = flag(
        "--agent-namespace",
        metavar="NS",
        help="Namespace for the agents' Jobs; it must allow privileged pods",
        default="kube-system",
    )
    agent_node: tuple[str, ...] = flag(
        "--agent-node", metavar="GLOB", help="Run agents on these nodes only (repeatable)", default=()
    )
    agent_node_selector: str = flag(
        "--agent-node-selector", metavar="SELECTOR", help="Run agents on nodes with these labels", default=""
    )
    max_nodes: int = flag("--max-nodes", metavar="N", help="Run at most so many agents at once", default=50)
    image: str = flag(
        "--image",
        metavar="IMAGE",
        help="Image for the agents' containers, of which nothing is run (default: one that the node has)",
        default="",
    )
    image_pull_secret: str = flag(
        "--image-pull-secret", metavar="NAME", help="Secret for pulling it", default=""
    )
    privileged: bool = flag(
        "--privileged",
        help="Run agents privileged, for nodes that give no BPF capabilities",
        default=False,
    )
    priority_class: str = flag(
        "--priority-class", metavar="NAME", help="PriorityClass of the agents' pods", default=""
    )
    agent_cpu: str = flag(
        "--agent-cpu", metavar="QUANTITY", help="CPU limit of an agent (default: none)", default=""
    )
    agent_memory: str = flag(
        "--agent-memory", metavar="QUANTITY", help="Memory limit of an agent", default="128Mi"
    )
    max_rate: int = flag(
        "--max-rate",
        metavar="N",
        help="Send at most so many messages a second and node, and count the rest; 0: no limit",
        default=50000,
    )
    agent_lifetime: str = flag(
        "--agent-lifetime",
        metavar="DURATION",
        help="Agents end after this time at the latest (default: a minute after --for; 1h without it)",
        default="",
    )
