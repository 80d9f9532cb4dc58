"""Checks of Corefiles as a whole: that CoreDNS takes them, that they are live, that `log` can work."""

from __future__ import annotations

from collections.abc import Iterator

from kdns_coredns.doctor_facts import CorednsFacts, CorefileFacts, pod_target
from kdns_coredns.log_settings import LOG_MISCONFIGURED
from kdns_coredns.notes import REJECTED, RELOADED
from kdns_coredns.pods import CorednsPod
from kubectl_kdns.doctor import (
    Unread,
    Verdict,
    check,
    counted,
    failure,
    info,
    known,
    ok,
    unknown,
    warning,
)
from kubectl_kdns.times import NS_PER_S, format_duration

TOPIC = "Corefile"
NEEDS = ("corefiles", "services", "kubelets")
TAKES_NS = 180 * NS_PER_S
"""A kubelet hands a ConfigMap on within 90 s, `reload` looks every 30 s to 45 s; and some to spare."""


def parsed(facts: CorednsFacts) -> Iterator[CorefileFacts]:
    """Those that can be judged; what keeps the others from it is said once, by corefile-parses."""
    return (each for each in known(facts.corefiles) if not isinstance(each.corefile, Unread))


@check(
    "corefile-parses",
    topic=TOPIC,
    help="CoreDNS would take the Corefile that is in the ConfigMap",
    worst="failure",
    needs=NEEDS,
    fix="The line that is named, or the ConfigMap of before",
)
def corefile_parses(facts: CorednsFacts) -> Iterator[Verdict]:
    for pod in facts.coredns:
        if pod.config is None:
            yield unknown(pod_target(pod), "its Corefile is in no ConfigMap, so nobody can read it from here")
    for each in known(facts.corefiles):
        if each.gone:
            yield failure(
                each.target,
                f"{each.gone}: pods that run still have the one of before, new ones cannot start",
                f"kubectl -n {each.source.namespace} get configmap {each.source.name} -o yaml",
            )
        elif each.mistake:
            yield failure(
                each.target,
                f"{each.mistake}: CoreDNS refuses it; pods that run keep the one of before, new ones crash",
                each.edit,
            )
        elif isinstance(each.corefile, Unread):
            yield unknown(each.target, each.corefile.reason, each.corefile.fix)
        elif each.corefile.missing:
            imports = ", ".join(each.corefile.missing)
            yield unknown(each.target, f"what it imports is not known: {imports}")
        else:
            yield ok(each.target, counted(len(each.corefile.blocks), "server block"))


@check(
    "corefile-live",
    topic=TOPIC,
    help="Every pod runs the Corefile that is in the ConfigMap",
    worst="failure",
    needs=(*NEEDS, "reloads"),
    fix="kubectl rollout restart, or what the pod's log says about the new Corefile",
)
def corefile_live(facts: CorednsFacts) -> Iterator[Verdict]:
    for each in parsed(facts):
        stale = stale_pods(each)
        ago_ns = facts.now_ns - each.changed_ns
        ago = f"the ConfigMap was changed {format_duration(max(ago_ns, 0))} ago"
        if not stale:
            yield ok(each.target, f"every pod was started after the last change ({ago})")
            continue
        if each.settings.reload_ns is None and not known(each.corefile).missing:
            pod = stale[0]
            owner = (
                f"{pod.workload.kind.lower()} {pod.workload.name}" if pod.workload else "deployment coredns"
            )
            yield warning(
                each.target,
                f"{ago}, and {counted(len(stale), 'pod')} started before cannot see it: no `reload`",
                f"kubectl -n {pod.namespace} rollout restart {owner}",
            )
            continue
        reloads = known(facts.reloads)
        for pod in stale:
            said = reloads.get(pod.uid, "")
            logs = f"kubectl -n {pod.namespace} logs {pod.name} -c {pod.container} | grep -i reload"
            if said == REJECTED:
                yield failure(pod_target(pod), f"{ago}; its log says that it refused the new Corefile", logs)
            elif said == RELOADED:
                yield ok(pod_target(pod), f"{ago}, and its log says that it reloaded since")
            elif ago_ns < TAKES_NS:
                yield info(pod_target(pod), f"{ago}: it takes up to {format_duration(TAKES_NS)} to get there")
            else:
                why = (
                    said.reason if isinstance(said, Unread) else "its log does not say that it reloaded since"
                )
                yield unknown(pod_target(pod), f"{ago}; {why}", logs)


def stale_pods(corefile: CorefileFacts) -> list[CorednsPod]:
    """Those that run, and did already when their ConfigMap was changed."""
    return [pod for pod in corefile.pods if 0 < pod.condition.started_ns < corefile.changed_ns]


@check(
    "corefile-log",
    topic=TOPIC,
    help="`log`, where it is there, logs what it seems to",
    worst="warning",
    needs=NEEDS,
    fix="The line as it should be",
)
def corefile_log(facts: CorednsFacts) -> Iterator[Verdict]:
    for each in parsed(facts):
        wrong = [one for one in each.settings.problems if one.code == LOG_MISCONFIGURED and one.line]
        for problem in wrong:
            yield warning(each.target, problem.message, f"{problem.fix}  ({each.edit})")
        if not wrong:
            yield ok(each.target, "the log is off" if each.settings.is_off else "the log can be read")


CHECKS = (corefile_parses, corefile_live, corefile_log)
