"""Why an agent does not run, and the way out: from refusals of the API server and from a pod's status."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from msgspec import Struct, field

from kdns_ebpf.manifest import Placement
from kdns_ebpf.options import AgentOptions
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, ClusterError, KdnsError
from kubectl_kdns.kube.objects import Meta

NO_RIGHTS, NO_CGROUP = 3, 4
_IMAGE_REASONS = (
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ImageInspectError",
)


class _Waiting(Struct):
    reason: str = ""
    message: str = ""


class _Terminated(Struct, rename="camel"):
    exit_code: int = 0
    reason: str = ""
    message: str = ""


class _State(Struct):
    waiting: _Waiting | None = None
    running: dict[str, str] | None = None
    terminated: _Terminated | None = None


class _ContainerStatus(Struct):
    state: _State = field(default_factory=_State)


class _PodStatus(Struct, rename="camel"):
    phase: str = ""
    reason: str = ""
    message: str = ""
    container_statuses: list[_ContainerStatus] | None = None


class _PodSpec(Struct, rename="camel"):
    node_name: str = ""


class AgentPod(Struct):
    """A pod of ours, as far as it matters here."""

    metadata: Meta = field(default_factory=Meta)
    spec: _PodSpec = field(default_factory=_PodSpec)
    status: _PodStatus = field(default_factory=_PodStatus)

    @property
    def state(self) -> _State:
        statuses = self.status.container_statuses
        return statuses[0].state if statuses else _State()

    @property
    def is_running(self) -> bool:
        return self.state.running is not None

    @property
    def over(self) -> bool:
        return self.state.terminated is not None or self.status.phase in ("Succeeded", "Failed")


def refused(error: KdnsError, options: AgentOptions, node: str) -> KdnsError:
    """The error of a request that was to create something, with the way out."""
    cause = error.cause
    if found := not_admitted(cause, options, node):
        return found
    if isinstance(error, ClusterError) and error.status == 403:
        return BackendError(
            error.what, cause=_shorter(cause), hint="kubectl kdns backends ebpf --rbac (what it needs)"
        )
    if isinstance(error, ClusterError) and error.status == 404 and "namespaces" in cause:
        return BackendError(
            f"there is no namespace {options.namespace}", hint="--agent-namespace NS with one that exists"
        )
    return error


def no_pod(warnings: Sequence[str], options: AgentOptions, node: str, job: str) -> KdnsError:
    """Why a Job has no pod, by the `warnings` of its events.

    The Job itself was taken: Pod Security, quotas and most webhooks look at pods only.
    """
    cause = warnings[-1] if warnings else ""
    return not_admitted(cause, options, node) or BackendError(
        f"no pod was made for the agent on node {safe_text(node)}",
        cause=_shorter(cause),
        hint=f"kubectl -n {options.namespace} describe job {job}",
    )


def not_starting(warnings: Sequence[str], options: AgentOptions, node: str, pod: str) -> KdnsError:
    """A pod that has not started for long, with the last of its `warnings`."""
    return BackendError(
        f"the agent on node {safe_text(node)} does not start",
        cause=_shorter(warnings[-1]) if warnings else "the kubelet does not say why",
        hint=f"kubectl -n {options.namespace} describe pod {safe_text(pod)}",
    )


def no_room(
    where: Placement, options: AgentOptions, agents: int, architectures: Collection[str]
) -> KdnsError | None:
    """Why a node that joins gets no agent, with so many `agents` of these architectures there already."""
    if agents >= options.max_nodes:
        return BackendError(
            f"node {safe_text(where.node)} has joined, and gets no agent",
            cause=f"{agents} nodes have one, and that is the limit",
            hint=f"--max-nodes {2 * agents}",
        )
    if where.architecture not in architectures:
        return BackendError(
            f"node {safe_text(where.node)} has joined, and gets no agent",
            cause=f"no node was {where.architecture} when this began, so that agent was left at home",
            hint="start kdns again",
        )
    return None


def not_admitted(cause: str, options: AgentOptions, node: str) -> KdnsError | None:
    """What the API server or the Job controller was told when it was to create a Job, ConfigMap or pod."""
    where = f"the agent on node {safe_text(node)} was refused"
    if "violates PodSecurity" in cause or "PodSecurity" in cause:
        return BackendError(
            f"{where} by Pod Security in namespace {options.namespace}",
            cause=_shorter(cause),
            hint="--agent-namespace NS with a namespace of level privileged: kubectl label namespace NS "
            "pod-security.kubernetes.io/enforce=privileged",
        )
    if "exceeded quota" in cause:
        return BackendError(
            f"{where} by a quota of namespace {options.namespace}",
            cause=_shorter(cause),
            hint=f"kubectl -n {options.namespace} describe quota, or --agent-namespace NS",
        )
    if match := re.search(r'admission webhook "([^"]+)" denied the request:? ?(.*)', cause, re.S):
        return BackendError(
            f"{where} by the admission webhook {match[1]}",
            cause=_shorter(match[2]) or "it gives no reason",
            hint="--agent-namespace NS with a namespace that it leaves alone, or ask who runs it",
        )
    if "no PriorityClass with name" in cause:
        return BackendError(where, cause=_shorter(cause), hint="kubectl get priorityclass")
    if "LimitRange" in cause or re.search(r"(maximum|minimum) (cpu|memory) usage per", cause):
        return BackendError(
            f"{where} by a LimitRange of namespace {options.namespace}",
            cause=_shorter(cause),
            hint="--agent-cpu, --agent-memory, or --agent-namespace NS",
        )
    return None


def trouble(pod: AgentPod, options: AgentOptions) -> KdnsError | None:
    """Why this pod will not run, or has ended; None while it may still come."""
    node = safe_text(pod.spec.node_name)
    name = f"{options.namespace}/{safe_text(pod.metadata.name)}"
    state = pod.state
    if state.waiting and (found := _waiting(state.waiting, node, name)):
        return found
    # Before how the container ended: of an evicted pod that says no more than that it was killed.
    if pod.status.phase == "Failed" and pod.status.reason:
        return _pod_failed(pod.status, node, name)
    if state.terminated:
        return _terminated(state.terminated, node, name)
    return _pod_failed(pod.status, node, name) if pod.status.phase == "Failed" else None


def _pod_failed(status: _PodStatus, node: str, name: str) -> KdnsError:
    namespace, _, pod = name.partition("/")
    reason = safe_text(status.reason or "it does not say why")
    hint = f"kubectl -n {namespace} describe pod {pod}"
    if status.reason == "Evicted":
        hint = f"kubectl describe node {node} (it is short of something), or --priority-class"
    elif status.reason == "DeadlineExceeded":
        hint = "a longer --agent-lifetime"
    elif status.reason.startswith("OutOf"):
        hint = f"--priority-class, or kubectl describe node {node} (what takes all of it)"
    elif status.reason == "NodeAffinity":
        hint = f"kubectl get node {node} --show-labels"
    elif status.reason in ("NodeLost", "Shutdown", "Terminated", "NodeShutdown"):
        hint = f"kubectl get node {node}"
    return BackendError(
        f"the agent on node {node} failed: {reason}", cause=_shorter(status.message), hint=hint
    )


def _waiting(waiting: _Waiting, node: str, name: str) -> KdnsError | None:
    reason, cause = waiting.reason, _shorter(waiting.message)
    namespace, _, pod = name.partition("/")
    describe = f"kubectl -n {namespace} describe pod {pod}"
    if reason in _IMAGE_REASONS:
        return BackendError(
            f"node {node} has no image for the agent: {reason}",
            cause=cause,
            hint="--image IMAGE with one that it has or may pull (any: nothing of it is run), "
            "with --image-pull-secret NAME where that needs a secret",
        )
    if reason in ("CreateContainerError", "RunContainerError") or "permission denied" in cause:
        return _not_started(node, cause)
    if reason == "CreateContainerConfigError":
        return BackendError(f"the agent on node {node} cannot be started", cause=cause, hint=describe)
    return None


def _terminated(ended: _Terminated, node: str, name: str) -> KdnsError:
    namespace, _, pod = name.partition("/")
    # Its last lines, by terminationMessagePolicy.
    said = [line.removeprefix("kdns-agent: ") for line in ended.message.splitlines() if line.strip()]
    words = _shorter(said[-1]) if said else ""
    if ended.reason in ("StartError", "ContainerCannotRun"):
        return _not_started(node, _shorter(ended.message))
    if ended.reason == "OOMKilled":
        return BackendError(f"the agent on node {node} had too little memory", hint="--agent-memory 256Mi")
    if ended.exit_code == NO_RIGHTS:
        return BackendError(
            f"node {node} does not allow the agent to watch",
            cause=words,
            hint="--privileged (for nodes that give containers no BPF capabilities)",
        )
    if ended.exit_code == NO_CGROUP:
        return BackendError(
            f"node {node} has no cgroup v2 that the agent can watch",
            cause=words,
            hint=f"kubectl debug node/{node} -it --image=busybox -- stat -f /sys/fs/cgroup",
        )
    return BackendError(
        f"the agent on node {node} ended with status {ended.exit_code}",
        cause=words or safe_text(ended.reason),
        hint=f"kubectl -n {namespace} logs {pod}",
    )


def _not_started(node: str, cause: str) -> KdnsError:
    if "exec format error" in cause:
        return BackendError(
            f"node {node} cannot run the agent: it is for another architecture",
            cause=cause,
            hint=f"kubectl get node {node} -o jsonpath='{{.status.nodeInfo.architecture}}'",
        )
    if "permission denied" in cause or "operation not permitted" in cause:
        return BackendError(
            f"node {node} does not let the agent run from a ConfigMap",
            cause=f"{cause}; /var/lib/kubelet may be mounted noexec",
            hint=f"on {node}: mount -o remount,exec /var/lib/kubelet, or kubectl-kdns trace --local",
        )
    return BackendError(f"node {node} cannot start the agent", cause=cause, hint="--image IMAGE")


def _shorter(text: str) -> str:
    text = safe_text(" ".join(text.split()))
    return text if len(text) <= 400 else text[:400] + "..."
