"""The frames between the agent and its client: agent/wire.h in Python, little-endian.

What an agent sends is untrusted: sizes are checked, and what does not fit raises BadFrame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import Struct as Layout
from typing import NamedTuple

from msgspec import Struct

MAGIC = 0x534E444B
VERSION = 1
MAX_FRAME_BYTES = 256 << 10
MAX_CONFIG_BYTES = 128 << 10

CONFIG, PING, CLOSE, SEND = 1, 2, 3, 4
HELLO, LOOKUP, MESSAGE, CGROUP, STATS, LOG, BYE = range(16, 23)
ENTERED, ANSWER, REFUSED = 24, 25, 26

WANT_MESSAGES = 1
TYPES_ANY, TYPES_ONLY, TYPES_NOT = range(3)
OUTCOME_NO_ANSWER = 1 << 16
ALL_OUTCOMES = (1 << 17) - 1
NAME_EXACT, NAME_SUFFIX, NAME_PREFIX, NAME_SUBSTRING = range(1, 5)
CLIENT_POD_UID, CLIENT_IP = 1, 2

CAN_OWNERS, CAN_PATHS, CAN_NETNS, CAN_CONNTRACK, IS_FALLBACK, RESUMED = (1 << i for i in range(6))

SIDE_CLIENT, SIDE_SERVER, SIDE_NODE = 1, 2, 3
ANSWERED, UNANSWERED, PENDING, NO_QUERY = range(4)
LATE, BACKEND, IS_RESPONSE = 1, 2, 4

LOG_INFO, LOG_WARNING, LOG_FATAL = range(3)
BYE_SIGNAL, BYE_DEADLINE, BYE_NO_PING, BYE_CLOSED, BYE_FATAL = range(1, 6)

FRAME = Layout("<IHxx")
CONFIG_HEAD = Layout("<IHH16sQIIHHHH")
HELLO_HEAD = Layout("<IHHQII64s")
LOOKUP_HEAD = Layout("<QQQQQQQIIIIIIIHH16s16s16sHHBBBBB7x16s")
CGROUP_HEAD = Layout("<Q")
STATS_HEAD = Layout("<21Q")
LOG_HEAD = Layout("<I4x")
BYE_HEAD = Layout("<I4x21Q")
SEND_HEAD = Layout("<HHBB2x16s")
ENTERED_HEAD = Layout("<I4x")
ANSWER_HEAD = Layout("<HH4x")


class BadFrame(Exception):
    """What came is no frame of an agent of this version; the message says why."""


class Frame(NamedTuple):
    type: int
    data: memoryview


class Hello(Struct, frozen=True):
    """`can` are the CAN_ bits; times are nanoseconds since the epoch."""

    can: int
    time_ns: int
    cpus: int
    timeout_ms: int
    release: str


class Stats(NamedTuple):
    """Figures of an agent since it began, and of a session since that began: wire.h says what each is."""

    time_ns: int
    packets_out: int
    packets_in: int
    captured: int
    control: int
    ring_sent: int
    ring_lost: int
    unreadable: int
    tcp_gaps: int
    duplicates: int
    evicted: int
    seen: int
    sent: int
    filtered: int
    lost: int
    over_rate: int
    pending: int
    late: int
    cpu_ns: int
    rss_bytes: int
    known_ns: int


class WireLookup(NamedTuple):
    """The head of a LOOKUP or MESSAGE frame, its fields as in `struct kdns_lookup`."""

    sequence: int
    query_ns: int
    last_ns: int
    response_ns: int
    cookie: int
    cgroup: int
    netns: int
    pid: int
    tries: int
    query_size: int
    response_size: int
    query_captured: int
    response_captured: int
    messages: int
    id: int
    client_port: int
    client_ip: bytes
    server_ip: bytes
    backend_ip: bytes
    server_port: int
    backend_port: int
    family: int
    protocol: int
    side: int
    status: int
    flags: int
    process: bytes


def frame(type_: int, data: bytes = b"") -> bytes:
    return FRAME.pack(len(data), type_) + data


def config(
    session: bytes,
    *,
    messages: bool = False,
    outcomes: int = ALL_OUTCOMES,
    slower_than_ns: int = 0,
    max_rate: int = 0,
    types_mode: int = TYPES_ANY,
    types: Iterable[int] = (),
    names: Iterable[tuple[int, bytes]] = (),
    clients: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    """A CONFIG frame. Raises ValueError for what has no room in it."""
    numbers, names, clients = list(types), list(names), list(clients)
    head = CONFIG_HEAD.pack(
        MAGIC,
        VERSION,
        WANT_MESSAGES if messages else 0,
        session,
        slower_than_ns,
        outcomes,
        max_rate,
        types_mode,
        len(numbers),
        len(names),
        len(clients),
    )
    parts = [head, b"".join(number.to_bytes(2, "little") for number in numbers), b"\0\0" * (len(numbers) % 2)]
    for kind, text in (*names, *clients):
        parts.append(bytes((kind, len(text))) + text)
    data = b"".join(parts)
    if len(data) > MAX_CONFIG_BYTES:
        raise ValueError(f"the configuration has {len(data)} bytes, an agent takes {MAX_CONFIG_BYTES}")
    return frame(CONFIG, data)


class FrameReader:
    """Cuts a stream of bytes into frames, wherever it is broken into pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that are whole now; their data are valid as long as they are kept. Raises BadFrame."""
        buffer = self._rest + data if self._rest else data
        view, at, end = memoryview(buffer), 0, len(buffer)
        while end - at >= FRAME.size:
            size, type_ = FRAME.unpack_from(buffer, at)
            if size > MAX_FRAME_BYTES:
                raise BadFrame(f"a frame claims {size} bytes")
            stop = at + FRAME.size + size
            if stop > end:
                break
            yield Frame(type_, view[at + FRAME.size : stop])
            at = stop
        self._rest = buffer[at:]


def read_hello(data: memoryview) -> Hello:
    fields = _unpack(HELLO_HEAD, data, "HELLO")
    magic, version, can, time_ns, cpus, timeout_ms, release = fields
    if magic != MAGIC:
        raise BadFrame("what answered is no agent")
    if version != VERSION:
        raise BadFrame(f"the agent speaks version {version}, this kdns {VERSION}")
    return Hello(can, time_ns, cpus, timeout_ms, release.split(b"\0", 1)[0].decode("ascii", "replace"))


def read_lookup(data: memoryview) -> tuple[WireLookup, memoryview, memoryview]:
    """The head, the query's bytes and the response's, as far as they were captured."""
    head = WireLookup._make(_unpack(LOOKUP_HEAD, data, "LOOKUP"))
    start = LOOKUP_HEAD.size
    middle = start + head.query_captured
    end = middle + head.response_captured
    if end != len(data):
        raise BadFrame(f"a lookup of {len(data)} bytes says that it has {end}")
    if head.family not in (4, 6):
        raise BadFrame(f"a lookup has addresses of family {head.family}")
    return head, data[start:middle], data[middle:end]


def read_cgroup(data: memoryview) -> tuple[int, str]:
    (id_,) = _unpack(CGROUP_HEAD, data, "CGROUP")
    return id_, bytes(data[CGROUP_HEAD.size :]).decode("utf-8", "replace")


def read_stats(data: memoryview) -> Stats:
    return Stats._make(_unpack(STATS_HEAD, data, "STATS"))


def read_log(data: memoryview) -> tuple[int, str]:
    (level,) = _unpack(LOG_HEAD, data, "LOG")
    return level, bytes(data[LOG_HEAD.size :]).decode("utf-8", "replace")


def read_bye(data: memoryview) -> tuple[int, Stats]:
    reason, *stats = _unpack(BYE_HEAD, data, "BYE")
    return reason, Stats._make(stats)


def send(slot: int, address: bytes, port: int, *, over_tcp: bool, message: bytes) -> bytes:
    """A SEND frame; `address` has 4 or 16 bytes."""
    family = 4 if len(address) == 4 else 6
    head = SEND_HEAD.pack(slot, port, family, 6 if over_tcp else 17, address)
    return frame(SEND, head + message)


def read_entered(data: memoryview) -> tuple[int, str]:
    """The process, and the text of its resolv.conf."""
    (pid,) = _unpack(ENTERED_HEAD, data, "ENTERED")
    return pid, bytes(data[ENTERED_HEAD.size :]).decode("utf-8", "replace")


def read_answer(data: memoryview) -> tuple[int, int, bytes]:
    """The slot, an errno or 0, and the DNS message."""
    slot, error = _unpack(ANSWER_HEAD, data, "ANSWER")
    return slot, error, bytes(data[ANSWER_HEAD.size :])


def _unpack(layout: Layout, data: memoryview, name: str) -> tuple:  # type: ignore[type-arg]
    if len(data) < layout.size:
        raise BadFrame(f"a {name} frame has {len(data)} bytes, not {layout.size}")
    return layout.unpack_from(data)
