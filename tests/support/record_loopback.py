"""Makes the captures in tests/golden/data: real DNS of every kind on the loopback of a namespace of its own.

Usage, as root, with tcpdump and dumpcap: unshare -n python tests/support/record_loopback.py DIRECTORY
A small server answers by the first label of the name; the client asks by UDP and TCP, IPv4 and IPv6.
"""

from __future__ import annotations

import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

from dnslib import (
    AAAA,
    CNAME,
    EDNS0,
    MX,
    PTR,
    QTYPE,
    RCODE,
    RR,
    SOA,
    SRV,
    TXT,
    A,
    DNSHeader,
    DNSQuestion,
    DNSRecord,
)

HOSTS = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
PORT = 53


def answer(wire: bytes, tcp: bool) -> list[bytes]:
    """The responses to a query: none, one, or two."""
    try:
        ask = DNSRecord.parse(wire)
    except Exception:  # noqa: BLE001 - whatever dnslib trips over
        return [wire[:2] + b"\x81\x81" + bytes(8)]
    name, type_ = ask.q.qname, ask.q.qtype
    reply = ask.reply()
    if ask.header.ar and any(rr.rtype == QTYPE.OPT for rr in ask.ar):
        reply.add_ar(EDNS0(flags="do", udp_len=1232))
    word = str(name).split(".")[0].lower()
    if word == "drop":
        return []
    if word == "big" and not tcp:
        reply.header.tc = 1
    elif word == "big":
        reply.add_answer(*(RR(name, QTYPE.TXT, ttl=60, rdata=TXT(f"{n:03d}" + "x" * 200)) for n in range(40)))
    elif word in ("nxdomain", "servfail", "refused", "notimp"):
        reply.header.rcode = getattr(RCODE, word.upper())
        if word == "nxdomain":
            soa = SOA("ns.dns.test", "hostmaster.dns.test", (1, 7200, 1800, 86400, 30))
            reply.add_auth(RR("test", QTYPE.SOA, ttl=30, rdata=soa))
    elif word == "www":
        reply.add_answer(RR(name, QTYPE.CNAME, ttl=300, rdata=CNAME("web.example.test")))
        reply.add_answer(RR("web.example.test", QTYPE.A, ttl=30, rdata=A("192.0.2.80")))
    elif type_ == QTYPE.A:
        reply.add_answer(*(RR(name, QTYPE.A, ttl=5, rdata=A(f"192.0.2.{n}")) for n in (1, 2)))
    elif type_ == QTYPE.AAAA:
        reply.add_answer(RR(name, QTYPE.AAAA, ttl=5, rdata=AAAA("2001:db8::1")))
    elif type_ == QTYPE.SRV:
        reply.add_answer(
            RR(name, QTYPE.SRV, ttl=5, rdata=SRV(0, 100, 53, "kube-dns.kube-system.svc.cluster.local"))
        )
    elif type_ == QTYPE.MX:
        reply.add_answer(RR(name, QTYPE.MX, ttl=5, rdata=MX("mail.example.test", 10)))
    elif type_ == QTYPE.PTR:
        reply.add_answer(RR(name, QTYPE.PTR, ttl=5, rdata=PTR("host.example.test")))
    packed = bytes(reply.pack())
    return [packed, packed] if word == "twice" else [packed]


def serve_udp(family: int, host: str) -> None:
    server = socket.socket(family, socket.SOCK_DGRAM)
    server.bind((host, PORT))

    def run() -> None:
        seen: set[bytes] = set()
        while True:
            wire, client = server.recvfrom(65535)
            if b"\x05retry" in wire and wire not in seen:
                seen.add(wire)  # the first try is lost
                continue
            for reply in answer(wire, tcp=False):
                server.sendto(reply, client)

    threading.Thread(target=run, daemon=True).start()


def serve_tcp(family: int, host: str) -> None:
    server = socket.create_server((host, PORT), family=family)

    def talk(connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while len(head := stream.read(2)) == 2:
                for reply in answer(stream.read(struct.unpack("!H", head)[0]), tcp=True):
                    connection.sendall(struct.pack("!H", len(reply)) + reply)

    def run() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=run, daemon=True).start()


def query(id_: int, name: str, type_: str = "A", edns: bool = False) -> bytes:
    ask = DNSRecord(DNSHeader(id=id_, rd=1), q=DNSQuestion(name, getattr(QTYPE, type_)))
    if edns:
        ask.add_ar(EDNS0(flags="do", udp_len=1232))
    return bytes(ask.pack())


def ask_udp(family: int, host: str, *wires: bytes, tries: int = 1, wait_s: float = 1.0) -> None:
    """Sends all at once from one socket, then waits for an answer to each; unanswered ones go out again."""
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.connect((host, PORT))
        waiting = {wire[:2]: wire for wire in wires}
        for _ in range(tries):
            for wire in waiting.values():
                client.send(wire)
            client.settimeout(wait_s)
            try:
                while waiting:
                    waiting.pop(client.recv(65535)[:2], None)
            except TimeoutError:
                continue


def ask_tcp(host: str, *wires: bytes, step: int = 1 << 16) -> None:
    """Sends all in writes of `step` bytes, then reads an answer to each."""
    data = b"".join(struct.pack("!H", len(wire)) + wire for wire in wires)
    with socket.create_connection((host, PORT)) as client, client.makefile("rb") as stream:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for position in range(0, len(data), step):
            client.sendall(data[position : position + step])
            time.sleep(0.01)
        for _ in wires:
            stream.read(struct.unpack("!H", stream.read(2))[0])


def talk() -> None:
    for number, (family, host) in enumerate(HOSTS):
        base = 1000 * (number + 1)
        types = ("A", "AAAA", "TXT", "SRV", "MX", "PTR", "NS", "SOA", "HTTPS", "CAA")
        for offset, type_ in enumerate(types):
            ask_udp(family, host, query(base + offset, "web.shop.svc.cluster.local", type_))
        for offset, word in enumerate(("nxdomain", "servfail", "refused", "notimp", "www", "twice", "WeB")):
            ask_udp(family, host, query(base + 20 + offset, f"{word}.Example.test"))
        ask_udp(family, host, query(base + 30, "edns.example.test", edns=True))
        ask_udp(family, host, query(base + 31, "both.test"), query(base + 32, "both.test", "AAAA"))
        ask_udp(family, host, query(base + 33, "."), query(base + 34, "x" * 63 + "." + "y" * 63 + ".test"))
        ask_udp(family, host, query(base + 35, "retry.example.test"), tries=2, wait_s=0.3)
        ask_udp(family, host, query(base + 36, "drop.example.test"), tries=2, wait_s=0.2)
        ask_udp(family, host, query(base + 37, "big.example.test", "TXT"))
        ask_tcp(host, query(base + 37, "big.example.test", "TXT"))
        ask_tcp(host, *(query(base + 40 + n, f"n{n}.example.test") for n in range(5)))
        ask_tcp(host, query(base + 50, "slow.example.test"), query(base + 51, "www.example.test"), step=7)
        ask_udp(family, host, struct.pack("!H", base + 52) + b"\x01\x00\x00\x01" + bytes(6) + b"\x3fshort")

    time.sleep(5.2)  # long enough for the dropped ones to be unanswered
    ask_udp(*HOSTS[0], query(9999, "last.example.test"))


def main() -> None:
    folder = Path(sys.argv[1])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    for family, host in HOSTS:
        serve_udp(family, host)
        serve_tcp(family, host)
    captures = [
        subprocess.Popen(
            ["tcpdump", "-q", "-i", "lo", "-U", "-Z", "root", "-w", str(folder / "loopback.pcap")]
        ),
        subprocess.Popen(["dumpcap", "-q", "-i", "any", "-w", str(folder / "loopback.pcapng")]),
    ]
    time.sleep(3)
    talk()
    time.sleep(2)
    for capture in captures:
        capture.terminate()
        capture.wait()
    path = folder / "loopback.pcapng"
    path.write_bytes(nameless(path.read_bytes()))


def nameless(data: bytes) -> bytes:
    """The pcapng file without what it says of the machine: the options of its sections and interfaces."""
    out, position = b"", 0
    while position < len(data):
        kind, size = struct.unpack_from("<II", data, position)
        body = data[position + 8 : position + size - 4]
        if kind in (0x0A0D0D0A, 1):
            body = body[: 16 if kind != 1 else 8]
            if kind == 1:
                body += struct.pack("<HHB3xHH", 9, 1, 9, 0, 0)  # its times are in nanoseconds
        out += struct.pack("<II", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12)
        position += size
    return out


if __name__ == "__main__":
    main()
