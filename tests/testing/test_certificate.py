from __future__ import annotations

import os
import socket
import ssl
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from tsnet.testing import certificate
from tsnet.testing.certificate import self_signed


def presented(context: ssl.SSLContext) -> bytes:
    """The certificate that a client sees, in DER."""
    client_context = ssl.create_default_context()
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    left, right = socket.socketpair()
    with left, right:
        thread = threading.Thread(target=lambda: context.wrap_socket(left, server_side=True).close())
        thread.start()
        with client_context.wrap_socket(right) as client:
            der = client.getpeercert(binary_form=True)
            thread.join()
    assert der
    return der


def test_it_names_hosts_and_addresses_and_is_valid_now() -> None:
    from cryptography import x509

    leaf = x509.load_der_x509_certificate(presented(self_signed(["127.0.0.1", "::1", "localhost"])))
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["localhost"]
    assert sorted(map(str, names.get_values_for_type(x509.IPAddress))) == ["127.0.0.1", "::1"]
    assert leaf.issuer == leaf.subject
    assert leaf.not_valid_before_utc < leaf.not_valid_after_utc


def test_each_has_a_key_of_its_own() -> None:
    assert presented(self_signed(["a"])) != presented(self_signed(["a"]))


def test_the_file_in_between_is_private_and_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = certificate._write_private(b"secret")
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    os.unlink(path)
    self_signed(["a"])
    assert list(tmp_path.iterdir()) == []
