"""Judging a server's certificate where OpenSSL cannot (a name other than the SNI, a pin), and its reasons in words.

| rule             | chain            | dates   | name                                                     |
|------------------|------------------|---------|----------------------------------------------------------|
| ordinary         | OpenSSL          | OpenSSL | OpenSSL, the SNI's                                       |
| CertName         | OpenSSL          | OpenSSL | `check_name`, CertName                                   |
| sha256-raw: pin  | the one hash     | here    | `check_name`, the SNI's; none if that is an address      |
| insecure         | none             | none    | none                                                     |

A DERP server appends a meta certificate to its chain. Its subject is `derpkey` and the server's key, and its serial
number is the version of the protocol: a message to fast-start clients (`server_key_of`). It vouches for nothing, so the
check of a pin leaves it out, but never in first place: the session has proved the key of the first certificate, and
only that one may satisfy a pin. (Go's loop lets a leaf that calls itself `derpkey` pass, if a copy of the pinned
certificate follows.)

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
from typing import cast

from tsnet.base.addresses import parse_address

PIN_PREFIX = "sha256-raw:"

_DER = 2  # _ssl.ENCODING_DER
_META = re.compile(rb"\x06\x03\x55\x04\x03[\x0c\x13].derpkey", re.DOTALL)
"""A commonName that begins with `derpkey`. It is searched for in the DER, because a parser warns of its length."""

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
    """str() is the reason, as `Closed` gives it after "certificate: "."""


def reason_of(error: ssl.SSLCertVerificationError) -> str:
    """OpenSSL's verdict in the words of `Closed`: a fixed word, and OpenSSL's own text where that says more."""
    word = _REASONS.get(error.verify_code)
    if word is None:
        return str(error.verify_message)
    return f"{word}: {error.verify_message}" if word == "wrong name" else word


def presented_chain(session: ssl.SSLObject | ssl.SSLSocket) -> list[bytes]:
    """The certificates that the other end sent, unverified: DER, leaf first. (Public in Python from 3.13 on.)"""
    public = getattr(session, "get_unverified_chain", None)
    if public is not None:
        return cast(list[bytes], public())
    chain = session._sslobj.get_unverified_chain() or ()  # type: ignore[union-attr]
    return [certificate.public_bytes(_DER) for certificate in chain]


def without_meta(chain: Sequence[bytes]) -> list[bytes]:
    """The chain without a DERP server's meta certificate. The leaf stays, whatever it calls itself."""
    return [der for number, der in enumerate(chain) if number == 0 or not _META.search(der)]


def server_key_of(chain: Sequence[bytes]) -> bytes:
    """The 32 bytes that the chain's meta certificate names as the DERP server's key; empty if there is none.

    The key is not proven, and need not be: a message that is sealed to it can only be opened by its owner.
    """
    for der in chain:
        found = _META_KEY.search(der)
        if found is not None and _SMALL_SERIAL.match(der):
            return bytes.fromhex(found[1].decode())
    return b""


def check_name(leaf: bytes, name: str) -> None:
    """Raises CertificateRefused unless the leaf is for `name` (a DNS name or an address). Does not check the chain."""
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
    """Raises CertificateRefused unless exactly the pinned certificate was presented, in date and for `server_name`.

    chain: as presented; the other end has proved the key of its first certificate. A `server_name` that is an address
    is not checked.
    """
    from datetime import UTC, datetime

    from cryptography import x509

    real = without_meta(chain)
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
