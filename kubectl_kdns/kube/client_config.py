"""The one cluster and user that flags, kubeconfig and a pod's service account choose together.

Flags win over the files, by the rules of client-go's DirectClientConfig. Without any kubeconfig entry, in a
pod, it is the pod's own cluster and service account.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from msgspec import Struct, structs

from kubectl_kdns.errors import ConfigError, did_you_mean
from kubectl_kdns.kube.flags import ConnectionFlags
from kubectl_kdns.kube.kubeconfig import ClusterEntry, Context, Kubeconfig, User

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")

T = TypeVar("T")


class ClientConfig(Struct, frozen=True):
    """`context` is "" when flags or a service account say all; `server` has no slash at its end."""

    context: str
    namespace: str
    server: str
    cluster: ClusterEntry
    user_name: str
    user: User
    files: tuple[str, ...] = ()
    """The kubeconfig files behind it, for the `kubernetes` package."""

    def kubectl(self, command: str) -> str:
        """A kubectl command line that talks to the same cluster, for hints."""
        return f"kubectl --context {self.context} {command}" if self.context else f"kubectl {command}"


def choose(
    config: Kubeconfig, flags: ConnectionFlags, env: Mapping[str, str], account: Path = SERVICE_ACCOUNT
) -> ClientConfig:
    """Raises ConfigError. `account` is where a pod finds its service account."""
    name = flags.context or config.current_context
    context = _entry(config.contexts, name, "context", "--context", config) if name else Context()
    cluster_name, user_name = flags.cluster or context.cluster, flags.user or context.user
    if not cluster_name and not flags.server:
        inside = _in_cluster(env, account)
        if not inside:
            raise _nothing_chosen(config)
        cluster, user, namespace = inside
    else:
        namespace = context.namespace or "default"
        cluster = (
            _entry(config.clusters, cluster_name, "cluster", "--cluster", config)
            if cluster_name
            else ClusterEntry()
        )
        user = _entry(config.users, user_name, "user", "--user", config) if user_name else User()
    cluster, user = _cluster_with(cluster, flags), _user_with(user, flags)
    if cluster.insecure_skip_tls_verify and (
        cluster.certificate_authority or cluster.certificate_authority_data
    ):
        raise ConfigError(
            f"cluster {cluster_name!r} has a certificate authority and insecure-skip-tls-verify",
            cause="it cannot be both checked and not checked",
            hint="take one of the two out of the kubeconfig file",
        )
    if user.token and user.username:
        raise ConfigError(
            f"user {user_name!r} has a token and a user name with password",
            cause="only one of them can be sent",
            hint="take one of the two out of the kubeconfig file or the flags",
        )
    secure = bool(cluster.certificate_authority or cluster.certificate_authority_data)
    server = _server_url(cluster.server, secure or cluster.insecure_skip_tls_verify, cluster_name)
    return ClientConfig(name, namespace, server, cluster, user_name, user, config.files)


def _entry(entries: Mapping[str, T], name: str, what: str, flag: str, config: Kubeconfig) -> T:
    if name in entries:
        return entries[name]
    known = sorted(entries)
    where = f"in {', '.join(config.files)}" if config.files else "because no kubeconfig file was found"
    raise ConfigError(
        f"there is no {what} {name!r} {where}",
        cause=f"{what}s are: {', '.join(map(repr, known))}" if known else f"it has no {what}s at all",
        hint=did_you_mean(name, known) or f"{flag} NAME, or kubectl config get-{what}s",
    )


def _nothing_chosen(config: Kubeconfig) -> ConfigError:
    if config.contexts:
        return ConfigError(
            "kubeconfig has no current context",
            cause=f"contexts are: {', '.join(map(repr, sorted(config.contexts)))}",
            hint=f"--context NAME, or kubectl config use-context {sorted(config.contexts)[0]}",
        )
    if config.files:
        what, cause = f"no cluster is configured in {', '.join(config.files)}", ""
    else:
        what = "no kubeconfig was found"
        cause = f"there is no {' and no '.join(config.absent)}, and this is not a pod"
    return ConfigError(what, cause=cause, hint="--kubeconfig FILE, or export KUBECONFIG=FILE")


def _in_cluster(env: Mapping[str, str], account: Path) -> tuple[ClusterEntry, User, str] | None:
    """The pod's own cluster (k8s.io/client-go/rest InClusterConfig)."""
    host, port = env.get("KUBERNETES_SERVICE_HOST", ""), env.get("KUBERNETES_SERVICE_PORT", "")
    if not host or not port or not (account / "token").exists():
        return None
    host = f"[{host}]" if ":" in host else host
    authority = account / "ca.crt"
    cluster = ClusterEntry(
        server=f"https://{host}:{port}", certificate_authority=str(authority) if authority.exists() else ""
    )
    try:
        namespace = (account / "namespace").read_text().strip()
    except OSError:
        namespace = ""
    return (
        cluster,
        User(token_file=str(account / "token")),
        env.get("POD_NAMESPACE", "") or namespace or "default",
    )


def _cluster_with(cluster: ClusterEntry, flags: ConnectionFlags) -> ClusterEntry:
    if flags.insecure_skip_tls_verify and not flags.certificate_authority:
        cluster = structs.replace(
            cluster,
            insecure_skip_tls_verify=True,
            certificate_authority="",
            certificate_authority_data="",
        )
    if flags.certificate_authority:
        cluster = structs.replace(
            cluster,
            certificate_authority=flags.certificate_authority,
            certificate_authority_data="",
            insecure_skip_tls_verify=flags.insecure_skip_tls_verify,
        )
    if flags.tls_server_name or flags.server:
        # A name in kubeconfig is the name of kubeconfig's server, not of this one.
        cluster = structs.replace(cluster, tls_server_name=flags.tls_server_name)
    return structs.replace(cluster, server=flags.server or cluster.server)


def _user_with(user: User, flags: ConnectionFlags) -> User:
    if flags.token:
        user = structs.replace(user, token=flags.token, token_file="")
    if flags.username or flags.password:
        user = structs.replace(
            user, username=flags.username or user.username, password=flags.password or user.password
        )
    if flags.client_certificate:
        user = structs.replace(user, client_certificate=flags.client_certificate, client_certificate_data="")
    if flags.client_key:
        user = structs.replace(user, client_key=flags.client_key, client_key_data="")
    if flags.as_ or flags.as_uid or flags.as_group or flags.as_user_extra:
        user = structs.replace(
            user,
            as_=flags.as_ or user.as_,
            as_uid=flags.as_uid or user.as_uid,
            as_groups=flags.as_group or user.as_groups,
            as_user_extra=_extra(flags.as_user_extra) or user.as_user_extra,
        )
    if not user.as_ and (user.as_uid or user.as_groups or user.as_user_extra):
        raise ConfigError("groups, a UID or extra values to impersonate, but no user", hint="add --as USER")
    return user


def _extra(pairs: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    extra: dict[str, tuple[str, ...]] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not key or not separator:
            raise ConfigError(f"--as-user-extra {pair!r} is not KEY=VALUE")
        extra[key] = (*extra.get(key, ()), value)
    return extra


def _server_url(server: str, secure: bool, cluster_name: str) -> str:
    """kubectl's reading of an address: `host:port` alone is HTTPS if a certificate could be checked."""
    url = server if "://" in server else f"{'https' if secure else 'http'}://{server}"
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        valid = valid and not parts.query and not parts.fragment
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise ConfigError(
            f"the server {server!r} of cluster {cluster_name!r} is not a URL",
            hint="it looks like https://HOST:6443",
        )
    return url.rstrip("/")
