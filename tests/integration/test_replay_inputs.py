"""Opening recorded data: files, pipes, standard input, gzip; what cannot be read says why."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from kdns_replay import BACKEND
from kubectl_kdns import inputs
from kubectl_kdns.backend import Plan, Scope
from kubectl_kdns.errors import InputError
from kubectl_kdns.inputs import HEAD_BYTES, STDIN_NAME, open_inputs
from kubectl_kdns.model import Lookup, Loss
from support.captures import CLIENT, SERVER, START_NS, ethernet, pcap, query, response, udp

PACKETS = [(START_NS + n, ethernet(udp(query(id_=n)))) for n in range(2000)]
CAPTURE = pcap(PACKETS)
WAIT_S = 10


@pytest.fixture(
    params=["awaited", "copied"] if inputs.PIPES_CAN_BE_AWAITED else ["copied"],
)
def pipe(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """What is read and what is written; both are closed in the end. As on POSIX, and as on Windows."""
    monkeypatch.setattr(inputs, "PIPES_CAN_BE_AWAITED", request.param == "awaited")
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb", buffering=0) as writer:
        yield reader, writer


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_is_looked_at_and_then_read_from_its_beginning(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(gzip.compress(CAPTURE) if packed else CAPTURE)
    (item,) = open_inputs([str(path)])
    with item.stream:
        assert (item.name, item.stream.name) == (str(path), str(path))
        assert CAPTURE.startswith(item.head)
        assert 24 <= len(item.head) <= HEAD_BYTES
        assert item.stream.read() == CAPTURE


def test_several_files_and_gzip_members_one_behind_the_other(tmp_path: Path) -> None:
    for name, data in (("a", b"one " * 10), ("b", gzip.compress(b"two ") + gzip.compress(b"three"))):
        (tmp_path / name).write_bytes(data)
    inputs = open_inputs([str(tmp_path / "a"), str(tmp_path / "b")])
    assert [item.stream.read() for item in inputs] == [b"one " * 10, b"two three"]
    for item in inputs:
        item.stream.close()


def test_standard_input_is_a_dash_and_is_given_once() -> None:
    (item,) = open_inputs(["-"], io.BytesIO(CAPTURE))
    assert item.name == STDIN_NAME
    assert item.stream.read() == CAPTURE
    with pytest.raises(InputError, match="standard input is given twice"):
        open_inputs(["-", "-"], io.BytesIO(CAPTURE))


EMPTY = (
    "{path} is empty: nothing was recorded, or the recorder has not written its buffer out yet\n"
    "Try: tcpdump -U writes every packet at once"
)
CUT = (
    "cannot read {path}: the compressed data is broken: "
    "Compressed file ended before the end-of-stream marker was reached"
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.pcap", "cannot read {path}: there is no such file\nTry: ls {folder}"),
        ("folder", "cannot read {path}: it is a directory\nTry: --from {path}/FILE"),
        ("file/below", "cannot read {path}: [Errno 20] Not a directory: '{path}'"),
        ("nul\0", "cannot read {path}: embedded null byte"),
        ("empty", EMPTY),
        ("empty.gz", EMPTY),
        ("bad.gz", "cannot read {path}: Unknown compression method"),
        ("cut.gz", CUT),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder").mkdir()
    contents = {"file": b"x", "empty": b"", "empty.gz": gzip.compress(b""), "bad.gz": b"\x1f\x8bnonsense"}
    contents["cut.gz"] = gzip.compress(b"x")[:9]
    for file, data in contents.items():
        (tmp_path / file).write_bytes(data)
    path = f"{tmp_path}/{name}"
    with pytest.raises(InputError) as failure:
        open_inputs([str(tmp_path / "file"), path])
    assert str(failure.value) == message.format(path=path, folder=tmp_path)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_permission_denied(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.touch(0o000)
    with pytest.raises(InputError, match="permission denied"):
        open_inputs([str(path)])


def test_an_error_leaves_nothing_open(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InputError):
        open_inputs([str(tmp_path / "a"), str(tmp_path / "absent")])
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_pipe_is_not_waited_for_longer_than_needed(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    """`tcpdump -U -w - | kubectl kdns trace --from -` shows each packet as it comes."""
    reader, writer = pipe
    writer.write(CAPTURE[:24])
    (item,) = open_inputs(["-"], reader)
    assert item.head == CAPTURE[:24]
    assert item.stream.read1(1 << 16) == CAPTURE[:24]
    writer.write(b"more")
    assert item.stream.read1(1 << 16) == b"more"
    item.stream.close()


def test_a_silent_pipe_is_idle_and_its_records_come_before_the_next_packet(
    pipe: tuple[BinaryIO, BinaryIO],
) -> None:
    """What a reader holds back for more to come is let go by an empty batch."""
    reader, writer = pipe
    reply = response("web.shop.svc.cluster.local", "A", 1, "10.1.2.3")
    writer.write(pcap([PACKETS[1], (START_NS + 2, ethernet(udp(reply, SERVER, 53, CLIENT, 40001)))]))
    (item,) = open_inputs(["-"], reader)
    assert not item.stream.idle(0)
    batches = iter(BACKEND.decode(item.stream, Scope(), Plan()))
    assert [len(next(batches)), len(next(batches)), len(next(batches))] == [1, 0, 0]
    assert item.stream.idle(0)
    writer.close()
    assert [len(batch) for batch in batches] == [0]


def test_a_pipe_that_comes_in_drops(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = pipe
    for byte in CAPTURE[:30]:
        writer.write(bytes([byte]))
    (item,) = open_inputs(["-"], reader)
    writer.close()
    assert item.stream.read() == CAPTURE[:30]
    item.stream.close()


def test_a_packed_pipe(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = pipe
    writer.write(gzip.compress(CAPTURE[:24])[:-8])
    (item,) = open_inputs(["-"], reader)
    assert item.stream.read1(100) == CAPTURE[:24]
    item.stream.close()


@pytest.mark.parametrize("packed", [False, True])
def test_closing_ends_a_read_that_waits(pipe: tuple[BinaryIO, BinaryIO], packed: bool) -> None:
    reader, writer = pipe
    head = pcap([])
    writer.write(gzip.compress(head)[:-8] if packed else head)
    (item,) = open_inputs(["-"], reader)
    source = BACKEND.decode(item.stream, Scope(), Plan())
    reading = threading.Event()
    ended = threading.Event()

    def read() -> None:
        for _ in source:
            reading.set()
        ended.set()

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    assert reading.wait(WAIT_S)
    source.close()
    assert ended.wait(WAIT_S)
    thread.join(WAIT_S)


def test_a_gzip_file_that_was_cut_off_gives_all_before_and_a_loss(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap.gz"
    packed = gzip.compress(CAPTURE)
    path.write_bytes(packed[: len(packed) // 2])
    (item,) = open_inputs([str(path)])
    records = [record for batch in BACKEND.decode(item.stream, Scope(), Plan()) for record in batch]
    assert sum(isinstance(record, Lookup) for record in records) > 500
    (loss,) = [record for record in records if isinstance(record, Loss)]
    assert loss.reason == "truncated"
    assert str(loss.message).startswith(f"{path}: the compressed data is broken: ")
    assert item.stream.closed
