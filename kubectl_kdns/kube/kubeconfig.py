"""kubeconfig files: which there are, what they may hold, and how kubectl merges several into one.

Rules of k8s.io/client-go/tools/clientcmd: `--kubeconfig`, else the files of $KUBECONFIG (missing ones are
skipped, the first to name an entry wins), else ~/.kube/config. Relative paths are relative to the file they
stand in.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct, structs

from kubectl_kdns.dns.names import safe_text
from kubectl_kdns.errors import ConfigError


class EnvVar(Struct, frozen=True):
    name: str
    value: str = ""


class ExecPlugin(Struct, frozen=True, rename="camel"):
    """`user.exec`: a program that prints a credential (client.authentication.k8s.io)."""

    command: str
    api_version: str = ""
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    install_hint: str = ""
    provide_cluster_info: bool = False
    interactive_mode: str = ""


class User(Struct, frozen=True, rename="kebab"):
    """How to log in. `..._data` is base64, as in the file, and wins over the path beside it."""

    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: str = ""
    token: str = ""
    token_file: str = msgspec.field(name="tokenFile", default="")
    username: str = ""
    password: str = ""
    as_: str = msgspec.field(name="as", default="")
    as_uid: str = ""
    as_groups: tuple[str, ...] = ()
    as_user_extra: dict[str, tuple[str, ...]] = {}
    auth_provider: dict[str, Any] = {}
    exec: ExecPlugin | None = None


class Extension(Struct, frozen=True):
    name: str = ""
    extension: Any = None


class ClusterEntry(Struct, frozen=True, rename="kebab"):
    """Where the API server is, and how to know that it is the right one."""

    server: str = ""
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""
    extensions: tuple[Extension, ...] = ()


class Context(Struct, frozen=True):
    cluster: str = ""
    user: str = ""
    namespace: str = ""


class _NamedUser(Struct):
    name: str
    user: User = User()


class _NamedCluster(Struct):
    name: str
    cluster: ClusterEntry = ClusterEntry()


class _NamedContext(Struct):
    name: str
    context: Context = Context()


class _File(Struct, rename="kebab"):
    clusters: list[_NamedCluster] = []
    users: list[_NamedUser] = []
    contexts: list[_NamedContext] = []
    current_context: str = ""


class Kubeconfig(Struct, frozen=True):
    """One file, or several as one. `files` are those that were read; `absent` were looked for in vain."""

    contexts: Mapping[str, Context]
    clusters: Mapping[str, ClusterEntry]
    users: Mapping[str, User]
    current_context: str = ""
    files: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()


def read(explicit: str, env: Mapping[str, str], home: Path) -> Kubeconfig:
    """The merged kubeconfig; `explicit` is `--kubeconfig` and must exist. Raises ConfigError."""
    if explicit:
        return _read_file(Path(explicit))
    named = dict.fromkeys(name for name in env.get("KUBECONFIG", "").split(os.pathsep) if name)
    paths = [Path(name) for name in named] or [home / ".kube" / "config"]
    absent = tuple(str(path) for path in paths if not path.exists())
    return merge([_read_file(path) for path in paths if str(path) not in absent], absent)


def merge(configs: Iterable[Kubeconfig], absent: tuple[str, ...] = ()) -> Kubeconfig:
    """Several files as one: the first to name an entry, or a current context, wins."""
    contexts: dict[str, Context] = {}
    clusters: dict[str, ClusterEntry] = {}
    users: dict[str, User] = {}
    current = ""
    files: tuple[str, ...] = ()
    for config in configs:
        contexts = {**config.contexts, **contexts}
        clusters = {**config.clusters, **clusters}
        users = {**config.users, **users}
        current, files = current or config.current_context, files + config.files
    return Kubeconfig(contexts, clusters, users, current, files, absent)


def parse(content: bytes, path: Path) -> Kubeconfig:
    """One kubeconfig file that stands, or would stand, at `path`. Raises ConfigError."""
    import yaml

    try:
        data = yaml.load(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        file = msgspec.convert(_without_nulls(data) or {}, _File)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise _unreadable(path, f"{place}{error.problem or error}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise _unreadable(path, str(error)) from error
    folder = path.parent
    return Kubeconfig(
        contexts={entry.name: entry.context for entry in reversed(file.contexts)},
        clusters={entry.name: _at(folder, entry.cluster) for entry in reversed(file.clusters)},
        users={entry.name: _user_at(folder, entry.user) for entry in reversed(file.users)},
        current_context=file.current_context,
        files=(str(path),),
    )


def _read_file(path: Path) -> Kubeconfig:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ConfigError(
            f"cannot read the kubeconfig file '{path}'",
            cause=error.strerror or str(error),
            hint="--kubeconfig FILE, or export KUBECONFIG=FILE",
        ) from error
    return parse(content, path)


def _unreadable(path: Path, cause: str) -> ConfigError:
    return ConfigError(
        f"the kubeconfig file '{path}' is not valid",
        cause=safe_text(cause),
        hint=f"kubectl config view --kubeconfig {path}",
    )


def _without_nulls(value: Any) -> Any:
    """Go's decoder takes `users: null` for absent; an absent key says that here."""
    if isinstance(value, dict):
        return {str(k): _without_nulls(v) for k, v in value.items() if v is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _at(folder: Path, cluster: ClusterEntry) -> ClusterEntry:
    return structs.replace(cluster, certificate_authority=_join(folder, cluster.certificate_authority))


def _user_at(folder: Path, user: User) -> User:
    plugin = user.exec
    if plugin and os.sep in plugin.command:
        plugin = structs.replace(plugin, command=_join(folder, plugin.command))
    return structs.replace(
        user,
        client_certificate=_join(folder, user.client_certificate),
        client_key=_join(folder, user.client_key),
        token_file=_join(folder, user.token_file),
        exec=plugin,
    )


def _join(folder: Path, name: str) -> str:
    return str(folder / name) if name else ""
