"""`kubectl kdns backends`: every backend with its answer to "can you work here?"."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from kubectl_kdns.backend import BackendInfo, Probe, backend_infos, find_backend, load_backend
from kubectl_kdns.cli.backend_groups import CorednsOptions, EbpfOptions, HubbleOptions
from kubectl_kdns.cli.groups import ConnectionOptions, InputOptions
from kubectl_kdns.cli.options import Options, command, flag
from kubectl_kdns.cli.stream import backend_options, connection_flags
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import KdnsError, UsageError

DESCRIPTION = (
    "Only reads. For a backend that cannot work here the smallest change that would make it work is shown."
)
EXAMPLES = """
kubectl kdns backends
kubectl kdns backends coredns --rbac | kubectl apply -f -
kubectl kdns backends -o json
"""


class BackendsOptions(Options):
    """Which, and how to print."""

    names: tuple[str, ...] = flag(metavar="[BACKEND]...", help="Only these", default=())
    rbac: bool = flag("--rbac", help="Print the least RBAC that the backend needs, as YAML", default=False)
    output: str = flag("-o", "--output", metavar="FORMAT", help="table (default) or json", default="table")


GROUPS: list[type[Options]] = [BackendsOptions, CorednsOptions, HubbleOptions, EbpfOptions, ConnectionOptions]


def rbac_manifest(name: str, rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """A ClusterRole of the rules for the whole cluster, and a Role for each namespace that rules are for."""
    by_namespace: dict[str, list[dict[str, Any]]] = {}
    for rule in rules:
        plain = {key: value for key, value in rule.items() if key != "namespace"}
        by_namespace.setdefault(rule.get("namespace", ""), []).append(plain)
    return [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role" if namespace else "ClusterRole",
            "metadata": {"name": name} | ({"namespace": namespace} if namespace else {}),
            "rules": own,
        }
        for namespace, own in by_namespace.items()
    ]


def probe_all(
    infos: list[BackendInfo], flags: Mapping[str, Any], connection: ConnectionOptions
) -> dict[str, Probe]:
    """The live backends' answers; when there is no cluster to ask, that is the answer of each."""
    from kubectl_kdns.kube import connect

    live = [info for info in infos if info.live]
    probes = {
        info.name: Probe(True, "reads files: kubectl kdns trace --from FILE")
        for info in infos
        if not info.live
    }
    try:
        cluster = connect(connection_flags(connection))
        probes |= {info.name: load_backend(info.name).probe(cluster, flags) for info in live}
    except KdnsError as error:
        probes |= {
            info.name: Probe(False, error.what, error.hint) for info in live if info.name not in probes
        }
    return probes


def run(
    options: BackendsOptions,
    coredns: CorednsOptions,
    hubble: HubbleOptions,
    ebpf: EbpfOptions,
    connection: ConnectionOptions,
) -> None:
    """Prints them."""
    chosen = [find_backend(name) for name in options.names] or list(backend_infos().values())
    if options.rbac:
        import yaml

        objects = [
            each
            for info in chosen
            for name, rules in (
                (f"kdns-{info.name}", info.rbac),
                (f"kdns-{info.name}-change", info.rbac_change),
            )
            for each in rbac_manifest(name, rules)
        ]
        yaml.safe_dump_all(objects, sys.stdout, sort_keys=False)
        return
    if options.output not in ("table", "json"):
        raise UsageError(f"-o {options.output}: table or json")
    probes = probe_all(chosen, backend_options(InputOptions(), coredns, hubble, ebpf), connection)
    if options.output == "json":
        rows = [
            {
                "name": i.name,
                "summary": i.summary,
                "usable": probes[i.name].usable,
                "evidence": probes[i.name].evidence,
                "fix": probes[i.name].fix,
            }
            for i in chosen
        ]
        print(json.dumps(rows, indent=2))
        return
    for info in chosen:
        probe = probes[info.name]
        answer = "works" if probe.usable else "works on request" if probe.creates else "cannot work here"
        print(f"{info.name:<9}{answer}: {safe_text(probe.evidence)}")
        print(f"{'':<9}{info.summary}")
        if probe.fix:
            print(f"{'':<9}Try: {safe_text(probe.fix)}")


COMMAND = command(GROUPS, run)
