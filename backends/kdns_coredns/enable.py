"""Switches CoreDNS's log on for a while, in the ConfigMap that its pods mount, and off again.

The old Corefile is kept in an annotation before anything else changes, so that `kubectl kdns cleanup` can
undo what a killed kdns could not. Every write carries the resourceVersion that was read: a change by
somebody else in between is never overwritten.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from msgspec import UNSET

from kdns_coredns.configs import owner_of_corefile
from kdns_coredns.corefile import parse_corefile
from kdns_coredns.discover import ConfigSource, CorednsPod, discover
from kdns_coredns.log_settings import log_settings
from kdns_coredns.switch import (
    ANNOTATION,
    LABEL,
    SwitchState,
    diff,
    state_of_json,
    with_log,
    without_log,
)
from kubectl_kdns.errors import BackendError, ClusterError, ConflictError
from kubectl_kdns.kube import MERGE_PATCH, Cluster
from kubectl_kdns.model import Notice, Record
from kubectl_kdns.times import NS_PER_S

ATTEMPTS = 5


def config_path(namespace: str, name: str) -> str:
    return f"/api/v1/namespaces/{namespace}/configmaps/{name}"


@dataclass
class LogSwitch:
    """The change of one ConfigMap; fulfils kubectl_kdns.change.Change."""

    cluster: Cluster
    source: ConfigSource
    pods: Sequence[CorednsPod]
    classes: Sequence[str]
    lasts_ns: int
    config: Any
    now_ns: Callable[[], int] = time.time_ns

    def __post_init__(self) -> None:
        self.session = secrets.token_hex(4)
        self._path = config_path(self.source.namespace, self.source.name)
        self._name = f"configmap {self.source.namespace}/{self.source.name}"
        self._old = self._corefile(self.config)
        self._new = with_log(self._old, self.classes, self.session)
        reloads = log_settings(parse_corefile(self._old)).reload_ns is not None
        self._waiting = [pod.name for pod in self.pods] if reloads else []
        self.notes = () if reloads else (self._no_reload(),)
        self._written = False
        self.title = f"switch the log on ({', '.join(self.classes)}) in {self._name}"

    def _corefile(self, config: Any) -> str:
        try:
            return str(config["data"][self.source.key])
        except (KeyError, TypeError):
            raise BackendError(f"{self._name} has no key {self.source.key}") from None

    def _no_reload(self) -> str:
        owner = self.pods[0].workload if self.pods else UNSET
        what = f"{owner.kind.lower()} {owner.name}" if owner else "deployment coredns"
        return (
            f"{', '.join(pod.name for pod in self.pods)}: no `reload` in the Corefile, so the change and its "
            f"end are seen only after: kubectl -n {self.source.namespace} rollout restart {what}"
        )

    def diff(self) -> str:
        return diff(self._old, self._new, f"{self._name} {self.source.key}")

    def manifest(self) -> Any:
        changed = dict(self.config)
        changed["data"] = {**self.config["data"], self.source.key: self._new}
        changed["metadata"] = {
            key: value for key, value in self.config["metadata"].items() if key != "managedFields"
        }
        return changed

    def waiting_for(self) -> Sequence[str]:
        return self._waiting

    def observe(self, record: Record) -> None:
        if (
            isinstance(record, Notice)
            and record.code == "corefile_reloaded"
            and isinstance(record.message, str)
        ):
            self._waiting = [pod for pod in self._waiting if not record.message.startswith(f"{pod}:")]

    def apply(self, *, dry_run: bool = False) -> None:
        if self._new == self._old:
            self._waiting = []
            return
        annotations = self.config["metadata"].get("annotations") or {}
        state = state_of_json(annotations.get(ANNOTATION, ""))
        if state:
            who = state.in_use(self.now_ns()) or f"left by {state.owner}, which is gone"
            raise BackendError(
                f"the log is switched on already in {self._name}", cause=who, hint="kubectl kdns cleanup"
            )
        now_ns = self.now_ns()
        state = SwitchState.of_this_process(
            self.session,
            now_ns,
            now_ns + self.lasts_ns + 180 * NS_PER_S,
            key=self.source.key,
            original=self._old,
            written=self._new,
        )
        body = {
            "metadata": {
                "resourceVersion": self.config["metadata"]["resourceVersion"],
                "annotations": {ANNOTATION: state.to_json()},
                "labels": {LABEL: self.session},
            },
            "data": {self.source.key: self._new},
        }
        # From here on the answer may get lost on its way, so revert has to look.
        self._written = not dry_run
        try:
            self._patch(body, dry_run=dry_run)
        except ConflictError as error:
            raise BackendError(
                f"{self._name} was changed by somebody else just now", hint="the same command again"
            ) from error

    def _patch(self, body: Any, *, dry_run: bool = False) -> None:
        query = {"dryRun": "All"} if dry_run else None
        self.cluster.request("PATCH", self._path, query=query, body=body, content_type=MERGE_PATCH)

    def revert(self) -> str:
        if not self._written:
            return "nothing was changed"
        done = undo(self.cluster, self.source.namespace, self.source.name, self.session)
        self._written = False
        return done


def undo(cluster: Cluster, namespace: str, name: str, session: str) -> str:
    """Takes one session's switch out of a ConfigMap, and says what was done. Raises KdnsError.

    When the Corefile is still what we wrote it becomes what it was, byte for byte; when somebody else has
    changed it, only our lines go.
    """
    path = config_path(namespace, name)
    where = f"configmap {namespace}/{name}"
    for attempt in range(ATTEMPTS):
        config = cluster.get(path)
        metadata = config["metadata"]
        state = state_of_json((metadata.get("annotations") or {}).get(ANNOTATION, ""))
        if state is None or state.session != session:
            return f"nothing to switch off in {where}"
        current = config["data"].get(state.key, "")
        restored = state.original if current == state.written else without_log(current, session)
        body = {
            "metadata": {
                "resourceVersion": metadata["resourceVersion"],
                "annotations": {ANNOTATION: None},
                "labels": {LABEL: None},
            },
            "data": {state.key: restored},
        }
        try:
            cluster.request("PATCH", path, body=body, content_type=MERGE_PATCH)
        except ConflictError:
            if attempt + 1 == ATTEMPTS:
                raise
            continue
        if current == state.written:
            return f"log switched off: {where} is as it was (CoreDNS follows within about 2 minutes)"
        return f"log switched off: {where} was changed by somebody else meanwhile, only our lines are out"
    raise AssertionError("unreachable: the last attempt returns or raises")


@dataclass(frozen=True)
class LeftSwitch:
    """A log that is still switched on; fulfils kubectl_kdns.change.Leftover."""

    cluster: Cluster
    namespace: str
    name: str
    state: SwitchState
    in_use: str

    @property
    def description(self) -> str:
        return (
            f"CoreDNS's log, switched on at {self.state.started} by {self.state.owner} "
            f"in configmap {self.namespace}/{self.name}"
        )

    def heal(self) -> str:
        return undo(self.cluster, self.namespace, self.name, self.state.session)


def left_switches(cluster: Cluster, now_ns: int) -> list[LeftSwitch]:
    """Every ConfigMap that carries our annotation; in kube-system only when not all may be listed."""
    try:
        items = cluster.list("/api/v1/configmaps", labelSelector=LABEL).items
    except ClusterError:
        items = cluster.list("/api/v1/namespaces/kube-system/configmaps", labelSelector=LABEL).items
    found = []
    for item in items:
        metadata = item["metadata"]
        state = state_of_json((metadata.get("annotations") or {}).get(ANNOTATION, ""))
        if state:
            namespace, name = metadata["namespace"], metadata["name"]
            found.append(LeftSwitch(cluster, namespace, name, state, state.in_use(now_ns)))
    return found


def make_switch(cluster: Cluster, settings: Mapping[str, Any], options: Mapping[str, Any]) -> LogSwitch:
    """The switch for the CoreDNS of this cluster. `settings`: classes, lasts_ns.

    Raises BackendError where there is no one Corefile that is the user's own to change.
    """
    found = discover(cluster, options)
    pods = [pod for pod in found.pods if pod.kind == "coredns"]
    sources = list(dict.fromkeys(pod.config for pod in pods if pod.config))
    if len(sources) != 1:
        names = ", ".join(f"{source.namespace}/{source.name}" for source in sources)
        raise BackendError(
            "which Corefile to change is not clear",
            cause=f"the CoreDNS pods use {len(sources)} ConfigMaps" + (f": {names}" if names else ""),
            hint="--coredns-namespace NAMESPACE --coredns-selector LABEL=VALUE (choose one CoreDNS)",
        )
    source = sources[0]
    config = cluster.get(config_path(source.namespace, source.name))
    if owner := owner_of_corefile(source, config):
        raise BackendError(f"configmap {source.namespace}/{source.name} is not changed by kdns", cause=owner)
    return LogSwitch(cluster, source, pods, settings["classes"], settings["lasts_ns"], config)
