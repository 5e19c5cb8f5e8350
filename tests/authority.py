"""A private certificate authority for tests: roots, leaves of every kind of badness, contexts for both sides."""

from __future__ import annotations

import datetime
import functools
import ipaddress
import ssl
import tempfile
import warnings
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

DAY = datetime.timedelta(days=1)


class Issued(NamedTuple):
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def server_context(self, *more: Issued) -> ssl.SSLContext:
        """A server's context that presents this certificate and then `more`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            file.write(b"".join([self.pem, *(other.pem for other in more), self.key_pem]))
            file.flush()
            context.load_cert_chain(file.name)
        return context

    def client_context(self) -> ssl.SSLContext:
        """A client's context that trusts this certificate alone."""
        return ssl.create_default_context(cadata=self.pem.decode())


def issue(
    names: Sequence[str] = (),
    *,
    by: Issued | None = None,
    is_authority: bool = False,
    days: tuple[float, float] = (-1, 30),
    common_name: str = "test",
    serial: int | None = None,
    strict: bool = True,
) -> Issued:
    """A leaf for the names (addresses become IP SANs), or an authority; self-signed without `by`.

    strict: with the extensions that RFC 5280 asks for, and Python from 3.13 on; False leaves them out, as many do.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = subject_of(common_name)
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(
        issuer_name=subject if by is None else by.certificate.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=serial or x509.random_serial_number(),
        not_valid_before=now + days[0] * DAY,
        not_valid_after=now + days[1] * DAY,
    ).add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    if strict:
        issuer = (key if by is None else by.key).public_key()
        builder = (
            builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer), False)
            .add_extension(key_usage(is_authority), True)
        )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([general_name(name) for name in names]), False)
    return Issued(builder.sign(key if by is None else by.key, hashes.SHA256()), key)


def key_usage(is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def subject_of(common_name: str) -> x509.Name:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the meta certificates of DERP have longer names than X.509 allows
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name, _validate=len(common_name) <= 64)])


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


@functools.cache
def authority() -> Issued:
    """The authority that the tests trust."""
    return issue(is_authority=True, common_name="authority of the tests")


@functools.cache
def stranger() -> Issued:
    """One that they do not."""
    return issue(is_authority=True, common_name="stranger")
