"""The oracle of FlowFilter against Cilium's own code, which `hubble observe --input-file` filters with.

Runs when `hubble` is in the PATH, or KDNS_HUBBLE says where it is.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from hypothesis import given, settings
from hypothesis import strategies as st

from support.hubble_filters import FilterError, selection
from support.hubble_flows import (
    CLIENT,
    POLICY_VERDICT,
    Pod,
    denied,
    dropped_packet,
    enveloped,
    json_fields,
    json_lines,
    refused,
    request,
    response,
)
from support.hubble_schema import Flow, FlowFilter

HUBBLE = os.environ.get("KDNS_HUBBLE") or shutil.which("hubble")
pytestmark = pytest.mark.skipif(not HUBBLE, reason="no `hubble` in the PATH, and KDNS_HUBBLE is not set")

PODS = (
    CLIENT,
    Pod("web-1", "10.244.2.57", "shop", "k8s:app=web", "kdns-n2", ("web", "Deployment"), 14144),
    Pod("client", "10.0.0.1", "default"),
    Pod("six-1", "fd00::17", "shop", node="cluster-b/kdns-n2"),
)
VALUES: dict[str, list[Any]] = {
    "source_pod": [
        "lab/",
        "lab/client",
        "client",
        "/client",
        "shop/web-1",
        "default/",
        "/",
        "shop/w",
        "lab/x",
        "",
    ],
    "destination_pod": ["lab/", "kube-system/coredns", "/c"],
    "source_ip": [
        "10.244.0.0/16",
        "10.244.1.93",
        "fd00::/8",
        "0.0.0.0/0",
        "fd00:0::17",
        "10.0.0.1/0",
        "10.0.0",
    ],
    "destination_ip": ["10.244.2.41", "10.244.2.0/24"],
    "verdict": ["DROPPED", "ERROR", "FORWARDED"],
    "protocol": ["dns", "udp", "TCP", "http", "icmp", "quic"],
    "reply": [True, False],
    "dns_query": [
        "example",
        r"^a\.",
        r"org\.$",
        "EXAMPLE",
        "(?i)upper",
        "[",
        "(?P<n>x)|a",
        r"\bcom\b",
        "^$",
        "",
    ],
    "node_name": ["kdns-n1", "default/kdns-*", "*n2", "cluster-b/", "k*/", "/kdns-n2", "KDNS-N1", "a/b/c"],
    "destination_port": ["53", "40000", "65536"],
    "source_port": ["53", "040000"],
    "source_label": [
        "app=client",
        "k8s:app",
        "app!=client",
        "!app",
        "app in (web, client),!x",
        "n>4",
        "n<5",
        "app=",
    ],
    "destination_label": ["k8s-app=kube-dns", "app", "reserved:host", "", "a in (b"],
    "event_type": [
        {"type": 129},
        {"type": 1, "match_sub_type": True, "sub_type": 133},
        {"match_sub_type": True},
    ],
    "source_workload": [{"name": "client"}, {"kind": "Deployment"}, {"name": "web", "kind": "DaemonSet"}],
    "destination_workload": [{"name": "coredns"}],
}
filters = st.fixed_dictionaries(
    {},
    optional={
        name: st.lists(st.sampled_from(values), min_size=1, max_size=2) for name, values in VALUES.items()
    },
)


def every_flow() -> list[Any]:
    flows = []
    for client in PODS:
        for query, qtype in (("a.example.com.", "A"), ("UPPER.test.", "AAAA"), ("example.org.", "TXT")):
            for protocol in ("UDP", "TCP"):
                ask = request(query, qtype, client=client, protocol=protocol)
                no = denied(query, client=client)
                flows += [ask, response(ask, ips=["192.0.2.1"]), refused(ask), no]
        flows.append(dropped_packet(client=client))
        flows.append(dropped_packet(client=client, event_type=POLICY_VERDICT, protocol="TCP"))
    bare = Flow(verdict="FORWARDED", source={"labels": ["reserved:host", "n=5"]})
    return [*flows, bare, Flow(verdict="DROPPED", node_name="k")]


FLOWS = every_flow()


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hubble") / "flows.jsonpb"
    path.write_text(json_lines(FLOWS))
    return path


@settings(max_examples=20)
@given(allow=st.lists(filters, max_size=2), deny=st.lists(filters, max_size=1))
def test_cilium_takes_the_same_flows(recorded: Path, allow: list[Any], deny: list[Any]) -> None:
    arguments = ["observe", "--input-file", str(recorded), "--all", "-o", "jsonpb"]
    for flag, given_filters in (("--allowlist", allow), ("--denylist", deny)):
        for one in given_filters:
            arguments += [flag, json.dumps(one)]
    theirs = subprocess.run(
        [str(HUBBLE), *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    try:
        takes = selection(
            *([json_format.ParseDict(one, FlowFilter()) for one in them] for them in (allow, deny))
        )
    except FilterError:
        assert theirs.returncode != 0
        return
    assert theirs.returncode == 0, theirs.stderr
    printed = [json.loads(line) for line in theirs.stdout.splitlines()]
    assert printed == [json_fields(enveloped(flow)) for flow in FLOWS if takes(flow)]
