"""`explain` without an agent: what objects, logs and the DNS servers themselves say about a name of a pod.

The servers are asked through the API server, so the way between the pod and them is not tried, and that is
said. Nothing is created.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from random import SystemRandom
from typing import Any

from msgspec.structs import replace

from kubectl_kdns.asked import journey_of
from kubectl_kdns.backend import Scope, ServerFinder, ServerPod, load_backend, own_backends
from kubectl_kdns.directory import Directory
from kubectl_kdns.doctor.examination import Catalogue, examine
from kubectl_kdns.doctor.facts import SYSTEM_NAMESPACES
from kubectl_kdns.doctor.objects import kubelet_facts
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.journeys import Journeys
from kubectl_kdns.kube import Cluster, connect
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.kube.objects import DNS_SERVICE_NAMES
from kubectl_kdns.model import Journey, Notice, Record
from kubectl_kdns.pipeline import Pipeline
from kubectl_kdns.pod_conf import PodConf, pod_conf
from kubectl_kdns.pod_tcp import ForwardTransport
from kubectl_kdns.printer import Printer
from kubectl_kdns.resolver import candidates, look_up
from kubectl_kdns.target import Target
from kubectl_kdns.times import NS_PER_S

USUAL_DOMAIN = "cluster.local"
LOG_NS = 600 * NS_PER_S
LOG_BACKEND = "coredns"


class Outside:
    """One name of one pod. `journeys` are what was asked here, then what the pod asked itself."""

    def __init__(
        self,
        cluster: Cluster,
        directory: Directory,
        target: Target,
        printer: Printer,
        options: Mapping[str, Any],
        timeout_ns: int,
    ) -> None:
        self.cluster, self.directory, self.target = cluster, directory, target
        self.printer, self.options, self.timeout_ns = printer, options, timeout_ns
        self.journeys: list[Journey] = []

    def introduce(self) -> None:
        """Says how the pod asks."""
        say, made = self.printer.status, self._made
        say(f"its resolv.conf by its spec: {'; '.join(made.text.splitlines()) or 'nothing'}")
        if made.unknown:
            say(f"not known without an agent: {made.unknown}")

    def ask(self, name: str, types: Sequence[str]) -> list[Journey]:
        """Asks every DNS server once. Raises KdnsError when they cannot be found."""
        conf = self._made.conf
        asked = []
        for server in self._servers(conf.nameservers):
            transport = ForwardTransport(self.cluster, server)
            try:
                over_tcp = replace(conf, nameservers=(server.ip,), use_tcp=True, attempts=1)
                tried = list(look_up(name, types, over_tcp, transport, SystemRandom()))
            finally:
                transport.close()
            asked.append(journey_of(tried, transport.times, server, self.target))
        self.printer.write(asked)
        self.printer.flush()
        self.journeys += asked
        return asked

    def read_logs(self, name: str) -> None:
        """What the pod itself asked of the last minutes, by the DNS servers' logs, if they write any."""
        backend = load_backend(LOG_BACKEND)
        if not self.target.pod:
            return
        try:
            probe = backend.probe(self.cluster, self.options)
            if not probe.usable:
                self.printer.status(f"no lookups of its own are known: {probe.evidence}")
                return
            names = ", ".join(f'"{each}"' for each in candidates(name, self._made.conf))
            own = f'client.pod == "{self.target.pod}" && client.namespace == "{self.target.namespace}"'
            filter_ = parse_filter(f"{own} && dns.name in [{names}]")
            scope = Scope(
                cluster=self.cluster,
                directory=self.directory,
                history=True,
                follow=False,
                since_ns=time.time_ns() - LOG_NS,
                timeout_ns=self.timeout_ns,
                options=self.options,
            )
            source = backend.open(scope, backend.plan(filter_))
            accept = filter_.compile(self.directory)
            joins = Journeys(self.timeout_ns)
            Pipeline([source], self, accept=accept, name=self.directory.name, joins=joins).run()
        except KdnsError as error:
            self.printer.status(f"the logs could not be read: {error.what}")

    def look_at_objects(self, connection: ConnectionFlags) -> None:
        """What the doctor finds wrong."""
        catalogue = Catalogue()
        chosen = catalogue.choose((), active=False)
        findings = examine(connect(connection), catalogue, chosen, self.options, self.printer.status)
        for finding in findings:
            if finding.severity in ("failure", "warning"):
                self.printer.status(f"doctor: {finding.severity}: {finding.on}: {finding.evidence}")
                if finding.fix:
                    self.printer.status(f"try: {str(finding.fix).splitlines()[0]}")

    def write(self, records: Sequence[Record]) -> None:
        """As the sink of what the logs have."""
        self.journeys += [record for record in records if isinstance(record, Journey)]
        # What a log says of CoreDNS itself (reloads) is no answer to the question.
        self.printer.write([record for record in records if not isinstance(record, Notice)])

    def flush(self) -> None:
        self.printer.flush()

    @cached_property
    def _made(self) -> PodConf:
        """Its resolv.conf, as far as objects tell."""
        target = self.target
        domain, servers = USUAL_DOMAIN, self._service_ips()
        with suppress(KdnsError):
            facts = kubelet_facts(target.node, self.cluster.get(f"/api/v1/nodes/{target.node}/proxy/configz"))
            if facts:
                domain, servers = facts.domain or domain, list(facts.servers) or servers
        if not target.pod:
            return pod_conf({"dnsPolicy": "Default"}, "", servers, domain)
        pod = self.cluster.get(f"/api/v1/namespaces/{target.namespace}/pods/{target.pod}")
        return pod_conf(pod.get("spec") or {}, target.namespace, servers, domain)

    def _service_ips(self) -> list[str]:
        for namespace, name in self.directory.service_names():
            if name in DNS_SERVICE_NAMES and namespace in SYSTEM_NAMESPACES:
                spec = self.cluster.get(f"/api/v1/namespaces/{namespace}/services/{name}").get("spec") or {}
                return [str(ip) for ip in spec.get("clusterIPs") or () if ip != "None"]
        return []

    def _servers(self, nameservers: Sequence[str]) -> list[ServerPod]:
        """Those behind the Service that the pod asks; all, where that is not one of the cluster's."""
        for backend in map(load_backend, own_backends()):
            if isinstance(backend, ServerFinder):
                found = backend.servers(self.cluster, self.options)
                return self._behind(nameservers, found) or found
        return []

    def _behind(self, nameservers: Sequence[str], found: Sequence[ServerPod]) -> list[ServerPod]:
        for address in nameservers:
            who = self.directory.who(address)
            if who and who.kind == "service" and who.namespace and who.service:
                path = f"/api/v1/namespaces/{who.namespace}/services/{who.service}"
                selector = (self.cluster.get(path).get("spec") or {}).get("selector") or {}
                return [
                    pod
                    for pod in found
                    if selector and pod.namespace == who.namespace and selector.items() <= pod.labels.items()
                ]
            self.printer.status(f"{address} is no Service of this cluster and cannot be asked from here")
        return []
