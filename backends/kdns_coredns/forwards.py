"""Whom the cluster's DNS servers ask in turn, as their Corefiles say it (coredns `plugin/forward`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from typing import Any

from kdns_coredns.configs import read_corefiles
from kdns_coredns.corefile import DEFAULT_PORTS, Corefile, parse_corefile
from kdns_coredns.discover import discover
from kubectl_kdns.backend import Forward
from kubectl_kdns.errors import BackendError
from kubectl_kdns.kube import Cluster

FORWARDING = ("forward", "grpc", "proxy")


def read_forwards(cluster: Cluster, options: Mapping[str, Any]) -> list[Forward]:
    """Of all CoreDNS and NodeLocal pods. Raises KdnsError where a Corefile cannot be read in full: what is
    missing may forward as well."""
    found = discover(cluster, options)
    kinds = {pod.config: pod.kind for pod in found.pods if pod.config}
    forwards: list[Forward] = []
    for source, text in read_corefiles(cluster, found.pods).items():
        where = f"configmap {source.namespace}/{source.name}"
        if text.text is None:
            raise BackendError(f"{where} cannot be read", cause=text.reason)
        corefile = parse_corefile(text.text, resolve=text.resolve)
        if corefile.missing:
            raise BackendError(f"{where} imports what is not known: {', '.join(corefile.missing)}")
        forwards += forwards_of(corefile, kinds[source], where)
    return forwards


def forwards_of(corefile: Corefile, server: str, where: str) -> list[Forward]:
    """In the order of the Corefile; a file of nameservers (/etc/resolv.conf) is one, with port 53."""
    return [
        Forward(server, f"{where}:{directive.line}", zone.lower().rstrip(".") or ".", *target)
        for block in corefile.blocks
        for name in FORWARDING
        for directive in block.named(name)
        for zone in directive.args[:1]
        for to in directive.args[1:]
        for target in _targets(to, directive.name == "grpc")
    ]


def _targets(to: str, is_grpc: bool) -> Iterator[tuple[str, int, str]]:
    """Address, port and scheme of `8.8.8.8`, `tls://9.9.9.9:853`, `[2001:db8::1]:53` or a file."""
    scheme, separator, rest = to.partition("://")
    if not separator:
        scheme, rest = ("grpc" if is_grpc else "dns"), to
    default = DEFAULT_PORTS.get(scheme, 53)
    if rest.startswith(("/", ".")):
        yield rest, 53, scheme
        return
    host, port = rest, ""
    if rest.startswith("["):
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    elif not _is_address(rest):
        host, _, port = rest.rpartition(":") if ":" in rest else (rest, "", "")
    yield host.split("%", 1)[0], int(port) if port.isdigit() else default, scheme


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
