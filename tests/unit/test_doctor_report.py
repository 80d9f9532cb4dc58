"""How findings are printed: order, what is left out, what is made safe."""

from __future__ import annotations

import json

import pytest
import yaml
from msgspec import UNSET

from kubectl_kdns.doctor import Check, Finding, Target, Verdict, judge
from kubectl_kdns.doctor.finding import CLUSTER, SEVERITIES
from kubectl_kdns.doctor.report import check_list, json_report, text_report, yaml_report

POD = Target("pod", "a", "shop")


def finding(
    severity: str, check: str = "one", on: Target = POD, evidence: str = "seen", fix: str = ""
) -> Finding:
    return Finding(check=check, topic="Topic", severity=severity, on=on, evidence=evidence, fix=fix or UNSET)


def check(*verdicts: Verdict) -> Check[None]:
    return Check("one", "Topic", "Is it one?", "failure", (), "make it one", lambda _: verdicts)


def test_text_of_the_cluster_is_made_safe_once() -> None:
    bad = Target("p\x1bod", "a\u202e", "sh\nop")
    (made,) = judge([check(Verdict("failure", bad, "e\x07\nvil", "first\x1b[2J\nsecond"))], None)
    assert made.on == Target("p\\027od", "a\\226\\128\\174", "sh\\010op")
    assert made.evidence == "e\\007\\010vil"
    assert made.fix == "first\\027[2J\nsecond"  # a manifest keeps its lines


@pytest.mark.parametrize("report", [json_report, yaml_report])
def test_absent_is_absent(report: object) -> None:
    assert callable(report)
    text = report([finding("ok", on=CLUSTER)])
    document = json.loads(text) if report is json_report else yaml.safe_load(text)
    assert document == {
        "apiVersion": "kdns/v1",
        "kind": "finding",
        "check": "one",
        "topic": "Topic",
        "severity": "ok",
        "on": {"kind": "cluster", "name": "cluster"},
        "evidence": "seen",
    }


def test_sections_and_totals() -> None:
    findings = [finding(severity, severity) for severity in reversed(SEVERITIES)]
    assert text_report(findings, all_=True).splitlines() == [
        "FAILURE failure  pod shop/a",
        "        seen",
        "",
        "WARNING warning  pod shop/a",
        "        seen",
        "",
        "UNKNOWN unknown  pod shop/a",
        "        seen",
        "",
        "INFO    info  pod shop/a",
        "        seen",
        "",
        "OK  Topic",
        "  ok  pod shop/a: seen",
        "",
        "1 failure, 1 warning, 1 unknown, 1 info, 1 ok",
    ]


def test_all_is_well() -> None:
    assert text_report([finding("ok")] * 2, all_=False) == "2 ok (--all shows what is ok)\n"


def test_long_evidence_is_wrapped_and_a_command_is_not() -> None:
    command = "kubectl " + "word " * 40 + "end"
    lines = text_report([finding("warning", evidence="word " * 40, fix=f"{command}\nEOF")], all_=False).split(
        "\n"
    )
    assert max(map(len, lines[:4])) <= 100
    assert f"        Try: {command}" in lines
    assert "EOF" in lines


def test_many_of_one_kind_are_cut() -> None:
    findings = [finding("warning", on=Target("pod", f"p{number}")) for number in range(8)]
    text = text_report(findings, all_=False)
    assert [f"p{number}" for number in range(8) if f"pod p{number}\n" in text] == [
        "p0",
        "p1",
        "p2",
        "p3",
        "p4",
    ]
    assert "WARNING one: 3 more (--only one -o json)\n" in text
    assert text.endswith("8 warnings\n")


def test_what_says_the_same_stands_together() -> None:
    findings = [finding("unknown", name, CLUSTER, "not allowed", "ask") for name in ("a", "b", "a")]
    assert text_report(findings, all_=False).splitlines() == [
        "UNKNOWN a, b",
        "        not allowed",
        "        Try: ask",
        "",
        "3 unknown",
    ]


def test_the_list() -> None:
    assert check_list([check(), check()]) == (
        "Topic\n  one                   Is it one?\n  one                   Is it one?\n"
    )
