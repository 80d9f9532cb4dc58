"""Whom this machine trusts: OpenSSL's places, those of other distributions, and the system's own verifier."""

from __future__ import annotations

import shutil
import ssl
from pathlib import Path

import pytest
import truststore

from kubectl_kdns.kube import authorities
from kubectl_kdns.kube.kubeconfig import ClusterEntry
from kubectl_kdns.kube.tls import tls_context
from support.certificates import Authority

pytestmark = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="the openssl command makes the certificates"
)


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (authorities.FILE_VARIABLE, authorities.FOLDER_VARIABLE):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("pki")
    one, other = (Authority.make(folder / name).certificate for name in ("one", "other"))
    return one, other


def trusts(context: ssl.SSLContext, certificate: Path) -> bool:
    return ssl.PEM_cert_to_DER_cert(certificate.read_text()) in context.get_ca_certs(binary_form=True)


def test_the_first_file_that_can_be_used(
    two: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    junk = tmp_path / "junk"
    junk.write_text("no certificate")
    monkeypatch.setattr(authorities, "FILES", (str(tmp_path / "none"), str(junk), *map(str, two)))
    context = tls_context(ClusterEntry(server="https://k.test"), None)
    assert [trusts(context, each) for each in two] == [True, False]
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname


def test_none_of_them_where_a_variable_names_one(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setenv(authorities.FILE_VARIABLE, str(one))
    monkeypatch.setattr(authorities, "FILES", (str(other),))
    context = authorities.system_context()
    assert [trusts(context, each) for each in two] == [True, False]


def test_none_of_them_where_kubeconfig_names_one(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two
    monkeypatch.setattr(authorities, "FILES", (str(other),))
    context = tls_context(ClusterEntry(server="https://k.test", certificate_authority=str(one)), None)
    assert [trusts(context, each) for each in two] == [True, False]
    assert len(context.get_ca_certs()) == 1


def test_macos_and_windows_judge_themselves(two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authorities, "JUDGES_ITSELF", True)
    context = tls_context(ClusterEntry(server="https://k.test"), None)
    assert isinstance(context, truststore.SSLContext)
    assert context.verify_flags & ssl.VERIFY_X509_PARTIAL_CHAIN
    assert context.check_hostname
    named = tls_context(ClusterEntry(server="https://k.test", certificate_authority=str(two[0])), None)
    assert not isinstance(named, truststore.SSLContext)
    monkeypatch.setenv(authorities.FILE_VARIABLE, str(two[1]))
    assert trusts(authorities.system_context(), two[1])
