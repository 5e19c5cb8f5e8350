"""Judging a server's certificate where OpenSSL cannot: another name than the SNI, a pin, and why it said no.

| rule             | chain            | dates   | name                                                     |
|------------------|------------------|---------|----------------------------------------------------------|
| ordinary         | OpenSSL          | OpenSSL | OpenSSL, the SNI's                                       |
| CertName         | OpenSSL          | OpenSSL | `check_name`, CertName                                   |
| sha256-raw: pin  | the one hash     | here    | `check_name`, the SNI's; none if that is an address      |
| insecure         | none             | none    | none                                                     |

A DERP server appends a certificate to its chain whose subject is `derpkey` and its key, and whose serial number is the
version of the protocol: a message to fast-start clients (`server_key_of`), which vouches for nothing and is left out
of every judgement. Never in first place: the first certificate is the one whose key
the session has proved, and only that one may satisfy a pin. (Go's loop lets a leaf that calls itself `derpkey` pass, if
a copy of the pinned certificate follows.)

Source: Go net/tlsdial/tlsdial.go (SetConfigExpectedCert, SetConfigExpectedCertHash), derp/derphttp/derphttp_client.go
(parseMetaCert); RFC 6125.
Not here: the TLS session (`tsnet.edge.io.tls`). `cryptography.x509` is imported by the rules that need it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import ssl
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import cast

from tsnet.base.addresses import parse_address

PIN_PREFIX = "sha256-raw:"

_DER = 2  # _ssl.ENCODING_DER
_META = re.compile(rb"\x06\x03\x55\x04\x03[\x0c\x13].derpkey", re.DOTALL)
"""A commonName that begins so. Looked for in the DER: the name is longer than X.509 allows, and a parser warns."""

_META_KEY = re.compile(rb"\x06\x03\x55\x04\x03[\x0c\x13]\x47derpkey([0-9a-fA-F]{64})")
_LENGTH = rb"(?:[\x00-\x7f]|\x81.|\x82..)"
_SMALL_SERIAL = re.compile(
    rb"\x30" + _LENGTH + rb"\x30" + _LENGTH + rb"\xa0\x03\x02\x01\x02\x02(?:\x01[\x01-\x7f]|\x02\x00[\x80-\xff])",
    re.DOTALL,
)
"""The beginning of a certificate of version 3 whose serial number is from 1 to 255."""

_REASONS = {
    9: "not yet valid",
    10: "expired",
    18: "self-signed",
    19: "unknown authority",  # a self-signed root that we do not have
    20: "unknown authority",
    21: "unknown authority",
    62: "wrong name",
    64: "wrong name",
}


class CertificateRefused(Exception):
    """The reason, as `Closed` says it after "certificate: "."""


def reason_of(error: ssl.SSLCertVerificationError) -> str:
    """OpenSSL's verdict in the words of `Closed`: a fixed word, and OpenSSL's own text where that says more."""
    word = _REASONS.get(error.verify_code)
    if word is None:
        return str(error.verify_message)
    return f"{word}: {error.verify_message}" if word == "wrong name" else word


def presented_chain(session: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The certificates the other end sent, DER, leaf first, unverified. (Public from Python 3.13 on.)"""
    public = getattr(session, "get_unverified_chain", None)
    if public is not None:
        return cast(list[bytes], public())
    chain = session._sslobj.get_unverified_chain() or ()  # type: ignore[union-attr]
    return [certificate.public_bytes(_DER) for certificate in chain]


def server_key_of(chain: Sequence[bytes]) -> bytes:
    """The 32 bytes that the chain's meta certificate names as the DERP server's key; empty if there is none.

    Nobody vouches for it. It need not be proven: what is sealed to it, only its owner opens.
    """
    for der in chain:
        found = _META_KEY.search(der)
        if found is not None and _SMALL_SERIAL.match(der):
            return bytes.fromhex(found[1].decode())
    return b""


def check_name(leaf: bytes, name: str) -> None:
    """Whether the leaf is for `name` (a DNS name or an address). The chain is somebody else's to check."""
    from cryptography import x509
    from cryptography.x509 import verification

    # the default policy for leaves refuses what OpenSSL makes by default; only the name matters here
    leaf_policy = verification.ExtensionPolicy.permit_all().require_present(
        x509.SubjectAlternativeName, verification.Criticality.AGNOSTIC, None
    )
    authority_policy = verification.ExtensionPolicy.webpki_defaults_ca()
    address = parse_address(name)
    try:
        certificate = x509.load_der_x509_certificate(leaf)
        builder = verification.PolicyBuilder().store(verification.Store([certificate]))
        builder = builder.extension_policies(ca_policy=authority_policy, ee_policy=leaf_policy)
        subject = x509.DNSName(name) if address is None else x509.IPAddress(address)
        builder.build_server_verifier(subject).verify(certificate, [])
    except (verification.VerificationError, ValueError) as error:  # ValueError: not a name, not a certificate
        detail = str(error).removeprefix("validation failed: ").partition(" (encountered")[0]
        raise CertificateRefused(f"wrong name: not for {name!r} ({detail})") from None


def check_pin(chain: Sequence[bytes], pin: str, server_name: str, unix_time: float) -> None:
    """Whether exactly the pinned certificate was presented, is in date, and is for `server_name`.

    chain: as presented; its first certificate is the one whose owner is at the other end.
    """
    from cryptography import x509

    real = [der for number, der in enumerate(chain) if number == 0 or not _META.search(der)]
    if len(real) != 1:
        raise CertificateRefused(f"wrong pin: {len(real)} certificates presented, the pin is for one")
    der = real[0]
    digest = hashlib.sha256(der).hexdigest()
    if not hmac.compare_digest(digest.encode(), pin.removeprefix(PIN_PREFIX).lower().encode()):
        raise CertificateRefused(f"wrong pin: presented sha256-raw:{digest}")
    try:
        certificate = x509.load_der_x509_certificate(der)
    except ValueError as error:
        raise CertificateRefused(f"cannot be read ({error})") from None
    now = datetime.fromtimestamp(unix_time, UTC)
    if now < certificate.not_valid_before_utc:
        raise CertificateRefused("not yet valid")
    if now > certificate.not_valid_after_utc:
        raise CertificateRefused("expired")
    if parse_address(server_name) is None:
        check_name(der, server_name)
