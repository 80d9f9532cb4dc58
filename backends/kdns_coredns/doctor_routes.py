"""Checks of where a Corefile sends lookups: to zones served twice, to nobody, or back to itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address

from kdns_coredns.corefile import DEFAULT_PORTS, ServerBlock, Zone
from kdns_coredns.doctor_corefile import NEEDS, TOPIC, parsed
from kdns_coredns.doctor_facts import CorednsFacts, CorefileFacts
from kubectl_kdns.doctor import Unread, Verdict, check, counted, failure, known, ok, unknown
from kubectl_kdns.doctor.facts import dns_service

RESOLV_CONF = "/etc/resolv.conf"


@check(
    "corefile-zones",
    topic=TOPIC,
    help="No zone is served by two server blocks",
    worst="failure",
    needs=NEEDS,
    fix="One server block for both",
)
def corefile_zones(facts: CorednsFacts) -> Iterator[Verdict]:
    for each in parsed(facts):
        places: dict[Zone, list[ServerBlock]] = defaultdict(list)
        for block in known(each.corefile).blocks:
            # With `bind` or `view` two blocks may serve one zone, to different clients.
            if not any(directive.name in ("bind", "view") for directive in block.plugins):
                for zone in block.zones:
                    places[zone].append(block)
        double = {zone: blocks for zone, blocks in places.items() if len(blocks) > 1}
        for zone, blocks in double.items():
            lines = " and ".join(str(block.line) for block in blocks)
            yield failure(
                each.target,
                f"{zone.scheme}://{zone.name}:{zone.port} is served by the blocks of lines {lines}: CoreDNS "
                "refuses that; pods that run keep the Corefile of before, new ones crash",
                f"one block of these: {each.edit}",
            )
        if not double:
            yield ok(each.target, f"{counted(len(places), 'zone')}, each once")


@check(
    "corefile-kubernetes",
    topic=TOPIC,
    help="The cluster's domain is served by the `kubernetes` plugin",
    worst="failure",
    needs=NEEDS,
    fix="The domain as a zone of `kubernetes`, or a line `kubernetes DOMAIN in-addr.arpa ip6.arpa`",
)
def corefile_kubernetes(facts: CorednsFacts) -> Iterator[Verdict]:
    domain = facts.domain
    for each in parsed(facts):
        if each.is_nodelocal:
            continue
        corefile = known(each.corefile)
        zones = {
            name.lower().rstrip(".")
            for block in corefile.blocks
            for directive in block.named("kubernetes")
            for name in directive.args or tuple(zone.name for zone in block.zones)
        }
        if any(zone in ("", domain) or domain.endswith(f".{zone}") for zone in zones):
            yield ok(each.target, f"`kubernetes` serves {domain}")
        elif corefile.missing:
            imports = ", ".join(corefile.missing)
            yield unknown(
                each.target, f"no `kubernetes` for {domain}, but it may be in what is imported: {imports}"
            )
        else:
            there = f" (only for {', '.join(sorted(zones))})" if zones else ""
            lines = [directive.line for block in corefile.blocks for directive in block.named("kubernetes")]
            # A block takes `kubernetes` once (plugin/kubernetes/setup.go).
            mend = (
                f"{domain} as a zone of `kubernetes` in line {lines[0]}"
                if lines
                else f"a line `kubernetes {domain} in-addr.arpa ip6.arpa`"
            )
            yield failure(
                each.target,
                f"no `kubernetes` for {domain}{there}: no Service of the cluster has a name",
                f"{mend}: {each.edit}",
            )


@check(
    "corefile-forward",
    topic=TOPIC,
    help="`forward` does not lead back to CoreDNS itself",
    worst="failure",
    needs=NEEDS,
    fix="An upstream outside of the cluster, or dnsPolicy Default for CoreDNS",
)
def corefile_forward(facts: CorednsFacts) -> Iterator[Verdict]:
    services = facts.cluster.services
    service = None if isinstance(services, Unread) else dns_service(facts.cluster, services)
    for each in parsed(facts):
        own = {ip for pod in each.pods for ip in (pod.addresses if each.is_nodelocal else (pod.ip,))}
        if service and not each.is_nodelocal:
            own |= set(service.ips)
        found = False
        files = False
        for block in known(each.corefile).blocks:
            for directive in block.named("forward"):
                for upstream in directive.args[1:]:
                    why = _leads_back(upstream, block, each, own)
                    files = files or upstream == RESOLV_CONF
                    if why:
                        found = True
                        line = f"line {directive.line}: `forward {' '.join(directive.args)}`"
                        yield failure(
                            each.target,
                            f"{line} leads back to CoreDNS ({why}): lookups go round until they time out",
                            _mend(upstream, each),
                        )
        if not found:
            beyond = "; what their nodes' resolv.conf says cannot be read from here" if files else ""
            yield ok(each.target, f"no forward leads back{beyond}")


def _leads_back(upstream: str, block: ServerBlock, corefile: CorefileFacts, own: set[str]) -> str:
    """Why it is CoreDNS itself; "" when it is not, or when nobody can tell."""
    if upstream == RESOLV_CONF:
        # With any other policy than Default (or None) the pod's resolv.conf names the cluster's DNS.
        asks_itself = any(
            pod.condition.dns_policy == "ClusterFirstWithHostNet"
            or (pod.condition.dns_policy == "ClusterFirst" and not pod.condition.host_network)
            for pod in corefile.pods
        )
        return "the pods' dnsPolicy puts the cluster's DNS into that file" if asks_itself else ""
    host, port = _address(upstream)
    if host in own:
        return "its own address"
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        return ""
    # In the pod's network nobody else is at home; in the node's there may be a resolver.
    in_pod = not any(pod.condition.host_network for pod in corefile.pods)
    ports = {zone.port for zone in block.zones}
    return "the loopback address of the pod" if loopback and in_pod and port in ports else ""


def _address(upstream: str) -> tuple[str, int]:
    """`10.0.0.1`, `dns://10.0.0.1:53`, `[::1]:53` as host and port."""
    scheme, separator, rest = upstream.rpartition("://")
    port = DEFAULT_PORTS.get(scheme if separator else "dns", 53)
    rest = rest.partition("%")[0]
    if rest.startswith("["):
        host, _, tail = rest[1:].partition("]")
        rest_port = tail.removeprefix(":")
    elif rest.count(":") == 1:
        host, _, rest_port = rest.partition(":")
    else:
        host, rest_port = rest, ""
    return host, int(rest_port) if rest_port.isdecimal() else port


def _mend(upstream: str, corefile: CorefileFacts) -> str:
    pod = corefile.pods[0]
    if upstream == RESOLV_CONF and pod.workload:
        patch = '{"spec":{"template":{"spec":{"dnsPolicy":"Default"}}}}'
        return (
            f"kubectl -n {pod.namespace} patch {pod.workload.kind.lower()} {pod.workload.name} -p '{patch}'"
        )
    return f"an upstream outside of the cluster: {corefile.edit}"


CHECKS = (corefile_zones, corefile_kubernetes, corefile_forward)
