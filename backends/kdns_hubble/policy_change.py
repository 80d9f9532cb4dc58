"""Shows the DNS of pods for a while: the visibility policy, shown, made, proven and taken away."""

from __future__ import annotations

import difflib
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from kdns_hubble.cilium import CONFIG_MAP, CiliumState, find_cilium
from kdns_hubble.cnp import Rule
from kdns_hubble.dns_servers import dns_servers, namespace_labels
from kdns_hubble.policy import KIND, MARK, NAME, Verdict, document, judge, policy_object, way_round
from kdns_hubble.policy_session import (
    marks,
    new_session,
    policies_path,
    policy_name,
    session_of,
    take_away,
)
from kdns_hubble.visibility import (
    CILIUM_POLICIES,
    Policies,
    Visibility,
    count_pods,
    pods_text,
    read_cilium_policies,
    read_kubernetes_policies,
    read_pods,
)
from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import BackendError, ConflictError, ForbiddenError, NotFoundError
from kubectl_kdns.filter.selector import Selector, parse_selector
from kubectl_kdns.kube import Cluster
from kubectl_kdns.model import Record
from kubectl_kdns.ownership import Ownership
from kubectl_kdns.times import NS_PER_S

VALID_WAIT_NS = 10 * NS_PER_S
VALID_POLL_S = 0.2
MODERN = (1, 16)
"""The first Cilium with enableDefaultDeny, and whose operator says whether a policy is valid."""
PROXY_NOTE = (
    "while it is there, the DNS of these pods goes through Cilium's DNS proxy: it fails for some seconds "
    "when a Cilium agent restarts, and the proxy keeps up with some 800 queries a second on one node"
)
OLD_NOTE = (
    "this Cilium denies all that a policy does not allow, so this one allows all egress as well: a policy "
    "that would restrict these pods has no effect while it is there"
)
UNKNOWN_NOTE = (
    "the version of this Cilium is not known; before 1.16 it has no enableDefaultDeny, and its API server "
    "refuses this policy (never switch kubectl's --validate off for it)"
)


@dataclass
class PolicyChange:
    """The visibility policy of one namespace; fulfils kubectl_kdns.change.Change.

    `policy` is None when the DNS of all its pods is visible already. `validates`: Cilium's operator says in
    the policy's status what it thinks of it.
    """

    cluster: Cluster
    namespace: str
    selector: str
    policy: Mapping[str, Any] | None
    visibility: Visibility
    notes: Sequence[str]
    lasts_ns: int
    validates: bool = True
    now_ns: Callable[[], int] = time.time_ns
    sleep: Callable[[float], object] = time.sleep

    def __post_init__(self) -> None:
        self.session = secrets.token_hex(4)
        self._written = False
        self._name = policy_name(self.namespace)
        self.title = f"show the DNS of {pods_text(self.namespace, self.selector)} by {self._name}"

    def document(self) -> str:
        """The policy as YAML for `kubectl apply -f -`, with a comment; "" when there is nothing to do."""
        return document(self.policy, pods_text(self.namespace, self.selector)) if self.policy else ""

    def diff(self) -> str:
        """Raises BackendError when a policy of that name is there already, with who has made it."""
        self._refuse_existing()
        if self.policy is None:
            return ""
        lines = yaml.safe_dump(dict(self.policy), sort_keys=False).splitlines()
        return "\n".join(difflib.unified_diff([], lines, "(nothing)", self._name, lineterm=""))

    def manifest(self) -> Any:
        if self.policy is None:
            return {}
        session = new_session(self.session, self.lasts_ns, self.now_ns())
        return {**self.policy, "metadata": {**self.policy["metadata"], **marks(session)}}

    def apply(self, *, dry_run: bool = False) -> None:
        """Makes the policy, and waits for Cilium's word that it is valid.

        Its agents then have it within a second (measured: 0.5 s from here to the first flow).
        """
        if self.policy is None:
            return
        # Strict: a field that this Cilium does not know must not be dropped in silence, for without
        # enableDefaultDeny the policy would cut off all other traffic.
        query = {"fieldValidation": "Strict", "dryRun": "All" if dry_run else None}
        # From here on the answer may get lost on its way, so revert has to look.
        self._written = not dry_run
        try:
            self.cluster.request("POST", policies_path(self.namespace), query=query, body=self.manifest())
        except ConflictError:
            self._refuse_existing()
            raise
        if not dry_run and self.validates:
            self._await_validation()

    def observe(self, record: Record) -> None:
        """Nothing in the records proves more than Cilium's own word, which `apply` has waited for."""

    def waiting_for(self) -> Sequence[str]:
        return ()

    def revert(self) -> str:
        if not self._written:
            return "nothing was changed"
        done = take_away(self.cluster, self.namespace, self.session)
        self._written = False
        return done

    def _refuse_existing(self) -> None:
        """Raises BackendError when there is a policy of our name, with whose it is.

        One made by hand to stay, which shows all that is asked for, is nobody's to take away, and fine.
        """
        try:
            found = self.cluster.get(f"{policies_path(self.namespace)}/{NAME}")
        except NotFoundError:
            return
        session = session_of(found)
        if session is None and self.policy is None:
            return
        if session is None:
            who, hint = "it was made by hand", f"kubectl -n {self.namespace} delete {KIND.lower()} {NAME}"
        elif who := session.in_use(self.now_ns()):
            hint = f"kubectl kdns trace --backend hubble -n {self.namespace}"
        else:
            who, hint = f"left by {session.owner}, which is gone", "kubectl kdns cleanup"
        raise BackendError(f"{self._name} is there already", cause=who, hint=hint)

    def _await_validation(self) -> None:
        """Until Cilium's operator has said what it thinks of the policy; without a word from it, goes on."""
        end_ns = self.now_ns() + VALID_WAIT_NS
        while self.now_ns() < end_ns:
            found = self.cluster.get(f"{policies_path(self.namespace)}/{NAME}")
            for condition in (found.get("status") or {}).get("conditions") or ():
                if condition.get("type") == "Valid" and condition.get("status") == "True":
                    return
                if condition.get("type") == "Valid" and condition.get("status") == "False":
                    raise BackendError(
                        f"Cilium does not take {self._name}",
                        cause=safe_text(str(condition.get("message", ""))),
                    )
            self.sleep(VALID_POLL_S)


def make_change(
    cluster: Cluster,
    settings: Mapping[str, Any],
    options: Mapping[str, Any],  # noqa: ARG001 - how to reach Hubble is nothing to a policy
) -> PolicyChange:
    """The policy for pods of this cluster. `settings`: namespace, selector (as -l), to, lasts_ns.

    Raises BackendError where there is no Cilium that could, or where the policy would change what is allowed.
    """
    namespace, text = settings["namespace"], settings.get("selector", "")
    selector = parse_selector(text)
    cilium = _usable_cilium(cluster)
    config = _config(cluster, cilium.namespace)
    policies = read_cilium_policies(cluster, (namespace,))
    servers = dns_servers(cluster, namespace, settings.get("to", ()))
    labels = namespace_labels(cluster, namespace)
    pods = read_pods(cluster, (namespace,), selector)
    visibility = count_pods(pods, policies, servers, {} if labels is None else {namespace: labels})
    notes = [visibility.evidence]
    policy = None
    recent = not any(cilium.release) or cilium.release >= MODERN
    if not visibility.covered or visibility.not_covered or visibility.not_known:
        modern = recent and config.get("enable-non-default-deny-policies", "true") != "false"
        verdict = judge(
            selector.requirements,
            _all_rules(policies, read_kubernetes_policies(cluster, namespace)),
            servers,
            namespace=namespace,
            namespace_labels=labels,
            denies_nothing_extra=modern,
            always_enforced=config.get("enable-policy") == "always",
        )
        policy = _policy(verdict, namespace, selector, modern)
        notes += [f"not shown: {text}" for text in verdict.texts]
        notes += [PROXY_NOTE, *([] if modern else [OLD_NOTE])]
        notes += [UNKNOWN_NOTE] if modern and not any(cilium.release) else []
    return PolicyChange(
        cluster, namespace, text, policy, visibility, notes, settings.get("lasts_ns", 0), validates=recent
    )


def _usable_cilium(cluster: Cluster) -> CiliumState:
    cilium = find_cilium(cluster)
    if not cilium.present and not cilium.denied:
        raise BackendError(
            "there is no Cilium here, and it is Cilium's policies that show DNS",
            hint="kubectl kdns backends (what can see DNS here)",
        )
    if cilium.flavour == "gke" or cilium.l7_proxy is False:
        cause = "GKE Dataplane V2 has none" if cilium.flavour == "gke" else "enable-l7-proxy is false"
        raise BackendError("this Cilium cannot show DNS", cause=f"its L7 proxy is off: {cause}")
    return cilium


def _config(cluster: Cluster, namespace: str) -> Mapping[str, str]:
    """Cilium's settings, {} when they may not be read; BackendError when policies are not enforced."""
    try:
        found = cluster.get(f"/api/v1/namespaces/{namespace}/configmaps/{CONFIG_MAP}")
    except (ForbiddenError, NotFoundError):
        return {}
    config: dict[str, str] = found.get("data") or {}
    if config.get("enable-policy") == "never":
        raise BackendError(
            "this Cilium enforces no policies, so none can show DNS",
            cause="its setting enable-policy is never",
        )
    return config


def _all_rules(*read: Policies) -> tuple[Rule, ...]:
    """The rules of all policies. BackendError when some could not be read: then nobody can tell."""
    for policies in read:
        if policies.denied:
            raise BackendError(
                "whether a visibility policy would change what is allowed cannot be told",
                cause=f"not allowed to {policies.denied[0].right}",
                hint=policies.denied[0].hint,
            )
    return tuple(rule for policies in read for rule in policies.rules)


def _policy(verdict: Verdict, namespace: str, selector: Selector, modern: bool) -> dict[str, Any]:
    if verdict.grants:
        return policy_object(namespace, selector.requirements, verdict.grants, denies_nothing_extra=modern)
    way = way_round(verdict.obstacles)
    here = f"kubectl kdns hubble policy -n {namespace} {way}   (the other pods)"
    look = f"kubectl -n {namespace} get ciliumnetworkpolicies,networkpolicies -o yaml"
    raise BackendError(
        "a visibility policy for these pods would allow what is denied now",
        cause="; ".join(verdict.texts),
        hint=here if way else look,
    )


@dataclass(frozen=True)
class LeftPolicy:
    """A visibility policy that is still there; fulfils kubectl_kdns.change.Leftover."""

    cluster: Cluster
    namespace: str
    session: Ownership
    in_use: str

    @property
    def description(self) -> str:
        where = policy_name(self.namespace)
        return f"{where}, made by {self.session.owner} at {self.session.started} to show DNS in Hubble"

    def heal(self) -> str:
        return take_away(self.cluster, self.namespace, self.session.session)


def left_policies(cluster: Cluster, now_ns: Callable[[], int] = time.time_ns) -> list[LeftPolicy]:
    """Every policy with our mark: in all namespaces, or the context's when not all may be listed.

    None without Cilium, and none for who has no right to its policies: they cannot have left one.
    """
    items: Sequence[Any] = ()
    for path in (CILIUM_POLICIES.format(""), policies_path(cluster.namespace)):
        try:
            items = cluster.list(path, labelSelector=MARK).items
            break
        except NotFoundError:
            break
        except ForbiddenError as error:
            if error.status == 401:
                raise
    found = [(item["metadata"]["namespace"], session) for item in items if (session := session_of(item))]
    return [LeftPolicy(cluster, name, session, session.in_use(now_ns())) for name, session in found]
