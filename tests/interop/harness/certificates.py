"""A private CA and leaves under it as files, for peers on loopback that are programs of their own.

The keys are made anew for each scene: nothing of them is worth keeping.
"""

from __future__ import annotations

from pathlib import Path

from tests.authority import issue


class PrivateCA:
    """`path` is its certificate as PEM: for SSL_CERT_FILE, or `ssl.create_default_context(cafile=…)`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / "ca.pem"
        self._issued = issue(is_authority=True, common_name="interop private CA")
        self.path.write_bytes(self._issued.pem)

    def leaf(self, *names: str, days: tuple[float, float] = (-1, 1)) -> tuple[Path, Path]:
        """Certificate (with the CA behind it) and key, as files. Names may be addresses."""
        leaf = issue(names, by=self._issued, days=days, common_name=names[0])
        stem = names[0].replace("*", "any")
        certificate_path, key_path = self.folder / f"{stem}.crt", self.folder / f"{stem}.key"
        certificate_path.write_bytes(leaf.pem + self._issued.pem)
        key_path.write_bytes(leaf.key_pem)
        return certificate_path, key_path
