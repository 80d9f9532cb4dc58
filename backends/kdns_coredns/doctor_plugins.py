"""Checks of the plugins in a Corefile: that none is missing, and none is misspelt."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kdns_coredns.corefile import ServerBlock
from kdns_coredns.doctor_corefile import NEEDS, TOPIC, parsed
from kdns_coredns.doctor_facts import CorednsFacts
from kubectl_kdns.doctor import Check, Verdict, check, known, ok, unknown, warning
from kubectl_kdns.errors import did_you_mean

_NAMES = """
acl any auto autopath azure bind bufsize cache cancel chaos clouddns debug dns64 dnssec dnstap
erratic errors etcd federation file forward geoip grpc grpc_server header health hosts https https3
k8s_external kubernetes loadbalance local log loop metadata minimal multisocket nomad nsid on pprof
prometheus proxy proxyproto quic ready reload rewrite root route53 secondary shutdown sign startup
template timeouts tls trace transfer tsig view whoami
"""
PLUGINS = frozenset(_NAMES.split())
"""CoreDNS's own (plugin.cfg of 1.14), and those that older versions had."""


@check(
    "corefile-plugins",
    topic=TOPIC,
    help="CoreDNS knows every plugin in the Corefile",
    worst="warning",
    needs=NEEDS,
    fix="The name as CoreDNS spells it",
)
def corefile_plugins(facts: CorednsFacts) -> Iterator[Verdict]:
    for each in parsed(facts):
        strange = [
            directive
            for block in known(each.corefile).blocks
            for directive in block.plugins
            if directive.name not in PLUGINS
        ]
        for directive in strange:
            near = did_you_mean(directive.name, sorted(PLUGINS))
            yield warning(
                each.target,
                f"line {directive.line}: {directive.name} is no plugin of CoreDNS's own; unless this image "
                "has it, CoreDNS refuses the Corefile",
                f"{near} {each.edit}".strip(),
            )
        if not strange:
            yield ok(each.target, "every plugin is one of CoreDNS's own")


def _serves_dns(block: ServerBlock) -> bool:
    return any(zone.scheme == "dns" for zone in block.zones)


def _forwards(block: ServerBlock) -> bool:
    return _serves_dns(block) and any(True for _ in block.named("forward"))


def _forwards_all(block: ServerBlock) -> bool:
    return _serves_dns(block) and any(line.args[:1] == (".",) for line in block.named("forward"))


def _plugin_check(
    plugin: str,
    help: str,
    without: str,
    applies: Callable[[ServerBlock], bool] = _serves_dns,
    *,
    once: bool = False,
    nodelocal: bool = True,
) -> Check[CorednsFacts]:
    """A check that a plugin is there: in each server block it `applies` to, or `once` in any of them."""

    @check(
        f"corefile-{plugin}",
        topic=TOPIC,
        help=help,
        worst="warning",
        needs=NEEDS,
        fix=f"A line `{plugin}` in the server block",
    )
    def plugin_is_there(facts: CorednsFacts) -> Iterator[Verdict]:
        for each in parsed(facts):
            if each.is_nodelocal and not nodelocal:
                continue
            corefile = known(each.corefile)
            blocks = [block for block in corefile.blocks if applies(block)]
            lacking = [block for block in blocks if not any(True for _ in block.named(plugin))]
            if once and len(lacking) < len(blocks):
                lacking = []
            if lacking and corefile.missing:
                yield unknown(
                    each.target,
                    f"no `{plugin}`, but it may be in what is imported: {', '.join(corefile.missing)}",
                )
                continue
            for block in lacking[:1] if once else lacking:
                zones = " ".join(zone.name for zone in block.zones)
                where = "anywhere" if once else f"in the server block of {zones} (line {block.line})"
                yield warning(
                    each.target,
                    f"no `{plugin}` {where}: {without}",
                    f"a line `{plugin}` in the block of line {block.line}: {each.edit}",
                )
            if not lacking:
                yield ok(each.target, f"`{plugin}` is there")

    return plugin_is_there


CHECKS = (
    corefile_plugins,
    _plugin_check(
        "errors",
        "`errors` is in every server block",
        "why lookups fail is in no log",
    ),
    _plugin_check(
        "cache",
        "`cache` is in every server block that forwards",
        "every lookup of an external name goes to the upstream",
        _forwards,
    ),
    _plugin_check(
        "loop",
        "`loop` is in every server block that forwards everything",
        "a forward that leads back is not noticed, and takes CoreDNS down",
        _forwards_all,
    ),
    _plugin_check(
        "reload",
        "`reload` is in the Corefile",
        "a change of the ConfigMap waits for a restart",
        once=True,
    ),
    _plugin_check(
        "health",
        "`health` is in the Corefile",
        "a liveness probe has nobody to ask",
        once=True,
    ),
    _plugin_check(
        "ready",
        "`ready` is in the Corefile",
        "a pod gets lookups before it knows the cluster's Services",
        once=True,
        nodelocal=False,
    ),
)
