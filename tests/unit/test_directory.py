"""The directory: who had an address when, what a record is told, and what the filter asks."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET

from kubectl_kdns.directory import Directory
from kubectl_kdns.endpoints import Endpoints, Node, Pod, Service, Who, pack_containers
from kubectl_kdns.errors import FilterError
from kubectl_kdns.model import Client, Lookup, Message, Server, ServerBackend, Workload
from kubectl_kdns.times import NS_PER_S, format_time

T0 = 1_795_428_000 * NS_PER_S
WEB = Workload("Deployment", "web")
KUBE_DNS = Service("kube-system", "kube-dns", ("10.96.0.10",), {"k8s-app": "kube-dns"}, dns=True)


def at(second: float) -> int:
    return T0 + int(second * NS_PER_S)


def make_pod(directory: Directory, name: str, *ips: str, **more: Any) -> Pod:
    """In namespace shop, of WEB, on node n1, since T0."""
    labels = directory.labels(more.pop("labels", {"app": "web"}))
    fields = {"namespace": "shop", "node": "n1", "workload": WEB, "start_ns": T0, **more}
    return Pod(name=name, uid=f"uid-{name}", labels=labels, ips=ips, **fields)


@pytest.fixture
def directory() -> Directory:
    """A small cluster: one pod, CoreDNS behind kube-dns, two nodes, one with NodeLocal."""
    made = Directory()
    made.put_service(KUBE_DNS)
    for name, ips in (("n1", ("192.168.0.1", "10.1.0.0")), ("n2", ("192.168.0.2",))):
        made.put_node(Node(name, ips, ("10.1.0.0/24",)))
    made.put_pod(make_pod(made, "web-1", "10.1.0.7", "fd00::7"), at(0))
    made.put_pod(
        make_pod(made, "coredns-1", "10.1.0.9", namespace="kube-system", labels={"k8s-app": "kube-dns"}),
        at(0),
    )
    made.put_pod(
        make_pod(
            made, "node-local-dns-a", namespace="kube-system", node="n2", labels={"k8s-app": "node-local-dns"}
        ),
        at(0),
    )
    made.put_endpoints(Endpoints("shop", "db-1", "db", ("192.0.2.50",)))
    made.put_service(Service("shop", "db", ("10.96.0.77",)))
    made.put_service(Service("shop", "web", ("10.96.0.78",), {"app": "web"}))
    made.set_ready()
    return made


WEB_1 = Who("pod", "shop", "web-1", "uid-web-1", WEB, "n1")


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("10.1.0.7", WEB_1),
        ("fd00::7", WEB_1),
        (
            "10.1.0.9",
            Who("coredns", "kube-system", "coredns-1", "uid-coredns-1", WEB, "n1", "kube-dns"),
        ),
        ("10.96.0.10", Who("service", "kube-system", service="kube-dns")),
        ("192.168.0.1", Who("node", node="n1")),
        ("10.1.0.0", Who("node", node="n1")),
        ("192.168.0.2", Who("nodelocal", node="n2", inferred=True)),
        ("169.254.20.10", Who("nodelocal")),
        ("169.254.25.10", Who("nodelocal")),
        ("169.254.169.254", Who("external")),
        ("192.0.2.50", Who("external", "shop", service="db")),
        ("8.8.8.8", Who("external")),
        ("2001:db8::1", Who("external")),
        ("10.1.0.200", None),  # a pod's, but of whom?
        ("10.1.77.1", None),
        ("10.96.200.1", None),
        ("192.168.0.77", None),
        ("127.0.0.1", None),
        ("::1", None),
        ("fe80::1", None),
        ("not an address", None),
        ("", None),
    ],
)
def test_who_has_an_address_now(directory: Directory, ip: str, expected: Who | None) -> None:
    assert directory.who(ip) == expected


def test_nothing_is_external_before_all_is_listed() -> None:
    directory = Directory()
    assert directory.who("8.8.8.8") is None
    directory.set_ready()
    assert directory.who("8.8.8.8") == Who("external")
    directory.put_node(Node("n1", (), ("8.8.0.0/16",)))
    assert directory.who("8.8.8.8") is None


def test_an_address_belongs_to_a_pod_from_its_start_to_its_end(directory: Directory) -> None:
    for second, name in ((0, "web-1"), (20, "web-2"), (40, "web-3")):
        if second:
            directory.drop_pod(f"uid-web-{second // 20}", at(second - 5))
        directory.put_pod(make_pod(directory, name, "10.1.0.7", start_ns=at(second)), at(second))
    names = {
        second: (who.pod if (who := directory.who("10.1.0.7", at(second))) else None)
        for second in (-1, 0, 14.999999999, 15, 19, 20, 34, 35, 39, 40, 99)
    }
    assert names == {
        -1: None,
        0: "web-1",
        14.999999999: "web-1",
        15: None,
        19: None,
        20: "web-2",
        34: "web-2",
        35: None,
        39: None,
        40: "web-3",
        99: "web-3",
    }
    now = directory.who("10.1.0.7")
    assert now
    assert now.pod == "web-3"


def test_a_new_pod_takes_over_before_the_end_of_the_old_is_known(directory: Directory) -> None:
    directory.put_pod(make_pod(directory, "web-2", "10.1.0.7", start_ns=at(50)), at(50))
    before, after = directory.who("10.1.0.7", at(49)), directory.who("10.1.0.7", at(51))
    assert (before and before.pod, after and after.pod) == ("web-1", "web-2")


def test_a_pod_that_ends_is_known_for_a_while() -> None:
    directory = Directory(keep_ns=600 * NS_PER_S)
    directory.put_pod(make_pod(directory, "job", "10.1.0.5"), at(0))
    ended = make_pod(directory, "job", end_ns=at(100))
    directory.put_pod(ended, at(101))
    directory.put_pod(make_pod(directory, "job"), at(102))  # nothing that ended lives again
    assert directory.who("10.1.0.5", at(99)) == Who("pod", "shop", "job", "uid-job", WEB, "n1")
    assert directory.who("10.1.0.5", at(100)) is None
    directory.put_pod(make_pod(directory, "other"), at(701))
    assert directory.who_is_pod("uid-job") is not None
    directory.put_pod(make_pod(directory, "another"), at(702))
    assert directory.who_is_pod("uid-job") is None
    assert directory.who("10.1.0.5", at(99)) is None
    directory.drop_pod("uid-job", at(703))


def test_a_pod_may_get_another_address(directory: Directory) -> None:
    directory.put_pod(make_pod(directory, "web-1", "10.1.0.8"), at(30))
    directory.put_pod(make_pod(directory, "web-1", "10.1.0.8", labels={"app": "new"}), at(40))
    found = {
        (ip, second): directory.who(ip, at(second)) is not None
        for ip in ("10.1.0.7", "10.1.0.8")
        for second in (29, 31)
    }
    assert found == {
        ("10.1.0.7", 29): True,
        ("10.1.0.7", 31): False,
        ("10.1.0.8", 29): False,
        ("10.1.0.8", 31): True,
    }


def test_pods_on_the_host_network_are_found_by_uid_only(directory: Directory) -> None:
    directory.put_pod(make_pod(directory, "host-1"), at(0))
    assert directory.who_is_pod("uid-host-1") == Who("pod", "shop", "host-1", "uid-host-1", WEB, "n1")
    assert directory.who("192.168.0.1") == Who("node", node="n1")
    assert directory.who_is_pod("nobody") is None


def test_what_is_gone_is_forgotten(directory: Directory) -> None:
    directory.drop_pod("uid-node-local-dns-a", at(1))
    assert directory.who("192.168.0.2") == Who("node", node="n2")
    directory.drop_node("n2")
    assert directory.who("192.168.0.2") is None
    directory.put_node(Node("n1", ("192.168.0.9",)))
    assert directory.who("192.168.0.1") is None
    assert directory.who("192.168.0.9") == Who("node", node="n1")
    directory.drop_endpoints(("shop", "db-1"))
    assert directory.who("192.0.2.50") == Who("external")
    directory.drop_service(("shop", "web"))
    assert directory.who("10.96.0.78") is None
    directory.drop_service(("shop", "web"))
    directory.drop_node("n2")
    directory.drop_endpoints(("shop", "db-1"))


def test_a_dns_service_makes_coredns_of_whom_it_chooses(directory: Directory) -> None:
    pod = make_pod(directory, "dns-default-1", "10.1.0.30", namespace="openshift-dns", labels={"dns": "1"})
    directory.put_pod(pod, at(0))
    assert (before := directory.who("10.1.0.30"))
    service = Service("openshift-dns", "dns-default", ("172.30.0.10",), {"dns": "1"}, dns=True)
    directory.put_service(service)
    assert (after := directory.who("10.1.0.30"))
    directory.drop_service(("openshift-dns", "dns-default"))
    assert (last := directory.who("10.1.0.30"))
    assert [(who.kind, who.service) for who in (before, after, last)] == [
        ("pod", UNSET),
        ("coredns", "dns-default"),
        ("pod", UNSET),
    ]


def test_pods_are_listed_by_namespace_and_selector(directory: Directory) -> None:
    directory.drop_pod("uid-web-1", at(1))
    directory.put_pod(make_pod(directory, "web-2", "10.1.0.8"), at(2))

    def names(*args: str) -> list[str]:
        return [pod.name for pod in directory.pods(*args)]

    assert names() == ["coredns-1", "node-local-dns-a", "web-2"]
    assert names("kube-system") == ["coredns-1", "node-local-dns-a"]
    assert names("", "k8s-app in (kube-dns),!x") == ["coredns-1"]
    assert names("shop", "k8s-app=kube-dns") == []
    with pytest.raises(FilterError):
        directory.pods("", "a=(")


# Records


WEB_1_CLIENT = Client("10.1.0.7", UNSET, "pod", "shop", "web-1", "uid-web-1", workload=WEB, node="n1")


def lookup(**parts: Any) -> Lookup:
    return Lookup(time=format_time(at(10)), **parts)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            {"client": Client(ip="10.1.0.7", port=5), "server": Server(ip="10.96.0.10", port=53)},
            {
                "client": Client("10.1.0.7", 5, "pod", "shop", "web-1", "uid-web-1", workload=WEB, node="n1"),
                "server": Server("10.96.0.10", 53, "service", "kube-system", service="kube-dns"),
            },
        ),
        (  # through NodeLocal, or SNAT: the record says that it was concluded
            {"client": Client(ip="192.168.0.2"), "inferred": ["hop"]},
            {
                "client": Client("192.168.0.2", kind="nodelocal", node="n2"),
                "inferred": ["hop", "client.kind"],
            },
        ),
        (  # what asks is a DNS server: a hop of its own, as sure as its kind is
            {"hop": "client", "client": Client(ip="192.168.0.2")},
            {
                "hop": "nodelocal",
                "client": Client("192.168.0.2", kind="nodelocal", node="n2"),
                "inferred": ["client.kind", "hop"],
            },
        ),
        (
            {"hop": "client", "client": Client("", kind="coredns")},
            {"hop": "coredns", "client": Client("", kind="coredns")},
        ),
        (
            {"client": Client(ip="192.168.0.2", kind="node")},
            {"client": Client("192.168.0.2", kind="node", node="n2")},
        ),
        ({"client": Client(ip="8.8.8.8")}, {"client": Client("8.8.8.8", kind="external")}),
        ({"client": Client(ip="10.1.0.200")}, {"client": Client("10.1.0.200", kind="unknown")}),
        (  # the kernel's UID says more than a node's address
            {"client": Client(ip="192.168.0.1", pod_uid="uid-web-1")},
            {
                "client": Client(
                    "192.168.0.1", UNSET, "pod", "shop", "web-1", "uid-web-1", workload=WEB, node="n1"
                )
            },
        ),
        (  # a pod that the directory has not heard of yet is still a pod
            {"client": Client(ip="10.1.0.7", pod_uid="uid-new", node="n1")},
            {"client": Client("10.1.0.7", kind="pod", pod_uid="uid-new", node="n1")},
        ),
        (  # Hubble's name of the same pod is completed, of another one is left alone
            {"client": Client(ip="10.1.0.7", namespace="shop", pod="web-1")},
            {
                "client": Client(
                    "10.1.0.7", UNSET, "pod", "shop", "web-1", "uid-web-1", workload=WEB, node="n1"
                )
            },
        ),
        (
            {"client": Client(ip="10.1.0.7", namespace="shop", pod="web-9")},
            {"client": Client("10.1.0.7", namespace="shop", pod="web-9")},
        ),
        (
            {"server": Server(ip="10.1.0.9", node="n1")},
            {
                "server": Server(
                    "10.1.0.9",
                    UNSET,
                    "coredns",
                    "kube-system",
                    "coredns-1",
                    "kube-dns",
                    WEB,
                    "n1",
                )
            },
        ),
        (
            {"server": Server(ip="10.96.0.10", backend=ServerBackend(ip="10.1.0.9", port=53))},
            {
                "server": Server(
                    "10.96.0.10",
                    kind="service",
                    namespace="kube-system",
                    service="kube-dns",
                    backend=ServerBackend("10.1.0.9", 53, "coredns-1", "n1"),
                )
            },
        ),
        (  # a link-local address is answered on the client's own node
            {"client": Client(ip="192.168.0.2"), "server": Server(ip="169.254.20.10")},
            {
                "client": Client("192.168.0.2", kind="nodelocal", node="n2"),
                "server": Server(
                    "169.254.20.10",
                    kind="nodelocal",
                    namespace="kube-system",
                    pod="node-local-dns-a",
                    workload=WEB,
                    node="n2",
                ),
                "inferred": ["client.kind", "server.pod", "server.node"],
            },
        ),
        (
            {"client": Client(ip="10.1.0.7", kind="pod"), "server": Server(ip="169.254.20.10")},
            {
                "client": Client(
                    "10.1.0.7", UNSET, "pod", "shop", "web-1", "uid-web-1", workload=WEB, node="n1"
                ),
                "server": Server("169.254.20.10", kind="nodelocal"),
            },
        ),
        ({}, {}),
        (
            {"client": Client(port=1), "server": Server(port=2)},
            {"client": Client(port=1), "server": Server(port=2)},
        ),
    ],
)
def test_records_are_told_what_they_do_not_say(
    directory: Directory, before: dict[str, Any], after: dict[str, Any]
) -> None:
    record, message = lookup(**deepcopy(before)), Message(**deepcopy(before))
    directory.name(record)
    assert record == lookup(**after)
    directory.name(message)
    assert message == Message(**after), "without a time it is named as of now"


def test_a_record_is_named_by_its_own_time(directory: Directory) -> None:
    directory.drop_pod("uid-web-1", at(15))
    directory.put_pod(make_pod(directory, "web-2", "10.1.0.7", start_ns=at(20)), at(20))
    pods = []
    for second in (10, 25, 10, 17):
        record = Lookup(time=format_time(at(second)), client=Client(ip="10.1.0.7"))
        directory.name(record)
        assert record.client
        pods.append((record.client.kind, record.client.pod))
    assert pods == [("pod", "web-1"), ("pod", "web-2"), ("pod", "web-1"), ("unknown", UNSET)]


# The filter's questions


@pytest.mark.parametrize(
    ("uid", "selector", "expected"),
    [
        ("uid-web-1", "app=web", True),
        ("uid-web-1", "app in (web,api),!legacy", True),
        ("uid-web-1", "app!=web", False),
        ("uid-coredns-1", "app=web", False),
        ("nobody", "app!=web", False),
        (UNSET, "app!=web", False),
    ],
)
def test_labels(directory: Directory, uid: Any, selector: str, expected: bool) -> None:
    for _ in range(2):
        assert directory.labels_match(selector, Client(pod_uid=uid)) is expected


@pytest.mark.parametrize(
    ("client", "service", "expected"),
    [
        (Client(pod_uid="uid-web-1", namespace="shop"), "web", True),
        (Client(pod_uid="uid-web-1", namespace="shop"), "shop/web", True),
        (Client(pod_uid="uid-web-1", namespace="shop"), "other/web", False),
        (Client(pod_uid="uid-web-1", namespace="shop"), "db", False),
        (Client(pod_uid="uid-coredns-1", namespace="kube-system"), "shop/web", False),
        (Client(pod_uid="uid-coredns-1", namespace="kube-system"), "kube-dns", True),
        (Client(ip="192.0.2.50"), "shop/db", True),
        (Client(ip="192.0.2.51"), "shop/db", False),
        (Client(ip="10.1.0.7"), "web", False),
    ],
)
def test_services(directory: Directory, client: Client, service: str, expected: bool) -> None:
    assert directory.backs_service(service, client) is expected


# Properties


Step = tuple[str, int, int, int]
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "drop"]), st.integers(0, 3), st.integers(0, 2), st.integers(0, 40)),
    max_size=25,
)


@given(STEPS, st.lists(st.tuples(st.integers(0, 2), st.integers(0, 90)), max_size=8))
def test_it_equals_a_search_through_all_pods(steps: list[Step], questions: list[tuple[int, int]]) -> None:
    """However pods come and go, the index with its caches says what a search of its history says."""
    directory = Directory(keep_ns=10**18)
    history: dict[str, list[int | None]] = {}  # uid: [address, start, end]
    for number, (what, pod_number, address, start) in enumerate(steps):
        now = number + 1
        uid = f"uid-p{pod_number}"
        entry = history.get(uid)
        if what == "drop":
            directory.drop_pod(uid, at(400 + now))
            if entry and entry[2] is None:
                entry[2] = 400 + now  # after every start
        elif entry is None:
            history[uid] = [address, start * 7 + number, None]
            pod = make_pod(directory, f"p{pod_number}", f"10.0.0.{address}", start_ns=at(start * 7 + number))
            directory.put_pod(pod, at(400 + now))
        for question, second in questions:
            expected: Any = None
            latest = -1
            for key, (owner, begin, end) in history.items():
                assert begin is not None
                if owner == question and latest < begin <= second * 5:
                    latest = begin
                    expected = key if end is None or second * 5 < end else None
            who = directory.who(f"10.0.0.{question}", at(second * 5))
            assert (who.pod_uid if who else None) == expected


@given(st.text(max_size=20))
def test_no_address_raises(ip: str) -> None:
    directory = Directory()
    directory.put_node(Node("n", (ip,), (ip,)))
    directory.set_ready()
    record = lookup(client=Client(ip=ip), server=Server(ip=ip))
    directory.name(record)
    assert directory.who(ip) == Who("node", node="n")


def test_caches_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubectl_kdns.address_index.MAX_KNOWN", 100)
    monkeypatch.setattr("kubectl_kdns.address_index.MAX_ENDED", 50)
    directory = Directory()
    directory.set_ready()
    for number in range(1000):
        directory.who(f"198.51.100.{number}")
        directory.put_pod(make_pod(directory, f"p{number}", f"10.{number}.0.1"), at(number / 1000))
        directory.drop_pod(f"uid-p{number}", at(number / 1000))
    assert len(directory._known) <= 100
    assert len(directory._pods) == len(directory._pods_at) == 50
    assert len(directory._labels) == 1


def test_pods_with_the_same_labels_share_them() -> None:
    directory = Directory()
    one, two = directory.labels({"a": "1", "b": "2"}), directory.labels({"b": "2", "a": "1"})
    assert one is two
    assert directory.labels({"a": "1"}) is not one


def test_a_container_is_named_by_its_id() -> None:
    directory = Directory()
    ids = ["ab" * 32, "cd" * 32]
    pod = Pod(
        "shop",
        "web",
        "u1",
        directory.labels({}),
        containers=pack_containers([(ids[0], "app"), (ids[1], "log")]),
    )
    directory.put_pod(pod, 1)
    names = []
    for container_id in (*ids, "ef" * 32):
        record = Lookup(client=Client(pod_uid="u1", container_id=container_id))
        directory.name(record)
        assert record.client
        names.append(record.client.container)
    assert names == ["app", "log", UNSET]


def test_a_static_pod_is_found_by_the_uid_that_its_node_knows() -> None:
    directory = Directory()
    hash_ = "0a" * 16
    directory.put_pod(Pod("kube-system", "etcd", "u1", directory.labels({}), static_uid=hash_), 1)
    record = Lookup(client=Client(pod_uid=hash_))
    directory.name(record)
    assert record.client
    assert (record.client.pod, record.client.pod_uid) == ("etcd", "u1")
