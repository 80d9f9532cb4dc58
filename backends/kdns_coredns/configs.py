"""Reads the Corefiles of CoreDNS pods with what they may import, and says whose they are."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from msgspec import Struct

from kdns_coredns.pods import ConfigSource, CorednsPod, Mount
from kubectl_kdns.errors import ClusterError, NotFoundError
from kubectl_kdns.kube import Cluster

CUSTOM = "coredns-custom"
"""The ConfigMap that AKS and k3s leave to their users."""


class CorefileText(Struct, frozen=True):
    """A Corefile as the cluster has it now; pods may still run an older one.

    `text` is None when it could not be read, `reason` says why. `files` are all files of ConfigMaps that the
    container has, by path; `known` are the directories that have no others. `config_map` is the API object.
    `gone`: there is no such ConfigMap, or no such key in it; a container that runs still has what there was.
    """

    path: str
    text: str | None
    reason: str = ""
    files: Mapping[str, str] = {}
    known: frozenset[str] = frozenset()
    config_map: Mapping[str, Any] = {}
    gone: bool = False

    def resolve(self, pattern: str) -> Mapping[str, str] | None:
        """The files that `import PATTERN` in this Corefile means, by path in their order; None: not known.

        As coredns/caddy does it: relative to the Corefile, with Go's filepath.Glob.
        """
        whole = posixpath.normpath(posixpath.join(posixpath.dirname(self.path), pattern))
        if posixpath.dirname(whole) not in self.known:
            return None
        parts = whole.split("/")
        return {
            path: text
            for path, text in sorted(self.files.items())
            if len(places := path.split("/")) == len(parts) and all(map(fnmatchcase, places, parts))
        }


def read_corefiles(cluster: Cluster, pods: Iterable[CorednsPod]) -> dict[ConfigSource, CorefileText]:
    """The Corefile of each source that the pods have. What cannot be read is said in it, never raised."""
    objects: dict[tuple[str, str], dict[str, Any] | str] = {}

    def config_map(mount: Mount | ConfigSource) -> dict[str, Any] | str:
        """The object, or why there is none."""
        key = mount.namespace, mount.name
        if key not in objects:
            try:
                objects[key] = cluster.get(f"/api/v1/namespaces/{mount.namespace}/configmaps/{mount.name}")
            except NotFoundError:
                # Kubernetes mounts an optional ConfigMap that does not exist as an empty directory.
                objects[key] = {}
            except ClusterError as error:
                objects[key] = f"{error.what}: {error.cause}" if error.cause else error.what
        return objects[key]

    corefiles: dict[ConfigSource, CorefileText] = {}
    for pod in pods:
        if pod.config and pod.config not in corefiles:
            readable = {mount: found for mount in pod.mounts if isinstance(found := config_map(mount), dict)}
            corefiles[pod.config] = _corefile(pod, pod.config, config_map(pod.config), readable)
    return corefiles


def _corefile(
    pod: CorednsPod, source: ConfigSource, found: dict[str, Any] | str, readable: dict[Mount, dict[str, Any]]
) -> CorefileText:
    if isinstance(found, str):
        return CorefileText(pod.corefile, None, found)
    text = (found.get("data") or {}).get(source.key)
    if not isinstance(text, str):
        where = f"configmap {source.namespace}/{source.name}"
        return CorefileText(
            pod.corefile, None, f"{where} has no key {source.key}", config_map=found, gone=True
        )
    files = {
        path: content
        for mount, config_map in readable.items()
        for key, content in (config_map.get("data") or {}).items()
        if (path := mount.path_of(key)) is not None
    }
    known = frozenset(mount.path for mount in readable)
    return CorefileText(pod.corefile, text, files=files, known=known, config_map=found)


def owner_of_corefile(source: ConfigSource, config_map: Mapping[str, Any]) -> str:
    """Who would undo a change of this ConfigMap, and the way that works there; "" when it is the user's own.

    `config_map` is the API object, with its managedFields.
    """
    metadata = config_map.get("metadata") or {}
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    managers = {entry.get("manager") for entry in metadata.get("managedFields") or ()}
    namespace = source.namespace
    corefile = (config_map.get("data") or {}).get(source.key) or ""
    release = annotations.get("meta.helm.sh/release-name") or ""
    custom = ""
    if "custom/*.override" in corefile:
        # AKS and k3s: a plugin in there is as if it stood in the main server block.
        custom = (
            f". What it imports is yours:\n  kubectl -n {namespace} create configmap {CUSTOM} "
            "--from-literal=log.override=log\n"
            f"  (when there is one: kubectl -n {namespace} edit configmap {CUSTOM}), then:\n"
            f"  kubectl -n {namespace} rollout restart deployment coredns"
        )
    if namespace == "openshift-dns" or "dns.operator.openshift.io/owning-dns" in labels:
        return (
            "OpenShift's DNS operator owns this Corefile and puts it back. The operator switches the log on "
            "(Normal: off):\n"
            "  oc patch dnses.operator.openshift.io/default --type=merge "
            """-p '{"spec":{"logLevel":"Debug"}}'"""
        )
    if labels.get("addonmanager.kubernetes.io/mode") == "Reconcile":
        return f"the cluster's add-on manager (as on AKS and GKE) owns this Corefile and puts it back{custom}"
    if "eks" in managers:
        return (
            "this Corefile belongs to the EKS add-on coredns, which may put it back. The add-on is "
            "configured with a whole Corefile:\n"
            "  aws eks update-addon --cluster-name CLUSTER --addon-name coredns "
            """--configuration-values '{"corefile":"..."}'"""
        )
    if release.startswith("rke2-"):
        return (
            f"RKE2's chart {release} owns this Corefile and writes it again. The way there is "
            f"HelmChartConfig {namespace}/{release} with the plugin `log` among its `servers[].plugins`"
        )
    if any(key.startswith("objectset.rio.cattle.io/") for key in annotations):
        return f"k3s owns this Corefile and writes it again at every start of a server{custom}"
    return ""
