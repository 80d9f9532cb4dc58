"""One lookup is one line, and no lookup is hidden by another one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kubectl_kdns.model import Client, Dns, Error, Lookup, Notice, Record, Server, Upstream
from kubectl_kdns.sightings import NearestSightings
from kubectl_kdns.times import format_time

START_NS = 1_800_000_000_000_000_000


def seen(
    at_ms: float,
    latency_ms: float,
    *,
    port: int = 4000,
    id_: int | None = 7,
    server: str = "10.96.0.10",
    side: str = "",
    backend: str = "replay",
) -> Lookup:
    lookup = Lookup(
        time=format_time(START_NS + round(at_ms * 1e6)),
        status="answered",
        latency_ms=latency_ms,
        transport="udp",
        client=Client(ip="10.244.1.5", port=port),
        server=Server(ip=server),
        dns=Dns(name="a.test", type="A"),
        backend=backend,
    )
    if id_ is not None and lookup.dns:
        lookup.dns.id = id_
    if side:
        lookup.side = side
    return lookup


def who(record: Record) -> tuple[object, object]:
    assert isinstance(record, Lookup)
    assert record.client
    assert record.dns
    return record.client.port, record.dns.id


def shown(*records: Record) -> tuple[list[Record], int]:
    view = NearestSightings()
    ready = view.add(records)
    return ready + view.rest(), view.hidden


def test_the_service_address_and_the_pod_behind_it_are_one() -> None:
    behind, before = seen(0.1, 0.5, server="10.244.1.2"), seen(0.0, 0.7)
    assert shown(behind, before) == ([before], 1)
    assert shown(before, behind) == ([before], 1)


def test_the_side_of_the_client_is_nearest() -> None:
    client, server = seen(0, 1.0, side="client"), seen(0.2, 2.0, side="server")
    assert shown(server, client) == ([client], 1)


def test_other_lookups_stay() -> None:
    same = [seen(at_ms, 1) for at_ms in (0, 1_000, 60_000)]
    records: list[Record] = [seen(0, 1, port=4001), seen(0, 1, id_=8), *same]
    ready, hidden = shown(*records)
    assert sorted(map(id, ready)) == sorted(map(id, records))
    assert hidden == 0


def test_a_sighting_that_comes_late_is_hidden_too() -> None:
    view = NearestSightings()
    first, other = seen(0, 1), seen(250, 1, port=5000)
    assert view.add([first]) == []
    assert view.add([other]) == [first]
    assert view.add([seen(0.1, 0.5, server="10.244.1.2")]) == []
    assert (view.rest(), view.hidden) == ([other], 1)


def proxied(at_ms: float, latency_ms: float = 3) -> Lookup:
    return seen(at_ms, latency_ms, id_=None, side="proxy", backend="hubble")


def logged(at_ms: float, id_: int = 7) -> Lookup:
    return seen(at_ms, 1, id_=id_, side="server", backend="coredns")


def test_a_backend_without_ids_is_joined_by_the_rest() -> None:
    proxy, server = proxied(0), logged(1)
    assert shown(proxy, server) == ([proxy], 1)
    assert shown(server, proxy) == ([proxy], 1)


def test_the_cause_that_another_one_knows_is_added() -> None:
    for first_is_proxy in (True, False):
        proxy, server = proxied(0), logged(1)
        server.upstream, server.error = Upstream(ip="8.8.8.8"), Error("timeout", "i/o timeout")
        assert shown(*((proxy, server) if first_is_proxy else (server, proxy))) == ([proxy], 1)
        assert (proxy.upstream, proxy.error) == (server.upstream, server.error)


def test_each_backend_is_joined_once() -> None:
    """Two lookups from one port at once: each has one sighting by each backend."""
    first, second = proxied(0), proxied(20)
    assert shown(first, second, logged(1), logged(21, id_=8)) == ([first, second], 2)
    assert shown(logged(1), logged(21, id_=8), first, second) == ([first, second], 2)


def test_what_ends_much_later_for_one_backend_is_one_line_all_the_same() -> None:
    view = NearestSightings()
    failed = logged(0)
    assert view.add([failed]) == []
    assert view.rest() == [failed]
    unanswered = proxied(0, latency_ms=0)
    unanswered.status = "unanswered"
    assert view.add([seen(8_000, 1, port=5000), unanswered]) == []
    assert view.hidden == 1


def test_lookups_of_one_backend_are_never_joined_without_ids() -> None:
    records: list[Record] = [proxied(0), proxied(10), proxied(1_000)]
    assert shown(*records) == (records, 0)


def test_what_cannot_be_joined_passes_at_once() -> None:
    view = NearestSightings()
    records: list[Record] = [
        Notice(code="x"),
        Lookup(dns=Dns(name="a.test")),
        Lookup(client=Client(ip="10.0.0.1")),
    ]
    assert view.add(records) == records


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 20_000)), max_size=60))
def test_every_lookup_is_shown_once_or_counted(asked: list[tuple[int, int, int]]) -> None:
    view = NearestSightings()
    out: list[Record] = []
    asked.sort(key=lambda a: a[2])
    records = [seen(at, 1.0 + i / 1000, port=p, id_=id_) for i, (p, id_, at) in enumerate(asked)]
    for record in records:
        out += view.add([record])
    out += view.rest()
    assert len(out) + view.hidden == len(records)
    assert set(map(id, out)) <= set(map(id, records))
    # Each client, port and id that asked is still there.
    assert set(map(who, records)) == set(map(who, out))
