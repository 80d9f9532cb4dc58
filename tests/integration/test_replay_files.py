"""Real captures replayed: whole records against a golden, packed, and recorded and replayed again."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import pytest

from kdns_replay import BACKEND
from kubectl_kdns.backend import Plan, Scope
from kubectl_kdns.inputs import open_inputs
from kubectl_kdns.model import Lookup, Record

DATA = Path(__file__).parents[1] / "golden" / "data"
ENCODER = msgspec.json.Encoder()


def replay(path: Path) -> list[Record]:
    (item,) = open_inputs([str(path)])
    assert BACKEND.sniff(item.head)
    return [record for batch in BACKEND.decode(item.stream, Scope(), Plan()) for record in batch]


def outline(records: Iterable[Record]) -> list[tuple[object, ...]]:
    """What two captures of the same traffic share: all but times and ports."""
    lines: list[tuple[object, ...]] = []
    for record in records:
        assert isinstance(record, Lookup)
        assert record.client
        lines.append((record.status, record.tries, record.transport, record.client.ip, record.dns))
    return lines


def test_a_real_capture(golden: Callable[[str, str], None]) -> None:
    golden("replay/loopback.jsonl", ENCODER.encode_lines(replay(DATA / "loopback.pcap")).decode())


def test_two_captures_of_the_same_traffic_tell_the_same() -> None:
    one, other = replay(DATA / "loopback.pcap"), replay(DATA / "loopback.pcapng")
    assert outline(one) == outline(other)
    assert len(one) == 69


@pytest.mark.parametrize("name", ["loopback.pcap", "loopback.pcapng"])
def test_packed_or_not(tmp_path: Path, name: str) -> None:
    packed = tmp_path / "packed"
    packed.write_bytes(gzip.compress((DATA / name).read_bytes()))
    assert replay(packed) == replay(DATA / name)


def test_recorded_and_replayed_again(tmp_path: Path) -> None:
    records = replay(DATA / "loopback.pcap")
    recording = tmp_path / "recording.jsonl"
    recording.write_bytes(ENCODER.encode_lines(records))
    assert replay(recording) == records
    assert ENCODER.encode_lines(replay(recording)) == recording.read_bytes()
