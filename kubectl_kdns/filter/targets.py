"""POD and KIND/NAME, as kubectl and stern understand them, as conditions on the client or on the server."""

from __future__ import annotations

from kubectl_kdns.errors import UsageError, did_you_mean
from kubectl_kdns.filter.globs import glob_condition
from kubectl_kdns.filter.literals import address_text
from kubectl_kdns.filter.nodes import And, Call, Compare, Expr, Field, Literal, Or
from kubectl_kdns.filter.regex import quote
from kubectl_kdns.model import ENDPOINT_KINDS

# Kind in the schema: singular, then what kubectl takes for it besides the plural in -s.
_KINDS = {
    "Pod": ("pod", "po"),
    "Deployment": ("deployment", "deploy"),
    "DaemonSet": ("daemonset", "ds"),
    "StatefulSet": ("statefulset", "sts"),
    "ReplicaSet": ("replicaset", "rs"),
    "ReplicationController": ("replicationcontroller", "rc"),
    "Job": ("job",),
    "CronJob": ("cronjob", "cj"),
    "Rollout": ("rollout", "ro"),
    "Service": ("service", "svc"),
    "Node": ("node", "no"),
}
_KIND_OF = {word: kind for kind, words in _KINDS.items() for word in (*words, words[0] + "s")}
_GENERATED_NAME_BASE = 58
"""Characters that Kubernetes keeps of an owner's name and a dash before it adds five random ones."""


def client_condition(text: str) -> Expr:
    """The client is this: a part of a pod's name (an RE2 regex), or KIND/NAME. Raises UsageError."""
    if "/" not in text:
        return Call("matches", Field("client.pod"), Literal(text))
    kind, name = kind_and_name(text)
    match kind:
        case "Pod":
            return _is("client.pod", name)
        case "Node":
            return _is("client.node", name)
        case "Service":
            return Call("backs", Field("client"), Literal(name))
        case "ReplicaSet":
            # A pod of a ReplicaSet counts as its Deployment's; only its name tells.
            return _generated_from("client.pod", name)
        case "Job":
            # A pod of a CronJob's Job counts as the CronJob's; those of an indexed Job have their index.
            by_name = _generated_from("client.pod", name, "([0-9]+-)?")
            of_cron_job = And((_is("client.workload.kind", "CronJob"), by_name))
            return Or((_workload("client", kind, name), of_cron_job))
        case _:
            return _workload("client", kind, name)


def server_condition(text: str) -> Expr:
    """The server is this: an address, a kind of endpoint, KIND/NAME, or a pod or Service (a glob).

    An address or a pod may be what was asked or what a Service address became. Raises UsageError.
    """
    address = address_text(text)
    if address:
        return Or((_is("server.ip", address), _is("server.backend.ip", address)))
    if text in ENDPOINT_KINDS:
        return _is("server.kind", text)
    if "/" not in text:
        return Or(tuple(glob_condition(f"server.{part}", text) for part in ("pod", "backend.pod", "service")))
    if address_text(text.partition("/")[0]):
        raise UsageError(
            "a range of addresses is not possible here",
            hint="-F 'server.ip.startsWith(\"10.96.\")'",
        )
    kind, name = kind_and_name(text)
    match kind:
        case "Pod":
            return Or((_is("server.pod", name), _is("server.backend.pod", name)))
        case "Node":
            return Or((_is("server.node", name), _is("server.backend.node", name)))
        case "Service":
            return _is("server.service", name)
        case "ReplicaSet":
            return Or((_generated_from("server.pod", name), _generated_from("server.backend.pod", name)))
        case _:
            return _workload("server", kind, name)


def kind_and_name(text: str) -> tuple[str, str]:
    """`deployments.v1.apps/cart` as Deployment and cart."""
    resource, _slash, name = text.partition("/")
    word = resource.partition(".")[0].lower()
    kind = _KIND_OF.get(word)
    if kind is None:
        words = ", ".join(words[-1] for words in _KINDS.values())
        hint = did_you_mean(word, list(_KIND_OF)) or f"one of {words}; others by -F client.workload.kind"
        raise UsageError(f'kdns knows no kind "{resource}"', hint=hint)
    if not name or "/" in name:
        raise UsageError("a target is KIND/NAME", hint=f"{word}/cart -n shop")
    return kind, name


def _is(path: str, value: str) -> Expr:
    return Compare("==", Field(path), Literal(value))


def _workload(side: str, kind: str, name: str) -> Expr:
    return And((_is(f"{side}.workload.kind", kind), _is(f"{side}.workload.name", name)))


def _generated_from(path: str, owner: str, between: str = "") -> Expr:
    """A pod name that Kubernetes made of its owner's, the regex `between`, and five random characters."""
    base = quote(f"{owner}-"[:_GENERATED_NAME_BASE])
    return Call("matches", Field(path), Literal(f"^{base}{between}[a-z0-9]{{5}}$"))
