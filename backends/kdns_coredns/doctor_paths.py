"""Checks of what was asked from within pods and nodes: whether the ways to DNS servers and upstreams work."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from itertools import groupby

from kdns_coredns.doctor_facts import (
    COREDNS,
    LARGE_TCP,
    LARGE_UDP,
    TCP,
    UDP,
    CorednsFacts,
    PathFacts,
    UpstreamFacts,
    pod_target,
)
from kubectl_kdns.doctor import (
    Target,
    Unread,
    Verdict,
    check,
    counted,
    failure,
    info,
    known,
    ok,
    unknown,
    warning,
)
from kubectl_kdns.doctor.facts import dns_service
from kubectl_kdns.doctor.finding import INSIDE
from kubectl_kdns.resolver import Reply

TOPIC = "From inside (--active)"
NEEDS = (INSIDE, "nodes", "services", "kubelets")
PATHS = Target("paths", "coredns")
LARGE_UDP_BYTES, LARGE_TCP_BYTES = 512, 1500
"""What an answer must have more of: DNS without EDNS (RFC 1035 section 2.3.4), a packet of Ethernet."""
NAMED = 3


@check(
    "active-udp",
    topic=TOPIC,
    help="Every DNS pod and the Service answer by UDP, asked from every node",
    worst="failure",
    needs=NEEDS,
    fix="What is between that node and that pod: the CNI's tunnel, kube-proxy's rules, a firewall",
)
def active_udp(facts: CorednsFacts) -> Iterator[Verdict]:
    yield from _not_entered(facts)
    yield from _ways(facts, UDP)


@check(
    "active-tcp",
    topic=TOPIC,
    help="Every DNS pod and the Service answer by TCP, asked from every node",
    worst="failure",
    needs=NEEDS,
    fix="What is between that node and that pod: a policy or a firewall that lets only UDP pass",
)
def active_tcp(facts: CorednsFacts) -> Iterator[Verdict]:
    yield from _not_entered(facts)
    yield from _ways(facts, TCP)


@check(
    "active-large",
    topic=TOPIC,
    help="Answers of more than 512 bytes come by UDP, and of more than one packet by TCP",
    worst="failure",
    needs=NEEDS,
    fix="The MTU of the pods' network, or a firewall that drops long DNS packets",
)
def active_large(facts: CorednsFacts) -> Iterator[Verdict]:
    yield from _not_entered(facts)
    for way, small, least in ((LARGE_UDP, UDP, LARGE_UDP_BYTES), (LARGE_TCP, TCP, LARGE_TCP_BYTES)):
        paths = known(facts.inside).paths
        # Where short ones do not come either, that is another check's.
        open_ = {(path.asker, path.server) for path in paths if path.way == small and path.reply.rcode}
        asked = [path for path in paths if path.way == way and (path.asker, path.server) in open_]
        short = [path for path in asked if path.reply.rcode and path.reply.size_bytes <= least]
        if short:
            yield info(
                short[0].server,
                f"its longest answer by {small} has {short[0].reply.size_bytes} bytes, so long ones were "
                "not tried: it does not return the padding of a question",
            )
        yield from _judged([path for path in asked if path not in short], way)


@check(
    "active-upstreams",
    topic=TOPIC,
    help="Every upstream answers, asked from the pods that forward to it",
    worst="failure",
    needs=NEEDS,
    fix="The upstream, the way out of the cluster, or another address for `forward`",
)
def active_upstreams(facts: CorednsFacts) -> Iterator[Verdict]:
    yield from (verdict for verdict in _not_entered(facts) if verdict.on.kind == "pod")

    def key(upstream: UpstreamFacts) -> tuple[str, str, str]:
        return upstream.forward.where, upstream.forward.zone, upstream.address

    asked = sorted(known(facts.inside).upstreams, key=key)
    fine = 0
    for (where, zone, address), same in groupby(asked, key):
        pods = list(same)
        verdict = _upstream(
            Target("upstream", address), pods, _itself(facts, pods[0]), f"forward {zone} in {where}"
        )
        fine += verdict is None
        if verdict:
            yield verdict
    if fine:
        text = "answers" if fine == 1 else "answer"
        yield ok(PATHS, f"{counted(fine, 'upstream')} {text}, by UDP and by TCP")


def _upstream(on: Target, asked: list[UpstreamFacts], itself: str, what: str) -> Verdict | None:
    """None: it is well."""
    edit = f"the address at {what}, if it should be another one"
    first = asked[0]
    if first.problem:
        return info(on, f"{what}: not tried: {first.problem}")
    if itself:
        return failure(on, f"{what}: that is {itself} itself: lookups go round until they time out", edit)
    silent = [each for each in asked if not each.udp.rcode]
    mute = [each for each in asked if not each.tcp.rcode]
    from_ = _listed(pod_target(each.pod) for each in silent or mute)
    if silent and len(silent) == len(asked) and len(mute) == len(asked):
        return failure(
            on, f"{what}: no answer by UDP ({_why(silent[0].udp)}) nor by TCP ({_why(mute[0].tcp)})", edit
        )
    if silent:
        by_tcp = "by TCP it answers" if silent[0].tcp.rcode else f"by TCP {_why(silent[0].tcp)}"
        return failure(
            on,
            f"{what}: no answer by UDP ({_why(silent[0].udp)}) to {from_}; {by_tcp}",
            f"let UDP {first.forward.port} pass to it, or force_tcp in that forward",
        )
    if mute:
        return warning(
            on,
            f"{what}: no answer by TCP ({_why(mute[0].tcp)}) to {from_}: what is too long for UDP is lost",
            f"let TCP {first.forward.port} pass to it",
        )
    refusing = {each.udp.rcode for each in asked} & {"SERVFAIL", "REFUSED"}
    if refusing:
        return warning(
            on, f"{what}: answers {' and '.join(sorted(refusing))} for NS of {first.forward.zone}", edit
        )
    return None


def _itself(facts: CorednsFacts, upstream: UpstreamFacts) -> str:
    """Whose address it is, where a file leads to the cluster's own DNS; "" elsewhere. What a Corefile itself
    says is corefile-forward's, and NodeLocal DNSCache is there to ask that DNS."""
    if upstream.pod.kind != COREDNS or upstream.forward.to == upstream.address:
        return ""
    own = {pod.ip: str(pod_target(pod)) for pod in facts.coredns}
    services = facts.cluster.services
    service = None if isinstance(services, Unread) else dns_service(facts.cluster, services)
    if service:
        own |= dict.fromkeys(service.ips, str(service.target))
    # In the pod's network nobody else is at home; in the node's there may be a resolver.
    if _is_loopback(upstream.address) and not upstream.pod.condition.host_network:
        return str(pod_target(upstream.pod))
    return own.get(upstream.address, "")


def _ways(facts: CorednsFacts, way: str) -> Iterator[Verdict]:
    inside = known(facts.inside)
    yield from _judged(
        [path for path in inside.paths if path.way == way], way, inside.nodes, inside.all_nodes
    )


def _judged(paths: list[PathFacts], way: str, nodes: int = 0, all_nodes: int = 0) -> Iterator[Verdict]:
    """By server where nobody reaches it, by asker where it reaches nobody, else one by one."""
    bad = [path for path in paths if not path.reply.rcode]
    for server in dict.fromkeys(path.server for path in bad):
        own = [path for path in paths if path.server == server]
        if all(path in bad for path in own):
            asked = f"asked from {_listed(path.asker for path in own)}"
            yield failure(server, f"no answer by {way} ({_why(own[0].reply)}), {asked}", _server_fix(server))
            bad = [path for path in bad if path.server != server]
    for asker in dict.fromkeys(path.asker for path in bad):
        own = [path for path in bad if path.asker == asker]
        reached = {path.server for path in paths if path.asker == asker and path.reply.rcode}
        but = f"; {_listed(reached)} answered" if reached else ""
        evidence = (
            f"no answer by {way} ({_why(own[0].reply)}) from {_listed(path.server for path in own)}{but}"
        )
        yield failure(asker, evidence, _asker_fix(way))
    if paths and not any(not path.reply.rcode for path in paths):
        from_ = f", from {nodes} of {counted(all_nodes, 'node')}" if nodes else ""
        servers = len({path.server for path in paths})
        longest = max(path.reply.size_bytes for path in paths)
        size = f" of up to {longest} bytes" if way in (LARGE_UDP, LARGE_TCP) else ""
        yield ok(
            PATHS, f"{counted(len(paths), 'answer')}{size} of {counted(servers, 'server')} by {way}{from_}"
        )


def _not_entered(facts: CorednsFacts) -> Iterator[Verdict]:
    for asker, why in known(facts.inside).not_entered:
        yield unknown(asker, f"nothing could be asked from there: {why.reason}", why.fix)


def _server_fix(server: Target) -> str:
    if server.kind == "service":
        return "what makes the Service's rules on the nodes: kube-proxy, or what the CNI has in its place"
    return f"kubectl -n {server.namespace} logs {server.name} --tail=50"


def _asker_fix(way: str) -> str:
    if way == LARGE_TCP:
        return "the MTU of the pods' network there: long packets are lost on the way"
    if way == LARGE_UDP:
        return "a firewall on the way that drops DNS above 512 bytes"
    return "the CNI's tunnel to those nodes, kube-proxy's rules there, NetworkPolicies, firewalls"


def _why(reply: Reply) -> str:
    return reply.problem or reply.rcode


def _listed(targets: Iterable[Target]) -> str:
    names = sorted(map(str, set(targets)))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


CHECKS = (active_udp, active_tcp, active_large, active_upstreams)
