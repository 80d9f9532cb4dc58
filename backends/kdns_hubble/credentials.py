"""Whom to trust and which certificate to show: from files, from the cluster's secrets, else the system's."""

from __future__ import annotations

import base64
import binascii
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import Struct

from kdns_hubble.options import HubbleOptions
from kubectl_kdns.errors import BackendError, NotFoundError, UsageError
from kubectl_kdns.kube import Cluster
from kubectl_kdns.kube.authorities import load_system_authorities

DEFAULT_NAMESPACE = "kube-system"
CLIENT_SECRETS = ("hubble-relay-client-certs", "hubble-ui-client-certs")
"""What Cilium's chart makes for the relay's and the UI's own connections."""
AUTHORITY_SECRETS = ("hubble-ca-secret", "cilium-ca")
"""They hold the authority's key too: asked for only when the client's secret has no ca.crt."""

_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"
_KEY = b"PRIVATE KEY-----"


class Credentials(Struct, frozen=True):
    """All PEM. An empty `ca_pem` is gRPC's own list of authorities; `trusts` says whose list it is."""

    ca_pem: bytes = b""
    certificate_pem: bytes = b""
    key_pem: bytes = b""
    trusts: str = "this machine"


def read_credentials(options: HubbleOptions, cluster: Cluster | None, namespace: str) -> Credentials:
    """What the options ask for; files win over secrets. `namespace` is the relay's, for `auto`.

    Raises UsageError for a file that cannot be used, BackendError for a secret that cannot, ForbiddenError
    without the right to read one.
    """
    secret = _from_secret(options, cluster, namespace) if options.from_secret else Credentials()
    ca_pem, trusts = secret.ca_pem, secret.trusts
    if options.ca_file:
        ca_pem = _read("--hubble-tls-ca", options.ca_file, _CERTIFICATE)
        trusts = f"--hubble-tls-ca {options.ca_file}"
    elif not options.from_secret:
        ca_pem, trusts = system_authorities(), Credentials().trusts
    certificate_pem, key_pem = secret.certificate_pem, secret.key_pem
    if options.certificate_file:
        certificate_pem = _read("--hubble-tls-cert", options.certificate_file, _CERTIFICATE)
        key_pem = _read("--hubble-tls-key", options.key_file, _KEY)
    return Credentials(ca_pem, certificate_pem, key_pem, trusts)


def system_authorities() -> bytes:
    """The authorities that other programs trust here, as PEM: gRPC brings a list of its own, which knows
    nothing of a company's. Empty when this machine has none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_system_authorities(context)
    found = [ssl.DER_cert_to_PEM_cert(der).encode() for der in context.get_ca_certs(binary_form=True)]
    if found:
        return b"".join(found)
    # OpenSSL reads a directory only when it needs a certificate of it: nothing is loaded yet.
    folder = ssl.get_default_verify_paths().capath
    return b"".join(_pem_files(Path(folder).glob("*.[0-9]"))) if folder else b""


def _pem_files(paths: Iterable[Path]) -> Iterable[bytes]:
    for path in sorted(paths):
        try:
            yield path.read_bytes()
        except OSError:
            continue


def _read(flag: str, path: str, wanted: bytes) -> bytes:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{flag} {path}: {error.strerror}") from None
    if wanted is _KEY and b"ENCRYPTED" in content:
        raise UsageError(f"{flag} {path}: the key is encrypted", hint=f"openssl pkey -in {path} -out NEW")
    if wanted not in content:
        what = "certificate" if wanted is _CERTIFICATE else "key"
        raise UsageError(f"{flag} {path}: there is no {what} in PEM form in it", hint=f"{flag} FILE")
    return content


def _from_secret(options: HubbleOptions, cluster: Cluster | None, namespace: str) -> Credentials:
    if cluster is None:
        raise UsageError("--hubble-tls-from-secret needs a cluster", hint="--hubble-tls-ca FILE")
    namespace = namespace or DEFAULT_NAMESPACE
    names: tuple[str, ...] = CLIENT_SECRETS
    if options.from_secret != "auto":
        namespace, _, name = options.from_secret.partition("/")
        names = (name,)
    for name in names:
        secret = _secret(cluster, namespace, name)
        if secret is not None:
            return _of_secret(cluster, namespace, name, secret)
    raise BackendError(
        f"no secret {' or '.join(names)} in namespace {namespace}",
        cause="Cilium makes it when TLS for Hubble is on",
        hint="kubectl get secrets -A | grep hubble, then --hubble-tls-from-secret NAMESPACE/NAME",
    )


def _of_secret(cluster: Cluster, namespace: str, name: str, secret: dict[str, bytes]) -> Credentials:
    certificate, key = secret.get("tls.crt", b""), secret.get("tls.key", b"")
    if _CERTIFICATE not in certificate or _KEY not in key:
        raise BackendError(
            f"secret {namespace}/{name} has no tls.crt and tls.key that could be used",
            hint=f"kubectl -n {namespace} describe secret {name}",
        )
    for authority in (name, *AUTHORITY_SECRETS):
        content = secret if authority == name else _secret(cluster, namespace, authority) or {}
        if _CERTIFICATE in content.get("ca.crt", b""):
            return Credentials(content["ca.crt"], certificate, key, f"secret {namespace}/{authority}")
    raise BackendError(
        f"no secret in namespace {namespace} says who signs Hubble's certificates",
        cause=f"looked for ca.crt in {', '.join((name, *AUTHORITY_SECRETS))}",
        hint="--hubble-tls-ca FILE",
    )


def _secret(cluster: Cluster, namespace: str, name: str) -> dict[str, bytes] | None:
    try:
        secret: dict[str, Any] = cluster.get(f"/api/v1/namespaces/{namespace}/secrets/{name}")
    except NotFoundError:
        return None
    content = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            content[key] = base64.b64decode(value)
        except (binascii.Error, TypeError, ValueError):
            continue
    return content
