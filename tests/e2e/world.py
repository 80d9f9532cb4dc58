"""A small DNS world in its own namespace: two CoreDNS, an upstream that misbehaves, clients on every node.

Works in any cluster that KUBECONFIG names; nothing outside the namespace is changed. The clients need an
image with `dnsq` (the lab's) or, with KDNS_E2E_IMAGE naming an image with python3 (`python:3.12-alpine` on
kind), get tests/e2e/asker.py, which takes the same arguments and prints the same lines.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

IMAGE = os.environ.get("KDNS_E2E_IMAGE", "kdns-lab/tools")
KDNS = str(Path(sys.executable).parent / "kubectl-kdns")
SELECTOR = "app=kdns-e2e-dns"
LINE = re.compile(
    r"(?P<seq>\d+) (?P<proto>udp|tcp) \S+ (?P<name>\S+(?:\\ \S+)*) (?P<type>[A-Z0-9]+) id=(?P<id>\d+) "
    r"(?P<rcode>[A-Z]+) (?P<ms>[\d.]+)ms"
)

UPSTREAM = """
.:53 {
    template IN A ok.test {
        answer "{{ .Name }} 60 IN A 192.0.2.7"
    }
    template IN AAAA ok.test {
        answer "{{ .Name }} 60 IN AAAA 2001:db8::7"
    }
    template IN TXT ok.test {
        answer "{{ .Name }} 60 IN TXT \\"a text\\""
    }
    template ANY ANY {
        rcode NXDOMAIN
        authority ". 60 IN SOA ns.test. host.test. 1 60 60 60 60"
    }
    ready
}
servfail.test:53 {
    template ANY ANY {
        rcode SERVFAIL
    }
}
hole.test:53 {
    erratic {
        drop 1
    }
}
slow.test:53 {
    erratic {
        delay 1 700ms
        drop 0
        truncate 0
    }
}
"""

COREFILE = """
fast.test:53 {
    log
    template IN A fast.test {
        answer "{{ .Name }} 60 IN A 192.0.2.8"
    }
}
drop.test:53 {
    log
    errors
    erratic {
        drop 1
    }
}
refuse.test:53 {
    log
    errors
    forward . UPSTREAM:5999
}
.:53 {
    log
    errors
    health :8080
    ready
    forward . UPSTREAM {
        max_fails 0
    }
    reload 2s 1s
}
"""


@dataclass(frozen=True)
class Asked:
    """One lookup as the asking program saw it; `rcode` is TIMEOUT when nothing came."""

    pod: str
    transport: str
    name: str
    type: str
    id: int
    rcode: str
    ms: float


@dataclass
class Running:
    """A kdns in the background; `records` and `errors` are complete once `finish` has returned."""

    process: subprocess.Popen[str]
    out_path: Path
    err_path: Path

    def stderr(self) -> str:
        return self.err_path.read_text()

    def records(self) -> list[dict[str, Any]]:
        text = self.out_path.read_text()
        if self.process.poll() is None:
            text = text[: text.rfind("\n") + 1]  # its last line may be half written
        return [json.loads(line) for line in text.splitlines()]

    def lookups(self) -> list[dict[str, Any]]:
        return [record for record in self.records() if record["kind"] == "lookup"]

    def finish(self, number: int = 2, timeout_s: float = 30) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(timeout_s)


@dataclass
class World:
    """The namespace and what is in it; `close` removes it."""

    directory: Path
    namespace: str = field(default_factory=lambda: f"kdns-e2e-{secrets.token_hex(3)}")
    clients: dict[str, str] = field(default_factory=dict)
    fenced: dict[str, str] = field(default_factory=dict)
    server: str = ""
    upstream: str = ""
    started: list[Running] = field(default_factory=list)

    def kubectl(self, *args: str, stdin: str = "", check: bool = True) -> str:
        done = subprocess.run(
            ["kubectl", *args], input=stdin, capture_output=True, text=True, check=False, timeout=200
        )
        assert not check or done.returncode == 0, f"kubectl {' '.join(args)}: {done.stderr}"
        return done.stdout

    def get(self, *args: str) -> Any:
        return json.loads(self.kubectl("-n", self.namespace, "get", *args, "-o", "json"))

    def apply(self, *objects: dict[str, Any]) -> None:
        items = {"apiVersion": "v1", "kind": "List", "items": objects}
        self.kubectl("apply", "-f", "-", stdin=json.dumps(items))

    def open(self) -> None:
        image = self._coredns_image()
        self.kubectl("create", "namespace", self.namespace)
        self.apply(
            self._corefile("upstream", UPSTREAM),
            self._deployment("upstream", image, 1),
            self._clients("client"),
        )
        self.kubectl("-n", self.namespace, "rollout", "status", "deployment/upstream", "--timeout=120s")
        # The pod's own address: a closed port of it refuses, one of a Service's address may not.
        self.upstream = self.get("pods", "-l", "app=kdns-e2e-upstream")["items"][0]["status"]["podIP"]
        self.add_dns("dns", self.corefile())
        self.server = self.get("service", "dns")["spec"]["clusterIP"]
        self.clients = self._ready_clients("client")
        self.wait(lambda: all(a.rcode == "NOERROR" for a in self.ask(["ok.test"])), "DNS of the test answers")

    def add_clients(self, name: str) -> None:
        """A second kind of clients, one on each node: `fenced`."""
        self.apply(self._clients(name))
        self.fenced = self._ready_clients(name)

    def add_asker(self, name: str, nameserver: str) -> None:
        """A pod whose resolv.conf names this server, with the search list of its namespace."""
        search = [f"{self.namespace}.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        options = [{"name": "ndots", "value": "5"}, {"name": "timeout", "value": "3"}]
        options += [{"name": "attempts", "value": "1"}]
        pod = self._clients(name)["spec"]["template"]["spec"]
        pod |= {
            "dnsPolicy": "None",
            "dnsConfig": {"nameservers": [nameserver], "searches": search, "options": options},
            "nodeName": next(iter(self.clients)),
        }
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": self._meta(name), "spec": pod})
        self.kubectl("-n", self.namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=60s")

    def _ready_clients(self, name: str) -> dict[str, str]:
        """The pod of this DaemonSet on each node, able to ask."""
        self.kubectl("-n", self.namespace, "rollout", "status", f"daemonset/{name}", "--timeout=120s")
        pods = self.get("pods", "-l", f"app=kdns-e2e-{name}")["items"]
        clients = {pod["spec"]["nodeName"]: pod["metadata"]["name"] for pod in pods}
        if self.python_asks():
            script = Path(__file__).with_name("asker.py").read_text()
            for pod in clients.values():
                write = ("exec", "-i", pod, "--", "sh", "-c", "cat >/tmp/asker.py")
                self.kubectl("-n", self.namespace, *write, stdin=script)
        return clients

    def add_dns(self, name: str, corefile: str, labels: dict[str, str] | None = None) -> None:
        """Two more CoreDNS pods with this Corefile, and their Service."""
        deployment = self._deployment(name, self._coredns_image(), 2)
        deployment["spec"]["template"]["metadata"]["labels"] |= labels or {}
        self.apply(self._corefile(name, corefile), deployment, self._service(name))
        self.kubectl("-n", self.namespace, "rollout", "status", f"deployment/{name}", "--timeout=120s")

    def corefile(self) -> str:
        return COREFILE.replace("UPSTREAM", self.upstream)

    def close(self) -> None:
        self.kubectl("delete", "namespace", self.namespace, "--wait=true", "--timeout=120s", check=False)

    def api_server(self) -> tuple[str, int]:
        """Host and port of the API server that kubectl uses."""
        view = json.loads(self.kubectl("config", "view", "--minify", "-o", "json"))
        url = urllib.parse.urlsplit(view["clusters"][0]["cluster"]["server"])
        return str(url.hostname), url.port or 443

    def python_asks(self) -> bool:
        return "python" in IMAGE

    def start_asking(self, pod: str, arguments: Sequence[str], server: str = "") -> subprocess.Popen[str]:
        tool = ["python3", "/tmp/asker.py"] if self.python_asks() else ["dnsq"]
        ask = [*tool, "-s", server or self.server, *arguments]
        command = ["kubectl", "-n", self.namespace, "exec", pod, "--", *ask]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(self, arguments: Sequence[str], server: str = "") -> list[Asked]:
        """Asks from all client pods at once; one entry a lookup."""
        running = [(pod, self.start_asking(pod, arguments, server)) for pod in self.clients.values()]
        return collect(running)

    def kdns(self, *args: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Runs kdns to its end."""
        done = subprocess.run([KDNS, *args], capture_output=True, text=True, timeout=200, check=False)
        assert not check or done.returncode == 0, f"kdns {' '.join(args)}: {done.returncode}\n{done.stderr}"
        return done

    def here(self) -> list[str]:
        """The flags that point kdns at this world's CoreDNS."""
        return ["--coredns-namespace", self.namespace, "--coredns-selector", SELECTOR]

    def start_kdns(self, *args: str, ready: str = "") -> Running:
        """Starts kdns in the background; returns when it has opened its streams."""
        tag = secrets.token_hex(4)
        out_path, err_path = self.directory / f"{tag}.out", self.directory / f"{tag}.err"
        with out_path.open("w") as out, err_path.open("w") as err:
            process = subprocess.Popen(
                [KDNS, *args], stdout=out, stderr=err, stdin=subprocess.DEVNULL, text=True
            )
        running = Running(process, out_path, err_path)
        self.started.append(running)
        if ready:
            self.wait(lambda: ready in running.stderr() or process.poll() is not None, f"kdns says {ready!r}")
        return running

    def finish_all(self) -> None:
        """Ends what a failed test left running, so that the next one starts clean."""
        while self.started:
            self.started.pop().finish()

    @staticmethod
    def wait(condition: Callable[[], bool], what: str, timeout_s: float = 60) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            time.sleep(0.1)

    def dns_pods(self) -> list[dict[str, Any]]:
        return [
            pod
            for pod in self.get("pods", "-l", SELECTOR)["items"]
            if "deletionTimestamp" not in pod["metadata"]
        ]

    def _coredns_image(self) -> str:
        pods = json.loads(self.kubectl("get", "pods", "-A", "-l", "k8s-app=kube-dns", "-o", "json"))["items"]
        images = [c["image"] for pod in pods for c in pod["spec"]["containers"] if "coredns" in c["image"]]
        assert images, "no CoreDNS in this cluster whose image could be used"
        return str(images[0])

    def _meta(self, name: str) -> dict[str, Any]:
        return {"name": name, "namespace": self.namespace, "labels": {"app": f"kdns-e2e-{name}"}}

    def _corefile(self, name: str, text: str) -> dict[str, Any]:
        data = {"Corefile": text}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": self._meta(name), "data": data}

    def _service(self, name: str) -> dict[str, Any]:
        ports = [{"name": p.lower(), "port": 53, "protocol": p} for p in ("UDP", "TCP")]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self._meta(name),
            "spec": {"selector": {"app": f"kdns-e2e-{name}"}, "ports": ports},
        }

    def _deployment(self, name: str, image: str, replicas: int) -> dict[str, Any]:
        container = {
            "name": "coredns",
            "image": image,
            "args": ["-conf", "/etc/coredns/Corefile"],
            "volumeMounts": [{"name": "config", "mountPath": "/etc/coredns"}],
            "readinessProbe": {"httpGet": {"path": "/ready", "port": 8181}, "periodSeconds": 1},
        }
        spread = {
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app": f"kdns-e2e-{name}"}},
        }
        spec = {
            "terminationGracePeriodSeconds": 2,
            "dnsPolicy": "Default",
            "topologySpreadConstraints": [spread],
            "containers": [container],
            "volumes": [{"name": "config", "configMap": {"name": name}}],
        }
        deployment = self._workload("Deployment", name, spec)
        deployment["spec"]["replicas"] = replicas
        return deployment

    def _clients(self, name: str) -> dict[str, Any]:
        container = {
            "name": "tools",
            "image": IMAGE,
            "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 3600 & wait; done"],
        }
        spec = {"terminationGracePeriodSeconds": 1, "containers": [container]}
        return self._workload("DaemonSet", name, spec)

    def _workload(self, kind: str, name: str, pod: dict[str, Any]) -> dict[str, Any]:
        labels = {"app": f"kdns-e2e-{name}"}
        template = {"metadata": {"labels": labels}, "spec": pod}
        return {
            "apiVersion": "apps/v1",
            "kind": kind,
            "metadata": self._meta(name),
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }


def collect(running: Sequence[tuple[str, subprocess.Popen[str]]]) -> list[Asked]:
    """Waits for asking programs and gives their lookups."""
    return [a for pod, process in running for a in asked_of(pod, process.communicate(timeout=120)[0])]


def asked_of(pod: str, output: str) -> list[Asked]:
    """The lines of dnsq as lookups; names as kdns prints them."""
    from kubectl_kdns.dns.names import name_of_text

    return [
        Asked(
            pod,
            match["proto"],
            name_of_text(match["name"]),
            match["type"],
            int(match["id"]),
            match["rcode"],
            float(match["ms"]),
        )
        for line in output.splitlines()
        if (match := LINE.match(line))
    ]
