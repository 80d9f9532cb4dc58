"""`explain`: asks for a name from inside a pod, watches all hops meanwhile, and says what became of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from random import SystemRandom
from typing import Any, TextIO

from msgspec import Struct, field
from msgspec.structs import replace

from kubectl_kdns.advice import Surroundings, advise
from kubectl_kdns.backend import Enterable, Entered, Scope, load_backend
from kubectl_kdns.directory import Directory
from kubectl_kdns.errors import BackendError, ForbiddenError, KdnsError
from kubectl_kdns.filter import parse_filter
from kubectl_kdns.journeys import Journeys
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.live import (
    DIRECTORY_WAIT_S,
    Given,
    connect_and_list,
    require_pods,
    where_servers_forward,
)
from kubectl_kdns.model import Journey, Lookup, Notice, Record
from kubectl_kdns.paths import paths_text
from kubectl_kdns.pipeline import Pipeline, Stop, interrupt, take_signals
from kubectl_kdns.pod_transport import PodTransport
from kubectl_kdns.printer import Printer, PrinterOptions
from kubectl_kdns.resolver import ResolvConf, Tried, check, look_up
from kubectl_kdns.target import Target, dns_nodes, find_target
from kubectl_kdns.times import NS_PER_S

BACKEND = "ebpf"
ENTER_WAIT_S, ENTER_STEP_S = 60.0, 0.1
FINE_WAIT_S, FAILED_WAIT_S = 3.0, 8.0
"""How long the hops of what was asked are waited for, besides the time-out of a lookup that failed."""


class ExplainRequest(Struct, frozen=True):
    """What was asked for. `where` is POD or KIND/NAME; times are nanoseconds."""

    connection: ConnectionFlags
    name: str
    where: str
    types: tuple[str, ...] = ("A", "AAAA")
    namespace: str = ""
    watch: bool = False
    count: int = 1
    interval_ns: int = NS_PER_S
    for_ns: int | None = None
    timeout_ns: int = 5 * NS_PER_S
    one_by_one: bool = False
    use_agent: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    output: PrinterOptions = field(default_factory=PrinterOptions)


def run_explain(request: ExplainRequest, out: TextIO, err: TextIO) -> int:
    """0 when the name was resolved each time, 1 when not; raises KdnsError when it could not be found out."""
    check(request.name, request.types)
    with ExitStack() as stack:
        printer = Printer(replace(request.output, summary="none"), out, err)
        stack.callback(printer.close)
        cluster, feed = connect_and_list(request.connection, printer, stack)
        require_pods(feed, f"the pods were not listed within {DIRECTORY_WAIT_S:.0f} s", "")
        target = find_target(feed.directory, request.where, request.namespace or cluster.namespace)
        if not request.use_agent:
            return explain_outside(request, cluster, feed.directory, target, printer)
        explanation = _Explanation(request, cluster, feed.directory, target, printer, stack)
        try:
            return explanation.run()
        except (ForbiddenError, BackendError) as error:
            if request.watch or explanation.tried:
                raise
            printer.status(f"no agent can be had: {error.what}" + (f": {error.cause}" if error.cause else ""))
            printer.status(f"try: {error.hint}")
            return explain_outside(request, cluster, feed.directory, target, printer)


def explain_outside(
    request: ExplainRequest, cluster: Cluster, directory: Directory, target: Target, printer: Printer
) -> int:
    """What can be said without an agent. 0 when every DNS server resolved the name."""
    from kubectl_kdns.explain_outside import Outside

    printer.status(f"asking the DNS servers for {target.text}, over TCP through the API server")
    outside = Outside(cluster, directory, target, printer, request.options, request.timeout_ns)
    outside.introduce()
    asked: list[Journey] = []
    for turn in range(request.count):
        if turn:
            time.sleep(request.interval_ns / NS_PER_S)
        asked += outside.ask(request.name, request.types)
    if request.count > 1:
        printer.status(paths_text(asked))
    outside.read_logs(request.name)
    outside.look_at_objects(request.connection)
    for line in advice_of(outside.journeys, target, directory):
        printer.status(f"try: {line}")
    printer.status(
        f"not tried: UDP, and the way between {target.text} and the DNS servers (its node, NetworkPolicies, "
        "NodeLocal DNSCache); that takes the eBPF backend's rights: kubectl kdns backends ebpf --rbac"
    )
    return int(not asked or any(map(_failed, asked)))


def advice_of(journeys: Sequence[Journey], target: Target, directory: Directory) -> list[str]:
    where = Surroundings(namespace=target.namespace, services=tuple(directory.service_names()))
    return list(dict.fromkeys(line for journey in journeys for line in advise(journey, where)))


class _Explanation:
    """One run: a sink of the pipeline, and the thread that asks."""

    def __init__(
        self,
        request: ExplainRequest,
        cluster: Cluster,
        directory: Directory,
        target: Target,
        printer: Printer,
        stack: ExitStack,
    ) -> None:
        self.request, self.cluster, self.directory = request, cluster, directory
        self.target, self.printer, self.stack = target, printer, stack
        self.journeys: list[Journey] = []
        self.tried: list[Tried] = []
        self._asked: set[tuple[str, str, int]] = set()
        self._joins = Journeys(request.timeout_ns, self._is_wanted, time.time_ns)
        self._ready, self._stopping = threading.Event(), threading.Event()
        self._done_s: float | None = None
        self._failure: KdnsError | None = None

    def run(self) -> int:
        request, target = self.request, self.target
        nodes = sorted({target.node, *dns_nodes(self.directory, target.node)})
        options = {**request.options, "agent_node": nodes, "max_nodes": len(nodes), "for_ns": request.for_ns}
        doing = "watching" if request.watch else "asking"
        self.printer.status(f"{doing} from {target.text} on {target.node}; agents on {', '.join(nodes)}")
        if not request.watch:
            options["enter_nodes"] = [target.node]
            self.printer.status(
                f"the agent on {target.node} may enter the pod's network (SYS_ADMIN, SYS_PTRACE) meanwhile"
            )
        scope = Scope(cluster=self.cluster, directory=self.directory, timeout_ns=request.timeout_ns,
                      progress=True, options=options)  # fmt: skip
        backend = load_backend(BACKEND)
        self.stack.callback(take_signals(interrupt))
        source = backend.open(scope, backend.plan(parse_filter("")))
        self.stack.callback(source.close)
        if not request.watch:
            if not isinstance(source, Enterable):
                raise BackendError(f"{BACKEND} cannot ask from within pods")
            self.stack.callback(self._stopping.set)
            threading.Thread(target=self._ask_all, args=(source,), name="explain-ask", daemon=True).start()
        stop = Stop()
        pipeline = Pipeline(
            sources=[source, Given(where_servers_forward(self.cluster, scope))],
            sink=self,
            name=self.directory.name,
            joins=self._joins,
            stop=stop,
            limit=request.count if request.watch else None,
            for_s=request.for_ns / NS_PER_S if request.for_ns else None,
            on_tick=self._is_over,
            on_record=self._listen,
        )
        self.stack.callback(stop.install())
        pipeline.run()
        if self._failure:
            raise self._failure
        self._conclude()
        if stop.signal:
            return 128 + stop.signal
        return int(not self.journeys or any(map(_failed, self.journeys)))

    def write(self, records: Sequence[Record]) -> None:
        for record in records:
            if isinstance(record, Journey):
                self._rename(record)
                self.journeys.append(record)
        self.printer.write(records)

    def flush(self) -> None:
        self.printer.flush()

    def _listen(self, record: Record) -> None:
        if isinstance(record, Notice) and record.code == "agents_ready":
            self._ready.set()

    def _is_wanted(self, lookup: Lookup) -> bool:
        dns, client = lookup.dns, lookup.client
        if not dns or not client:
            return False
        if not self.request.watch:
            return (str(dns.name), str(dns.type), dns.id) in self._asked
        base = self.request.name.rstrip(".").lower()
        return client.pod == self.target.pod and f"{dns.name}.".startswith(f"{base}.")

    def _is_over(self) -> bool:
        """Whether all that was asked has been told, or will not be."""
        if self._failure:
            return True
        if self._done_s is None:
            return False
        told = sum(len(journey.attempts) for journey in self.journeys)
        failed = any(not each.reply.rcode or each.reply.rcode == "SERVFAIL" for each in self.tried)
        wait_s = FINE_WAIT_S
        if failed:
            wait_s = FAILED_WAIT_S + 2 * self.request.timeout_ns / NS_PER_S
        return told >= len(self._asked) or time.monotonic() - self._done_s > wait_s

    def _ask_all(self, source: Enterable) -> None:
        """In a thread of its own."""
        try:
            entered = self._enter(source)
            if entered is None:
                return
            try:
                conf = ResolvConf.parse(entered.resolv_conf)
                self.printer.status(_conf_text(conf))
                self._joins.max_tries = conf.attempts
                conf = replace(conf, one_by_one=conf.one_by_one or self.request.one_by_one)
                for turn in range(self.request.count):
                    if turn and self._stopping.wait(self.request.interval_ns / NS_PER_S):
                        return
                    self._ask(entered, conf)
            finally:
                entered.close()
        except KdnsError as error:
            self._failure = error
        finally:
            self._done_s = time.monotonic()

    def _enter(self, source: Enterable) -> Entered | None:
        """Once all agents watch, so that nothing is missed. None: it is over before."""
        begun_s = time.monotonic()
        while not self._stopping.is_set():
            if self._ready.wait(ENTER_STEP_S):
                return source.enter(self.target.node, self.target.uid)
            if time.monotonic() - begun_s > ENTER_WAIT_S:
                raise BackendError(
                    f"the agents were not there within {ENTER_WAIT_S:.0f} s",
                    hint="kubectl kdns backends ebpf; kubectl kdns doctor needs none",
                )
        return None

    def _ask(self, entered: Entered, conf: ResolvConf) -> None:
        transport = PodTransport(entered, self._asked)
        for tried in look_up(self.request.name, self.request.types, conf, transport, SystemRandom()):
            self.tried.append(tried)
            if self._stopping.is_set():
                return

    def _rename(self, journey: Journey) -> None:
        """What the agent asked from within the pod is the pod's."""
        if self.request.watch:
            return
        target = self.target
        for attempt in journey.attempts:
            for hop in attempt.hops:
                if hop.depth == 0:
                    hop.client = target.client(hop.client)
        journey.client = target.client(journey.client)

    def _conclude(self) -> None:
        say = self.printer.status
        if not self.journeys:
            say("nothing was seen of it" if self.tried else f"no lookup of {self.request.name} was seen")
            for tried in self.tried:
                reply = tried.reply
                say(f"  {tried.question.name} {tried.question.type}: {reply.rcode or reply.problem}")
        if len(self.journeys) > 1:
            say(paths_text(self.journeys))
        for line in advice_of(self.journeys, self.target, self.directory):
            say(f"try: {line}")


def _conf_text(conf: ResolvConf) -> str:
    search = f"; search {' '.join(conf.search)}" if conf.search else ""
    return f"its resolv.conf: nameserver {' '.join(conf.nameservers)}{search}; ndots {conf.ndots}"


def _failed(journey: Journey) -> bool:
    return journey.status != "answered" or journey.rcode != "NOERROR"
