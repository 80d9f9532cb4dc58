"""Hubble's flows to JSON, beside the limit, and beside `hubble observe -o jsonpb` on the same stream.

`rows()` measures. Speeds are flows per second of CPU time, of the bytes of responses that are in memory, the
best of a few passes: answered lookups of 2,000 names by Zipf's law (or of names that never repeat), with TTLs
that count down, from 200 pods and any port. "Whole way" is a process of its own that reads a gRPC stream,
start included, beside Cilium's own client, each with the fields that it asks for, in turns, the best of each;
for that, KDNS_HUBBLE or the PATH must have `hubble`. "Growth" is of this process, over the last half of many
flows of 100 nodes, a thousand lookups a second.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import msgspec
from google.protobuf.json_format import MessageToJson
from row import Row

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.flow_decoder import FlowDecoder
from kdns_hubble.wire_flows import read_response

_TESTS = Path(__file__).resolve().parent.parent / "tests"
_PASSES = 8
_TURNS = 3
_LOOKUPS = 20_000
_NAMES = 2_000
_SAMPLE = 2_000
_BATCH = 512
_STREAM_FLOWS = 400_000
_MEMORY_FLOWS = 400_000
_NODES = 100
_START_NS = 1_795_428_000_000_000_000
_STEP_NS = 1_000_000
_TIMEOUT_NS = 5_000_000_000
_LIMIT = 40_000
_LIMIT_MB = 10


def rows() -> Iterator[Row]:
    warm, new = list(make_responses(_LOOKUPS)), list(make_responses(_LOOKUPS, repeating=False))
    speed = _best(warm, _to_json)
    yield Row("hubble: flows to JSON", speed, "limit", _LIMIT)
    yield Row("hubble: flows to JSON, new names", _best(new, _to_json), "limit", _LIMIT)
    plain = _best(warm[:_SAMPLE], _print_plainly)
    yield Row("hubble: flows read", _best(warm, _read), "protobuf's MessageToJson", plain)
    yield Row("hubble: growth over the last half of many", _growth_mb(), "limit", _LIMIT_MB, "MB")
    hubble = os.environ.get("KDNS_HUBBLE") or shutil.which("hubble")
    if hubble:
        with _flood() as address:
            ours = sys.executable, __file__, address
            theirs = hubble, "observe", "--server", address, "--all", "-o", "jsonpb"
            runs = [(_child_cpu_s(ours), _child_cpu_s(theirs)) for _ in range(_TURNS)]
        whole, peer = (_STREAM_FLOWS / min(used_s) for used_s in zip(*runs, strict=True))
        yield Row("hubble: whole way from a stream to JSON", whole, "hubble observe -o jsonpb", peer)
        yield Row("hubble: the same", whole, "limit", _LIMIT)


def make_responses(lookups: int, *, repeating: bool = True, nodes: int = 1) -> Iterator[bytes]:
    """GetFlowsResponse on the wire, a request and its response in turn, as an agent of Cilium 1.17 sends them
    to whom asks with kdns's field mask."""
    chance = random.Random(1)
    weights = [1 / (rank + 1) for rank in range(_NAMES)]
    names = chance.choices(
        [f"svc-{rank}.shop.svc.cluster.local." for rank in range(_NAMES)], weights, k=lookups
    )
    pods = [
        pb.Endpoint(
            namespace="shop",
            pod_name=f"cart-{number}",
            workloads=[pb.Workload(name="cart", kind="Deployment")],
        ).SerializeToString()
        for number in range(200)
    ]
    server = pb.Endpoint(namespace="kube-system", pod_name="coredns-66bc5c9577-2lnp7").SerializeToString()
    for number, name in enumerate(names):
        if not repeating:
            name = f"{chance.getrandbits(64):x}.example.com."
        pod, port = chance.randrange(200), chance.randrange(16_384, 65_536)
        ends = (f"10.244.1.{pod}", port, pods[pod]), ("10.244.2.41", 53, server)
        node, at_ns = f"worker-{number % nodes}", _START_NS + number * _STEP_NS
        query = pb.DNS(query=name, observation_source="proxy", qtypes=["A"])
        yield _response(ends[0], ends[1], pb.Layer7(type=pb.REQUEST, dns=query), node, at_ns, chance)
        answer = pb.DNS(
            query=name, ips=["192.0.2.7"], ttl=30 - number // 1000 % 30, qtypes=["A"], rrtypes=["A"]
        )
        yield _response(
            ends[1], ends[0], pb.Layer7(type=pb.RESPONSE, dns=answer), node, at_ns + _STEP_NS // 2, chance
        )


def _response(
    source: tuple[str, int, bytes],
    destination: tuple[str, int, bytes],
    l7: pb.Layer7,
    node: str,
    at_ns: int,
    chance: random.Random,
) -> bytes:
    ports = pb.Ports(source_port=source[1], destination_port=destination[1])
    flow = pb.Flow(
        verdict=pb.FORWARDED,
        IP=pb.IP(source=source[0], destination=destination[0]).SerializeToString(),
        l4=pb.Layer4(UDP=ports).SerializeToString(),
        source=source[2],
        destination=destination[2],
        node_name=node,
        l7=l7.SerializeToString(),
        uuid=f"{chance.getrandbits(128):032x}",
    )
    flow.time.FromNanoseconds(at_ns)
    flow.is_reply.value = l7.type == pb.RESPONSE
    response = pb.GetFlowsResponse(flow=flow, node_name=node)
    response.time.CopyFrom(flow.time)
    return response.SerializeToString()


def _to_json(responses: Sequence[bytes]) -> None:
    decoder = FlowDecoder(timeout_ns=_TIMEOUT_NS)
    encode = msgspec.json.Encoder().encode_lines
    for first in range(0, len(responses), _BATCH):
        encode(decoder.feed([read_response(raw) for raw in responses[first : first + _BATCH]]))
    encode(decoder.finish())


def _read(responses: Sequence[bytes]) -> None:
    for raw in responses:
        read_response(raw)


def _print_plainly(responses: Sequence[bytes]) -> None:
    for raw in responses:
        MessageToJson(pb.GetFlowsResponse.FromString(raw), preserving_proto_field_name=True)


def _best(responses: Sequence[bytes], work: Callable[[Sequence[bytes]], None]) -> float:
    """Flows per second of CPU time."""

    def cpu_s() -> float:
        start_s = time.process_time()
        work(responses)
        return time.process_time() - start_s

    return len(responses) / min(cpu_s() for _ in range(_PASSES))


def _growth_mb() -> float:
    decoder = FlowDecoder(timeout_ns=_TIMEOUT_NS)
    batch: list[bytes] = []
    half_mb = 0.0
    for number, raw in enumerate(make_responses(_MEMORY_FLOWS // 2, repeating=False, nodes=_NODES)):
        batch.append(raw)
        if len(batch) == _BATCH:
            decoder.feed([read_response(one) for one in batch])
            batch.clear()
        if number == _MEMORY_FLOWS // 2:
            half_mb = _resident_mb()
    return max(_resident_mb() - half_mb, 0.0)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


@contextlib.contextmanager
def _flood() -> Iterator[str]:
    """The address of a server that sends flows as fast as they are taken, in a process of its own."""
    command = [sys.executable, "-m", "support.hubble_flood", "--flows", str(_STREAM_FLOWS)]
    with subprocess.Popen(command, cwd=_TESTS, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _child_cpu_s(command: Sequence[str]) -> float:
    def used_s() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    start_s = used_s()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return used_s() - start_s


def stream(address: str) -> None:
    """As a live source does: one thread reads, another decodes and prints."""
    from kdns_hubble.address import parse_address
    from kdns_hubble.client import HubbleClient
    from kdns_hubble.flow_filter import FlowFilter
    from kdns_hubble.options import HubbleOptions
    from kdns_hubble.pump import Pump
    from kdns_hubble.relay_flows import RelayStream
    from kdns_hubble.requests import flows_request

    client = HubbleClient(parse_address(address), None, "", HubbleOptions())
    pump = Pump(RelayStream(client.flows(flows_request([FlowFilter(protocol=("dns",))]))), read_response)
    decoder = FlowDecoder(timeout_ns=_TIMEOUT_NS)
    encode = msgspec.json.Encoder().encode_lines
    while (responses := pump.take(1.0)) is not None:
        sys.stdout.buffer.write(encode(decoder.feed(responses)))
    sys.stdout.buffer.write(encode(decoder.finish()))
    client.close()
    assert decoder.new_flows == _STREAM_FLOWS


if __name__ == "__main__":
    stream(sys.argv[1])
