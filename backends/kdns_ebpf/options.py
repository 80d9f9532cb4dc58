"""The flags of this backend (`--agent-...`) as one checked object, before anything is opened."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from kubectl_kdns.errors import UsageError
from kubectl_kdns.times import NS_PER_S

NAMESPACE = "kube-system"
MAX_NODES = 50
MAX_RATE = 50_000
LIFETIME_NS = 3600 * NS_PER_S
SPARE_NS = 60 * NS_PER_S
"""What agents may take besides the time of --for, to start and to end."""
MAX_LIFETIME_NS = 7 * 24 * 3600 * NS_PER_S
DNS_PORT, MDNS_PORT = 53, 5353
MAX_PORTS = 8
MEMORY, LEAST_MEMORY_MI = "128Mi", 32

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
_QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|M|G|Ki|Mi|Gi)?")
_UNITS = {"k": 10**3, "M": 10**6, "G": 10**9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "m": 0.001}


class AgentOptions(Struct, frozen=True):
    """`nodes` are globs; `image` "" is "one that the node has". `max_rate` is messages a second and node, 0
    no limit. `ports` are those whose packets are DNS. `memory` and `cpu` are the container's limits."""

    namespace: str = NAMESPACE
    image: str = ""
    image_pull_secret: str = ""
    privileged: bool = False
    nodes: tuple[str, ...] = ()
    node_selector: str = ""
    max_nodes: int = MAX_NODES
    priority_class: str = ""
    cpu: str = ""
    memory: str = MEMORY
    max_rate: int = MAX_RATE
    lifetime_ns: int = LIFETIME_NS
    ports: tuple[int, ...] = (DNS_PORT, MDNS_PORT)
    enter_nodes: frozenset[str] = frozenset()
    """Where lookups are to be made from within pods: those agents have the rights to enter them."""

    @classmethod
    def of(cls, flags: Mapping[str, Any]) -> AgentOptions:
        """From flags by their long name, `-` as `_`; those that are missing have their default.

        Raises UsageError for a value that cannot be.
        """
        options = cls(
            namespace=_named(flags, "agent_namespace") or NAMESPACE,
            image=flags.get("image") or "",
            image_pull_secret=_named(flags, "image_pull_secret"),
            privileged=bool(flags.get("privileged")),
            nodes=tuple(flags.get("agent_node") or ()),
            node_selector=flags.get("agent_node_selector") or "",
            max_nodes=_number(flags, "max_nodes", MAX_NODES, least=1),
            priority_class=_named(flags, "priority_class"),
            cpu=_quantity(flags, "agent_cpu", ""),
            memory=_memory(flags),
            max_rate=_number(flags, "max_rate", MAX_RATE, least=0),
            lifetime_ns=_lifetime_ns(flags),
            enter_nodes=frozenset(flags.get("enter_nodes") or ()),
            ports=tuple(dict.fromkeys(flags.get("ports") or (DNS_PORT, MDNS_PORT))),
        )
        if len(options.ports) > MAX_PORTS:
            raise UsageError(f"--port: {len(options.ports)} ports; an agent takes {MAX_PORTS}")
        if options.lifetime_ns > MAX_LIFETIME_NS:
            raise UsageError("agents live for 168h at most", hint="--agent-lifetime 168h")
        return options

    def arguments(self, timeout_ns: int) -> list[str]:
        """Those of the agent, wherever it runs."""
        timeout_ms = max(timeout_ns // 1_000_000, 1)
        ports = [word for port in self.ports for word in ("--port", str(port))]
        return [*ports, "--timeout-ms", str(timeout_ms)]


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _named(flags: Mapping[str, Any], name: str) -> str:
    text: str = flags.get(name) or ""
    if text and not _NAME.fullmatch(text):
        raise UsageError(f"{_flag(name)} {text}: not the name of an object in Kubernetes")
    return text


def _quantity(flags: Mapping[str, Any], name: str, default: str) -> str:
    text: str = flags.get(name) or default
    if text and not _QUANTITY.fullmatch(text):
        raise UsageError(f"{_flag(name)} {text}: not a quantity", hint=f"{_flag(name)} 100m, or 64Mi")
    return text


def _lifetime_ns(flags: Mapping[str, Any]) -> int:
    given: int | None = flags.get("agent_lifetime_ns")
    if given is not None and given < NS_PER_S:
        raise UsageError("--agent-lifetime: at least 1s")
    for_ns: int | None = flags.get("for_ns")
    return given or (for_ns + SPARE_NS if for_ns is not None else LIFETIME_NS)


def _memory(flags: Mapping[str, Any]) -> str:
    text = _quantity(flags, "agent_memory", MEMORY)
    unit = text.lstrip("0123456789.")
    if float(text.removesuffix(unit)) * _UNITS.get(unit, 1) < LEAST_MEMORY_MI * _UNITS["Mi"]:
        raise UsageError(f"--agent-memory {text}: at least {LEAST_MEMORY_MI}Mi, which an agent asks for")
    return text


def _number(flags: Mapping[str, Any], name: str, default: int, *, least: int) -> int:
    number = flags.get(name)
    if number is None:
        return default
    if number < least:
        raise UsageError(f"{_flag(name)} {number}: at least {least}")
    return int(number)
