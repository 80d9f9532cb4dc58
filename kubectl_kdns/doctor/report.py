"""Findings as text, JSON lines or YAML: the same findings, in the same order."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from kubectl_kdns.doctor.finding import CLUSTER, SEVERITIES, Check, Finding

AT_MOST = 5
"""So many findings of one check and severity are shown as text; JSON and YAML have all."""
WIDTH = 100
_PLURALS = {"failure": "failures", "warning": "warnings", "unknown": "unknown", "info": "info", "ok": "ok"}


def text_report(findings: Sequence[Finding], *, all_: bool) -> str:
    """The worst first, each with its evidence and fix; what is ok is one line, or with `all_` a line each."""
    lines: list[str] = []
    for severity in SEVERITIES[:-1]:
        lines += _section(severity, [each for each in findings if each.severity == severity])
    fine = [finding for finding in findings if finding.severity == "ok"]
    if all_:
        for topic in dict.fromkeys(finding.topic for finding in fine):
            lines += [f"OK  {topic}"]
            lines += [f"  {_title(each)}: {each.evidence}" for each in fine if each.topic == topic]
            lines += [""]
    lines.append(_totals(findings, hidden=bool(fine) and not all_))
    return "\n".join(lines) + "\n"


def _section(severity: str, findings: list[Finding]) -> list[str]:
    lines: list[str] = []
    shown: Counter[str] = Counter()
    for same in _alike(findings):
        first = same[0]
        shown[first.check] += 1
        if shown[first.check] > AT_MOST:
            continue
        title = _title(first) if len(same) == 1 else ", ".join(dict.fromkeys(each.check for each in same))
        lines += _wrapped(f"{severity.upper():<8}{title}", "        ")
        lines += _wrapped(f"        {first.evidence}", "        ")
        if first.fix:
            head, *rest = first.fix.split("\n")
            # A command is never broken: it is there to be copied.
            lines += [f"        Try: {head}", *rest]
        lines.append("")
    for check, count in shown.items():
        if count > AT_MOST:
            lines += [f"{severity.upper():<8}{check}: {count - AT_MOST} more (--only {check} -o json)", ""]
    return lines


def _alike(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Those together that say the same of the same: one missing right is the reason of many."""
    groups: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.on, finding.evidence, finding.fix), []).append(finding)
    return list(groups.values())


def _title(finding: Finding) -> str:
    return finding.check if finding.on == CLUSTER else f"{finding.check}  {finding.on}"


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def _totals(findings: Sequence[Finding], *, hidden: bool) -> str:
    counts = Counter(finding.severity for finding in findings)
    parts = [
        f"{counts[severity]} {severity if counts[severity] == 1 else _PLURALS[severity]}"
        for severity in SEVERITIES
        if counts[severity]
    ]
    return ", ".join(parts) + (" (--all shows what is ok)" if hidden else "")


def json_report(findings: Sequence[Finding]) -> str:
    """One document a line."""
    return "".join(msgspec.json.encode(finding).decode() + "\n" for finding in findings)


def yaml_report(findings: Sequence[Finding]) -> str:
    import yaml

    documents = [msgspec.to_builtins(finding) for finding in findings]
    text: str = yaml.safe_dump_all(documents, explicit_start=True, sort_keys=False, allow_unicode=True)
    return text


def check_list(checks: Iterable[Check[Any]]) -> str:
    """Every check with its one line of help, by topic."""
    lines: list[str] = []
    topic = ""
    for check in checks:
        if check.topic != topic:
            topic = check.topic
            lines += ["", topic] if lines else [topic]
        lines.append(f"  {check.id:<22}{check.help}")
    return "\n".join(lines) + "\n"


REPORTS: dict[str, Callable[[Sequence[Finding]], str]] = {"json": json_report, "yaml": yaml_report}
