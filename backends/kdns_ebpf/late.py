"""Why an agent does not come: asked of events when time has passed, for nothing else tells of it."""

from __future__ import annotations

from msgspec import Struct

from kdns_ebpf.agent_objects import AgentObjects
from kdns_ebpf.manifest import Placement
from kdns_ebpf.options import AgentOptions
from kdns_ebpf.trouble import no_pod, not_starting
from kubectl_kdns.errors import KdnsError

NO_POD_S, NO_POD_LIMIT_S = 1.5, 15.0
"""When to ask why a Job has no pod yet, and when that is too long even if no event says why."""
NOT_RUNNING_S, NOT_RUNNING_LIMIT_S = 30.0, 180.0
"""The same for a pod that does not start: its image may still be on the way."""


class Agent(Struct):
    """What is known of one node's agent: its Job and the Job's uid, its pod, and what has been told of them.

    Without `is_alive` its Job has ended, or never was, and what that owns goes with it.
    """

    where: Placement
    job: str
    made_s: float
    uid: str = ""
    pod: str = ""
    failed_pod: str = ""
    told_no_pod: bool = False
    told_late: bool = False
    is_running: bool = False
    is_alive: bool = True


def why_late(agent: Agent, age_s: float, objects: AgentObjects, options: AgentOptions) -> KdnsError | None:
    """Once for a pod that was not made, and once for one that does not run; else None."""
    node = agent.where.node
    if not agent.pod and age_s > NO_POD_S and not agent.told_no_pod:
        warnings = objects.warnings("Job", agent.job)
        if (warnings or age_s > NO_POD_LIMIT_S) and not agent.pod:
            agent.told_no_pod = True
            return no_pod(warnings, options, node, agent.job)
    elif agent.pod and age_s > NOT_RUNNING_S and not agent.told_late and agent.failed_pod != agent.pod:
        warnings = objects.warnings("Pod", agent.pod)
        if (warnings or age_s > NOT_RUNNING_LIMIT_S) and not agent.is_running:
            agent.told_late = True
            return not_starting(warnings, options, node, agent.pod)
    return None
