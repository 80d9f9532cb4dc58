"""Whom to trust and what to show: files, the cluster's secrets, this machine's authorities."""

from __future__ import annotations

import base64
import os
import ssl
from pathlib import Path
from typing import Any

import pytest

from kdns_hubble.credentials import Credentials, read_credentials, system_authorities
from kdns_hubble.options import HubbleOptions
from kubectl_kdns.errors import BackendError, ForbiddenError, UsageError
from support.certificates import Authority
from support.hubble_objects import ObjectCluster

PEM = "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\nk\n-----END PRIVATE KEY-----\n"
AUTO = HubbleOptions(from_secret="auto")


def encoded(**data: str) -> dict[str, str]:
    return {key.replace("_", "."): base64.b64encode(value.encode()).decode() for key, value in data.items()}


FULL = encoded(ca_crt=PEM.format("ca"), tls_crt=PEM.format("client"), tls_key=KEY)


def read(
    cluster: ObjectCluster | None, options: HubbleOptions = AUTO, namespace: str = "kube-system"
) -> Credentials:
    return read_credentials(options, cluster, namespace)  # type: ignore[arg-type]


def test_the_relays_own_client_certificate() -> None:
    cluster = ObjectCluster()
    cluster.secrets["kube-system/hubble-relay-client-certs"] = FULL
    assert read(cluster) == Credentials(
        PEM.format("ca").encode(),
        PEM.format("client").encode(),
        KEY.encode(),
        "secret kube-system/hubble-relay-client-certs",
    )
    assert len(cluster.asked) == 1


def test_the_uis_certificate_and_the_authority_of_the_cluster() -> None:
    cluster = ObjectCluster()
    cluster.secrets["cilium/hubble-ui-client-certs"] = encoded(tls_crt=PEM.format("ui"), tls_key=KEY)
    cluster.secrets["cilium/cilium-ca"] = encoded(ca_crt=PEM.format("ca"), ca_key=KEY)
    found = read(cluster, namespace="cilium")
    assert (found.ca_pem, found.trusts) == (PEM.format("ca").encode(), "secret cilium/cilium-ca")
    assert found.certificate_pem == PEM.format("ui").encode()


def test_a_secret_by_name() -> None:
    cluster = ObjectCluster()
    cluster.secrets["shop/mine"] = FULL
    options = HubbleOptions(from_secret="shop/mine")
    assert read(cluster, options).trusts == "secret shop/mine"


@pytest.mark.parametrize(
    ("secrets", "says"),
    [
        ({}, "no secret hubble-relay-client-certs or hubble-ui-client-certs in namespace kube-system"),
        (
            {"kube-system/hubble-relay-client-certs": {"tls.crt": "?", "tls.key": None}},
            "has no tls.crt and tls.key",
        ),
        (
            {"kube-system/hubble-relay-client-certs": encoded(tls_crt=PEM, tls_key=KEY)},
            "says who signs Hubble's certificates",
        ),
    ],
)
def test_secrets_that_do_not_help(secrets: dict[str, Any], says: str) -> None:
    cluster = ObjectCluster()
    cluster.secrets = secrets
    with pytest.raises(BackendError, match=says):
        read(cluster)


def test_secrets_need_the_right_and_a_cluster() -> None:
    cluster = ObjectCluster()
    cluster.forbidden = {"/api/v1/namespaces/kube-system/secrets/hubble-relay-client-certs": 403}
    with pytest.raises(ForbiddenError):
        read(cluster)
    with pytest.raises(UsageError, match="needs a cluster"):
        read_credentials(AUTO, None, "")


# Files


def write(folder: Path, **files: str) -> HubbleOptions:
    for name, content in files.items():
        (folder / name).write_text(content, newline="\n")
    return HubbleOptions(**{name: str(folder / name) for name in files})


def test_files(tmp_path: Path) -> None:
    files = {"ca_file": PEM.format("a"), "certificate_file": PEM.format("c"), "key_file": KEY}
    found = read(None, write(tmp_path, **files))
    assert (found.ca_pem.decode(), found.certificate_pem.decode(), found.key_pem.decode()) == tuple(
        files.values()
    )
    assert found.trusts == f"--hubble-tls-ca {tmp_path / 'ca_file'}"


def test_files_win_over_secrets(tmp_path: Path) -> None:
    cluster = ObjectCluster()
    cluster.secrets["a/b"] = FULL
    (tmp_path / "ca").write_text(PEM.format("own"), newline="\n")
    found = read(cluster, HubbleOptions(from_secret="a/b", ca_file=str(tmp_path / "ca")))
    assert found.ca_pem.decode() == PEM.format("own")
    assert found.certificate_pem.decode() == PEM.format("client")


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"ca_file": KEY}, "--hubble-tls-ca {}ca_file: there is no certificate in PEM form in it"),
        (
            {"certificate_file": PEM, "key_file": PEM},
            "--hubble-tls-key {}key_file: there is no key in PEM form in it",
        ),
        (
            {"certificate_file": PEM, "key_file": KEY.replace("PRIVATE", "ENCRYPTED PRIVATE")},
            "--hubble-tls-key {}key_file: the key is encrypted",
        ),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, files: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(None, write(tmp_path, **files))
    assert caught.value.what == says.format(f"{tmp_path}{os.sep}")
    assert caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file or directory"):
        read(None, HubbleOptions(ca_file=str(tmp_path / "none")))


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", "SSL_CERT_DIR"])
def test_otherwise_the_authorities_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    authority = Authority.make(tmp_path / "ca")
    folder = tmp_path / "certs"
    folder.mkdir()
    (folder / "0a1b2c3d.0").write_bytes(authority.certificate.read_bytes())
    (folder / "ffffffff.0").symlink_to(tmp_path / "gone")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    monkeypatch.setenv(variable, str(authority.certificate if variable == "SSL_CERT_FILE" else folder))
    found = read(None, HubbleOptions())
    assert ssl.PEM_cert_to_DER_cert(found.ca_pem.decode()) == ssl.PEM_cert_to_DER_cert(
        authority.certificate.read_text()
    )
    assert found.trusts == "this machine"


def test_a_machine_without_authorities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    assert system_authorities() == b""
