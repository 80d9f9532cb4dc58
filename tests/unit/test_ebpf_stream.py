"""Frames to records: lookups with their owners, losses by figures that grow, gaps by the sequence."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdns_ebpf import wire
from kdns_ebpf.agent_stream import AgentStream
from kdns_ebpf.cgroups import place_of
from kubectl_kdns.directory import Directory
from kubectl_kdns.endpoints import Pod, Service
from kubectl_kdns.model import Lookup, Loss, Message, Notice
from kubectl_kdns.times import format_time
from support import ebpf_frames as frames


def read(*parts: bytes, raw: bool = False) -> list[Any]:
    return AgentStream("n1", raw=raw).feed(frames.hello() + frames.cgroup(5) + b"".join(parts))


def as_dict(record: Any) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(record)
    return found


def test_a_lookup_knows_who_asked() -> None:
    (record,) = read(
        frames.lookup(backend_ip=bytes((10, 244, 2, 3)) + bytes(12), backend_port=53, flags=wire.BACKEND)
    )
    assert isinstance(record, Lookup)
    found = as_dict(record)
    assert found["client"] == {
        "ip": "10.244.1.9",
        "port": 40000,
        "pod_uid": frames.UID,
        "container_id": frames.CONTAINER,
        "node": "n1",
        "process": {"pid": 77, "name": "curl"},
    }
    assert found["server"] == {"ip": "10.96.0.10", "port": 53, "backend": {"ip": "10.244.2.3", "port": 53}}
    assert found["socket"] == {"cookie": 99, "netns": 3}
    assert (found["hop"], found["side"], found["status"], found["tries"]) == (
        "client",
        "client",
        "answered",
        1,
    )
    assert found["latency_ms"] == 2.0
    assert found["dns"]["name"] == "web.shop"
    assert found["dns"]["resolved_ips"] == ["10.96.0.20"]


def test_the_server_side_knows_the_client_by_address_only() -> None:
    (record,) = read(frames.lookup(side=wire.SIDE_SERVER))
    found = as_dict(record)
    assert found["side"] == "server"
    assert found["client"] == {"ip": "10.244.1.9", "port": 40000}
    assert found["server"] == {"ip": "10.96.0.10", "port": 53, "node": "n1"}


def test_the_pod_that_answers_for_an_address_that_is_not_its_own() -> None:
    """NodeLocal DNSCache takes the address of the Service on its node."""
    directory = Directory()
    directory.put_service(
        Service("kube-system", "kube-dns", ("10.96.0.10",), {"k8s-app": "kube-dns"}, dns=True)
    )
    directory.put_pod(Pod("kube-system", "node-local", frames.UID, directory.labels({}), node="n1"), 1)
    stream = AgentStream("n1", directory=directory)
    (record,) = stream.feed(frames.hello() + frames.cgroup(5) + frames.lookup(side=wire.SIDE_SERVER))
    assert as_dict(record)["server"]["backend"] == {"pod": "node-local", "node": "n1"}
    own_ip = bytes((10, 244, 1, 5)) + bytes(12)
    directory.put_pod(
        Pod("kube-system", "node-local", frames.UID, directory.labels({}), "n1", ips=("10.244.1.5",)), 2
    )
    (record,) = stream.feed(frames.lookup(side=wire.SIDE_SERVER, server_ip=own_ip, sequence=2))
    assert "backend" not in as_dict(record)["server"]


def test_what_was_not_answered() -> None:
    unanswered, pending = read(
        frames.lookup(response=b"", response_ns=0, status=wire.UNANSWERED, tries=3, messages=3),
        frames.lookup(response=b"", response_ns=0, status=wire.PENDING, messages=1, sequence=3),
    )
    assert (unanswered.status, unanswered.tries) == ("unanswered", 3)
    assert unanswered.latency_ms is msgspec.UNSET
    assert pending.status == "pending"


def test_a_response_without_query_has_its_time_inferred() -> None:
    (record,) = read(frames.lookup(query=b"", query_ns=0, last_ns=0, status=wire.NO_QUERY, messages=1))
    assert record.status == "answered"
    assert record.inferred == ["time"]
    assert record.dns.name == "web.shop"


def test_late_and_raw_and_ipv6() -> None:
    address = bytes.fromhex("fd000000000000000000000000000001")
    (record,) = read(frames.lookup(flags=wire.LATE, family=6, client_ip=address), raw=True)
    assert record.late is True
    assert record.client.ip == "fd00::1"
    assert record.raw == f"{frames.ASKED.hex()} {frames.ANSWERED.hex()}"


def test_messages_have_a_direction() -> None:
    query, response = read(
        frames.lookup(response=b"", response_ns=0, frame_type=wire.MESSAGE, messages=0),
        frames.lookup(query=b"", query_ns=0, flags=wire.IS_RESPONSE, frame_type=wire.MESSAGE, messages=0),
    )
    assert isinstance(query, Message)
    assert (query.direction, response.direction) == ("query", "response")
    assert response.client.process.name == "curl"


def test_figures_that_grow_are_losses_of_that_second() -> None:
    first, second = (
        frames.stats(1, ring_lost=5),
        frames.stats(2, ring_lost=12, lost=3, evicted=2, over_rate=4),
    )
    assert read(first) == []
    losses = read(first, second, frames.stats(3, ring_lost=12, lost=3, evicted=2, over_rate=4))
    assert all(isinstance(loss, Loss) for loss in losses)
    assert {(loss.reason, loss.count) for loss in losses} == {
        ("ring_full", 7),
        ("queue", 1),
        ("rate_cap", 4),
        ("pairing_evicted", 2),
    }
    assert all(loss.from_ < loss.until for loss in losses)


def test_losses_are_told_once_a_second_and_at_the_end() -> None:
    stream = AgentStream("n1")
    stream.feed(frames.hello() + frames.stats(1))
    quarter = 250_000_000
    for turn in range(1, 4):
        assert stream.feed(frames.stats(0, time_ns=frames.T0_NS + 10**9 + turn * quarter, lost=turn)) == []
    (loss,) = stream.feed(frames.stats(2, lost=4))
    assert (loss.count, loss.reason) == (4, "queue")
    (loss,) = stream.feed(frames.bye(wire.BYE_CLOSED, 2, lost=5))
    assert loss.count == 1


def test_progress_is_told_to_who_wants_it() -> None:
    known_ns = frames.T0_NS + 900_000_000
    parts = frames.hello() + frames.stats(1, known_ns=known_ns)
    assert AgentStream("n1").feed(parts) == []
    (progress,) = AgentStream("n1", progress=True).feed(parts)
    assert (progress.code, progress.node, progress.time) == ("progress", "n1", format_time(known_ns))


def test_a_gap_in_the_sequence_is_what_was_on_its_way() -> None:
    stream = AgentStream("n1")
    stream.feed(frames.hello() + frames.stats(1) + frames.lookup(sequence=0))
    stream.connect()
    resumed = frames.hello(15 | wire.RESUMED)
    loss, lookup = stream.feed(resumed + frames.lookup(sequence=10))
    assert isinstance(loss, Loss)
    assert (loss.reason, loss.count) == ("disconnected", 8)
    assert isinstance(lookup, Lookup)


def test_half_a_frame_of_a_broken_connection_is_forgotten() -> None:
    stream = AgentStream("n1")
    stream.feed(frames.hello() + frames.lookup()[:50])
    stream.connect()
    (lookup,) = stream.feed(frames.hello(15 | wire.RESUMED) + frames.lookup())
    assert isinstance(lookup, Lookup)


def test_an_agent_that_was_started_again_is_a_loss_without_number() -> None:
    stream = AgentStream("n1")
    stream.feed(frames.hello() + frames.stats(1) + frames.lookup())
    stream.connect()
    (loss,) = stream.feed(frames.hello())
    assert (loss.reason, loss.count) == ("disconnected", msgspec.UNSET)


@pytest.mark.parametrize(
    ("can", "code"), [(wire.IS_FALLBACK, "agent_fallback"), (wire.CAN_OWNERS, "no_cgroup_paths")]
)
def test_what_a_node_cannot_is_said(can: int, code: str) -> None:
    (notice,) = AgentStream("n1").feed(frames.hello(can))
    assert isinstance(notice, Notice)
    assert notice.code == code


def test_goodbye_and_words() -> None:
    stream = AgentStream("n1")
    records = stream.feed(
        frames.hello() + frames.log(wire.LOG_WARNING, "odd \x1b[31m") + frames.bye(wire.BYE_DEADLINE)
    )
    assert stream.ended == wire.BYE_DEADLINE
    assert [record.code for record in records] == ["agent_warning", "agent_ended"]
    assert "\x1b" not in records[0].message


@pytest.mark.parametrize(
    "data",
    [
        wire.FRAME.pack(wire.MAX_FRAME_BYTES + 1, wire.LOOKUP),
        wire.frame(wire.LOOKUP, b"short"),
        wire.frame(wire.HELLO, bytes(88)),
        wire.frame(wire.STATS, b""),
        frames.lookup(query_captured=9999),
        frames.lookup(family=5),
    ],
)
def test_what_is_no_frame_is_refused(data: bytes) -> None:
    with pytest.raises(wire.BadFrame):
        AgentStream("n1").feed(data)


@given(
    st.lists(st.sampled_from([frames.hello(), frames.cgroup(5), frames.lookup(), frames.stats(1)])), st.data()
)
def test_it_does_not_matter_where_a_stream_is_broken(parts: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(parts)
    stream, pieces = AgentStream("n1"), []
    rest = whole
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        pieces += stream.feed(rest[:size])
        rest = rest[size:]
    assert list(map(as_dict, pieces)) == list(map(as_dict, AgentStream("n1").feed(whole)))


@given(st.data())
def test_bytes_that_nobody_meant_never_raise_anything_else(data: st.DataObject) -> None:
    good = bytearray(frames.hello() + frames.cgroup(5) + frames.lookup() + frames.stats(1) + frames.bye(1))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    stream = AgentStream("n1")
    try:
        records = stream.feed(bytes(good))
    except wire.BadFrame:
        return
    for record in records:
        msgspec.json.encode(record)


@pytest.mark.parametrize(
    ("path", "pod", "container", "unit"),
    [
        (frames.PATH, frames.UID, frames.CONTAINER, None),
        (
            f"/kubepods.slice/kubepods-pod{frames.UID.replace('-', '_')}.slice"
            f"/cri-containerd-{frames.CONTAINER}.scope",
            frames.UID,
            frames.CONTAINER,
            None,
        ),
        (f"/kubepods/burstable/pod{'0a' * 16}/crio-{frames.CONTAINER}", "0a" * 16, frames.CONTAINER, None),
        (f"/system.slice/docker-{frames.CONTAINER}.scope", None, frames.CONTAINER, None),
        ("/system.slice/ssh.service", None, None, "ssh.service"),
        ("/user.slice/user-0.slice/session-3.scope", None, None, "session-3.scope"),
        ("/", None, None, None),
        (f"/k8s.io/{frames.CONTAINER}", None, frames.CONTAINER, None),
    ],
)
def test_what_a_cgroups_path_says(
    path: str, pod: str | None, container: str | None, unit: str | None
) -> None:
    place = place_of(path)
    assert [value or None for value in (place.pod_uid, place.container_id, place.unit)] == [
        pod,
        container,
        unit,
    ]


def test_a_configuration_that_is_too_long_is_refused() -> None:
    clients = [(wire.CLIENT_POD_UID, bytes(36))] * 4000
    with pytest.raises(ValueError, match="131072"):
        wire.config(bytes(16), clients=clients)
