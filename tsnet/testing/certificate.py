"""A self-signed certificate for the embedded relay. It is made at start, and is a file only while OpenSSL reads it.

    make_certificate(names) ─► PEM, key and certificate ─► server_context

A tailnet that keeps its state keeps the PEM, because a client may have pinned the certificate (CertName
`sha256-raw:…`). In the chain, the meta certificate of every DERP server follows: it names the relay's key, so that
clients can log in without asking for it first (fast start).

Source: Go derp/derpserver/derpserver.go (initMetacert).
"""

from __future__ import annotations

import datetime
import os
import ssl
import tempfile
import warnings
from collections.abc import Iterable
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from tsnet.base.addresses import parse_address
from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.derp.frames import PROTOCOL_VERSION

LIFETIME = datetime.timedelta(days=3650)
"""The certificate is valid for so long before and after it is made: nobody renews it, and clocks differ."""


def make_certificate(names: Iterable[str]) -> str:
    """A new key and its certificate, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tsnet embedded relay")])
    now = datetime.datetime.now(datetime.UTC)
    alternatives: list[x509.GeneralName] = [
        x509.DNSName(name) if parse_address(name) is None else x509.IPAddress(ip_address(name)) for name in names
    ]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + certificate.public_bytes(serialization.Encoding.PEM)
    return pem.decode()


def is_good_for(pem: str, names: Iterable[str]) -> bool:
    """Whether the certificate is for all these names and has not expired. Raises MalformedError if it is none."""
    try:
        leaf = x509.load_pem_x509_certificate(pem.encode())
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (ValueError, x509.ExtensionNotFound):
        raise MalformedError("has no certificate for its relay") from None
    named = {*alternatives.get_values_for_type(x509.DNSName)}
    named.update(map(str, alternatives.get_values_for_type(x509.IPAddress)))
    return named.issuperset(names) and datetime.datetime.now(datetime.UTC) < leaf.not_valid_after_utc


def server_context(pem: str, relay_key: NodeKey | None = None) -> ssl.SSLContext:
    """A context that presents this certificate. Raises MalformedError if the PEM lacks it or its key."""
    if relay_key is not None:
        now = datetime.datetime.now(datetime.UTC)
        pem += _meta_certificate(relay_key, now).public_bytes(serialization.Encoding.PEM).decode()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    path = _write_private(pem.encode())
    try:
        context.load_cert_chain(path)
    except ssl.SSLError:
        raise MalformedError("has no key to the certificate of its relay") from None
    finally:
        os.unlink(path)
    return context


def _meta_certificate(relay_key: NodeKey, now: datetime.datetime) -> x509.Certificate:
    """The meta certificate that names `relay_key`. Its own key is thrown away: it proves nothing."""
    key = ed25519.Ed25519PrivateKey.generate()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the name is longer than X.509 allows, on every DERP server
        name = x509.NameAttribute(x509.NameOID.COMMON_NAME, f"derpkey{relay_key.hex()}", _validate=False)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([name]))
        .issuer_name(x509.Name([name]))
        .public_key(key.public_key())
        .serial_number(PROTOCOL_VERSION)
        .not_valid_before(now - LIFETIME)
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )


def _write_private(data: bytes) -> str:
    """The path of a new file of mode 0600 with the data: Python's OpenSSL reads keys from files only."""
    descriptor, path = tempfile.mkstemp(prefix="tsnet-")
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    return path
