"""The visibility policy against a scripted API server: made, proven, taken away, in nobody's way."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kdns_hubble.dns_servers import dns_servers
from kdns_hubble.policy import MARK, NAME
from kdns_hubble.policy_change import PolicyChange, left_policies, make_change
from kdns_hubble.policy_session import session_of, take_away
from kdns_hubble.visibility import look
from kubectl_kdns.errors import BackendError, ClusterError, KdnsError, UsageError
from kubectl_kdns.kube import Cluster, ConnectionFlags, connect
from kubectl_kdns.times import NS_PER_S
from support.api_server import ApiServer, Reply, failure
from support.cilium_cluster import cilium_policy, fill, network_policy, pod

POLICIES = "/apis/cilium.io/v2/namespaces/shop/ciliumnetworkpolicies"
NOW_NS = 1_800_000_000 * NS_PER_S
ALL_NAMES = "toPorts: [{ports: [ANY_53], rules: {dns: [{matchPattern: '*'}]}}]"
VISIBLE = f"{{endpointSelector: {{}}, egress: [{{DNS, {ALL_NAMES}}}]}}"


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as server:
        fill(server)
        server.put(pod("web-1", app="web"))
        server.put(pod("db-1", app="db"))
        yield server


@pytest.fixture
def cluster(server: ApiServer, tmp_path: Path) -> Iterator[Cluster]:
    cluster = connect(ConnectionFlags(kubeconfig=str(server.kubeconfig(tmp_path / "config"))))
    yield cluster
    cluster.close()


class Operator:
    """Cilium's operator: says that a policy is valid once it has been looked at `after` times."""

    def __init__(self, server: ApiServer, after: int = 1, status: str = "True") -> None:
        self.server, self.left, self.status = server, after, status
        self.now_ns = NOW_NS

    def clock(self) -> int:
        return self.now_ns

    def sleep(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS_PER_S)
        self.left -= 1
        entry = self.server.store.get("CiliumNetworkPolicy", NAME, "shop")
        if self.left == 0 and entry:
            condition = {"type": "Valid", "status": self.status, "message": "dns: no such thing"}
            self.server.put({**entry.object, "status": {"conditions": [condition]}})


def change(cluster: Cluster, operator: Operator | None = None, **settings: Any) -> PolicyChange:
    made = make_change(cluster, {"namespace": "shop", "lasts_ns": 600 * NS_PER_S, **settings}, {})
    made.now_ns = operator.clock if operator else (lambda: NOW_NS)
    made.sleep = operator.sleep if operator else (lambda _: None)
    made.validates = operator is not None
    return made


def names(server: ApiServer) -> list[str]:
    return [entry.name for entry in server.store.select("CiliumNetworkPolicy", lambda _: True)]


def test_made_proven_and_taken_away(server: ApiServer, cluster: Cluster) -> None:
    operator = Operator(server, after=3)
    made = change(cluster, operator)
    made.apply()
    assert operator.left == 0
    found = cluster.get(f"{POLICIES}/{NAME}")
    assert found["metadata"]["labels"] == {MARK: made.session}
    session = session_of(found)
    assert session
    assert session.until > "2027-01-15T08:10"
    assert made.waiting_for() == ()
    assert made.revert() == f"ciliumnetworkpolicy shop/{NAME} is taken away"
    assert names(server) == []
    assert made.revert() == "nothing was changed"


def test_the_api_server_is_told_to_refuse_fields_that_it_does_not_know(
    server: ApiServer, cluster: Cluster
) -> None:
    """Without enableDefaultDeny the policy would cut off all other traffic of these pods."""
    change(cluster).apply()
    (post,) = [request for request in server.requests if request.method == "POST"]
    assert post.query == {"fieldValidation": "Strict"}
    assert json.loads(post.body)["spec"]["enableDefaultDeny"] == {"egress": False, "ingress": False}


def test_a_dry_run_is_one_for_the_server_too(server: ApiServer, cluster: Cluster) -> None:
    server.script("^POST .*dryRun=All", Reply(201, b"{}"))
    made = change(cluster, Operator(server))
    made.apply(dry_run=True)
    assert names(server) == []
    assert made.revert() == "nothing was changed"


def test_it_is_deleted_only_as_the_object_that_was_looked_at(server: ApiServer, cluster: Cluster) -> None:
    made = change(cluster)
    made.apply()
    meta = cluster.get(f"{POLICIES}/{NAME}")["metadata"]
    server.script("^DELETE ", failure(409, "Conflict", "the UID in the precondition does not match"))
    made.revert()
    bodies = [json.loads(request.body) for request in server.requests if request.method == "DELETE"]
    assert bodies == [{"preconditions": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}] * 2


def test_what_somebody_else_has_changed_stays_and_is_theirs(server: ApiServer, cluster: Cluster) -> None:
    made = change(cluster)
    made.apply()
    theirs = copy.deepcopy(cluster.get(f"{POLICIES}/{NAME}"))
    theirs["metadata"]["generation"] = 2
    theirs["spec"]["description"] = "mine now"
    server.put(theirs)
    assert "it stays, and is theirs now" in made.revert()
    left = cluster.get(f"{POLICIES}/{NAME}")
    assert left["spec"] == theirs["spec"]
    assert MARK not in left["metadata"]["labels"]
    assert MARK not in left["metadata"]["annotations"]


def test_what_is_gone_is_no_error(server: ApiServer, cluster: Cluster) -> None:
    made = change(cluster)
    made.apply()
    server.delete("CiliumNetworkPolicy", NAME, "shop")
    assert made.revert().endswith("is gone already")


def test_another_sessions_policy_is_not_touched(server: ApiServer, cluster: Cluster) -> None:
    change(cluster).apply()
    assert "is not ours" in take_away(cluster, "shop", "another")
    assert names(server) == [NAME]


def test_endless_conflicts_end(server: ApiServer, cluster: Cluster) -> None:
    made = change(cluster)
    made.apply()
    server.script("^DELETE ", failure(409, "Conflict"), forever=True)
    with pytest.raises(KdnsError, match="changes all the time"):
        made.revert()


def test_a_lost_answer_is_looked_after(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    made = change(cluster)
    request = cluster.request

    def lose_the_answer(*args: Any, **kwargs: Any) -> Any:
        request(*args, **kwargs)
        raise ClusterError("the connection broke")

    with monkeypatch.context() as patch:
        patch.setattr(cluster, "request", lose_the_answer)
        with pytest.raises(ClusterError):
            made.apply()
    assert made.revert().endswith("is taken away")


def test_a_policy_that_cilium_does_not_take_is_said_and_removed(server: ApiServer, cluster: Cluster) -> None:
    made = change(cluster, Operator(server, status="False"))
    with pytest.raises(BackendError, match="dns: no such thing"):
        made.apply()
    assert made.revert().endswith("is taken away")


def test_a_silent_operator_does_not_hold_it_up_for_ever(server: ApiServer, cluster: Cluster) -> None:
    operator = Operator(server, after=10_000)
    change(cluster, operator).apply()
    assert operator.now_ns - NOW_NS <= 11 * NS_PER_S


def test_two_at_once_do_not_fight(server: ApiServer, cluster: Cluster) -> None:
    first, second = change(cluster), change(cluster)
    first.apply()
    with pytest.raises(BackendError, match="in use by"):
        second.diff()
    with pytest.raises(BackendError, match="in use by"):
        second.apply()
    second.revert()
    assert names(server) == [NAME]
    later = change(cluster)
    assert later.policy is None
    with pytest.raises(BackendError, match="is there already"):
        later.diff()


def test_one_made_by_hand_is_respected(server: ApiServer, cluster: Cluster) -> None:
    server.put(cilium_policy("{endpointSelector: {matchLabels: {app: web}}, ingress: [{}]}", name=NAME))
    with pytest.raises(BackendError, match="made by hand"):
        change(cluster).diff()
    server.put(cilium_policy(VISIBLE, name=NAME))
    shown = change(cluster)
    assert (shown.diff(), shown.document(), shown.manifest()) == ("", "", {})
    shown.apply()
    assert shown.revert() == "nothing was changed"


def test_leftovers_are_found_and_healed(server: ApiServer, cluster: Cluster) -> None:
    server.put(cilium_policy(VISIBLE))
    made = change(cluster, selector="app=web", namespace="other")
    server.put({"kind": "CiliumNetworkPolicy", **made.manifest()})
    (left,) = left_policies(cluster, lambda: NOW_NS)
    assert "in use by" in left.in_use
    assert f"other/{NAME}" in left.description
    (left,) = left_policies(cluster, lambda: NOW_NS + 3600 * NS_PER_S)
    assert left.in_use == ""
    assert left.heal().endswith("is taken away")
    assert left_policies(cluster) == []
    assert names(server) == ["theirs"]


def test_leftovers_without_cilium_or_rights_are_none(server: ApiServer, cluster: Cluster) -> None:
    server.script("ciliumnetworkpolicies", failure(404, "NotFound"))
    assert left_policies(cluster) == []
    server.script("ciliumnetworkpolicies", failure(403, "Forbidden"), forever=True)
    assert left_policies(cluster) == []


def test_what_it_would_allow_is_refused_with_the_way_round(server: ApiServer, cluster: Cluster) -> None:
    server.put(cilium_policy("{endpointSelector: {matchLabels: {app: db}}, egress: [{}]}"))
    with pytest.raises(BackendError, match="would allow what is denied now") as caught:
        change(cluster)
    assert "-l 'app!=db'" in caught.value.hint
    assert change(cluster, selector="app!=db").policy
    server.put(network_policy("{podSelector: {}, policyTypes: [Egress]}"))
    with pytest.raises(BackendError, match="networkpolicy shop/theirs does not allow") as caught:
        change(cluster, selector="app!=db")
    assert caught.value.hint.startswith("kubectl -n shop get")


def test_without_the_right_to_see_all_policies_nothing_is_promised(
    server: ApiServer, cluster: Cluster
) -> None:
    server.script("ciliumclusterwidenetworkpolicies", failure(403, "Forbidden"), forever=True)
    with pytest.raises(BackendError, match=r"cannot be told: not allowed to list ciliumclusterwide"):
        change(cluster)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"enable-l7-proxy": "false"}, "its L7 proxy is off"),
        ({"enable-policy": "never"}, "enforces no policies"),
        ({"enable-policy": "always"}, "enable-policy: always does not allow"),
    ],
)
def test_settings_of_cilium_that_decide(
    server: ApiServer, cluster: Cluster, config: dict[str, str], message: str
) -> None:
    fill(server, config=config)
    with pytest.raises(BackendError, match=message):
        change(cluster)


@pytest.mark.parametrize(
    ("version", "config"), [("1.15.9", {}), ("1.17.4", {"enable-non-default-deny-policies": "false"})]
)
def test_where_default_deny_cannot_be_off_all_egress_is_allowed(
    server: ApiServer, cluster: Cluster, version: str, config: dict[str, str]
) -> None:
    fill(server, version=version, config=config)
    made = change(cluster)
    assert made.policy
    assert made.policy["spec"]["egress"][-1] == {"toEntities": ["all"]}
    assert any("allows all egress as well" in note for note in made.notes)


def test_no_cilium_is_said(server: ApiServer, cluster: Cluster) -> None:
    server.delete("DaemonSet", "cilium", "kube-system")
    server.delete("ConfigMap", "cilium-config", "kube-system")
    with pytest.raises(BackendError, match="there is no Cilium here"):
        change(cluster)


def test_who_sees_what(server: ApiServer, cluster: Cluster) -> None:
    assert look(cluster, ["shop"]).evidence == "no policy shows the DNS of 2 pods"
    server.put(cilium_policy(VISIBLE))
    assert look(cluster, ["shop"]).fix == ""
    found = look(cluster, ["shop"], "app=web")
    assert found.evidence == (
        "DNS of 1 of 1 pod is visible (namespace shop), by ciliumnetworkpolicy shop/theirs"
    )
    assert look(cluster).not_covered == 1  # CoreDNS itself
    server.script("ciliumnetworkpolicies", failure(404, "NotFound"))
    assert not look(cluster).has_crd
    server.script("ciliumnetworkpolicies", failure(403, "Forbidden"))
    assert look(cluster).denied


def test_clusterwide_policies_by_labels_of_namespaces(server: ApiServer, cluster: Cluster) -> None:
    label = "k8s:io.cilium.k8s.namespace.labels.kubernetes.io/metadata.name: shop"
    spec = VISIBLE.replace("{}", f"{{matchLabels: {{{label}}}}}", 1)
    server.put(cilium_policy(spec, namespace=""))
    found = look(cluster)
    assert (found.covered, found.not_covered) == (2, 1)


def nodelocal(*, host: bool) -> dict[str, Any]:
    return pod("node-local-dns-1", "kube-system", host=host, **{"k8s-app": "node-local-dns"})


def test_the_servers_of_a_cluster(server: ApiServer, cluster: Cluster) -> None:
    (kube_dns,) = dns_servers(cluster, "shop")
    assert kube_dns.match == {"k8s-app": "kube-dns"}
    assert [(port.number, port.names) for port in kube_dns.ports] == [(53, {"UDP": "dns", "TCP": "dns-tcp"})]
    server.put(nodelocal(host=True))
    assert dns_servers(cluster, "shop")[1].value == "host"
    server.put(nodelocal(host=False))
    assert dns_servers(cluster, "shop")[1].match == {"k8s-app": "node-local-dns"}


def test_openshift_and_unusual_services(server: ApiServer, cluster: Cluster) -> None:
    service = cluster.get("/api/v1/namespaces/kube-system/services/kube-dns")
    server.delete("Service", "kube-dns", "kube-system")
    with pytest.raises(BackendError, match="were not found"):
        dns_servers(cluster, "shop")
    service["spec"]["ports"] = [{"port": 53, "protocol": "UDP", "targetPort": 5353}]
    service["metadata"] = {"name": "dns-default", "namespace": "openshift-dns"}
    server.put({"kind": "Service", **service})
    (found,) = dns_servers(cluster, "shop")
    assert (found.namespace, found.ports[0].number) == ("openshift-dns", 5353)
    on_host = pod("dns-1", "openshift-dns", host=True, **{"k8s-app": "kube-dns"})
    server.put(on_host)
    assert [server.value for server in dns_servers(cluster, "shop")] == ["host", "remote-node"]
    del service["spec"]["selector"]
    server.put({"kind": "Service", **service})
    with pytest.raises(BackendError, match="selects no pods"):
        dns_servers(cluster, "shop")


@pytest.mark.parametrize(
    ("to", "peer"),
    [
        ("external", {"toEntities": ["world"]}),
        ("nodelocal", {"toEntities": ["host"]}),
        ("169.254.20.10", {"toEntities": ["host"]}),
        ("8.8.8.8", {"toCIDR": ["8.8.8.8/32"]}),
        ("2001:db8::/32", {"toCIDR": ["2001:db8::/32"]}),
    ],
)
def test_servers_by_name(cluster: Cluster, to: str, peer: dict[str, Any]) -> None:
    (found,) = dns_servers(cluster, "shop", [to])
    assert found.peer() == peer


def test_services_by_address_and_name(cluster: Cluster) -> None:
    for to in ("10.96.0.10", "svc/kube-dns", "coredns"):
        (found,) = dns_servers(cluster, "shop", [to])
        assert found.text == "kube-system/kube-dns"
    with pytest.raises(BackendError, match="there is none"):
        dns_servers(cluster, "shop", ["svc/none"])
    with pytest.raises(UsageError, match="not a DNS server"):
        dns_servers(cluster, "shop", ["deploy/coredns"])
