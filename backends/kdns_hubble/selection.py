"""What of a filter Hubble decides itself: a whitelist of FlowFilters; sound, never complete.

A lookup is a REQUEST (from the client, no reply), or several, and a RESPONSE (to the client, a reply): what
is wanted of the client becomes two FlowFilters, so that both halves come. A packet that was dropped before
the DNS proxy saw it has no DNS content, and does not say whether it is a reply.

Not asked for, because flows would be lost:
- the server: flows have the address behind a Service, in most versions in both halves, and nothing here tells
  a Service from a pod; and the client's node does not always know the server's name.
- labels: flows have only those that are part of Cilium's identities, which is a choice of the administrator.
- workloads: Hubble knows the controller only of pods that were made by one, but controllers adopt pods of any
  name as well. StatefulSets do not: there the pod's name tells.
- type, rcode, latency: FlowFilter has no such field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, structs

from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.queries import query_patterns, says_it_all
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.filter import Filter, Needle, implied_needles, implied_values
from kubectl_kdns.filter.literals import address_text
from kubectl_kdns.filter.nodes import And, Call, Compare, Expr, In, Literal, Or
from kubectl_kdns.filter.regex import needle_of

MAX_VALUES = 64

_NAMESPACE = re.compile(r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?")
_POD_PREFIX = re.compile(r"[a-z0-9][-a-z0-9.]*")
_NODE = re.compile(r"[a-z0-9](?:[-a-z0-9.]*[a-z0-9])?")
_NAMESPACE_LABEL = "k8s:io.kubernetes.pod.namespace"
_OF_DNS = ("dns.name", "dns.type", "dns.rcode", "dns.response_class")
_WORDS = {"exact": "are", "prefix": "begin with", "suffix": "end in", "substring": "contain"}


class Selection(Struct, frozen=True):
    """`filters` is the whitelist, never empty; `takes` says it for people, one clause an item.

    `exact`: nothing of the filter is left to decide here, so that the newest N can be asked for by number.
    """

    filters: tuple[FlowFilter, ...]
    takes: tuple[str, ...]
    exact: bool


class _Client(Struct, frozen=True):
    """What one end of a flow must be: fields of FlowFilter without `source_` or `destination_`."""

    ip: tuple[str, ...] = ()
    pod: tuple[str, ...] = ()
    label: tuple[str, ...] = ()

    def at(self, end: str) -> dict[str, tuple[str, ...]]:
        return {f"{end}_{field}": values for field, values in structs.asdict(self).items()}


class _Clients(Struct, frozen=True):
    """The client is one of these; none: anybody. `path` is the field of which they are all values, if any."""

    any_of: tuple[_Client, ...] = ()
    path: str = ""
    words: str = ""


def select(filter_: Filter) -> Selection:
    """What can be asked of Hubble on behalf of a filter."""
    expr = filter_.expr
    clients = _clients(expr)
    needles = implied_needles(expr, "dns.name") or ()
    queries = query_patterns(needles)
    nodes = _values(expr, "node", _NODE.fullmatch)
    # The proxy is on the client's node. A packet may be dropped on the server's.
    proxy_nodes = nodes or _values(expr, "client.node", _NODE.fullmatch)
    denied = implied_values(expr, "status") == frozenset(("denied",))
    packets = _may_be_packets(expr)
    lookups = FlowFilter(
        protocol=("dns",),
        verdict=("DROPPED",) if denied else (),
        dns_query=queries,
        node_name=proxy_nodes,
    )
    dropped = FlowFilter(destination_port=("53",), verdict=("DROPPED",), node_name=nodes)
    pushed = {clients.path, "node" if nodes else "", "dns.name" if queries else ""}
    clauses = (
        f"asks only for DNS flows{' and dropped packets to port 53' if packets else ''}",
        clients.words,
        f"only from node {_listed(proxy_nodes)}" if proxy_nodes else "",
        f"only for names that {_in_words(needles)}" if queries else "",
        "only with verdict DROPPED" if denied else "",
    )
    return Selection(
        filters=(
            *_halves(lookups, clients.any_of, responses=not denied),
            *(_requests(dropped, clients.any_of) if packets else ()),
        ),
        takes=tuple(clause for clause in clauses if clause),
        exact=expr is None or _is_all_of(expr, pushed),
    )


def _halves(lookups: FlowFilter, clients: Sequence[_Client], *, responses: bool) -> list[FlowFilter]:
    if not clients:
        return [lookups]
    # The proxy's flows all say whether they are a reply (read in Cilium 1.13 to 1.17): none is lost by it.
    halves = _requests(structs.replace(lookups, reply=(False,)), clients)
    if responses:
        reply = structs.replace(lookups, reply=(True,))
        halves += [structs.replace(reply, **client.at("destination")) for client in clients]
    return halves


def _requests(flows: FlowFilter, clients: Sequence[_Client]) -> list[FlowFilter]:
    return [structs.replace(flows, **client.at("source")) for client in clients or (_Client(),)]


def _clients(expr: Expr | None) -> _Clients:
    addresses = _values(expr, "client.ip", _is_plain_address)
    if addresses:
        words = f"only of clients with address {_listed(addresses)}"
        return _Clients((_Client(ip=addresses),), "client.ip", words)
    namespaces = _values(expr, "client.namespace", _NAMESPACE.fullmatch)
    pods = tuple(f"{namespace}/{prefix}" for namespace in namespaces for prefix in _pod_prefixes(expr))
    if 0 < len(pods) <= MAX_VALUES:
        words = f"only of pods {_listed(f'{pod}*' for pod in pods)}"
        return _Clients((_Client(pod=pods),), "", words)
    if not namespaces:
        return _Clients()
    # Hubble learns a new pod's name from the Kubernetes API, maybe after its first lookups (these are lost to
    # who asks for the pod); the labels of its identity it has from the start, the namespace among them.
    return _Clients(
        (
            _Client(pod=tuple(f"{namespace}/" for namespace in namespaces)),
            _Client(label=tuple(f"{_NAMESPACE_LABEL}={namespace}" for namespace in namespaces)),
        ),
        "client.namespace",
        f"only of clients in namespace {_listed(namespaces)}",
    )


def _pod_prefixes(expr: Expr | None) -> tuple[str, ...]:
    """Every wanted pod's name begins with one of these; none: it cannot be told."""
    needles = implied_needles(expr, "client.pod") or ()
    if needles and all(needle.kind in ("exact", "prefix") for needle in needles):
        prefixes = sorted({needle.text for needle in needles})
    elif implied_values(expr, "client.workload.kind") == frozenset(("StatefulSet",)):
        names = _values(expr, "client.workload.name", _POD_PREFIX.fullmatch)
        prefixes = [f"{name}-" for name in names]
    else:
        return ()
    return tuple(prefixes) if all(map(_POD_PREFIX.fullmatch, prefixes)) else ()


def _may_be_packets(expr: Expr | None) -> bool:
    """Whether a dropped packet can be wanted of which no more is known than addresses and ports.

    Dropped by a policy it was denied, for another reason it went unanswered.
    """
    statuses = implied_values(expr, "status")
    if statuses is not None and statuses.isdisjoint(("denied", "unanswered")):
        return False
    if implied_needles(expr, "dns.name") is not None:
        return False
    return all(implied_values(expr, path) is None for path in _OF_DNS)


def _values(expr: Expr | None, path: str, possible: Callable[[str], object]) -> tuple[str, ...]:
    """The only values that the field can have; none when it is not bound, or Hubble would not take one."""
    values = sorted(str(value) for value in implied_values(expr, path) or ())
    return tuple(values) if len(values) <= MAX_VALUES and all(map(possible, values)) else ()


def _is_plain_address(text: str) -> bool:
    # An IPv4 address in IPv6 may be shown as either.
    return address_text(text) == text and not text.startswith("::ffff:")


def _is_all_of(expr: Expr, pushed: set[str]) -> bool:
    """Whether the filter is nothing but conditions on these fields, one each, that were pushed whole."""
    paths = [_whole_path(condition) for condition in (expr.operands if isinstance(expr, And) else (expr,))]
    return all(paths) and pushed.issuperset(paths) and len(set(paths)) == len(paths)


def _whole_path(condition: Expr) -> str:
    """The field of which the condition asks no more than `implied_*` say; "" when there is no such field."""
    paths = {_leaf_path(leaf) for leaf in (condition.operands if isinstance(condition, Or) else (condition,))}
    return paths.pop() if len(paths) == 1 else ""


def _leaf_path(leaf: Expr) -> str:
    if isinstance(leaf, Compare | In):
        for path in ("client.ip", "client.namespace", "node"):
            if implied_values(leaf, path) is not None:
                return path
    if isinstance(leaf, Call) and leaf.method == "matches" and isinstance(leaf.argument, Literal):
        found = needle_of(str(leaf.argument.value))
        if not found or not found[1]:
            return ""
    if isinstance(leaf, Compare | In | Call):
        needles = implied_needles(leaf, "dns.name")
        return "dns.name" if needles and all(map(says_it_all, needles)) else ""
    return ""


def _in_words(needles: Iterable[Needle]) -> str:
    return _listed(sorted(f"{_WORDS[needle.kind]} {needle.text}" for needle in needles))


def _listed(words: Iterable[str]) -> str:
    return " or ".join(map(safe_text, words))
