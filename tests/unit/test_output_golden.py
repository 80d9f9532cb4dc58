"""Whole outputs of every format, at the widths that people use, against files: the look is reviewed there."""

from __future__ import annotations

import io
from typing import Any

import pytest
from conftest import Golden

from kubectl_kdns.model import Record
from kubectl_kdns.output import make_output
from kubectl_kdns.output.options import OutputOptions
from kubectl_kdns.summary import Summarizer
from support.records import START_NS, all_records, losses
from support.records import lookups_by_case as cases

COLUMNS = ("time", "client.pod", "dns.name", "dns.rcode", "latency_ms", "dns.resolved_ips")
SPEC = "NAME:.dns.name,RCODE:{.dns.rcode},FIRST:.dns.answers[0].data,TYPES:dns.answers[*].type"


def printed(name: str, records: list[Record], **options: Any) -> str:
    """Both streams, as one text."""
    out, err = io.BytesIO(), io.StringIO()
    output = make_output(name, out, err, OutputOptions(now_ns=START_NS, **options))
    output.begin()
    output.write(records)
    output.end()
    text = out.getvalue().decode(options.get("encoding", "utf-8"))
    return f"{text}=== stderr\n{err.getvalue()}"


@pytest.mark.parametrize(
    ("file", "name", "options"),
    [
        ("table-80", "table", {"width": 80}),
        ("table-120", "table", {"width": 120}),
        ("table-200", "table", {"width": 200}),
        ("table-40", "table", {"width": 40}),
        ("table-120-color", "table", {"width": 120, "color": True, "err_color": True}),
        ("table-120-ascii", "table", {"width": 120, "encoding": "ascii"}),
        ("table-pipe", "table", {}),
        ("table-pipe-relative", "table", {"time": "relative", "headers": False}),
        ("table-pipe-no-time", "table", {"time": "none"}),
        ("table-pipe-columns", "table", {"columns": COLUMNS}),
        ("table-120-columns", "table", {"columns": COLUMNS, "width": 120}),
        ("wide-80", "wide", {"width": 80}),
        ("wide-pipe", "wide", {}),
        ("custom-columns-80", "custom-columns", {"template": SPEC, "width": 80}),
        ("csv", "csv", {}),
        ("csv-columns", "csv", {"columns": COLUMNS}),
        ("json", "json", {}),
        ("yaml", "yaml", {}),
    ],
)
def test_records(golden: Golden, file: str, name: str, options: dict[str, Any]) -> None:
    golden(f"output/{file}.txt", printed(name, all_records(), **options))


def test_history_of_another_day_shows_dates(golden: Golden) -> None:
    records: list[Record] = list(cases().values())
    day_ns = 86_400_000_000_000
    out, err = io.BytesIO(), io.StringIO()
    for width in (80, 120, None):
        output = make_output("table", out, err, OutputOptions(now_ns=START_NS + day_ns, width=width))
        output.write(records[:3])
    golden("output/table-dates.txt", out.getvalue().decode())


@pytest.mark.parametrize("groups", ["none", "filtered", "one", "two", "three"])
@pytest.mark.parametrize("name", ["table", "json"])
def test_summaries(golden: Golden, name: str, groups: str) -> None:
    summarizer = Summarizer()
    backends = {"none": [], "filtered": [], "one": ["ebpf"], "two": ["ebpf", "coredns"]}.get(groups)
    for record in cases().values():
        if backends is None or record.backend in backends:
            summarizer.add([record] * 3)
    if groups == "three":
        summarizer.add(losses() * 2)
    summary = summarizer.summary(
        time="2026-11-23T10:00:12.000000000Z",
        duration_ms=12_000.0,
        seen=0 if groups == "none" else 1234,
        filtered=1000 if groups != "none" else 0,
        counters={"lines_read": 12345, "lines_not_queries": 17} if groups != "none" else {},
    )
    golden(f"output/summary-{groups}-{name}.txt", printed(name, [summary], width=100))
