"""Live flows against a relay that does everything that relays do: what comes, once, and what is told."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from kdns_hubble import live_flows
from kdns_hubble.failures import HubbleError
from kdns_hubble.uptimes import UptimeWatch
from kubectl_kdns.errors import KdnsError
from support.hubble_flows import (
    enveloped,
    large,
    lost,
    of_the_future,
    request,
    response,
    unknown_response,
)
from support.hubble_live import Run, end_of, exchange, threads
from support.hubble_server import Abort, HubbleServer, Stall

NODES = ("kdns-n1", "kdns-n2")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits in a test for what is to be retried or looked at now and then."""
    monkeypatch.setattr(live_flows, "PAUSES_S", (0.0, 0.01, 0.02, 0.05))
    monkeypatch.setattr(live_flows, "CATCH_UP_S", 0.3)
    monkeypatch.setattr(live_flows, "UptimeWatch", partial(UptimeWatch, every_s=0.1))


@pytest.fixture
def server() -> Iterator[HubbleServer]:
    with HubbleServer(drain_s=0.1, peers_every_s=0.1, errors_every_s=0.1) as server:
        yield server
    end_of(threads)


def following(server: HubbleServer) -> bool:
    return any(call.request.follow for call in list(server.streams))


def after_the_look(server: HubbleServer, *faults: Stall | Abort | None) -> None:
    """What becomes of the streams that follow the first, by which a connection is tried."""
    server._scripts["GetFlows"] = [None, *faults]  # type: ignore[list-item]


def numbered(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}.test" for number in range(count)]


# History and live


def test_history_of_all_nodes_in_order_of_time(server: HubbleServer) -> None:
    for name in numbered("n", 20):
        exchange(server, NODES[hash(name) % 2], name)
    with Run(server, history=True, follow=False) as run:
        run.wait_for_end()
    assert [str(r.dns and r.dns.name) for r in run.lookups()] == numbered("n", 20)
    assert not run.failure


def test_the_end_of_the_history_is_the_first_empty_batch(server: HubbleServer) -> None:
    exchange(server, "kdns-n1", *numbered("n", 5))
    with Run(server, history=True) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n2", "live.test")
        run.wait_for_names("live.test")
    first = next(number for number, batch in enumerate(run.batches) if not batch)
    before = [r for batch in run.batches[:first] for r in batch]
    assert len(before) == 5


def test_history_then_live_while_flows_come(server: HubbleServer) -> None:
    """Nothing is missing and nothing comes twice, whenever the one goes over into the other."""
    stop = threading.Event()
    added: list[str] = []

    def add() -> None:
        while not stop.wait(0.001):
            added.append(f"f{len(added)}.test")
            exchange(server, NODES[len(added) % 2], added[-1])

    adding = threading.Thread(target=add, daemon=True)
    adding.start()
    server.wait_for(lambda: len(added) > 50)
    with Run(server, history=True) as run:
        server.wait_for(lambda: following(server))
        enough = len(added) + 50
        server.wait_for(lambda: len(added) > enough)
        stop.set()
        adding.join()
        run.wait_for_names(*added)
    assert run.names() == dict.fromkeys(added, 1)
    assert not run.losses()
    assert not run.codes()


def test_a_node_whose_history_ended_long_before_that_of_another(server: HubbleServer) -> None:
    """The live stream begins where the history was asked for, not where the last node was done with it."""
    ahead = request("ahead.test.", time_ns=server.clock.now_ns() + 30_000_000_000)
    server.node("kdns-n2").add(ahead, response(ahead, ips=["192.0.2.1"]))
    with Run(server, history=True) as run:
        run.wait_for_names("ahead.test")
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "meanwhile.test")
        run.wait_for_names("meanwhile.test")
    assert set(run.names().values()) == {1}


def test_the_last_lookups_are_asked_for_by_number_only_where_that_is_exact(server: HubbleServer) -> None:
    for exact in (True, False):
        with Run(server, history=True, follow=False, last=10, exact=exact) as run:
            run.wait_for_end()
    by_number, all_of_it = [r for r in server.requests if not r.follow and r.number != 1]
    assert by_number.number == 10 * live_flows.FLOWS_PER_LOOKUP + live_flows.FLOWS_CUT
    assert (all_of_it.number, all_of_it.first) == (0, True)


def test_live_only_shows_what_comes_now(server: HubbleServer) -> None:
    old = request("old.test.", time_ns=server.clock.now_ns() - 10_000_000_000)
    server.node("kdns-n1").add(old, response(old))
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "new.test")
        run.wait_for_names("new.test")
    assert run.names() == {"new.test": 1}


def test_out_of_order_by_a_second(server: HubbleServer) -> None:
    """A response that comes before its request, and one a second after it."""
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        early, late = request("early.test.", port=1), request("late.test.", port=2)
        now_ns = server.clock.now_ns()
        for asked in (early, late):
            asked.time.FromNanoseconds(now_ns)
        server.inject(enveloped(response(early)), enveloped(late), enveloped(early))
        server.inject(enveloped(response(late, after_ns=900_000_000)))
        run.wait_for_names("early.test", "late.test")
    assert {str(r.dns and r.dns.name): (r.status, r.latency_ms) for r in run.lookups()} == {
        "early.test": ("answered", 1.8),
        "late.test": ("answered", 900.0),
    }


def test_a_lone_flow_is_not_held_back() -> None:
    """With the real relay's sort buffer, and flows that come steadily and slowly."""
    with HubbleServer(NODES) as server, Run(server) as run:
        server.wait_for(lambda: following(server))
        stop = threading.Event()

        def steadily() -> None:
            number = 0
            while not stop.wait(0.25):
                exchange(server, NODES[number % 2], f"f{number}.test")
                number += 1

        adding = threading.Thread(target=steadily, daemon=True)
        adding.start()
        run.wait_for_names("f0.test", "f1.test", timeout_s=5)
        stop.set()
        adding.join()


# What breaks


def test_connections_that_are_cut_again_and_again(server: HubbleServer) -> None:
    stop = threading.Event()
    added: list[str] = []

    def add() -> None:
        while not stop.wait(0.002):
            added.append(f"f{len(added)}.test")
            exchange(server, NODES[len(added) % 2], added[-1])

    adding = threading.Thread(target=add, daemon=True)
    adding.start()
    with Run(server, history=True) as run:
        for times in range(1, 6):
            server.wait_for(lambda: following(server))
            seen = len(added)
            server.wait_for(lambda seen=seen: len(added) > seen + 20)  # type: ignore[misc]
            server.cut()
            run.wait_for_notice("reconnected", times)
        stop.set()
        adding.join()
        run.wait_for_names(*added)
    assert run.names() == dict.fromkeys(added, 1)
    assert not run.losses()
    assert {r.status for r in run.lookups()} == {"answered"}
    assert run.codes() == {"reconnecting": 5, "reconnected": 5}
    assert run.source.counters["reconnects"] == 5


def test_a_cut_in_the_history(server: HubbleServer) -> None:
    """Of the second node nothing had come: it is asked for all of it again."""
    exchange(server, "kdns-n1", *numbered("a", 100))
    exchange(server, "kdns-n2", *numbered("b", 100))
    after_the_look(server, Abort("UNAVAILABLE", "gone", after=90))
    since_ns = server.clock.now_ns() - 60_000_000_000
    with Run(server, history=True, follow=False, since_ns=since_ns) as run:
        run.wait_for_end()
    assert run.names() == dict.fromkeys(numbered("a", 100) + numbered("b", 100), 1)
    assert run.codes() == {"reconnecting": 1, "reconnected": 1}
    first, again = [r for r in server.requests if r.number != 1]
    assert first.since == again.since


def test_an_outage_makes_no_lookup_unanswered_whose_answer_is_in_the_ring(
    server: HubbleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_flows, "CATCH_UP_S", 2.0)
    now_ns = server.clock.now_ns()
    times_ns = [now_ns]
    with Run(server, clock_ns=lambda: times_ns[-1]) as run:
        server.wait_for(lambda: following(server))
        asked, other = request("slow.test.", time_ns=now_ns), request("other.test.", port=2, time_ns=now_ns)
        server.node("kdns-n1").add(asked, other, response(other, ips=["192.0.2.1"]))
        run.wait_for_names("other.test")
        server.refuse()
        server.cut()
        run.wait_for_notice("reconnecting", 2)  # the end, and the refusal
        server.node("kdns-n1").add(response(asked, ips=["192.0.2.1"], after_ns=50_000_000))
        times_ns.append(now_ns + 20_000_000_000)
        batches = len(run.batches)
        run.wait_for(lambda run: len(run.batches) > batches + 3)
        server.accept()
        run.wait_for_names("slow.test")
    assert [(r.status, r.latency_ms) for r in run.lookups() if r.dns and r.dns.name == "slow.test"] == [
        ("answered", 50.0)
    ]


def test_a_relay_that_is_gone_for_a_while_and_why(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "before.test")
        run.wait_for_names("before.test")
        server.refuse()
        server.cut()
        run.wait_for(lambda run: any("refused" in text for text in run.messages("reconnecting")))
        exchange(server, "kdns-n1", *numbered("gone", 30))
        server.accept()
        run.wait_for_names(*numbered("gone", 30))
    assert run.names() == dict.fromkeys(["before.test", *numbered("gone", 30)], 1)
    assert run.codes()["reconnected"] == 1
    texts = run.messages("reconnecting")
    # The connection that broke may say the same as those that did not come about.
    assert 1 <= len(texts) == len(set(texts)) <= 2
    assert not run.losses()


def test_a_ring_that_went_on_during_an_outage_is_a_loss_of_its_node() -> None:
    with HubbleServer(ring=20, drain_s=0.1) as server, Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "before1.test")
        exchange(server, "kdns-n2", "before2.test")
        run.wait_for_names("before1.test", "before2.test")
        server.refuse()
        server.cut()
        run.wait_for_notice("reconnecting", 2)
        exchange(server, "kdns-n1", *numbered("over", 50))
        exchange(server, "kdns-n2", "in-ring.test")
        server.accept()
        run.wait_for_names("over49.test", "in-ring.test")
        run.wait_for(lambda run: run.losses())
    assert {loss.node for loss in run.losses()} == {"kdns-n1"}
    assert run.names()["before1.test"] == 1


def test_a_connection_that_freezes(server: HubbleServer) -> None:
    options = {"hubble_timeout_ns": 200_000_000, "hubble_request_timeout_ns": 300_000_000}
    with Run(server, options=options) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "before.test")
        run.wait_for_names("before.test")
        server.freeze()
        exchange(server, "kdns-n2", "frozen.test")
        run.wait_for_notice("reconnecting")
        server.thaw()
        run.wait_for_names("frozen.test")
    assert run.names() == {"before.test": 1, "frozen.test": 1}
    assert "no answer" in run.messages("reconnecting")[0]


def test_a_history_that_stalls_is_a_loss_and_live_goes_on(server: HubbleServer) -> None:
    exchange(server, "kdns-n1", *numbered("n", 5))
    after_the_look(server, Stall(after=4))
    with Run(server, history=True, options={"hubble_request_timeout_ns": 300_000_000}) as run:
        run.wait_for(lambda run: run.losses())
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "live.test")
        run.wait_for_names("live.test")
    assert "did not come" in str(run.losses()[0].message)


def test_a_server_that_stalls_before_the_first_flow_is_an_error(server: HubbleServer) -> None:
    server.script("GetFlows", Stall())
    with pytest.raises(HubbleError, match=r"did not answer within 0\.2 s"):
        Run(server, options={"hubble_request_timeout_ns": 200_000_000})


def test_a_history_without_more_to_come_gives_up(
    server: HubbleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_flows, "GIVE_UP_S", 0.0)
    exchange(server, "kdns-n1", *numbered("n", 5))
    after_the_look(server, Stall(after=5))
    with Run(server, history=True, follow=False) as run:
        server.wait_for(lambda: len(server.requests) == 2)
        run.wait_for(lambda run: run.source.counters["flows"] == 4)
        server.refuse()
        server.cut()
        run.wait_for_end()
    assert isinstance(run.failure, KdnsError)
    assert run.names() == dict.fromkeys(numbered("n", 2), 1)


def test_a_stream_that_breaks_at_once_each_time_is_not_asked_for_without_pause(
    server: HubbleServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(
        live_flows.LiveFlows, "_pause", lambda _, pause_s: (pauses.append(pause_s), iter(()))[1]
    )
    end = Abort("UNAVAILABLE", "not now", after=1)
    after_the_look(server, end, None, end, None, end, None, end, None, end)
    with Run(server) as run:
        run.wait_for_notice("reconnected", 5)
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "a.test")
        run.wait_for_names("a.test")
    assert pauses == [0.0, 0.01, 0.02, 0.05, 0.05]


# Nodes


def test_an_agent_that_starts_again(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "before.test")
        exchange(server, "kdns-n2", "other.test")
        run.wait_for_names("before.test", "other.test")
        asked = [method for method, _ in server.calls].count("GetNodes")
        server.node("kdns-n1").started_ns -= 30_000_000_000
        server.wait_for(lambda: [method for method, _ in server.calls].count("GetNodes") > asked + 2)
        server.node("kdns-n1").restart()
        run.wait_for(lambda run: run.losses())
        exchange(server, "kdns-n1", "after.test")
        run.wait_for_names("after.test")
    assert {(loss.node, loss.reason) for loss in run.losses()} == {("kdns-n1", "disconnected")}
    assert set(run.names().values()) == {1}


def test_a_node_that_goes_and_comes_back(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "before.test")
        run.wait_for_names("before.test")
        server.node("kdns-n1").go()
        run.wait_for_notice("node_error")
        server.node("kdns-n1").come_back()
        exchange(server, "kdns-n1", "after.test")
        run.wait_for_names("after.test")
    assert [r.node for r in run.records if r.kind == "notice" and r.code == "node_error"] == ["kdns-n1"]
    assert run.names() == {"before.test": 1, "after.test": 1}


def test_a_node_without_a_connection(server: HubbleServer) -> None:
    server.node("kdns-n2").go()
    with Run(server) as run:
        run.wait_for_notice("node_unavailable")
        server.wait_for(lambda: following(server))
        # Of two nodes in all: two is the least that there can be.
        assert next(r for r in server.requests if r.follow).number == 1
        server.say("NODE_GONE", "kdns-n2", message="bye\x1b")
        run.wait_for_notice("node_gone")
    assert "kdns-n2" in run.messages("node_unavailable")[0]
    assert "\\027" in run.messages("node_gone")[0]


def test_flows_that_were_lost(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        now_ns = server.clock.now_ns()
        server.node("kdns-n1").add(lost("OBSERVER_EVENTS_QUEUE", 7, time_ns=now_ns))
        exchange(server, "kdns-n1", "a.test")
        run.wait_for(lambda run: run.losses())
        server.cut()
        run.wait_for_notice("reconnected")
        exchange(server, "kdns-n1", "b.test")
        run.wait_for_names("b.test")
    assert [(loss.node, loss.count, loss.reason) for loss in run.losses()] == [("kdns-n1", 7, "queue")]


# What servers of the future, or broken ones, send


def test_what_is_not_known_is_told_once_and_the_rest_goes_on(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        now_ns = server.clock.now_ns()
        server.inject(unknown_response(), unknown_response(), b"\xff\xff\xff")
        server.inject(enveloped(of_the_future(request("future.test.", time_ns=now_ns))))
        server.inject(enveloped(large(request("large.test.", time_ns=now_ns), 16 << 20)))
        exchange(server, "kdns-n1", "a.test")
        run.wait_for_names("a.test")
    assert run.codes()["unread_response"] == 1
    assert run.source.counters["unread"] == 4
    assert "future.test" in run.names()


def test_a_message_that_grpc_does_not_take_is_told(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "before.test")
        run.wait_for_names("before.test")
        server.inject(enveloped(large(request("large.test."), 65 << 20)))
        run.wait_for_notice("reconnected")
        exchange(server, "kdns-n1", "after.test")
        run.wait_for_names("after.test")
    assert "larger" in run.messages("reconnecting")[0]


# Nothing to be seen


def test_why_nothing_is_seen_is_told_once(server: HubbleServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_flows, "QUIET_S", 0.05)
    with Run(server, advise=lambda: "no policy shows DNS") as run:
        run.wait_for_notice("nothing_seen")
    assert run.messages("nothing_seen") == ["no policy shows DNS"]
    with Run(server, advise=lambda: "no policy shows DNS", history=True, follow=False) as run:
        run.wait_for_end()
    assert run.messages("nothing_seen") == ["no policy shows DNS"]
    exchange(server, "kdns-n1", "a.test")
    with Run(server, advise=lambda: "no policy shows DNS", history=True, follow=False) as run:
        run.wait_for_end()
    assert not run.codes()


# The end


def sockets() -> set[Path]:
    return set(Path(tempfile.gettempdir()).glob("kdns-*"))


PHASES = ("live", "history", "connecting again", "refused", "not iterated")


@pytest.mark.parametrize("phase", PHASES)
def test_close_ends_it_soon_and_leaves_nothing(server: HubbleServer, phase: str) -> None:
    files = sockets()
    if phase == "history":
        after_the_look(server, Stall(after=2))
    run = Run(server, history=phase == "history")
    if phase != "not iterated":
        run.__enter__()
        server.wait_for(lambda: len(server.requests) >= 2)
    if phase == "connecting again":
        server.freeze()
        server.cut()
        run.wait_for_notice("reconnecting")
        server.wait_for(lambda: server.connections >= 2)
    elif phase == "refused":
        server.refuse()
        server.cut()
        run.wait_for(lambda run: any("refused" in text for text in run.messages("reconnecting")))
    run.source.close()
    started_s = time.monotonic()
    if phase != "not iterated":
        run.wait_for_end(1)
    end_of(threads, timeout_s=2)
    assert time.monotonic() - started_s < 2
    assert not run.failure
    assert sockets() <= files
    run.source.close()
    server.thaw()
    end_of(lambda: server._front._pairs)


def test_what_is_waiting_is_told_at_the_end(server: HubbleServer) -> None:
    with Run(server) as run:
        server.wait_for(lambda: following(server))
        exchange(server, "kdns-n1", "pending.test", answered=False)
        run.wait_for(lambda run: run.source.counters["flows"] == 1)
        run.source.close()
        run.wait_for_end(1)
    assert [r.status for r in run.lookups()] == ["pending"]
