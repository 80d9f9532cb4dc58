"""A LiveFlows that runs in a thread of its own, what it gives, and what it must not leave behind."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

from kdns_hubble.dial import Dialer
from kdns_hubble.flow_filter import FlowFilter
from kdns_hubble.live_flows import LiveFlows
from kdns_hubble.observer import Dial
from kdns_hubble.options import HubbleOptions
from kubectl_kdns.backend import Scope
from kubectl_kdns.model import Lookup, Loss, Notice, Record
from support.hubble_flows import Pod, request, response
from support.hubble_server import HubbleServer

DNS = [FlowFilter(protocol=("dns",))]


def threads() -> set[str]:
    """Those of the backend, by name; the server's pool has numbers."""
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if name.startswith(("hubble-", "kdns-"))}


def node_pod(node: str) -> Pod:
    """A client on that node."""
    return Pod(f"client-{node}", "10.244.1.93", "lab", node=node, workload=("client", "DaemonSet"))


def exchange(server: HubbleServer, node: str, *names: str, answered: bool = True) -> None:
    """Answered queries for these names, from a pod on that node, seen now."""
    for number, name in enumerate(names):
        asked = request(
            f"{name}.", client=node_pod(node), port=1024 + number % 60000, time_ns=server.clock.now_ns()
        )
        flows = [asked, response(asked, ips=["192.0.2.1"], after_ns=1000)] if answered else [asked]
        server.node(node).add(*flows)


class Run:
    """Collects what a LiveFlows gives. `with` it: at its end it is closed, and has ended soon after."""

    def __init__(
        self,
        server: HubbleServer | None = None,
        *,
        dial: Dial | None = None,
        exact: bool = True,
        advise: Callable[[], str] = lambda: "nothing",
        clock_ns: Callable[[], int] = time.time_ns,
        options: dict[str, Any] | None = None,
        **scope: Any,
    ) -> None:
        if dial is None:
            assert server is not None
            flags = {"hubble_server": server.address, **(options or {})}
            dial = Dialer(None, HubbleOptions.of(flags), DNS, raw=bool(scope.get("raw")))
        self.source = LiveFlows(dial, Scope(**scope), exact=exact, advise=advise, clock_ns=clock_ns)
        self.records: list[Record] = []
        self.batches: list[list[Record]] = []
        self.failure: BaseException | None = None
        self.has_ended = False
        self.changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="run", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.source.close()
        self._thread.join(10)
        assert self.has_ended

    def _run(self) -> None:
        try:
            for batch in self.source:
                with self.changed:
                    self.records += batch
                    self.batches.append(batch)
                    self.changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - a test looks at it
            self.failure = error
        with self.changed:
            self.has_ended = True
            self.changed.notify_all()

    def wait_for(self, happened: Callable[[Run], object], timeout_s: float = 20) -> None:
        """Looks after each batch, and now and then: a history may be read without one."""
        until_s = time.monotonic() + timeout_s
        with self.changed:
            while not happened(self):
                seen = f"records: {self.records[-20:]}"
                assert not self.has_ended, f"ended before it happened: {self.failure!r}; {seen}"
                assert time.monotonic() < until_s, f"did not happen within {timeout_s} s; {seen}"
                self.changed.wait(0.02)

    def wait_for_end(self, timeout_s: float = 20) -> None:
        self.wait_for(lambda run: run.has_ended, timeout_s)

    def wait_for_names(self, *names: str, timeout_s: float = 20) -> None:
        self.wait_for(lambda run: set(names) <= run.names().keys(), timeout_s)

    def wait_for_notice(self, code: str, times: int = 1) -> None:
        self.wait_for(lambda run: run.codes()[code] >= times)

    def names(self) -> Counter[str]:
        """How often each name was looked up."""
        return Counter(str(r.dns.name) for r in self.lookups() if r.dns)

    def lookups(self) -> list[Lookup]:
        return [record for record in list(self.records) if isinstance(record, Lookup)]

    def losses(self) -> list[Loss]:
        return [record for record in list(self.records) if isinstance(record, Loss)]

    def codes(self) -> Counter[str]:
        """How often there was which notice."""
        return Counter(str(r.code) for r in list(self.records) if isinstance(r, Notice))

    def messages(self, code: str) -> list[str]:
        return [str(r.message) for r in list(self.records) if isinstance(r, Notice) and r.code == code]


def end_of(left: Callable[[], object], timeout_s: float = 5) -> None:
    """Waits until there is nothing left; AssertionError with what is."""
    until_s = time.monotonic() + timeout_s
    while still := left():
        assert time.monotonic() < until_s, f"left behind: {still}"
        time.sleep(0.01)
