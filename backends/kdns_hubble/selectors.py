"""Label selectors as Cilium reads them: whom they select, whether two can select one pod, what implies what.

Sources: cilium v1.17.4 pkg/policy/api/selector.go and pkg/labelsfilter/filter.go. A requirement on a label
that Cilium may not know of (its label filter), or of another source, is "not known": None, never False.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from msgspec import Struct

from kubectl_kdns.filter.selector import Requirement

NAMESPACE = "io.kubernetes.pod.namespace"
NAMESPACE_LABELS = "io.cilium.k8s.namespace.labels."
SERVICE_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
RESERVED = "reserved:"

Known = bool | None
"""None: not known."""
Requirements = tuple[Requirement, ...]
"""All must hold."""

_KEPT = re.compile(
    rf"{re.escape(NAMESPACE)}|{re.escape(NAMESPACE_LABELS)}|{re.escape(SERVICE_ACCOUNT)}|app\.kubernetes\.io"
)
_LEFT_OUT = re.compile(
    r"io\.kubernetes|kubernetes\.io|.*beta\.kubernetes\.io|k8s\.io|statefulset\.kubernetes\.io/pod-name"
    r"|apps\.kubernetes\.io/pod-index|batch\.kubernetes\.io/|pod-template-|controller-|annotation|etcd_node"
    r"|io\.cilium\."
)
_OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


class _Expression(Struct, forbid_unknown_fields=True):
    key: str
    operator: str
    values: list[str] | None = None


class _LabelSelector(Struct, rename="camel", forbid_unknown_fields=True):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


def label_key(text: str) -> str:
    """The key of a pod's label as a policy writes it: `k8s:app`, `any:app` and `app` are the same here."""
    source, colon, key = text.partition(":")
    return key if colon and source in ("k8s", "any") else text


def selector_of(value: Any, prefix: str = "") -> Requirements | None:
    """A LabelSelector object as requirements, `prefix` before every key; None when it cannot be read."""
    try:
        selector = msgspec.convert(value, _LabelSelector)
    except msgspec.ValidationError:
        return None
    requirements = [
        Requirement(prefix + label_key(key), frozenset((label,)), True)
        for key, label in (selector.match_labels or {}).items()
    ]
    for expression in selector.match_expressions or ():
        if expression.operator not in _OPERATORS:
            return None
        values = frozenset(expression.values or ()) if expression.operator.endswith("In") else None
        wanted = expression.operator in ("In", "Exists")
        requirements.append(Requirement(prefix + label_key(expression.key), values, wanted))
    return tuple(requirements)


def selector_object(requirements: Requirements) -> dict[str, Any]:
    """The requirements as a LabelSelector object for a policy; {} selects all."""
    labels: dict[str, str] = {}
    expressions: list[dict[str, Any]] = []
    for item in requirements:
        key = f"k8s:{item.key}"
        if item.values is None:
            expressions.append({"key": key, "operator": "Exists" if item.wanted else "DoesNotExist"})
        elif len(item.values) == 1 and item.wanted and key not in labels:
            labels[key] = next(iter(item.values))
        else:
            operator = "In" if item.wanted else "NotIn"
            expressions.append({"key": key, "operator": operator, "values": sorted(item.values)})
    result: dict[str, Any] = {}
    if labels:
        result["matchLabels"] = labels
    if expressions:
        result["matchExpressions"] = expressions
    return result


def selects(requirements: Requirements | None, labels: Mapping[str, str]) -> Known:
    """Whether these requirements hold for a pod with these labels (`pod_labels`)."""
    if requirements is None:
        return None
    found = [_holds(item, labels) for item in requirements]
    return False if False in found else None if None in found else True


def _holds(item: Requirement, labels: Mapping[str, str]) -> Known:
    if item.key.startswith(RESERVED):
        return item.holds({})
    if ":" in item.key or (_LEFT_OUT.match(item.key) and not _KEPT.match(item.key)):
        return None
    if item.key.startswith(NAMESPACE_LABELS) and NAMESPACE_LABELS not in labels:
        return None
    return item.holds(labels)


def pod_labels(
    labels: Mapping[str, str] | None,
    namespace: str,
    service_account: str = "",
    namespace_labels: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The labels by which policies select a pod. Without `namespace_labels` those are not known."""
    result = {**(labels or {}), NAMESPACE: namespace, SERVICE_ACCOUNT: service_account or "default"}
    if namespace_labels is not None:
        result[NAMESPACE_LABELS] = ""
        result.update({NAMESPACE_LABELS + key: value for key, value in namespace_labels.items()})
    return result


def can_all_hold(requirements: Iterable[Requirement]) -> bool:
    """Whether some set of labels satisfies all of them; exact, because keys do not depend on each other."""
    by_key: dict[str, list[Requirement]] = {}
    for item in requirements:
        by_key.setdefault(item.key, []).append(item)
    return all(_can_hold(items) for items in by_key.values())


def _can_hold(items: list[Requirement]) -> bool:
    wanted = [item for item in items if item.wanted]
    if not wanted:
        return True
    if any(item.values is None and not item.wanted for item in items):
        return False
    lists = [item.values for item in wanted if item.values is not None]
    if not lists:
        return True
    excluded = frozenset().union(*(item.values or () for item in items if not item.wanted))
    return bool(frozenset.intersection(*lists) - excluded)


def implies(requirements: Requirements, others: Requirements) -> bool:
    """Whether every pod that satisfies `requirements` satisfies `others` too."""
    return all(not can_all_hold((*requirements, _opposite(item))) for item in others)


def _opposite(item: Requirement) -> Requirement:
    return Requirement(item.key, item.values, not item.wanted)


def facts_of(namespace: str, namespace_labels: Mapping[str, str] | None, keys: Iterable[str]) -> Requirements:
    """What holds for every pod of a namespace, as requirements on those of `keys` that it decides."""
    facts = [Requirement(NAMESPACE, frozenset((namespace,)), True)]
    for key in keys:
        if key.startswith(RESERVED):
            facts.append(Requirement(key, None, False))
        elif key.startswith(NAMESPACE_LABELS) and namespace_labels is not None:
            value = namespace_labels.get(key.removeprefix(NAMESPACE_LABELS))
            facts.append(Requirement(key, None if value is None else frozenset((value,)), value is not None))
    return tuple(facts)
