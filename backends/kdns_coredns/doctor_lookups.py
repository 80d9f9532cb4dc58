"""Asks CoreDNS pods one name of the cluster, through port-forwards, and checks what they answer."""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterator
from statistics import median

from kdns_coredns.doctor_facts import CorednsFacts, LookupFacts, pod_target
from kdns_coredns.pods import CorednsPod
from kubectl_kdns.dns.over_tcp import exchange
from kubectl_kdns.dns.wire import decode_message, message_id
from kubectl_kdns.doctor import Target, Verdict, check, counted, failure, known, ok, unknown, warning
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.times import format_duration

TOPIC = "Lookups"
NEEDS = ("lookups", "services", "kubelets")
PODS = Target("pods", "coredns")
TRIES = 3
TIMEOUT_S = 3.0
OUTLIER_FACTOR = 5
OUTLIER_NS = 100_000_000
_TYPES = {"A": 1, "AAAA": 28}
_IN = 1


def ask_pod(cluster: Cluster, pod: CorednsPod, port: int, name: str, type_: str) -> LookupFacts:
    """Asks TRIES times on one connection; what goes wrong is in the answer, never raised."""
    try:
        forward = cluster.port_forward(pod.namespace, pod.name, port)
    except KdnsError as error:
        return LookupFacts(pod, name, error=error.what, fix=error.hint, asked=False)
    latencies: list[int] = []
    rcode, addresses, wrong = "", 0, ""
    try:
        with forward.dial(TIMEOUT_S) as connection:
            for number in range(TRIES):
                started_ns = time.monotonic_ns()
                rcode, addresses = _ask(connection, number + 1, name, type_)
                latencies.append(time.monotonic_ns() - started_ns)
    except TimeoutError:
        wrong = f"no answer within {TIMEOUT_S:g} s, the way through the API server included"
    except (OSError, EOFError, ValueError) as problem:
        wrong = forward.error or f"the connection ended: {problem}"
    finally:
        forward.close()
    way = forward.failure
    if wrong and way:
        return LookupFacts(pod, name, error=f"{way.what}: {way.cause}", fix=way.hint, asked=False)
    return LookupFacts(pod, name, rcode, addresses, tuple(latencies), wrong)


def _ask(connection: socket.socket, id_: int, name: str, type_: str) -> tuple[str, int]:
    """(rcode, number of addresses)."""
    labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
    query = struct.pack(">HHHHHH", id_, 0x0100, 1, 0, 0, 0) + labels + b"\0"
    query += struct.pack(">HH", _TYPES[type_], _IN)
    answer = exchange(connection, query)
    message = decode_message(answer)
    if message_id(answer) != id_ or not message.is_response or not message.rcode:
        raise ValueError("what came is no answer to the question")
    return message.rcode, len(message.resolved_ips or ())


@check(
    "lookup-answers",
    topic=TOPIC,
    help="Every ready CoreDNS pod answers for kubernetes.default",
    worst="failure",
    needs=NEEDS,
    fix="What the pod's log says",
)
def lookup_answers(facts: CorednsFacts) -> Iterator[Verdict]:
    for lookup in known(facts.lookups):
        pod, on = lookup.pod, pod_target(lookup.pod)
        logs = f"kubectl -n {pod.namespace} logs {pod.name} -c {pod.container} --tail=50"
        if not lookup.asked:
            yield unknown(on, f"could not be asked: {lookup.error}", lookup.fix)
        elif lookup.error:
            yield failure(on, f"{lookup.name}: {lookup.error}", logs)
        elif lookup.rcode != "NOERROR":
            yield failure(on, f"{lookup.name}: {lookup.rcode}", logs)
        elif not lookup.addresses:
            yield failure(on, f"{lookup.name}: an answer without an address", logs)
        else:
            took = format_duration(lookup.median_ns)
            yield ok(on, f"{lookup.name}: {lookup.rcode} in {took}, the way through the API server included")


@check(
    "lookup-latency",
    topic=TOPIC,
    help="No CoreDNS pod answers much later than the others",
    worst="warning",
    needs=NEEDS,
    fix="What that pod or its node has to do besides",
)
def lookup_latency(facts: CorednsFacts) -> Iterator[Verdict]:
    answered = [lookup for lookup in known(facts.lookups) if lookup.latencies_ns]
    told = False
    for lookup in answered:
        others = [other.median_ns for other in answered if other is not lookup]
        usual = median(others) if others else 0
        if others and lookup.median_ns > max(OUTLIER_FACTOR * usual, OUTLIER_NS):
            told = True
            yield warning(
                pod_target(lookup.pod),
                f"median {format_duration(lookup.median_ns)} of {len(lookup.latencies_ns)} lookups, of the "
                f"other pods {format_duration(int(usual))}",
                f"kubectl top pod -n {lookup.pod.namespace} {lookup.pod.name}; "
                f"kubectl top node {lookup.pod.node}",
            )
    if answered and not told:
        slowest = max(lookup.median_ns for lookup in answered)
        yield ok(PODS, f"medians of {counted(len(answered), 'pod')}, the slowest {format_duration(slowest)}")


CHECKS = (lookup_answers, lookup_latency)
