"""Label selectors as Cilium reads them; overlap and implication against trying every set of labels."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_hubble.selectors import (
    NAMESPACE,
    NAMESPACE_LABELS,
    Requirements,
    can_all_hold,
    facts_of,
    implies,
    label_key,
    pod_labels,
    selector_object,
    selector_of,
    selects,
)
from kubectl_kdns.filter.selector import Requirement, parse_selector

VALUES = ("x", "y", "z")
# A third value that no requirement names stands for all the others.
WORLD = [
    {key: value for key, value in zip("ab", values, strict=True) if value}
    for values in itertools.product(("", *VALUES), repeat=2)
]

requirement_sets = st.lists(
    st.builds(
        Requirement,
        st.sampled_from("ab"),
        st.none() | st.frozensets(st.sampled_from("xy"), min_size=1),
        st.booleans(),
    ),
    max_size=4,
).map(tuple)


def fits(requirements: Requirements, labels: dict[str, str]) -> bool:
    return all(item.holds(labels) for item in requirements)


@given(requirement_sets)
def test_overlap_is_exact(requirements: Requirements) -> None:
    assert can_all_hold(requirements) is any(fits(requirements, labels) for labels in WORLD)


@given(requirement_sets, requirement_sets)
def test_implication_is_exact(one: Requirements, other: Requirements) -> None:
    expected = all(fits(other, labels) for labels in WORLD if fits(one, labels))
    assert implies(one, other) is expected


@given(requirement_sets)
def test_a_selector_in_a_policy_reads_as_it_was(requirements: Requirements) -> None:
    back = selector_of(selector_object(requirements))
    assert back is not None
    assert all(fits(back, labels) is fits(requirements, labels) for labels in WORLD)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("k8s:app", "app"),
        ("any:app", "app"),
        ("app", "app"),
        ("reserved:host", "reserved:host"),
        ("k8s:io.kubernetes.pod.namespace", NAMESPACE),
    ],
)
def test_sources_of_labels(text: str, key: str) -> None:
    assert label_key(text) == key


LABELS = pod_labels({"app": "web", "pod-template-hash": "5d"}, "shop", "bot", {"env": "prod"})


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"matchLabels": {"k8s:app": "web"}}, True),
        ({"matchLabels": {"any:app": "db"}}, False),
        ({"matchLabels": {"k8s:io.kubernetes.pod.namespace": "shop", "app": "web"}}, True),
        ({"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "bot"}}, True),
        ({"matchLabels": {f"{NAMESPACE_LABELS}env": "prod"}}, True),
        ({"matchLabels": {f"k8s:{NAMESPACE_LABELS}env": "test"}}, False),
        ({"matchLabels": {"reserved:init": ""}}, False),
        ({"matchLabels": {"pod-template-hash": "5d"}}, None),
        ({"matchLabels": {"container:app": "web"}}, None),
        ({"matchLabels": {"container:app": "web", "app": "db"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web", "db"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "other", "operator": "NotIn", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "DoesNotExist"}]}, False),
        ({"matchExpressions": [{"key": "app", "operator": "Like", "values": ["w"]}]}, None),
        ({"matchLabels": {"app": 7}}, None),
        ({"matchEverything": True}, None),
        (None, None),
        ([], None),
    ],
)
def test_whom_a_selector_selects(selector: object, expected: bool | None) -> None:
    assert selects(selector_of(selector), LABELS) is expected


def test_labels_of_a_namespace_that_may_not_be_read_are_not_known() -> None:
    labels = pod_labels({}, "shop")
    selector = selector_of({"matchLabels": {f"{NAMESPACE_LABELS}env": "prod"}})
    assert selects(selector, labels) is None


def test_facts_of_a_namespace_decide() -> None:
    prod = selector_of({"matchLabels": {f"{NAMESPACE_LABELS}env": "prod"}})
    assert prod is not None
    keys = [item.key for item in prod]
    assert can_all_hold((*facts_of("shop", {"env": "prod"}, keys), *prod))
    assert not can_all_hold((*facts_of("shop", {"env": "test"}, keys), *prod))
    assert not can_all_hold((*facts_of("shop", {}, keys), *prod))
    assert can_all_hold((*facts_of("shop", None, keys), *prod))


def test_the_selector_of_a_command_line() -> None:
    parsed = parse_selector("app=web,tier in (a,b),!old").requirements
    assert selector_object(parsed) == {
        "matchLabels": {"k8s:app": "web"},
        "matchExpressions": [
            {"key": "k8s:tier", "operator": "In", "values": ["a", "b"]},
            {"key": "k8s:old", "operator": "DoesNotExist"},
        ],
    }
