"""Writes log lines as CoreDNS does (coredns `plugin/pkg/replacer`, `plugin/errors`); strategies for logs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from hypothesis import strategies as st

from kdns_coredns.corefile import COMBINED, COMMON
from kubectl_kdns.times import NS_PER_S, format_time, parse_time

START_NS = parse_time("2026-11-23T10:00:00.204Z")

NAMES = (
    ".",
    "example.com.",
    "a.example.com.",
    "cart.shop.svc.cluster.local.",
    r"a\.b.example.com.",
    r"my\ host.example.com.",
    r"a\"b.example.com.",
    r"a\027[31mx\000.example.com.",
    r"b\195\188cher.example.com.",
    "4711.815.",
)
TYPES = ("A", "AAAA", "HTTPS", "TYPE65", "SRV", "TYPE65280", "HINFO", "NS", "None")
RCODES = ("NOERROR", "NXDOMAIN", "SERVFAIL", "REFUSED", "BADSIG", "24", "-")
CAUSES = (
    "read udp 10.244.1.2:51103->192.168.233.53:53: i/o timeout",
    "read udp [fd00::2]:5->[2001:db8::1]:53: read: connection refused",
    "dial udp 10.0.0.53:53: connect: network is unreachable",
    "plugin/forward: no healthy upstream",
)


@dataclass(frozen=True)
class Query:
    """What CoreDNS knows when it writes a line; `name` is as it writes it."""

    name: str = "cart.shop.svc.cluster.local."
    type: str = "A"
    class_: str = "IN"
    proto: str = "udp"
    remote: str = "10.244.1.17"
    port: int = 40001
    id: int = 4660
    opcode: int = 0
    size: int = 45
    do: bool = False
    bufsize: int = 512
    rcode: str = "NOERROR"
    flags: str = "qr,aa,rd"
    rsize: int = 106
    duration_ns: int = 145_170
    labels: Mapping[str, str] = field(default_factory=dict)

    def value(self, placeholder: str) -> str | None:
        """What stands for a placeholder; None when CoreDNS leaves it as it is."""
        if placeholder.startswith("{/"):
            return self.labels.get(placeholder[2:-1], "-")
        unwritten = self.rcode == "-"
        return {
            "{type}": self.type,
            "{class}": self.class_,
            "{name}": self.name,
            "{proto}": self.proto,
            "{remote}": f"[{self.remote}]" if ":" in self.remote else self.remote,
            "{local}": "10.244.0.3",
            "{port}": str(self.port),
            "{size}": str(self.size),
            "{>id}": str(self.id),
            "{>opcode}": str(self.opcode),
            "{>do}": str(self.do).lower(),
            "{>bufsize}": str(self.bufsize),
            "{rcode}": self.rcode,
            "{>rflags}": "-" if unwritten else self.flags,
            "{rsize}": "0" if unwritten else str(self.rsize),
            "{duration}": go_seconds(self.duration_ns),
        }.get(placeholder)


def go_seconds(duration_ns: int) -> str:
    """Go's FormatFloat(duration.Seconds(), 'f', -1) and an `s`. Seconds() adds two floats, so that of 1 s and
    more it may be a little off, with up to 16 decimals: 1.3501356389999999 (go `time.Duration.Seconds`)."""
    seconds, rest = divmod(duration_ns, NS_PER_S)
    text = format(Decimal(repr(seconds + rest / NS_PER_S)), "f")
    return text.removesuffix(".0") + "s"


def body(template: str, query: Query) -> str:
    """The query in a format, without its level."""
    template = template.replace("{common}", COMMON).replace("{combined}", COMBINED)

    def replaced(match: re.Match[str]) -> str:
        value = query.value(match[0])
        return match[0] if value is None else value

    return re.sub(r"\{[^{}]*\}", replaced, template)


def query_line(query: Query, template: str = COMMON) -> str:
    return f"[INFO] {body(template, query)}"


def error_line(query: Query, cause: str = CAUSES[0], rcode: int = 2) -> str:
    return f"[ERROR] plugin/errors: {rcode} {query.name} {query.type}: {cause}"


def stamped(time_ns: int, line: str) -> str:
    """The line as a kubelet serves it."""
    return f"{format_time(time_ns)} {line}\n"


@st.composite
def queries(draw: st.DrawFn) -> Query:
    """Queries of all kinds; those without an answer have the code `-`."""
    proto = draw(st.sampled_from(["udp", "tcp"]))
    return Query(
        name=draw(st.sampled_from(NAMES)),
        type=draw(st.sampled_from(TYPES)),
        class_=draw(st.sampled_from(["IN", "CLASS77"])),
        proto=proto,
        remote=draw(st.sampled_from(["10.244.1.17", "fd00::1", "fe80::1%eth0"])),
        port=draw(st.integers(0, 65535)),
        id=draw(st.integers(0, 65535)),
        opcode=draw(st.sampled_from([0, 5, 7])),
        size=draw(st.integers(12, 600)),
        do=draw(st.booleans()),
        bufsize=65535 if proto == "tcp" else draw(st.sampled_from([512, 1232, 4096])),
        rcode=draw(st.sampled_from(RCODES)),
        flags=draw(st.sampled_from(["qr,aa,rd", "qr,rd,ra", "qr", ""])),
        rsize=draw(st.integers(12, 65535)),
        duration_ns=draw(st.one_of(st.integers(0, 9_999_999_999), st.sampled_from([0, 10**6, 10**8, 10**9]))),
        labels=draw(
            st.dictionaries(
                st.sampled_from(["forward/upstream", "log/class", "kubernetes/client-pod-name"]),
                st.sampled_from(["10.0.0.1:53", "denial", "cart-1"]),
            )
        ),
    )


@st.composite
def logs(draw: st.DrawFn, template: str = COMMON) -> bytes:
    """A pod's log with the kubelet's times: queries, errors after and before their lookups, other lines."""
    lines: list[str] = []
    time_ns = START_NS
    for query in draw(st.lists(queries(), min_size=1, max_size=12)):
        time_ns += draw(st.sampled_from([1, 20_000, 30_000_000, 2_000_000_000]))
        line = stamped(time_ns, query_line(query, template))
        cause = draw(st.sampled_from(CAUSES))
        order = draw(st.sampled_from(["none", "none", "after", "before", "old"]))
        if order == "old" and query.rcode == "-":  # up to 1.8
            line = line.replace(" - - 0 ", " NOERROR - 0 ")
        error = stamped(time_ns + 1000, error_line(query, cause, draw(st.sampled_from([2, 5, 0]))))
        lines += {"none": [line], "after": [line, error], "before": [error, line], "old": [line, error]}[
            order
        ]
        if draw(st.integers(0, 9)) == 0:
            lines.append(stamped(time_ns, draw(st.sampled_from(OTHER_LINES))))
    return "".join(lines).encode()


OTHER_LINES = (
    "[INFO] Reloading complete",
    "[INFO] plugin/reload: Running configuration SHA512 = 591cf328cccc12bc",
    "[ERROR] plugin/errors: 13 errors like '^read udp .* i/o timeout$' occurred in last 30s",
    '[WARNING] plugin/health: Local health request to "http://:8080/health" took more than 1s',
    "CoreDNS-1.12.1",
    ".:53",
)
