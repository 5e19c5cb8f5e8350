"""A private CA and a leaf for `shop`, as contexts for both sides."""

from __future__ import annotations

import datetime
import ssl
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@cache
def shop_pem() -> tuple[bytes, bytes]:
    """A certificate for the name "shop", self-signed, and its key."""
    key = ec.derive_private_key(0x7A11, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "shop")])
    start = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(start)
        .not_valid_after(start + datetime.timedelta(days=36_500))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("shop")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    kind, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    return pem, key.private_bytes(serialization.Encoding.PEM, kind, secret)


def shop_file(folder: Path) -> Path:
    """A file with both."""
    path = folder / "shop.pem"
    path.write_bytes(b"".join(shop_pem()))
    return path


@cache
def contexts() -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """(server's, client's) for that certificate, which only that client trusts."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with TemporaryDirectory() as folder:
        server.load_cert_chain(shop_file(Path(folder)))
    return server, trusting()


def trusting() -> ssl.SSLContext:
    """A client's context of its own: what a client sets in it concerns nobody else."""
    return ssl.create_default_context(cadata=shop_pem()[0].decode())
