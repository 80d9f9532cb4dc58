"""What a relay is asked for, so that it holds back the least."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec import UNSET

from kdns_hubble import hubble_pb2 as pb
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.gaps import out_of_reach
from kdns_hubble.relay_flows import RelayObserver, undelayed
from kubectl_kdns.errors import KdnsError
from kubectl_kdns.model import Loss, Notice
from kubectl_kdns.times import NS_PER_S, format_time
from support.hubble_flows import START_NS, enveloped, node_status, request
from support.hubble_relay import buffer_length


def test_the_shortest_queue_that_can_be_had() -> None:
    for peers in range(1, 2001):
        number = undelayed(peers)
        assert 0 < number < 1 << 64
        lowest = peers & -peers
        assert number * peers % (1 << 64) == lowest
        assert buffer_length(number, peers, 100) == min(lowest, 100)


def test_without_any_peer() -> None:
    assert undelayed(0) == 1


class Client:
    """Answers each GetFlows with these messages; keeps the requests."""

    def __init__(self, *messages: Any) -> None:
        self._messages = [message.SerializeToString() for message in messages]
        self.requests: list[pb.GetFlowsRequest] = []
        self.bounded: list[bool] = []

    def nodes(self) -> pb.GetNodesResponse | None:
        return self.known

    known: pb.GetNodesResponse | None = None

    def flows(self, request: pb.GetFlowsRequest, *, bounded: bool = False) -> list[bytes]:
        self.requests.append(request)
        self.bounded.append(bounded)
        return self._messages


def observer(client: Client, **more: Any) -> RelayObserver:
    return RelayObserver(client, [FlowFilter(protocol=("dns",))], "test", patience_s=1, **more)  # type: ignore[arg-type]


def test_what_is_learned_when_it_is_connected() -> None:
    states = [
        node_status("NODE_CONNECTED", "n1", "n2", "n3", "n4", time_ns=START_NS + 5),
        node_status("NODE_UNAVAILABLE", "n5", time_ns=START_NS + 6),
        enveloped(request(time_ns=START_NS + 2)),
        enveloped(request(time_ns=START_NS + 1)),
        node_status("NODE_ERROR", "n1", "n2", time_ns=START_NS + 9),
    ]
    client = Client(*states)
    relay = observer(client)
    assert (relay.now_ns, relay.newest_ns) == (START_NS + 5, START_NS + 2)
    assert (client.requests[0].number, client.requests[0].follow, client.bounded) == (1, False, [True])
    relay.follow(START_NS)
    follow = client.requests[-1]
    assert follow.follow
    assert follow.number == undelayed(5)  # unavailable ones count: observer/server.go takes its list of peers
    assert relay.nudge_s == 0.25


def test_without_a_time_to_begin_at_a_number_would_rewind() -> None:
    client = Client(node_status("NODE_CONNECTED", "n1"))
    observer(client).follow(None)
    assert client.requests[-1].number == 0


def test_an_agents_own_socket_holds_back_nothing() -> None:
    relay = observer(Client(enveloped(request())))
    assert (relay.now_ns, relay.nudge_s) == (0, 0.0)


def test_many_nodes_are_asked_less_often() -> None:
    names = [f"n{number}" for number in range(40)]
    assert observer(Client(node_status("NODE_CONNECTED", *names))).nudge_s == 1.0


@pytest.mark.parametrize(
    ("since_ns", "last", "expected"),
    [
        (None, None, (0, True, 0)),
        (None, 20, (20, False, 0)),
        (START_NS, None, (0, False, START_NS)),
    ],
)
def test_history(since_ns: int | None, last: int | None, expected: tuple[int, bool, int]) -> None:
    client = Client()
    observer(client).history(since_ns, last)
    asked = client.requests[-1]
    assert (asked.number, asked.first, asked.since.ToNanoseconds()) == expected
    assert not asked.follow


def test_with_raw_all_of_a_flow_is_asked_for() -> None:
    for raw in (False, True):
        client = Client()
        observer(client, raw=raw).follow(START_NS)
        assert [bool(asked.field_mask.paths) for asked in client.requests] == [not raw] * 2


def test_how_far_back_each_node_remembers() -> None:
    """A ring that is not full has all since its agent started; of a full one the oldest flow tells."""
    oldest = request(time_ns=START_NS - 50)
    client = Client(node_status("NODE_CONNECTED", "n1", time_ns=START_NS), enveloped(oldest))
    client.known = pb.GetNodesResponse(
        nodes=[
            pb.Node(name="default/kdns-n1", uptime_ns=9000, num_flows=4095, max_flows=4095),
            pb.Node(name="default/n2", uptime_ns=700, num_flows=12, max_flows=4095),
            pb.Node(name="n3"),
        ]
    )
    relay = observer(client)
    assert relay.reach() == {"kdns-n1": START_NS - 50, "n2": START_NS - 700}
    asked = client.requests[-1]
    assert (asked.first, asked.number, list(asked.whitelist)) == (True, 1, [])


def test_a_server_that_does_not_know_a_field_is_asked_for_all_of_them() -> None:
    refusal = node_status("NODE_ERROR", "n1")
    refusal.node_status.message = "invalid fieldmask"
    client = Client(refusal)
    relay = observer(client)
    relay.follow(START_NS)
    assert [bool(asked.field_mask.paths) for asked in client.requests] == [True, False, False]


class Remembering:
    """An observer of which only this is asked."""

    def __init__(self, reach: dict[str, int] | KdnsError) -> None:
        self._reach = reach

    def reach(self) -> dict[str, int]:
        if isinstance(self._reach, KdnsError):
            raise self._reach
        return self._reach


def test_what_is_out_of_reach_is_a_loss_of_that_node() -> None:
    remembering: Any = Remembering({"n2": START_NS + 60 * NS_PER_S, "n1": START_NS - 1, "n3": START_NS + 5})
    (loss,) = out_of_reach(remembering, START_NS)
    assert isinstance(loss, Loss)
    assert (loss.node, loss.reason, loss.count) == ("n2", "hubble_ring", UNSET)
    assert (loss.from_, loss.until) == (format_time(START_NS), format_time(START_NS + 60 * NS_PER_S))
    assert out_of_reach(remembering, 0) == []
    unknown: Any = Remembering(KdnsError("no answer"))
    (notice,) = out_of_reach(unknown, START_NS)
    assert isinstance(notice, Notice)
    assert notice.code == "reach_unknown"
