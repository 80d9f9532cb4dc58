"""The compiled filter: its three differences from CEL, every field, the directory's methods, lazy imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.errors import UsageError
from kubectl_kdns.fields import BY_PATH
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.filter.compile import attribute_of
from kubectl_kdns.filter.nodes import And, Expr, Not, Or, to_text
from kubectl_kdns.model import (
    Client,
    Dns,
    Edns,
    Error,
    Lookup,
    Message,
    Policy,
    Process,
    Server,
    ServerBackend,
    Socket,
    Upstream,
    Workload,
)
from support.filter_strategies import expressions, random_record, records, value

LOOKUP = Lookup(
    time="2026-01-31T09:00:00.000000001Z",
    status="answered",
    latency_ms=100.0,
    tries=2,
    late=False,
    client=Client(
        ip="10.0.0.1",
        namespace="shop",
        pod="cart-1",
        workload=Workload("Deployment", "cart"),
        node="n1",
    ),
    server=Server(
        ip="10.96.0.10",
        service="kube-dns",
        backend=ServerBackend(ip="10.0.0.9", node="n2"),
        node="n1",
    ),
    dns=Dns(
        id=7,
        name="a.example.com",
        type="A",
        class_="IN",
        rcode="SERVFAIL",
        flags=["qr", "tc"],
        answers=[],
        resolved_ips=[],
        edns=Edns(1232, True),
    ),
)
EMPTY = Lookup()


def decide(source: str, record: Lookup | Message) -> bool:
    return parse_filter(source).compile()(record)


@pytest.mark.parametrize(
    "source",
    [
        'dns.rcode in ["SERVFAIL", "REFUSED"] && latency_ms >= 100',
        "latency_ms == 100 && latency_ms == 100.0 && tries == 2.0 && tries < 2.5 && 99.5 < latency_ms",
        "latency_ms in [1, 100] && tries in [2.0]",
        'time >= "2026-01-31T09:00:00.000000001Z" && time < "2026-01-31T09:00:00.000000002Z"',
        'client.workload.kind == "Deployment" && client.workload.name != "web"',
        '"tc" in dns.flags && !("rd" in dns.flags) && dns.flags == ["qr", "tc"] && dns.flags != []',
        "dns.resolved_ips == [] && size(dns.answers) == 0 && dns.flags.size() == 2",
        "has(dns.answers) && has(late) && !has(dns.opcode)",
        "!late && late == false && late != true && dns.edns.do && late in [false]",
        "late == (dns.rcode == \"NOERROR\") && has(late) == has(tries)",
        'dns.name.startsWith("a.") && dns.name.endsWith(".com") && dns.name.contains("examp")',
        r'dns.name.matches("^a") && dns.name.matches(r"\.com$") && dns.name.matches("x[aeiou]m+p")',
        'dns.name.matches("") && dns.name.matches("^a\\\\.example\\\\.com$")',
        "client.node == server.node && client.node != server.backend.node && client.ip != server.ip",
        'dns.name.contains(dns.type) == false && "a.example.com!".contains(dns.name)',
        'dns.class == "IN"',
        "size(dns.name) == 13",
        '"x" == "x" && 1 == 1.0 && "a" in ["a"] && true && !false',
        "late || tries == 2 || false",
    ],
)  # fmt: skip
def test_true(source: str) -> None:
    assert decide(source, LOOKUP) is True
    assert decide(f"!({source})", LOOKUP) is False


@pytest.mark.parametrize(
    "source",
    [
        'dns.rcode == "NOERROR"',
        'dns.rcode != "NOERROR"',
        'dns.rcode in ["NOERROR"]',
        'dns.rcode < "Z"',
        "latency_ms < 5",
        "5 > latency_ms",
        "latency_ms != 5",
        "late",
        "late == false",
        "late != true",
        "late == (tries == 1)",
        "late in [false]",
        'dns.name.startsWith("")',
        'dns.name.contains("")',
        'dns.name.matches("")',
        'dns.name.matches("[^x]*")',
        '"abc".contains(dns.name)',
        "size(dns.name) >= 0",
        "size(dns.flags) < 1",
        "dns.name.size() in [0]",
        '"tc" in dns.flags',
        "dns.flags == []",
        "dns.flags != []",
        "client.node == server.node",
        "client.node != server.node",
        "client.node <= server.node",
        "client.ip in dns.resolved_ips",
        "dns.flags == dns.resolved_ips",
        "has(dns.edns.do)",
        'client.workload.name == "cart"',
        'client.process.exe != "x"',
    ],
)  # fmt: skip
@pytest.mark.parametrize("record", [EMPTY, Lookup(client=Client(), server=Server(), dns=Dns()), Message()])
def test_absent_is_never_true(source: str, record: Lookup | Message) -> None:
    assert decide(source, record) is False
    assert decide(f"!({source})", record) is True


def test_two_absent_fields_are_not_equal() -> None:
    half = Lookup(client=Client(node="n1"))
    assert not decide("client.node == server.node", half)
    assert not decide("server.node == client.node", half)
    assert not decide("server.node != client.node", half)


def test_fields_of_one_kind_are_absent_in_the_other() -> None:
    source = 'direction == "response" || status == "answered"'
    assert decide(source, Message(direction="response"))
    assert not decide(source, Message(direction="query"))
    assert decide(source, LOOKUP)
    assert not decide("has(direction)", LOOKUP)
    for field in ("status", "latency_ms", "tries", "late"):
        assert not decide(f"has({field})", Message())
    assert decide('!(status == "answered")', Message())


REQUIRED = {"client.workload.kind", "client.workload.name", "server.workload.kind", "server.workload.name",
            "dns.edns.udp_size", "dns.edns.do", "error.type"}  # fmt: skip
"""Fields that are there whenever their part of the record is."""


def test_every_field_of_the_dictionary_is_read() -> None:
    for path in BY_PATH:
        record_type: Any = Message if path == "direction" else Lookup
        record = record_type(
            client=Client(workload=Workload("Job", "x"), process=Process()),
            server=Server(workload=Workload("Job", "x"), backend=ServerBackend()),
            dns=Dns(edns=Edns(512, False)),
            upstream=Upstream(),
            error=Error("timeout"),
            policy=Policy(),
            socket=Socket(),
        )
        *parents, leaf = path.split(".")
        part: Any = record
        for parent in parents:
            part = getattr(part, parent)
        present = parse_filter(f"has({path})").compile()
        if path not in REQUIRED:
            assert (path, present(record)) == (path, False)
            setattr(part, attribute_of(leaf), value(path, Random(1)))
        assert (path, present(record), present(record_type())) == (path, True, False)


class Cluster:
    """An Environment that writes down what it is asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str]] = []

    def labels_match(self, selector: str, client: Client) -> bool:
        self.asked.append((selector, str(client.pod)))
        return self.answer

    def backs_service(self, service: str, client: Client) -> bool:
        self.asked.append((service, str(client.pod)))
        return self.answer


@pytest.mark.parametrize("answer", [True, False])
@pytest.mark.parametrize(("method", "text"), [("hasLabels", "app=web,tier!=db"), ("backs", "shop/cart")])
def test_the_directory_is_asked(method: str, text: str, answer: bool) -> None:
    cluster = Cluster(answer)
    accept = parse_filter(f'client.{method}("{text}")').compile(cluster)
    assert accept(LOOKUP) is answer
    assert accept(Lookup()) is False
    assert cluster.asked == [(text, "cart-1")]


def test_the_directory_is_not_asked_in_vain() -> None:
    cluster = Cluster(True)
    accept = parse_filter('late && client.backs("cart") || tries == 2').compile(cluster)
    assert accept(LOOKUP)
    assert cluster.asked == []


@pytest.mark.parametrize("source", ['client.hasLabels("a")', 'late || !client.backs("a")'])
def test_without_a_cluster_the_methods_are_refused(source: str) -> None:
    with pytest.raises(UsageError, match="only a cluster knows labels"):
        parse_filter(source).compile()


def test_everything() -> None:
    accept = parse_filter("").compile()
    assert accept(LOOKUP)
    assert accept(Message())


def test_regexes_are_re2s() -> None:
    # Each of these would take Python's engine for ever, or mean something else to it.
    name = "a" * 60
    assert not decide('dns.name.matches("^(a*)*b$")', Lookup(dns=Dns(name=name)))
    assert not decide('dns.name.matches("a$")', Lookup(dns=Dns(name=name + "\n")))
    assert not decide(r'dns.name.matches("^\\d$")', Lookup(dns=Dns(name="٣")))
    assert decide(r'raw.matches("^\\pL$")', Lookup(raw="ü"))


def test_long_filters_compile() -> None:
    names = [f"n{i}.example.com" for i in range(500)]
    chain = parse_filter(" || ".join(f'dns.name != "{name}" && tries > {i}' for i, name in enumerate(names)))
    assert chain.compile()(Lookup(tries=500, dns=Dns(name="n499.example.com")))
    assert not chain.compile()(Lookup(tries=0, dns=Dns(name="x")))
    choices = parse_filter(f"dns.name in [{', '.join(chr(34) + name + chr(34) for name in names)}]")
    assert choices.compile()(Lookup(dns=Dns(name="n499.example.com")))


def test_deep_filters_compile() -> None:
    source = "true == (" * 48 + "late" + ")" * 48
    assert decide(source, Lookup(late=True)) is True
    assert decide(source, Lookup(late=False)) is False


@settings(max_examples=80, deadline=None)
@given(expressions, expressions, records)
def test_logic(a: Expr, b: Expr, record: Lookup | Message) -> None:
    def run(expr: Expr) -> bool:
        filter_ = parse_filter(to_text(expr))
        assert filter_.expr == expr
        return filter_.compile()(record)

    assert run(And((a, b))) is (run(a) and run(b))
    assert run(Or((a, b))) is (run(a) or run(b))
    assert run(Not(a)) is (not run(a))


@settings(max_examples=50, deadline=None)
@given(expressions, st.integers(0, 1 << 32))
def test_deciding_changes_no_record(expr: Expr, seed: int) -> None:
    record = random_record(Random(seed))
    parse_filter(to_text(expr)).compile()(record)
    assert record == random_record(Random(seed))


def test_heavy_modules_are_not_imported() -> None:
    program = (
        "import sys, kubectl_kdns.filter as f\n"
        'g = f.parse_filter(\'dns.rcode == "SERVFAIL" && dns.name.matches("^a") && latency_ms > 100\')\n'
        "g.compile(); f.implied_needles(g.expr, 'dns.name')\n"
        "heavy = {'re2', 'difflib', 'ipaddress', 'socket', 'hypothesis', 'kubernetes', 'typer', 'yaml'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_unset_is_what_the_stand_in_relies_on() -> None:
    assert not UNSET
    assert Dns()
    assert Client()


def test_a_predicate_can_be_used_from_several_threads_at_once() -> None:
    from concurrent.futures import ThreadPoolExecutor

    accept: Callable[[Lookup | Message], bool] = parse_filter('dns.name.matches("^[a-m]+[0-9]")').compile()
    names = [f"{'an'[i % 2]}{i}.example.com" for i in range(10_000)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda name: accept(Lookup(dns=Dns(name=name))), names))
    assert found == [i % 2 == 0 for i in range(10_000)]
