"""What a Corefile says about logging, and what is wrong with it: with the smallest fix.

Sources: coredns `plugin/{log,errors,reload}/setup.go`.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from msgspec import Struct

from kdns_coredns.corefile import ALL, COMMON, Corefile, LogRule, ServerBlock
from kdns_coredns.formats import template_of
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.times import NS_PER_S, parse_duration

LOG_OFF = "log_off"
LOG_MISCONFIGURED = "log_misconfigured"
LOG_LIMITED = "log_class_limited"
RELOAD_INTERVAL_NS = 30 * NS_PER_S

SWITCH_ON = "kubectl kdns coredns-logs --enable --for 10m"


class Problem(Struct, frozen=True):
    """`code` is a notice's; `fix` is a command, or a line for the Corefile; `line` 0 is the whole file."""

    code: str
    message: str
    fix: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.message}. Try: {self.fix}"


class LogSettings(Struct, frozen=True, dict=True):
    """How a CoreDNS with this Corefile logs."""

    corefile: Corefile

    @cached_property
    def formats(self) -> tuple[str, ...]:
        """The formats that can be read, each once, and the common one in any case: lines may be older."""
        rules = [rule for block in self.corefile.blocks for rule in block.log_rules]
        readable = [rule.format for rule in rules if not template_of(rule.format).problem]
        return tuple(dict.fromkeys([*readable, COMMON]))

    @cached_property
    def is_off(self) -> bool:
        """Whether it is certain that no lookup at all is logged."""
        return not self.corefile.missing and not any(
            _logs(rule) for block in self.corefile.blocks for rule in block.log_rules
        )

    @cached_property
    def has_errors(self) -> bool:
        """Whether failed lookups have an [ERROR] line somewhere."""
        return any(True for block in self.corefile.blocks for _ in block.named("errors"))

    @cached_property
    def consolidates_errors(self) -> bool:
        """Whether some of those lines are only counted."""
        return any(
            entry.name == "consolidate"
            for block in self.corefile.blocks
            for errors in block.named("errors")
            for entry in errors.body
        )

    @cached_property
    def reload_ns(self) -> int | None:
        """How often CoreDNS looks for a new Corefile; None when it does not."""
        for block in self.corefile.blocks:
            for directive in block.named("reload"):
                try:
                    return parse_duration(directive.args[0]) if directive.args else RELOAD_INTERVAL_NS
                except ValueError:
                    return RELOAD_INTERVAL_NS
        return None

    @cached_property
    def port(self) -> int | None:
        """The port of plain DNS, where all server blocks agree on it."""
        ports = {zone.port for block in self.corefile.blocks for zone in block.zones if zone.scheme == "dns"}
        return ports.pop() if len(ports) == 1 else None

    @cached_property
    def problems(self) -> tuple[Problem, ...]:
        """What keeps lookups out of the log, or their lines from being read."""
        found = [problem for block in self.corefile.blocks for problem in _problems(block)]
        if self.is_off or self.corefile.missing:
            found = [problem for problem in found if problem.code != LOG_OFF]
        if self.is_off:
            found.insert(0, Problem(LOG_OFF, "CoreDNS's log is off: no lookup is logged", SWITCH_ON))
        for pattern in map(safe_text, self.corefile.missing):
            message = f"what the Corefile imports from {pattern} is not known here: the log may be on there"
            found.append(Problem(LOG_MISCONFIGURED, message, "--log-format FORMAT, if lines cannot be read"))
        return tuple(found)


def log_settings(corefile: Corefile) -> LogSettings:
    return LogSettings(corefile)


def _logs(rule: LogRule) -> bool:
    return any("{" not in name for name in rule.names)


def _problems(block: ServerBlock) -> Iterator[Problem]:
    rules = block.log_rules
    if not any(zone.scheme in ("dns", "tls", "https", "grpc", "quic") for zone in block.zones):
        return
    for rule in rules:
        yield from _problems_of_rule(block, rule)
    zones = ", ".join(safe_text(zone.name) for zone in block.zones)
    if not any(map(_logs, rules)):
        yield Problem(LOG_OFF, f"the log is off for {zones} (line {block.line})", SWITCH_ON, block.line)
    elif not any("." in rule.names or set(rule.names) >= {z.name for z in block.zones} for rule in rules):
        names = ", ".join(safe_text(name) for rule in rules for name in rule.names if "{" not in name)
        message = f"line {rules[0].line}: of {zones} only names below {names} are logged"
        yield Problem(LOG_LIMITED, message, f"{SWITCH_ON} --class all", rules[0].line)


def _problems_of_rule(block: ServerBlock, rule: LogRule) -> Iterator[Problem]:
    where = f"line {rule.line}: "
    words = [name for name in rule.names if "{" in name]
    if words:
        # Only the last argument of several is a format, and a lone argument never is.
        template = " ".join([*words, rule.template] if rule.template else words)
        names = " ".join(name for name in rule.names if "{" not in name) or "."
        quoted = f'"{template}"' if " " in template else template
        said = f"CoreDNS takes {safe_text(words[0])} for the name of a zone"
        silent = "" if _logs(rule) else ", and logs nothing"
        yield Problem(
            LOG_MISCONFIGURED,
            f"{where}{said}{silent}",
            f"log {safe_text(names)} {safe_text(quoted)}",
            rule.line,
        )
        return
    template_ = template_of(rule.format)
    if template_.problem:
        message = f"{where}{template_.problem}: its lines cannot be read"
        yield Problem(LOG_MISCONFIGURED, message, "log . {combined}", rule.line)
    elif template_.ambiguous:
        message = f"{where}values touch in the format, so where one ends is guessed"
        yield Problem(LOG_MISCONFIGURED, message, "a blank between the placeholders", rule.line)
    if any(node.startswith("{/") for node in template_.nodes) and not any(block.named("metadata")):
        message = f"{where}the format has metadata, but the server block has no `metadata`: it logs only -"
        yield Problem(LOG_MISCONFIGURED, message, "metadata, as a line of the server block", rule.line)
    if ALL not in rule.classes and set(rule.classes) != {"success", "denial", "error"}:
        message = f"{where}only lookups of class {', '.join(map(safe_text, rule.classes))} are logged"
        yield Problem(LOG_LIMITED, message, f"{SWITCH_ON} --class all", rule.line)
