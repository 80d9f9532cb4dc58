"""TLS as kubeconfig asks for it: whom to trust, which name to expect, which certificate to show."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
from contextlib import ExitStack

from msgspec import Struct

from kubectl_kdns.errors import ConfigError
from kubectl_kdns.kube.authorities import system_context
from kubectl_kdns.kube.kubeconfig import ClusterEntry, User


class ClientCertificate(Struct, frozen=True):
    """A certificate and its key, each as PEM or as the path of a file with PEM; PEM wins."""

    certificate_pem: bytes = b""
    key_pem: bytes = b""
    certificate_file: str = ""
    key_file: str = ""


def client_certificate(user: User, user_name: str) -> ClientCertificate | None:
    """What kubeconfig says itself; None when it has neither certificate nor key. Raises ConfigError."""
    certificate = ClientCertificate(
        _decode(user.client_certificate_data, f"client-certificate-data of user {user_name!r}"),
        _decode(user.client_key_data, f"client-key-data of user {user_name!r}"),
        user.client_certificate,
        user.client_key,
    )
    has_certificate = bool(certificate.certificate_pem or certificate.certificate_file)
    has_key = bool(certificate.key_pem or certificate.key_file)
    if has_certificate != has_key:
        raise ConfigError(
            f"user {user_name!r} has a client {'certificate' if has_certificate else 'key'} without its "
            f"{'key' if has_certificate else 'certificate'}",
            hint=f"--client-{'key' if has_certificate else 'certificate'} FILE",
        )
    return certificate if has_certificate else None


def tls_context(cluster: ClusterEntry, certificate: ClientCertificate | None) -> ssl.SSLContext:
    """Checks the server against the cluster's authority, else the system's. Raises ConfigError."""
    if cluster.insecure_skip_tls_verify:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = _trusting(cluster)
    context.set_alpn_protocols(["http/1.1"])
    context.hostname_checks_common_name = False
    # As Go does: whatever certificate the file holds is trusted, also an intermediate one.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if certificate:
        _show(context, certificate)
    return context


def _trusting(cluster: ClusterEntry) -> ssl.SSLContext:
    pem = _decode(cluster.certificate_authority_data, "certificate-authority-data in kubeconfig")
    path = cluster.certificate_authority
    if not pem and not path:
        return system_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        if pem:
            context.load_verify_locations(cadata=pem.decode("ascii", "replace"))
        else:
            context.load_verify_locations(cafile=path)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"cannot use the certificate authority {'in kubeconfig' if pem else path}",
            cause=_cause(error),
            hint="--certificate-authority FILE (PEM)",
        ) from error
    return context


def _show(context: ssl.SSLContext, certificate: ClientCertificate) -> None:
    import tempfile

    with ExitStack() as stack:

        def file(pem: bytes, path: str) -> str:
            # OpenSSL reads certificates from files only; this one is ours alone and gone at once. On Windows
            # nobody else can open a NamedTemporaryFile, so it is a file in a folder.
            if not pem:
                return path
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="kdns-"))
            temporary = os.path.join(folder, "pem")
            with open(temporary, "wb") as out:
                out.write(pem)
            return temporary

        def no_password() -> str:
            raise ConfigError("the client key is encrypted", hint="kubectl needs it decrypted as well")

        try:
            context.load_cert_chain(
                file(certificate.certificate_pem, certificate.certificate_file),
                file(certificate.key_pem, certificate.key_file),
                no_password,
            )
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"cannot use the client certificate {certificate.certificate_file or 'in kubeconfig'}",
                cause=_cause(error),
                hint="--client-certificate FILE --client-key FILE (PEM), or log in to the cluster again",
            ) from error


def _cause(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return "the key is not that of the certificate" if "MISMATCH" in str(error) else "it is not PEM"
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _decode(data: str, what: str) -> bytes:
    try:
        return base64.b64decode("".join(data.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"{what} is not base64", cause=str(error)) from error
