"""Records for tests: a set of diverse ones for goldens, and hypothesis strategies for properties."""

from __future__ import annotations

from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns import model
from kubectl_kdns.dns.names import name_of_labels, safe_text
from kubectl_kdns.model import (
    Answer,
    Client,
    Dns,
    Edns,
    Error,
    Lookup,
    Loss,
    Message,
    Notice,
    Policy,
    Process,
    Record,
    Server,
    ServerBackend,
    Socket,
    Upstream,
    Workload,
)
from kubectl_kdns.times import NS_PER_S, format_time, parse_time

START_NS = parse_time("2026-11-23T10:00:00.204Z")

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31mred\u202egpj.exe\u2066\r\n\t\x00\x7f\u200b\ud800"
"""What an attacker would like on a terminal: a title, clear screen, C1, bidi, line ends, a surrogate."""


def at(offset_s: float) -> str:
    """The time that many seconds after START_NS, as a record has it."""
    return format_time(START_NS + round(offset_s * NS_PER_S))


def cart(port: int = 40001) -> Client:
    return Client(
        ip="10.244.1.17",
        port=port,
        kind="pod",
        namespace="shop",
        pod="cart-7d9f8b6c5-x2x4v",
        pod_uid="5a1c8d5e-0000-4000-8000-000000000017",
        container="app",
        container_id="containerd://0f1e2d",
        workload=Workload("Deployment", "cart"),
        node="worker-1",
        process=Process(4711, "python3", "/usr/bin/python3.11"),
    )


def kube_dns(pod: str = "coredns-5d78c9869d-8kq2m") -> Server:
    return Server(
        ip="10.96.0.10",
        port=53,
        kind="service",
        namespace="kube-system",
        service="kube-dns",
        backend=ServerBackend("10.244.0.5", 53, pod, "control-plane"),
    )


def coredns(pod: str = "coredns-5d78c9869d-8kq2m") -> Server:
    return Server(
        ip="10.244.0.5",
        port=53,
        kind="coredns",
        namespace="kube-system",
        pod=pod,
        workload=Workload("Deployment", "coredns"),
        node="control-plane",
    )


def from_ebpf(offset_s: float, name: str, type_: str = "A", **changes: object) -> Lookup:
    """A lookup as packets on a node show it: everything is known."""
    record = Lookup(
        time=at(offset_s),
        backend="ebpf",
        node="worker-1",
        hop="client",
        side="client",
        status="answered",
        latency_ms=1.234567,
        tries=1,
        transport="udp",
        client=cart(),
        server=kube_dns(),
        dns=Dns(
            id=4660,
            opcode="QUERY",
            name=name,
            type=type_,
            class_="IN",
            rcode="NOERROR",
            response_class="success",
            flags=["qr", "aa", "rd"],
            query_bytes=45,
            response_bytes=88,
            edns=Edns(1232, False),
        ),
        socket=Socket(8193, 4026532281),
    )
    return _changed(record, changes)


def from_log(offset_s: float, name: str, type_: str = "A", **changes: object) -> Lookup:
    """A lookup as a line of CoreDNS shows it: the address of who asked, no answers."""
    record = Lookup(
        time=at(offset_s),
        backend="coredns",
        node="control-plane",
        hop="client",
        side="server",
        status="answered",
        latency_ms=0.041017,
        transport="udp",
        client=Client(ip="10.244.1.17", port=40001, kind="pod", namespace="shop", pod="cart-7d9f8b6c5-x2x4v"),
        server=coredns(),
        dns=Dns(id=4660, name=name, type=type_, class_="IN", rcode="NOERROR", flags=["qr", "rd"]),
    )
    return _changed(record, changes)


def _changed(record: Lookup, changes: dict[str, object]) -> Lookup:
    """Fields of the lookup by name, those of its `dns` as dns_NAME."""
    for name, value in changes.items():
        if name.startswith("dns_"):
            setattr(record.dns, name.removeprefix("dns_"), value)
        else:
            setattr(record, name, value)
    return record


def _answers(name: str, *rows: tuple[str, int, str]) -> dict[str, object]:
    answers = [Answer(name, type_, ttl, data) for type_, ttl, data in rows]
    ips = [answer.data for answer in answers if answer.type in ("A", "AAAA")]
    return {"dns_answers": answers, "dns_resolved_ips": ips}


def _no_answer(status: str) -> dict[str, object]:
    return {
        "status": status,
        "latency_ms": UNSET,
        "dns_rcode": UNSET,
        "dns_response_class": UNSET,
        "dns_flags": ["rd"],
        "dns_response_bytes": UNSET,
    }


LONG_LABEL = "a-very-long-label-that-somebody-generated-for-a-service-of-theirs"
LONG_NAME = ".".join([LONG_LABEL[:60]] * 3 + ["shop.svc.cluster.local"])
IN_CLUSTER = "cart.shop.svc.cluster.local"


def lookups_by_case() -> dict[str, Lookup]:
    """One lookup a case, in order of time; made anew at each call."""
    return {
        "answered": from_ebpf(0, IN_CLUSTER, **_answers(IN_CLUSTER, ("A", 30, "10.96.118.37"))),
        "no data": from_ebpf(
            0.001, IN_CLUSTER, "AAAA", dns_response_class="denial", dns_answers=[], dns_resolved_ips=[]
        ),
        "nxdomain": from_ebpf(
            0.5,
            "api.example.com.shop.svc.cluster.local",
            latency_ms=0.4,
            dns_rcode="NXDOMAIN",
            dns_response_class="denial",
            dns_answers=[],
        ),
        "cname chain": from_ebpf(
            1.0,
            "www.example.com",
            latency_ms=123.4,
            **_answers(
                "www.example.com",
                ("CNAME", 300, "www.example.com.cdn.example.net"),
                ("A", 60, "192.0.2.10"),
                ("A", 60, "192.0.2.11"),
            ),
        ),
        "servfail, cause known": from_log(
            1.5,
            "www.example.org",
            latency_ms=4001.845088,
            dns_rcode="SERVFAIL",
            dns_response_class="error",
            upstream=Upstream("8.8.8.8", 53),
            error=Error("timeout", "read udp 10.244.0.5:33180->8.8.8.8:53: i/o timeout"),
        ),
        "servfail, inferred": from_log(
            2.0,
            "w1.ok.test",
            "AAAA",
            status="unwritten",
            latency_ms=1002.417446,
            inferred=["dns.rcode"],
            dns_rcode="SERVFAIL",
            dns_flags=UNSET,
            upstream=Upstream("192.0.2.53", 5353),
            error=Error("refused", "read udp 10.244.0.5:50120->192.0.2.53:5353: read: connection refused"),
        ),
        "unwritten": from_log(
            2.1, "w1.drop.test", status="unwritten", latency_ms=0.025158, dns_rcode=UNSET, dns_flags=UNSET
        ),
        "unanswered": from_ebpf(2.5, "db.prod.svc.cluster.local", **_no_answer("unanswered"), tries=3),
        "late": from_ebpf(
            3.0,
            "slow.example.com",
            latency_ms=5230.0,
            tries=2,
            late=True,
            **_answers("slow.example.com", ("A", 5, "192.0.2.77")),
        ),
        "denied": Lookup(
            time=at(3.5),
            backend="hubble",
            node="worker-2",
            hop="client",
            side="proxy",
            status="denied",
            transport="udp",
            client=cart(),
            server=Server(
                ip="10.96.0.10", port=53, kind="service", namespace="kube-system", service="kube-dns"
            ),
            dns=Dns(name="evil.example.com", type="A", rcode="REFUSED"),
            error=Error("policy_denied"),
            policy=Policy("DROPPED", "shop/dns-allowlist"),
        ),
        "dropped by policy": Lookup(
            time=at(3.6),
            backend="hubble",
            hop="client",
            side="client",
            status="unanswered",
            client=cart(),
            server=Server(ip="203.0.113.53", port=53, kind="external"),
            dns=Dns(name="example.net", type="A"),
            policy=Policy("DROPPED"),
        ),
        "pending": from_ebpf(4.0, "new.example.com", **_no_answer("pending")),
        "malformed": from_ebpf(
            4.1,
            "broken.example.com",
            error=Error("malformed", "answer 2 of 3: a compression pointer leads forward"),
        ),
        "nothing known": Lookup(time=at(4.2), backend="replay"),
        "no time": Lookup(backend="coredns", dns=Dns(name="old.example.com", type="A", rcode="NOERROR")),
        "hostile": from_ebpf(
            5.0,
            name_of_labels([HOSTILE.encode("utf-8", "surrogatepass"), b"a.b", b'quo"te', b"example"]),
            "TXT",
            client=Client(
                ip="10.244.1.66",
                kind="pod",
                namespace="shop",
                pod="bad",
                process=Process(1, safe_text(HOSTILE), safe_text(f"/{HOSTILE}")),
            ),
            **_answers("x", ("TXT", 1, safe_text(f'"{HOSTILE}"')), ("TXT", 1, '"=1+1", "b;c"')),
            error=Error("other", safe_text(f"the server said: {HOSTILE} bücher 例え")),
            raw=safe_text(HOSTILE),
        ),
        "ipv6": from_ebpf(
            5.5,
            "v6.example.com",
            "AAAA",
            client=Client(ip="fd00:10:244::17", port=40002, kind="unknown"),
            server=Server(ip="fd00::53", port=5353, kind="external"),
            **_answers("v6.example.com", ("AAAA", 60, "2001:db8::10")),
        ),
        "long name": from_ebpf(6.0, LONG_NAME, dns_rcode="NXDOMAIN", dns_response_class="denial"),
        "long pod": from_ebpf(
            6.1,
            "prometheus-operated.monitoring.svc",
            client=Client(
                ip="10.244.2.9",
                kind="pod",
                namespace="monitoring-and-alerting-of-the-platform",
                pod="prometheus-kube-prometheus-stack-prometheus-0",
                workload=Workload("StatefulSet", "prometheus-kube-prometheus-stack-prometheus"),
            ),
        ),
        "through nodelocal": from_log(
            6.5,
            IN_CLUSTER,
            hop="nodelocal",
            transport="tcp",
            client=Client(ip="10.244.1.2", kind="nodelocal", node="worker-1"),
        ),
        "behind snat": from_log(
            7.0, IN_CLUSTER, client=Client(ip="172.18.0.3", kind="node", node="worker-2")
        ),
        "external client": from_log(7.1, IN_CLUSTER, client=Client(ip="198.51.100.7", kind="external")),
        "no directory": from_log(
            7.2,
            "kubernetes.default.svc.cluster.local",
            client=Client(ip="10.244.3.4", port=5353),
            server=Server(ip="10.244.0.5", port=53),
        ),
        "coredns upstream": from_ebpf(
            7.3,
            "www.example.net",
            hop="coredns",
            latency_ms=18.0,
            client=Client(
                ip="10.244.0.5", kind="coredns", namespace="kube-system", pod="coredns-5d78c9869d-8kq2m"
            ),
            server=Server(ip="8.8.8.8", port=53, kind="external"),
            **_answers("www.example.net", ("A", 300, "192.0.2.80")),
        ),
        "forwarded": from_log(8.0, "www.example.net", upstream=Upstream("8.8.8.8", 53)),
        "truncated": from_ebpf(8.5, "big.example.com", "TXT", dns_flags=["qr", "tc", "rd"], dns_answers=[]),
        "svcb": from_ebpf(
            9.0,
            "svc.example.com",
            "HTTPS",
            **_answers("svc.example.com", ("HTTPS", 60, "1 . alpn=h2,h3"), ("TYPE65280", 60, "\\# 2 0a0b")),
        ),
        "root": from_log(9.1, ".", "NS"),
        "unknown numbers": from_ebpf(
            9.2, "x.example.com", "TYPE65280", dns_rcode="RCODE23", dns_class_="CLASS77"
        ),
    }


def messages() -> list[Message]:
    query = Message(
        time=at(9.5),
        backend="ebpf",
        node="worker-1",
        hop="client",
        side="client",
        direction="query",
        transport="udp",
        client=cart(),
        server=kube_dns(),
        dns=Dns(id=7, name="m.example.com", type="A", class_="IN", flags=["rd"]),
    )
    answer = Message(
        time=at(9.501),
        backend="ebpf",
        direction="response",
        client=cart(),
        server=kube_dns(),
        dns=Dns(id=7, name="m.example.com", type="A", rcode="NXDOMAIN", flags=["qr", "rd"], answers=[]),
    )
    return [query, answer]


def losses() -> list[Loss]:
    return [
        Loss(
            time=at(10),
            backend="coredns",
            node="n1",
            reason="log_rotated",
            unit="lines",
            count=12,
            from_=at(1.0),
            until=at(4.7),
        ),
        Loss(backend="hubble", reason="hubble_ring", unit="flows", from_=at(2)),
        Loss(backend="ebpf", node="worker-1", reason="ring_full", unit="messages", count=1, until=at(3)),
        Loss(reason="something_new", count=1234567, message=safe_text(f"why: {HOSTILE}")),
        Loss(),
    ]


def notices() -> list[Notice]:
    return [
        Notice(
            time=at(10), backend="coredns", code="pod_restarted", message="coredns-5d78c9869d-8kq2m restarted"
        ),
        Notice(code="shown_by_code"),
        Notice(message=safe_text(HOSTILE)),
    ]


def all_records() -> list[Record]:
    """Everything above, mixed as a stream would bring it."""
    lookups = list(lookups_by_case().values())
    return [*lookups[:10], *losses(), *lookups[10:], *messages(), *notices()]


def _maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.just(UNSET) | strategy


def texts() -> st.SearchStrategy[str]:
    """Text as records have it: anything, made safe."""
    return st.text(max_size=30).map(safe_text) | st.sampled_from(
        ["", " ", "-", safe_text(HOSTILE), "NOERROR", "1e3", "null", "日本語 bücher"]
    )


def names() -> st.SearchStrategy[str]:
    labels = st.binary(min_size=1, max_size=12) | st.sampled_from(
        [b"www", b"example", b"svc", b"cluster", b"local"]
    )
    return st.lists(labels, max_size=6).map(name_of_labels)


def times() -> st.SearchStrategy[str]:
    day_ns = 86400 * NS_PER_S
    return st.integers(START_NS - 2 * day_ns, START_NS + 2 * day_ns).map(format_time)


def _ips() -> st.SearchStrategy[str]:
    return (st.ip_addresses(v=4) | st.ip_addresses(v=6)).map(str)


def _ports() -> st.SearchStrategy[int]:
    return st.just(53) | st.integers(0, 65535)


def _workloads() -> st.SearchStrategy[Workload]:
    return st.builds(Workload, st.sampled_from(["Deployment", "DaemonSet"]), texts())


def clients() -> st.SearchStrategy[Client]:
    return st.builds(
        Client,
        ip=_maybe(_ips()),
        port=_maybe(_ports()),
        kind=_maybe(st.sampled_from(model.ENDPOINT_KINDS)),
        namespace=_maybe(texts()),
        pod=_maybe(texts()),
        pod_uid=_maybe(texts()),
        container=_maybe(texts()),
        workload=_maybe(_workloads()),
        node=_maybe(texts()),
        process=_maybe(st.builds(Process, pid=_maybe(st.integers(1, 1 << 22)), name=_maybe(texts()))),
    )


def servers() -> st.SearchStrategy[Server]:
    return st.builds(
        Server,
        ip=_maybe(_ips()),
        port=_maybe(_ports()),
        kind=_maybe(st.sampled_from(model.ENDPOINT_KINDS)),
        namespace=_maybe(texts()),
        pod=_maybe(texts()),
        service=_maybe(texts()),
        workload=_maybe(_workloads()),
        backend=_maybe(st.builds(ServerBackend, ip=_maybe(_ips()), pod=_maybe(texts()))),
    )


def answers() -> st.SearchStrategy[Answer]:
    return st.builds(
        Answer,
        names(),
        st.sampled_from(["A", "CNAME", "TXT", "TYPE65280"]),
        _maybe(st.integers(0, 2**31)),
        texts(),
    )


def dns_contents() -> st.SearchStrategy[Dns]:
    return st.builds(
        Dns,
        id=_maybe(st.integers(0, 65535)),
        name=_maybe(names()),
        type=_maybe(st.sampled_from(["A", "AAAA", "HTTPS", "TYPE65280"])),
        class_=_maybe(st.sampled_from(["IN", "CH"])),
        rcode=_maybe(st.sampled_from(["NOERROR", "NXDOMAIN", "SERVFAIL", "RCODE23"])),
        response_class=_maybe(st.sampled_from(model.RESPONSE_CLASSES)),
        flags=_maybe(st.lists(st.sampled_from(["qr", "aa", "tc", "rd"]), unique=True)),
        answers=_maybe(st.lists(answers(), max_size=3)),
        resolved_ips=_maybe(st.lists(_ips(), max_size=3)),
        response_bytes=_maybe(st.integers(0, 65535)),
        edns=_maybe(st.builds(Edns, st.integers(512, 65535), st.booleans())),
    )


def _sighting() -> dict[str, st.SearchStrategy[object]]:
    """What lookups and messages have in common."""
    return {
        "time": _maybe(times()),
        "backend": _maybe(st.sampled_from(["coredns", "hubble", "ebpf", "replay"])),
        "node": _maybe(texts()),
        "hop": _maybe(st.sampled_from(model.HOPS)),
        "side": _maybe(st.sampled_from(model.SIDES)),
        "transport": _maybe(st.sampled_from(model.TRANSPORTS)),
        "inferred": _maybe(
            st.lists(st.sampled_from(["dns.rcode", "status", "latency_ms", "time"]), unique=True)
        ),
        "client": _maybe(clients()),
        "server": _maybe(servers()),
        "dns": _maybe(dns_contents()),
        "upstream": _maybe(st.builds(Upstream, _maybe(_ips()), _maybe(_ports()))),
        "error": _maybe(st.builds(Error, st.sampled_from(model.ERROR_TYPES), _maybe(texts()))),
        "policy": _maybe(st.builds(Policy, _maybe(texts()), _maybe(texts()))),
        "socket": _maybe(st.builds(Socket, _maybe(st.integers(0, 2**63 - 1)))),
        "raw": _maybe(texts()),
    }


def lookups() -> st.SearchStrategy[Lookup]:
    """Any lookup that a backend could make."""
    return st.builds(
        Lookup,
        status=_maybe(st.sampled_from(model.STATUSES)),
        latency_ms=_maybe(st.integers(0, 10**13).map(lambda ns: ns / 1_000_000)),
        tries=_maybe(st.integers(1, 5)),
        late=_maybe(st.booleans()),
        **_sighting(),
    )


def any_messages() -> st.SearchStrategy[Message]:
    return st.builds(Message, direction=_maybe(st.sampled_from(["query", "response"])), **_sighting())


def any_losses() -> st.SearchStrategy[Loss]:
    return st.builds(
        Loss,
        time=_maybe(times()),
        backend=_maybe(st.sampled_from(["coredns", "ebpf"])),
        node=_maybe(texts()),
        reason=_maybe(st.sampled_from(model.LOSS_REASONS)),
        unit=_maybe(st.sampled_from(model.LOSS_UNITS)),
        count=_maybe(st.integers(0, 10**9)),
        from_=_maybe(times()),
        until=_maybe(times()),
        message=_maybe(texts()),
    )


def any_notices() -> st.SearchStrategy[Notice]:
    return st.builds(Notice, time=_maybe(times()), code=_maybe(texts()), message=_maybe(texts()))


def records() -> st.SearchStrategy[Record]:
    """Any record but a summary, which is made of these."""
    return lookups() | any_messages() | any_losses() | any_notices()
