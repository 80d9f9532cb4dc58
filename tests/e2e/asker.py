"""Asks DNS questions and prints a line for each, as the lab's `dnsq` does: for images that have only python3.

Flags: -s SERVER -tcp -n N -rate PER_SECOND -random -t TIMEOUT NAME [TYPE]. Standard library only.
"""

import argparse
import concurrent.futures
import random
import re
import socket
import struct
import sys
import time

TYPES = {"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "PTR": 12, "MX": 15, "TXT": 16, "AAAA": 28, "SRV": 33}
RCODES = ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"]


def labels(name: str) -> list[bytes]:
    """Presentation form to labels: `my\\ host`, `a\\.b`, `\\027`."""
    parts: list[bytes] = [b""]
    for number, escaped, plain in re.findall(r"\\(?:(\d{3})|(.))|([^\\])", name):
        if plain == ".":
            parts.append(b"")
        else:
            parts[-1] += bytes([int(number)]) if number else (escaped or plain).encode()
    return [part for part in parts if part]


def query(name: str, qtype: str) -> tuple[int, bytes]:
    number = random.randrange(65536)
    question = b"".join(bytes([len(part)]) + part for part in labels(name)) + b"\0"
    header = struct.pack(">6H", number, 0x0100, 1, 0, 0, 0)
    return number, header + question + struct.pack(">2H", TYPES[qtype], 1)


def exchange(server: str, payload: bytes, tcp: bool, timeout_s: float) -> bytes:
    kind = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as s:
        s.settimeout(timeout_s)
        s.connect((server, 53))
        if not tcp:
            s.send(payload)
            return s.recv(65535)
        s.sendall(struct.pack(">H", len(payload)) + payload)
        stream = s.makefile("rb")
        return stream.read(struct.unpack(">H", stream.read(2))[0])


def ask(seq: int, options: argparse.Namespace) -> None:
    name = options.name.rstrip(".") + "."
    if options.random:
        name = f"r{random.randrange(2**32):08x}.{name}"
    number, payload = query(name, options.type)
    start = time.perf_counter()
    try:
        answer = exchange(options.s, payload, options.tcp, options.t)
        code = RCODES[answer[3] & 15]
    except TimeoutError:
        code = "TIMEOUT"
    except OSError:
        code = "ERROR"
    ms = (time.perf_counter() - start) * 1000
    proto = "tcp" if options.tcp else "udp"
    sys.stdout.write(f"{seq} {proto} {options.s}:53 {name} {options.type} id={number} {code} {ms:.3f}ms\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prefix_chars="-")
    parser.add_argument("-s", required=True)
    parser.add_argument("-tcp", action="store_true")
    parser.add_argument("-random", action="store_true")
    parser.add_argument("-n", type=int, default=1)
    parser.add_argument("-rate", type=float, default=0)
    parser.add_argument("-t", type=lambda text: float(text.removesuffix("s")), default=2)
    parser.add_argument("name")
    parser.add_argument("type", nargs="?", default="A")
    options = parser.parse_args()
    start = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(64 if options.rate else 1) as pool:
        for seq in range(options.n):
            if options.rate:
                time.sleep(max(0.0, start + seq / options.rate - time.monotonic()))
            pool.submit(ask, seq, options)


if __name__ == "__main__":
    main()
