"""Checks of the Service by which pods reach the cluster's DNS: address, ports, what is behind it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import ip_address

from kubectl_kdns.doctor.facts import SYSTEM_NAMESPACES, ClusterFacts, ServiceFacts, dns_service
from kubectl_kdns.doctor.finding import (
    CLUSTER,
    Target,
    Unread,
    Verdict,
    check,
    counted,
    failure,
    known,
    ok,
    unknown,
    warning,
)

TOPIC = "Service"
KUBE_DNS = Target("service", "kube-dns", "kube-system")
_NEEDS = ("services", "kubelets")


def found_service(facts: ClusterFacts) -> ServiceFacts | None:
    """The cluster's DNS Service; that there is none is said once, by service-exists."""
    return dns_service(facts, known(facts.services))


@check(
    "service-exists",
    topic=TOPIC,
    help="The Service of the cluster's DNS exists and has a cluster IP",
    worst="failure",
    needs=_NEEDS,
    fix="Create the Service again, with the address that kubelets hand out",
)
def service_exists(facts: ClusterFacts) -> Iterator[Verdict]:
    service = found_service(facts)
    asked = ", ".join(sorted(facts.dns_servers))
    if service is None:
        handed = f", while kubelets tell pods to ask {asked}" if asked else ""
        yield failure(
            KUBE_DNS,
            f"no Service of a cluster DNS in {' or '.join(SYSTEM_NAMESPACES)}{handed}",
            _make_again(facts),
        )
    elif not service.ips:
        yield failure(
            service.target,
            "it has no cluster IP (headless), so there is no address that pods could be given",
            f"kubectl -n {service.namespace} delete service {service.name}; {_make_again(facts)}",
        )
    else:
        yield ok(service.target, f"its cluster IP is {', '.join(service.ips)}")


def _make_again(facts: ClusterFacts) -> str:
    """The Service as kubeadm makes it, at the address that pods ask: it cannot be changed later."""
    asked = sorted(ip for ip in facts.dns_servers if not _is_local(ip))
    manifest = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": asked[0] if asked else "ADDRESS",
            "selector": {"k8s-app": "kube-dns"},
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
        },
    }
    return f"kubectl apply -f - <<'EOF'\n{json.dumps(manifest)}\nEOF"


@check(
    "service-ports",
    topic=TOPIC,
    help="It serves port 53 by UDP and by TCP",
    worst="failure",
    needs=_NEEDS,
    fix="Add the missing port to the Service",
)
def service_ports(facts: ClusterFacts) -> Iterator[Verdict]:
    service = found_service(facts)
    if service is None:
        return
    missing = [protocol for protocol in ("UDP", "TCP") if (protocol, 53) not in service.ports]
    for protocol in missing:
        lost = "no lookup gets through" if protocol == "UDP" else "answers too long for UDP are lost"
        name = "dns" if protocol == "UDP" else "dns-tcp"
        yield failure(
            service.target,
            f"port 53 {protocol} is not among its ports: {lost}",
            f"kubectl -n {service.namespace} patch service {service.name} --type=json -p "
            f'\'[{{"op":"add","path":"/spec/ports/-","value":'
            f'{{"name":"{name}","port":53,"protocol":"{protocol}","targetPort":53}}}}]\'',
        )
    if not missing:
        yield ok(service.target, "ports 53 UDP and 53 TCP")


@check(
    "service-address",
    topic=TOPIC,
    help="Kubelets tell pods to ask the Service's address",
    worst="failure",
    needs=_NEEDS,
    fix="Set clusterDNS in the kubelets' configuration to the Service's cluster IP",
)
def service_address(facts: ClusterFacts) -> Iterator[Verdict]:
    service = found_service(facts)
    if service is None or not service.ips:
        return
    wrong = False
    kubelets = known(facts.kubelets)
    for kubelet in kubelets:
        elsewhere = [ip for ip in kubelet.servers if ip not in service.ips and not _is_local(ip)]
        if elsewhere or not kubelet.servers:
            wrong = True
            said = f"tells pods to ask {', '.join(elsewhere)}" if elsewhere else "gives pods no name server"
            yield failure(
                Target("node", kubelet.node),
                f"its kubelet {said}; the Service {service.namespace}/{service.name} has "
                f"{', '.join(service.ips)}",
                f"clusterDNS: [{service.ips[0]}] in the kubelet's configuration, then restart the kubelet; "
                "pods take it when they are made again",
            )
    if not wrong and kubelets:
        asked = ", ".join(sorted(facts.dns_servers))
        yield ok(service.target, f"pods are told to ask {asked}, by {counted(len(kubelets), 'kubelet')}")
    elif not wrong:
        yield unknown(CLUSTER, "there is no ready node whose kubelet says what it hands out")


def _is_local(ip: str) -> bool:
    """Whether it is an address on the node itself, as NodeLocal DNSCache has."""
    try:
        return ip_address(ip).is_link_local
    except ValueError:
        return False


@check(
    "service-endpoints",
    topic=TOPIC,
    help="Ready DNS pods stand behind the Service, each of them",
    worst="failure",
    needs=(*_NEEDS, "endpoints", "pods"),
    fix="Make the Service's selector fit the pods' labels, or the pods ready",
)
def service_endpoints(facts: ClusterFacts) -> Iterator[Verdict]:
    service = found_service(facts)
    if service is None:
        return
    slices = [
        each
        for each in known(facts.endpoints)
        if (each.namespace, each.service) == (service.namespace, service.name)
    ]
    ready = frozenset(ip for each in slices for ip in each.ready)
    not_ready = frozenset(ip for each in slices for ip in each.not_ready)
    where = f"kubectl -n {service.namespace} get pods,endpointslices -o wide"
    if not ready:
        labels = ",".join(f"{key}={value}" for key, value in sorted(service.selector.items()))
        seen = f"{len(not_ready)} that are not ready" if not_ready else f"no pod has the labels {labels}"
        yield failure(service.target, f"no ready endpoint, but {seen}: every lookup is refused", where)
        return
    if isinstance(facts.pods, Unread):
        yield unknown(
            service.target,
            f"{len(ready)} ready endpoints; whether that is every ready pod is not known: "
            f"{facts.pods.reason}",
            facts.pods.fix,
        )
        return
    pods = [pod for pod in facts.pods if pod.ready and service.selects(pod)]
    outside = [pod for pod in pods if ready.isdisjoint(pod.ips)]
    for pod in outside:
        yield warning(
            Target("pod", pod.name, pod.namespace),
            f"ready, but not among the {len(ready)} ready endpoints of {service.name}: it gets no lookups",
            where,
        )
    unowned = ready - {ip for pod in pods for ip in pod.ips}
    # A Service without a selector has endpoints that somebody else keeps, and that need not be pods.
    if unowned and service.selector:
        yield warning(
            service.target,
            f"{len(unowned)} of {len(ready)} ready endpoints belong to no ready pod "
            f"({', '.join(sorted(unowned)[:3])}): a share of lookups is lost",
            where,
        )
    elif not outside:
        yield ok(
            service.target, f"{counted(len(ready), 'ready endpoint')} for {counted(len(pods), 'ready pod')}"
        )


CHECKS = (service_exists, service_ports, service_address, service_endpoints)
