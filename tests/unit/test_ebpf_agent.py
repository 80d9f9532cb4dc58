"""The agent's own tests, compiled for this machine: units, fuzzing, and that wire.py mirrors wire.h."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from struct import Struct

import pytest

from kdns_ebpf import wire
from support.agent_build import AGENT, LIBRARY, build, sanitizers

FUZZ_ROUNDS = 100_000
LAYOUTS = {
    "kdns_frame": wire.FRAME,
    "kdns_config": wire.CONFIG_HEAD,
    "kdns_hello": wire.HELLO_HEAD,
    "kdns_lookup": wire.LOOKUP_HEAD,
    "kdns_cgroup": wire.CGROUP_HEAD,
    "kdns_stats": wire.STATS_HEAD,
    "kdns_log": wire.LOG_HEAD,
    "kdns_bye": wire.BYE_HEAD,
    "kdns_send": wire.SEND_HEAD,
    "kdns_entered": wire.ENTERED_HEAD,
    "kdns_answer": wire.ANSWER_HEAD,
}


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_units_pass_under_the_sanitizers(tmp_path: Path) -> None:
    tests = ["test/main.c", *sorted(f"test/{path.name}" for path in (AGENT / "test").glob("test_*.c"))]
    out = run(build(tmp_path / "units", [*LIBRARY, *tests], *sanitizers()))
    found = re.fullmatch(r"(\d+) checks, 0 failed\n", out)
    assert found
    assert int(found[1]) > 500


@pytest.mark.parametrize("seed", ["1", "2"])
def test_no_bytes_break_a_parser(tmp_path: Path, seed: str) -> None:
    out = run(build(tmp_path / "fuzz", [*LIBRARY, "test/fuzz.c"], *sanitizers()), str(FUZZ_ROUNDS), seed)
    assert out.startswith(f"{FUZZ_ROUNDS} rounds")


def test_python_and_c_have_the_same_layouts(tmp_path: Path) -> None:
    header = (AGENT / "wire.h").read_text()
    expected = {}
    source = ['#include "wire.h"', "#include <stddef.h>", "#include <stdio.h>", "int main(void) {"]
    for name, layout in LAYOUTS.items():
        expected[name] = layout.size
        source.append(f'printf("{name} %zu\\n", sizeof(struct {name}));')
        if name == "kdns_bye":
            continue
        fields = fields_of(header, name)
        for field, offset in zip(fields, offsets(layout), strict=True):
            expected[f"{name}.{field}"] = offset
            source.append(f'printf("{name}.{field} %zu\\n", offsetof(struct {name}, {field}));')
    source.append("return 0; }")
    (tmp_path / "layout.c").write_text("\n".join(source))
    out = run(build(tmp_path / "layout", [str(tmp_path / "layout.c")], f"-I{AGENT}"))
    assert {name: int(value) for name, value in (line.split() for line in out.splitlines())} == expected


def fields_of(header: str, name: str) -> list[str]:
    """The fields of a struct in their order, without the padding."""
    body = re.search(rf"struct {name} \{{(.*?)\n\}};", header, re.S)
    assert body
    text = re.sub(r"/\*.*?\*/", "", body[1], flags=re.S)
    names = [re.sub(r"\[.*?\]", "", part).split()[-1] for part in re.split(r"[;,]", text) if part.strip()]
    return [field for field in names if field != "pad"]


def offsets(layout: Struct) -> list[int]:
    """Where each value of a packed layout begins."""
    found, at = [], 0
    for count, kind in re.findall(r"(\d*)([xsBHIQ])", layout.format):
        size = {"x": 1, "s": 1, "B": 1, "H": 2, "I": 4, "Q": 8}[kind]
        if kind == "s":
            found.append(at)
            at += int(count)
        else:
            for _ in range(int(count or 1)):
                if kind != "x":
                    found.append(at)
                at += size
    return found


def test_python_and_c_have_the_same_numbers(tmp_path: Path) -> None:
    header = (AGENT / "wire.h").read_text()
    names = [
        name
        for name, value in vars(wire).items()
        if isinstance(value, int) and re.search(rf"\bKDNS_{name}\b", header)
    ]
    assert len(names) > 35
    source = ['#include "wire.h"', "#include <stdio.h>", "int main(void) {"]
    source += [f'printf("{name} %lld\\n", (long long)KDNS_{name});' for name in names]
    (tmp_path / "numbers.c").write_text("\n".join([*source, "return 0; }"]))
    out = run(build(tmp_path / "numbers", [str(tmp_path / "numbers.c")], f"-I{AGENT}"))
    found = dict(line.split() for line in out.splitlines())
    assert found == {name: str(getattr(wire, name)) for name in names}
