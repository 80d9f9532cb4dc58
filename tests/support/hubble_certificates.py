"""Certificates of a Hubble relay with TLS: what Cilium issues, and what goes wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from support.certificates import Authority

SERVER_NAME = "*.hubble-relay.cilium.io"
KeyPair = tuple[Path, Path]


@dataclass(frozen=True)
class RelayCertificates:
    """Pairs are (certificate, key). `ca` has issued all but `stranger`, which is of `wrong_ca`."""

    ca: Path
    server: KeyPair
    expired: KeyPair
    client: KeyPair
    wrong_ca: Path
    stranger: KeyPair

    @classmethod
    def make(cls, folder: Path) -> RelayCertificates:
        """In `folder`, which is made."""
        folder.mkdir()
        authority, other = Authority.make(folder / "ca"), Authority.make(folder / "wrong")
        names = f"DNS:{SERVER_NAME}"
        return cls(
            ca=authority.certificate,
            server=authority.issue("relay", names=names),
            expired=authority.issue("expired", names=names, days=-1),
            client=authority.issue("client", names=names),
            wrong_ca=other.certificate,
            stranger=other.issue("stranger", names=names),
        )
