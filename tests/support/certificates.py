"""Certificates for tests, made by the `openssl` command when first needed."""

from __future__ import annotations

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Authority:
    """A certificate authority in a directory of its own."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        folder.mkdir()
        _openssl(folder, "req -x509 -nodes -days 2 -subj /CN=ca -keyout ca.key -out ca.crt", *_NEW_KEY)
        return cls(folder)

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    def issue(self, name: str, *, names: str = "IP:127.0.0.1", days: int = 2) -> tuple[Path, Path]:
        """(certificate, key); `days` below 0 gives one that has expired."""
        request = f"req -nodes -subj /CN={name} -keyout {name}.key -out {name}.csr"
        _openssl(self.folder, request, *_NEW_KEY, "-addext", f"subjectAltName={names}")
        sign = f"x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -copy_extensions copy"
        _openssl(self.folder, f"{sign} -out {name}.crt -days {days}")
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"

    def server_context(self, name: str, *, clients: bool = False, **issue: int | str) -> ssl.SSLContext:
        """For a server with a new certificate; `clients` asks for one of this authority."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.issue(name, **issue))  # type: ignore[arg-type]
        if clients:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.certificate)
        return context


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")


def _openssl(folder: Path, command: str, *more: str) -> None:
    subprocess.run(["openssl", *command.split(), *more], cwd=folder, check=True, capture_output=True)
