from __future__ import annotations

import datetime
import os
import socket
import ssl
import stat
import tempfile
import threading
import warnings
from pathlib import Path

import pytest

from tsnet.base.keys import NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.edge.io.certificates import presented_chain, server_key_of
from tsnet.testing import certificate
from tsnet.testing.certificate import is_good_for, make_certificate, server_context


def presented(context: ssl.SSLContext) -> bytes:
    """The certificate that a client sees, in DER."""
    return chain(context)[0]


def chain(context: ssl.SSLContext) -> list[bytes]:
    client_context = ssl.create_default_context()
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    left, right = socket.socketpair()
    with left, right:
        thread = threading.Thread(target=lambda: context.wrap_socket(left, server_side=True).close())
        thread.start()
        with client_context.wrap_socket(right) as client:
            der = client.getpeercert(binary_form=True)
            found = presented_chain(client)
            thread.join()
    assert der == found[0]
    return found


def test_it_names_hosts_and_addresses_and_is_valid_now() -> None:
    from cryptography import x509

    leaf = x509.load_der_x509_certificate(
        presented(server_context(make_certificate(["127.0.0.1", "::1", "localhost"])))
    )
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert sorted(map(str, names.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]
    assert leaf.issuer == leaf.subject
    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc


def test_the_relays_key_stands_in_a_second_certificate() -> None:
    from cryptography import x509

    leaf, meta = chain(server_context(make_certificate(["a"]), NodeKey(b"\x0b" * 32)))
    assert server_key_of([leaf, meta]) == b"\x0b" * 32
    assert chain(server_context(make_certificate(["a"])))[1:] == []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # longer than X.509 allows
        certificate = x509.load_der_x509_certificate(meta)
        (name,) = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    assert (name.value, certificate.serial_number) == ("derpkey" + "0b" * 32, 2)
    certificate.verify_directly_issued_by(certificate)


def test_each_has_a_key_of_its_own() -> None:
    assert presented(server_context(make_certificate(["a"]))) != presented(server_context(make_certificate(["a"])))


def test_the_file_in_between_is_private_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = certificate._write_private(b"secret")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.unlink(path)
    server_context(make_certificate(["a"]))
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_kept_is_shown_again() -> None:
    pem = make_certificate(["a"])
    assert presented(server_context(pem)) == presented(server_context(pem))


def test_what_it_is_good_for() -> None:
    pem = make_certificate(["127.0.0.1", "::1", "localhost"])
    assert is_good_for(pem, {"127.0.0.1", "localhost"})
    assert is_good_for(pem, {"::1"})
    assert not is_good_for(pem, {"10.0.0.1", "localhost"})


def test_one_that_has_expired_is_good_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(certificate, "LIFETIME", datetime.timedelta(0))
    pem = make_certificate(["a"])
    assert not is_good_for(pem, {"a"})


def test_damage_is_told_without_quoting_it() -> None:
    pem, other = make_certificate(["a"]), make_certificate(["a"])
    for broken in ("", "secret", pem[: len(pem) // 2]):
        with pytest.raises(MalformedError, match="has no certificate"):
            is_good_for(broken, {"a"})
    border = pem.index("-----BEGIN CERT")
    with pytest.raises(MalformedError, match="has no key"):
        server_context(pem[:border] + other[other.index("-----BEGIN CERT") :])
    with pytest.raises(MalformedError, match="has no key"):
        server_context("secret")
