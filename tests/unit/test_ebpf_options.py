"""The flags of the agents: what they become, and what cannot be."""

from __future__ import annotations

from typing import Any

import pytest

from kdns_ebpf.options import AgentOptions
from kubectl_kdns.errors import UsageError

S = 1_000_000_000


def test_nothing_given() -> None:
    assert AgentOptions.of({"hubble_server": "", "image": ""}) == AgentOptions()


@pytest.mark.parametrize(
    ("flags", "seconds"),
    [
        ({}, 3600),
        ({"for_ns": None}, 3600),
        ({"for_ns": 10 * S}, 70),
        ({"for_ns": 3 * 3600 * S}, 3 * 3600 + 60),
        ({"for_ns": 10 * S, "agent_lifetime_ns": 600 * S}, 600),
    ],
)
def test_agents_live_a_little_longer_than_the_run(flags: dict[str, Any], seconds: int) -> None:
    assert AgentOptions.of(flags).lifetime_ns == seconds * S


@pytest.mark.parametrize(
    ("flags", "what"),
    [
        ({"agent_memory": "16Mi"}, "--agent-memory 16Mi: at least 32Mi"),
        ({"agent_memory": "lots"}, "--agent-memory lots: not a quantity"),
        ({"agent_namespace": "Kube_System"}, "--agent-namespace Kube_System"),
        ({"max_nodes": 0}, "--max-nodes 0: at least 1"),
        ({"max_rate": -1}, "--max-rate -1: at least 0"),
        ({"agent_lifetime_ns": 1}, "--agent-lifetime: at least 1s"),
        ({"for_ns": 200 * 3600 * S}, "agents live for 168h at most"),
        ({"ports": tuple(range(1, 10))}, "--port: 9 ports"),
    ],
)
def test_what_cannot_be(flags: dict[str, Any], what: str) -> None:
    with pytest.raises(UsageError) as caught:
        AgentOptions.of(flags)
    assert what in str(caught.value)


@pytest.mark.parametrize("memory", ["32Mi", "64M", "1Gi", "40000000"])
def test_enough_memory(memory: str) -> None:
    assert AgentOptions.of({"agent_memory": memory}).memory == memory
