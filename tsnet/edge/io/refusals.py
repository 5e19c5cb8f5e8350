"""What a refused certificate says of itself, so that the reader knows whom to ask.

| verdict             | is completed by                                                              |
|---------------------|------------------------------------------------------------------------------|
| unknown authority   | who has issued it: a company's proxy that opens TLS names itself here        |
| self-signed         | who it says it is                                                            |
| wrong name          | for which names it is                                                        |
| expired, not yet    | its date, and the day by this machine's clock: one of the two is wrong       |

The names are a stranger's words: they are shown printable, short and quoted. A reason is the same at each attempt of a
day, so that it is told once.

Source: RFC 5280 §4.1.2.4-6.
Not here: the verdict (OpenSSL's, or `certificates`). `cryptography.x509` is imported by the first refusal alone.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsnet.base.printable import printable

if TYPE_CHECKING:
    from cryptography import x509

MAX_NAMES = 3
MAX_NAME = 60


def complete(verdict: str, chain: Sequence[bytes], unix_time: float) -> str:
    """The verdict, and in brackets what the presented chain (DER, leaf first, unverified) adds to it, if anything."""
    try:
        with warnings.catch_warnings():  # of what a stranger's certificate does against the rules
            warnings.simplefilter("ignore")
            more = _more(verdict, chain, unix_time)
    except Exception:  # a stranger's bytes: whatever is wrong with them, the verdict stands
        more = ""
    return f"{verdict} ({more})" if more else verdict


def _more(verdict: str, chain: Sequence[bytes], unix_time: float) -> str:
    from cryptography import x509

    if not chain:
        return ""
    certificates = [x509.load_der_x509_certificate(der) for der in chain]
    match verdict.partition(":")[0]:
        case "unknown authority":
            return f"issued by {_name(certificates[-1].issuer)}"
        case "self-signed":
            return f"it calls itself {_name(certificates[0].subject)}"
        case "wrong name":
            return f"it is for {_names(certificates[0])}"
        case "expired" | "not yet valid":
            return _dates(certificates, unix_time)
    return ""


def _dates(certificates: Sequence[x509.Certificate], unix_time: float) -> str:
    from datetime import UTC, datetime

    now = datetime.fromtimestamp(unix_time, UTC)
    for certificate in certificates:
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not begin <= now <= end:
            edge = f"from {begin:%Y-%m-%d}" if now < begin else f"until {end:%Y-%m-%d}"
            return f"valid {edge}; this machine's clock says {now:%Y-%m-%d}"
    return ""


def _name(name: x509.Name) -> str:
    """The common name and the organization, or what there is of them."""
    from cryptography.x509.oid import NameOID

    parts = [
        _quoted(attributes[0].value)
        for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME)
        if (attributes := name.get_attributes_for_oid(kind))
    ]
    return " of ".join(parts) or _quoted(name.rfc4514_string() or "nobody")


def _names(certificate: x509.Certificate) -> str:
    from cryptography import x509

    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _name(certificate.subject)
    names = [*found.get_values_for_type(x509.DNSName), *map(str, found.get_values_for_type(x509.IPAddress))]
    shown = [_quoted(name) for name in names[:MAX_NAMES]]
    return ", ".join(shown + ["others"] * (len(names) > MAX_NAMES)) or "no name"


def _quoted(text: str | bytes) -> str:
    said = printable(text.decode("utf-8", "replace") if isinstance(text, bytes) else text)
    return f"'{said[:MAX_NAME]}…'" if len(said) > MAX_NAME else f"'{said}'"
