"""Opens a connection to flows: to the server that was named, to the relay, or to every Cilium agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence

from kdns_hubble.address import Address
from kdns_hubble.client import HubbleClient
from kdns_hubble.credentials import Credentials, read_credentials
from kdns_hubble.discover import Relay, RelaySearch, find_relay
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.observer import Observer
from kdns_hubble.options import HubbleOptions
from kdns_hubble.relay_flows import RelayObserver
from kubectl_kdns.errors import BackendError, KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.port_forward import LOOPBACK
from kubectl_kdns.times import NS_PER_S

RELAY_WAIT_S = 60.0
MANY_AGENTS = 20


class Dialer:
    """Fulfils kdns_hubble.observer.Dial. To be called as often as a connection is needed: each time the
    cluster is looked at again, and the pod of a relay that served last is tried last, for it may be the one
    that went. `search` is what was found a moment ago, for the first time."""

    def __init__(
        self,
        cluster: Cluster | None,
        options: HubbleOptions,
        filters: Sequence[FlowFilter],
        *,
        raw: bool,
        search: RelaySearch | None = None,
    ) -> None:
        self._cluster, self._options, self._filters, self._raw = cluster, options, filters, raw
        self._search = search
        self._last_pod = ""
        # Until when to wait for a relay that has answered before.
        self._relay_until_s = 0.0
        self._lock = threading.Lock()
        self._closed = False
        self._connecting: HubbleClient | None = None

    def __call__(self) -> Observer:
        """Raises KdnsError when nobody answers."""
        if self._options.server:
            return self._named(self._options.server)
        if self._cluster is None:
            raise BackendError(
                "the hubble backend needs a cluster", hint="--hubble-server HOST:PORT, or --from FILE"
            )
        search, self._search = self._search or find_relay(self._cluster, self._options.namespace), None
        if search.relay and search.relay.ready_pods:
            observer = self._forwarded(self._cluster, search.relay)
            self._relay_until_s = float("inf")
            return observer
        return self._agents(self._cluster, _without_relay(search))

    def close(self) -> None:
        with self._lock:
            self._closed = True
            if self._connecting:
                self._connecting.close()

    def _named(self, address: Address) -> Observer:
        called = f"the Hubble server {address}"
        tls = self._options.speaks_tls(address.tls, called)
        credentials = read_credentials(self._options, self._cluster, "") if tls else None
        client = HubbleClient(address, credentials, self._options.server_name, self._options)
        return self._observe(client, f"flows of {called}", lambda: None)

    def _forwarded(self, cluster: Cluster, relay: Relay) -> Observer:
        options = self._options
        pods = sorted(relay.ready_pods, key=lambda pod: pod.name == self._last_pod)
        pod = self._last_pod = pods[0].name
        tls = options.speaks_tls(relay.tls, f"the relay's Service {relay} (port {relay.port})")
        credentials: Credentials | None = None
        if tls:
            credentials = read_credentials(options, cluster, relay.namespace)
        forward = cluster.port_forward(relay.namespace, pod, relay.target_port)

        def explain() -> KdnsError | None:
            if not forward.error:
                return forward.failure
            return BackendError(
                f"cannot forward a port to {relay.namespace}/{pod}",
                cause=forward.error,
                hint=f"kubectl -n {relay.namespace} port-forward {pod} {relay.target_port}",
            )

        client = HubbleClient(
            Address(path=forward.path) if forward.path else Address(LOOPBACK, forward.port),
            credentials,
            options.server_name or (relay.server_name if tls else ""),
            options,
            called=f"the relay {relay}",
            explain=explain,
        )
        description = f"flows of hubble-relay {relay} (pod {pod}{', by TLS' if tls else ''})"
        return self._observe(client, description, forward.close, forward.forget_path)

    def _agents(self, cluster: Cluster, why: str) -> Observer:
        """What happens meanwhile is in the agents' rings, which in a busy cluster hold some seconds; but a
        relay that answered a moment ago is worth waiting for where the agents are many."""
        from kdns_hubble.agent_flows import AgentsObserver
        from kdns_hubble.agents import find_agents

        agents = [agent for agent in find_agents(cluster) if agent.ready]
        self._relay_until_s = min(self._relay_until_s, time.monotonic() + RELAY_WAIT_S)
        if not agents or (len(agents) > MANY_AGENTS and time.monotonic() < self._relay_until_s):
            none = "" if agents else ", and no Cilium agent is ready"
            raise BackendError(
                f"{why}{none}", hint="kubectl get pods -A -l 'k8s-app in (cilium, hubble-relay)'"
            )

        def check() -> None:
            relay = find_relay(cluster, self._options.namespace).relay
            if relay and relay.ready_pods:
                raise BackendError(f"hubble-relay {relay} is ready now")

        return AgentsObserver(cluster, agents, why, self._filters, raw=self._raw, check=check)

    def _observe(
        self,
        client: HubbleClient,
        description: str,
        close_way: Callable[[], None],
        connected: Callable[[], None] = lambda: None,
    ) -> Observer:
        with self._lock:
            self._connecting = client
            if self._closed:
                client.close()
        try:
            client.connect()
            connected()
            patience_s = self._options.request_timeout_ns / NS_PER_S
            return RelayObserver(
                client,
                self._filters,
                description,
                raw=self._raw,
                patience_s=patience_s,
                close_way=close_way,
            )
        except BaseException:
            client.close()
            close_way()
            raise
        finally:
            with self._lock:
                self._connecting = None


def _without_relay(search: RelaySearch) -> str:
    """Why there is no relay to ask."""
    if search.relay is None:
        return "no hubble-relay was found" + (f" ({search.denied[0]})" if search.denied else "")
    return search.relay.trouble
