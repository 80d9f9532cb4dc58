"""Whom this machine trusts, for servers whose kubeconfig names no authority: found where kubectl finds it.

OpenSSL looks only where its builder told it to: that of an archive knows the places of another distribution.
Go (crypto/x509, root_linux.go) tries them all, and lets macOS and Windows judge themselves.
"""

from __future__ import annotations

import os
import ssl
import sys
from contextlib import suppress

JUDGES_ITSELF = sys.platform in ("darwin", "win32")
FILE_VARIABLE, FOLDER_VARIABLE = "SSL_CERT_FILE", "SSL_CERT_DIR"
FILES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Gentoo, Arch, NixOS
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL 6
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/pki/tls/cacert.pem",  # OpenELEC
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL 7 and newer
    "/etc/ssl/cert.pem",  # Alpine, macOS, BSDs
)


def system_context() -> ssl.SSLContext:
    """A client's context that trusts whom this machine trusts."""
    if JUDGES_ITSELF and not {FILE_VARIABLE, FOLDER_VARIABLE} & os.environ.keys():
        import truststore

        return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    load_system_authorities(context)
    return context


def load_system_authorities(context: ssl.SSLContext) -> None:
    """Adds those of OpenSSL's own places (and Windows' stores), and of the first file that is there."""
    context.load_default_certs()
    if FILE_VARIABLE in os.environ:
        return
    for path in FILES:
        with suppress(OSError):  # it is not there, or there is no certificate in it
            context.load_verify_locations(cafile=path)
            return
