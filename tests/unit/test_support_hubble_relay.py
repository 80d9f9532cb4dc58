"""The relay of the tests, with a clock that stands still: what it sends, in which order, and when."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.hubble_flows import START_NS, lost, request
from support.hubble_relay import GONE, Call, Clock, Node, Relay, Settings, buffer_length
from support.hubble_schema import GetFlowsRequest

S = 1_000_000_000


class Standing(Clock):
    """Time goes on only where the relay waits; `at` runs things at their time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = START_NS
        self.plan: list[tuple[int, Callable[[], None]]] = []

    def now_ns(self) -> int:
        return self.now

    def at(self, second: float, do: Callable[[], None]) -> None:
        self.plan.append((START_NS + round(second * S), do))
        self.plan.sort(key=lambda step: step[0])

    def wait(self, seen_changes: int, timeout_s: float) -> None:
        if self.changes == seen_changes:
            until = self.now + round(timeout_s * S)
            if self.plan and self.plan[0][0] <= until:
                self.now, do = self.plan.pop(0)
                do()
            else:
                self.now = until


class Lab:
    """Two nodes, n1 and n2, and a call of each request."""

    def __init__(self, **settings: Any) -> None:
        self.clock = Standing()
        self.nodes = [Node(name, self.clock, capacity=255) for name in ("n1", "n2")]
        self.relay = Relay(self.nodes, self.clock, Settings(**settings))

    def add(self, node: int, second: float) -> None:
        """A flow seen at that second, as it comes."""
        flow = request(f"{second:g}.", time_ns=START_NS + round(second * S))
        self.nodes[node].add(flow)

    def adds(self, node: int, second: float) -> None:
        """The same, when the clock is there."""
        self.clock.at(second, lambda: self.add(node, second))

    def stream(self, seconds: float = 60, **fields: Any) -> Iterator[tuple[float, str]]:
        """(second, what) of each message; ends with (second, "end") or after `seconds`."""
        call = Call(GetFlowsRequest(**fields))

        def stop() -> None:
            call.active = False

        self.clock.at(seconds, stop)
        for message in self.relay.flows(call):
            yield self.second, said(message)
        if call.active:
            yield self.second, "end"

    @property
    def second(self) -> float:
        return round((self.clock.now - START_NS) / S, 3)


def said(message: Any) -> str:
    if isinstance(message, bytes):
        return repr(message)
    if message.HasField("flow"):
        return str(message.flow.l7.dns.query)
    if message.HasField("lost_events"):
        return f"lost {message.lost_events.num_events_lost}"
    status = message.node_status
    names = " ".join(status.node_names)
    state = status.DESCRIPTOR.fields_by_name["state_change"].enum_type.values_by_number[status.state_change]
    return f"{state.name} {names} {status.message}".strip()


def test_history_is_sorted_and_number_is_per_node() -> None:
    lab = Lab()
    for second in range(6):
        lab.add(second % 2, second)
    assert [what for _, what in lab.stream(number=2)] == [
        "NODE_CONNECTED n1 n2",
        "2.",
        "3.",
        "4.",
        "5.",
        "end",
    ]


def test_a_follow_is_held_back_until_a_second_without_a_flow() -> None:
    lab = Lab()
    for second in (0.5, 1.0, 1.5, 4.0):
        lab.adds(0, second)
    seen = list(lab.stream(seconds=8, follow=True))
    assert seen == [(0, "NODE_CONNECTED n1 n2"), (2.5, "0.5."), (2.5, "1."), (2.5, "1.5."), (5, "4.")]


def test_a_steady_follow_is_held_back_until_the_buffer_is_full() -> None:
    lab = Lab(sort_buffer=20)
    for n in range(80):
        lab.adds(n % 2, 0.25 * n)
    seen = dict(reversed(pair) for pair in lab.stream(seconds=20, follow=True))
    assert seen["5."] - 5.0 == pytest.approx(5.0)


def test_number_1_makes_the_buffer_as_short_as_there_are_nodes() -> None:
    lab = Lab()
    lab.add(0, -5)
    lab.add(1, -4)
    for second in (0.25, 0.5, 0.75):
        lab.adds(0, second)
    seen = list(lab.stream(seconds=3, follow=True, number=1))
    # The drain takes only what is a second old.
    assert seen == [
        (0, "NODE_CONNECTED n1 n2"),
        (0.25, "-5."),
        (0.5, "-4."),
        (0.75, "0.25."),
        (1.75, "0.5."),
        (1.75, "0.75."),
    ]


def test_out_of_order_between_nodes_when_one_is_late() -> None:
    lab = Lab()
    for second in (1.0, 1.1, 1.2, 1.3):
        lab.adds(0, second)
    lab.clock.at(1.35, lambda: lab.add(1, 0.9))
    seen = [what for _, what in lab.stream(seconds=5, follow=True, number=1)]
    assert seen == ["NODE_CONNECTED n1 n2", "1.", "1.1.", "1.2.", "0.9.", "1.3."]


@pytest.mark.parametrize(
    ("number", "nodes", "wanted"),
    [
        (0, 2, 100),
        (1, 2, 2),
        (50, 2, 100),
        (49, 2, 98),
        (2**64 - 1, 2, 100),
        (2**63, 2, 100),
        (2**63 + 3, 2, 6),
    ],
)
def test_the_length_of_the_buffer_is_counted_in_64_bits(number: int, nodes: int, wanted: int) -> None:
    assert buffer_length(number, nodes, 100) == wanted


def test_a_node_that_goes_is_an_error_and_is_asked_again_with_the_same_request() -> None:
    lab = Lab(errors_every_s=1)
    lab.add(0, -1)
    lab.add(1, -2)
    lab.clock.at(0.5, lab.nodes[0].go)
    lab.clock.at(3.0, lab.nodes[0].come_back)
    lab.clock.at(3.1, lambda: lab.add(0, 3.1))
    lab.adds(0, 7)
    assert list(lab.stream(seconds=10, follow=True, since={"seconds": 1})) == [
        (0, "NODE_CONNECTED n1 n2"),
        (1.0, "-2."),
        (1.0, "-1."),
        (2.5, f"NODE_ERROR n1 {GONE}"),
        (5, "3.1."),  # found when the relay looked again, at 4
        (8, "7."),
    ]


def test_a_restarted_agent_is_an_error_too_and_its_ring_is_empty() -> None:
    lab = Lab(errors_every_s=0.5)
    lab.add(0, -1)
    lab.clock.at(0.5, lab.nodes[0].restart)
    lab.clock.at(1.5, lambda: lab.add(0, 1.5))
    seen = [what for _, what in lab.stream(seconds=9, follow=True, number=5)]
    assert seen == ["NODE_CONNECTED n1 n2", "-1.", f"NODE_ERROR n1 {GONE}", "1.5."]


def test_a_follow_ends_when_all_nodes_have_gone() -> None:
    lab = Lab()
    lab.clock.at(0.5, lambda: [node.go() for node in lab.nodes] and None)
    assert list(lab.stream(follow=True)) == [
        (0, "NODE_CONNECTED n1 n2"),
        (0.5, f"NODE_ERROR n1 n2 {GONE}"),
        (0.5, "end"),
    ]


def test_errors_with_the_same_words_are_one_message_after_ten_seconds() -> None:
    lab = Lab()
    lab.nodes.append(Node("n3", lab.clock))
    lab.clock.at(1, lab.nodes[0].go)
    lab.clock.at(4, lab.nodes[1].go)
    assert list(lab.stream(seconds=20, follow=True)) == [
        (0, "NODE_CONNECTED n1 n2 n3"),
        (12, f"NODE_ERROR n1 n2 {GONE}"),  # 10 s of gathering, then the sort buffer
    ]


def test_nodes_that_are_not_there_are_said_so() -> None:
    lab = Lab()
    lab.nodes[1].available = False
    lab.add(0, 0)
    assert [what for _, what in lab.stream()] == ["NODE_CONNECTED n1", "NODE_UNAVAILABLE n2", "0.", "end"]
    lab.nodes[0].available = False
    assert [what for _, what in lab.stream(follow=True)] == ["NODE_UNAVAILABLE n1 n2", "end"]


def test_a_wrong_regexp_is_an_error_of_all_nodes_and_the_end_also_of_a_follow() -> None:
    seen = [what for _, what in Lab().stream(follow=True, whitelist=[{"dns_query": ["("]}])]
    assert [what.split(": error parsing")[0] for what in seen] == [
        "NODE_CONNECTED n1 n2",
        "NODE_ERROR n1 n2 invalid DNS query filter: failed to compile regexp",
        "end",
    ]


def test_an_error_with_a_code_has_gos_words() -> None:
    seen = [what for _, what in Lab().stream(first=True, follow=True)]
    words = "rpc error: code = InvalidArgument desc = first cannot be specified with follow"
    assert seen == ["NODE_CONNECTED n1 n2", f"NODE_ERROR n1 n2 {words}", "end"]


def test_lost_events_come_from_their_node_with_every_request() -> None:
    lab = Lab()
    lab.nodes[1].add(lost("OBSERVER_EVENTS_QUEUE", 7, node="n2"))
    lab.add(1, 1)
    for _ in range(2):
        seen = [what for _, what in lab.stream(number=1, whitelist=[{"dns_query": ["nothing"]}])]
        assert seen == ["NODE_CONNECTED n1 n2", "lost 7", "end"]


def test_raw_messages_are_slipped_in() -> None:
    lab, call = Lab(), Call(GetFlowsRequest(follow=True))
    stream = lab.relay.flows(call)
    assert said(next(stream)) == "NODE_CONNECTED n1 n2"
    call.extra.append(b"\xff")
    assert next(stream) == b"\xff"
