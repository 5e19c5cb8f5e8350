"""TLS sessions against each other in memory; the servers are real OpenSSL, the bytes never touch a socket."""

from __future__ import annotations

import hashlib
import os
import ssl
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest

from tests.authority import Issued, authority, issue, stranger
from tsnet.base.links import Tls
from tsnet.edge.io.tls import (
    MAX_READS,
    TlsFailed,
    TlsSession,
    connect,
    has_roots,
    system_context,
    unverified_context,
)


def shake(client: TlsSession, server: TlsSession) -> None:
    """Carry bytes both ways until both are quiet; raises what the client raises."""
    while True:
        there = client.take()
        if there:
            server.receive(there)
        back = server.take()
        if back:
            client.receive(back)
        if not there and not back:
            return


def meet(tls: Tls, server_context: ssl.SSLContext, roots: ssl.SSLContext | None = None) -> TlsSession:
    client = connect(tls, roots, time.time)
    shake(client, TlsSession(server_context, server_side=True))
    assert client.is_up
    return client


def refusal(tls: Tls, server_context: ssl.SSLContext, roots: ssl.SSLContext | None = None) -> str:
    client = connect(tls, roots, time.time)
    with pytest.raises(TlsFailed) as failed:
        shake(client, TlsSession(server_context, server_side=True))
    assert not client.is_up
    return str(failed.value)


@pytest.fixture(scope="module")
def roots() -> ssl.SSLContext:
    return authority().client_context()


@pytest.fixture(scope="module")
def leaf() -> Issued:
    return issue(["derp.test", "127.0.0.1"], by=authority())


# --- the ordinary rule ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["derp.test", "DERP.test", "127.0.0.1"])
def test_a_good_certificate_is_taken(leaf: Issued, roots: ssl.SSLContext, name: str) -> None:
    meet(Tls(name), leaf.server_context(), roots)


def test_ssl_cert_file_is_honoured(leaf: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert refusal(Tls("derp.test"), leaf.server_context()).startswith("certificate: unknown authority (issued by ")
    roots_file = tmp_path / "roots.pem"
    roots_file.write_bytes(authority().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots_file))
    meet(Tls("derp.test"), leaf.server_context())
    meet(Tls("elsewhere.test", cert_name="derp.test"), leaf.server_context())


def test_a_system_without_roots_takes_those_of_certifi(
    leaf: Issued, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    roots_file = tmp_path / "certifi.pem"
    roots_file.write_bytes(authority().pem)
    certifi = types.ModuleType("certifi")
    certifi.where = lambda: str(roots_file)  # type: ignore[attr-defined]
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / "none"))
    system_context.cache_clear()
    assert "unknown authority" in refusal(Tls("derp.test"), leaf.server_context())
    system_context.cache_clear()
    monkeypatch.setitem(sys.modules, "certifi", certifi)
    meet(Tls("derp.test"), leaf.server_context())
    system_context.cache_clear()


def test_a_system_that_keeps_its_roots_in_a_folder_has_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert not has_roots(ssl.create_default_context())
    (tmp_path / "0a1b2c3d.0").write_bytes(authority().pem)
    assert has_roots(ssl.create_default_context())
    monkeypatch.setenv("SSL_CERT_DIR", os.pathsep.join([str(tmp_path / "none"), str(tmp_path)]))
    assert has_roots(ssl.create_default_context()), "it may be several folders"


def test_a_folder_that_may_not_be_listed_can_hold_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(folder: str) -> list[str]:
        raise PermissionError(folder)

    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    context = ssl.create_default_context()
    monkeypatch.setattr(os, "listdir", forbidden)
    assert has_roots(context)


def test_a_private_authority_need_not_be_strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From 3.13 on Python's own default refuses what openssl and Go make and take."""
    plain = issue(is_authority=True, common_name="plain", strict=False)
    context = issue(["derp.test"], by=plain, strict=False).server_context()
    roots_file = tmp_path / "roots.pem"
    roots_file.write_bytes(plain.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots_file))
    meet(Tls("derp.test"), context)
    meet(Tls("elsewhere.test", cert_name="derp.test"), context)


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (lambda: issue(["derp.test"], by=authority(), days=(-9, -1)), "certificate: expired (valid until "),
        (lambda: issue(["derp.test"], by=authority(), days=(1, 9)), "certificate: not yet valid (valid from "),
        (lambda: issue(["derp.test"], by=stranger()), "certificate: unknown authority (issued by 'stranger')"),
        (lambda: issue(["derp.test"]), "certificate: self-signed (it calls itself 'test')"),
    ],
    ids=["expired", "not yet valid", "unknown authority", "self-signed"],
)
@pytest.mark.parametrize("cert_name", ["", "derp.test"])
def test_a_bad_certificate_is_refused_with_its_reason(
    bad: object, reason: str, cert_name: str, roots: ssl.SSLContext
) -> None:
    assert callable(bad)
    tls = Tls("sni.test", cert_name) if cert_name else Tls("derp.test")
    assert refusal(tls, bad().server_context(), roots).startswith(reason)


def test_a_chain_up_to_an_unknown_root_is_an_unknown_authority(roots: ssl.SSLContext) -> None:
    context = issue(["derp.test"], by=stranger()).server_context(stranger())
    assert refusal(Tls("derp.test"), context, roots) == "certificate: unknown authority (issued by 'stranger')"


@pytest.mark.parametrize("name", ["other.test", "127.0.0.2"])
def test_a_wrong_name_is_refused(leaf: Issued, roots: ssl.SSLContext, name: str) -> None:
    reason = refusal(Tls(name), leaf.server_context(), roots)
    assert reason.startswith("certificate: wrong name")
    assert name in reason


def test_a_certificate_without_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    roots_file = tmp_path / "roots.pem"
    roots_file.write_bytes(authority().pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(roots_file))
    context = issue(by=authority(), common_name="derp.test").server_context()
    assert refusal(Tls("derp.test"), context).startswith("certificate: wrong name")


def test_the_alert_of_a_refusal_waits_to_be_sent(leaf: Issued, roots: ssl.SSLContext) -> None:
    client, server = connect(Tls("other.test"), roots, time.time), TlsSession(leaf.server_context(), server_side=True)
    with pytest.raises(TlsFailed):
        shake(client, server)
    with pytest.raises(TlsFailed, match=r"tls: .*alert bad certificate"):
        server.receive(client.take())


class KeepsItsAuthorities(ssl.SSLContext):
    """As `truststore.SSLContext` does."""

    def get_ca_certs(self, binary_form: bool = False) -> Any:
        raise NotImplementedError


def test_a_context_that_does_not_tell_its_authorities(leaf: Issued) -> None:
    roots = KeepsItsAuthorities(ssl.PROTOCOL_TLS_CLIENT)
    roots.load_verify_locations(cadata=authority().pem.decode())
    meet(Tls("derp.test"), leaf.server_context(), roots)
    with pytest.raises(TlsFailed, match="does not tell its authorities"):
        connect(Tls("fronted.test", cert_name="derp.test"), roots, time.time)


# --- CertName ---------------------------------------------------------------------------------------------------


def test_cert_name_replaces_the_name_not_the_sni(leaf: Issued, roots: ssl.SSLContext) -> None:
    context = leaf.server_context()
    seen: list[str | None] = []
    context.sni_callback = lambda session, name, own: seen.append(name)
    meet(Tls("fronted.test", cert_name="derp.test"), context, roots)
    assert seen == ["fronted.test"]


def test_a_wrong_cert_name_is_refused_though_the_sni_fits(leaf: Issued, roots: ssl.SSLContext) -> None:
    reason = refusal(Tls("derp.test", cert_name="other.test"), leaf.server_context(), roots)
    assert reason.startswith("certificate: wrong name: not for 'other.test'")


def test_cert_name_leaves_the_users_context_alone(leaf: Issued, roots: ssl.SSLContext) -> None:
    meet(Tls("fronted.test", cert_name="derp.test"), leaf.server_context(), roots)
    assert roots.check_hostname
    assert refusal(Tls("fronted.test"), leaf.server_context(), roots).startswith("certificate: wrong name")


# --- pins -------------------------------------------------------------------------------------------------------


def test_a_pinned_self_signed_certificate_is_taken(leaf: Issued) -> None:
    own = issue(["derp.test"])
    meet(Tls("derp.test", cert_name=pin_of(own)), own.server_context())


def test_the_meta_certificate_beside_the_pinned_one_is_skipped() -> None:
    own, meta = issue(["derp.test"]), issue(common_name="derpkey" + "00" * 32, serial=2)
    meet(Tls("derp.test", cert_name=pin_of(own)), own.server_context(meta))


def test_a_wrong_pin_is_refused_though_the_chain_is_good(leaf: Issued, roots: ssl.SSLContext) -> None:
    pin = "sha256-raw:" + "0" * 64
    reason = refusal(Tls("derp.test", cert_name=pin), leaf.server_context(), roots)
    assert reason == f"certificate: wrong pin: presented {pin_of(leaf)}"


def pin_of(issued: Issued) -> str:
    return "sha256-raw:" + hashlib.sha256(issued.der).hexdigest()


# --- the key that a relay names -----------------------------------------------------------------------------------


def test_the_servers_key_is_read_from_the_chain_of_tls_1_3_alone(leaf: Issued, roots: ssl.SSLContext) -> None:
    context = leaf.server_context(issue(common_name="derpkey" + "0a" * 32, serial=2))
    assert meet(Tls("derp.test"), context, roots).server_key == b"\x0a" * 32
    assert meet(Tls("derp.test"), leaf.server_context(), roots).server_key == b""
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    assert meet(Tls("derp.test"), context, roots).server_key == b""


# --- insecure ---------------------------------------------------------------------------------------------------


def test_insecure_takes_anything() -> None:
    meet(Tls("derp.test", insecure=True), issue(["other.test"], days=(-9, -1)).server_context())
    meet(Tls("", insecure=True), issue().server_context())


def test_a_cert_name_brings_the_check_back(leaf: Issued, roots: ssl.SSLContext) -> None:
    own = issue(["derp.test"])
    for cert_name in ("derp.test", "else.test", "sha256-raw:" + "0" * 64):
        tls = Tls("derp.test", cert_name, insecure=True)
        assert refusal(tls, own.server_context(), roots).startswith("certificate: ")
    meet(Tls("derp.test", pin_of(own), insecure=True), own.server_context())


# --- the session ------------------------------------------------------------------------------------------------


def test_bytes_go_both_ways(leaf: Issued, roots: ssl.SSLContext) -> None:
    client, server = connect(Tls("derp.test"), roots, time.time), TlsSession(leaf.server_context(), server_side=True)
    shake(client, server)
    data = bytes(range(256)) * 4096
    client.send(data)
    assert server.receive(client.take()) == data
    server.send(data)
    assert client.receive(server.take()) == data


def test_ciphertext_may_come_in_any_pieces(leaf: Issued, roots: ssl.SSLContext) -> None:
    client, server = connect(Tls("derp.test"), roots, time.time), TlsSession(leaf.server_context(), server_side=True)
    got = b""
    while not (client.is_up and server.is_up):
        for byte in client.take():
            server.receive(bytes([byte]))
        for byte in server.take():
            client.receive(bytes([byte]))
    client.send(b"hello" * 5000)
    for byte in client.take():
        got += server.receive(bytes([byte]))
    assert got == b"hello" * 5000


def test_no_alpn_is_offered(leaf: Issued, roots: ssl.SSLContext) -> None:
    context = leaf.server_context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    client = meet(Tls("derp.test"), context, roots)
    assert client._object.selected_alpn_protocol() is None


def test_a_context_that_settles_on_h2_is_told_so(leaf: Issued) -> None:
    roots, context = authority().client_context(), leaf.server_context()
    roots.set_alpn_protocols(["h2", "http/1.1"])
    context.set_alpn_protocols(["h2", "http/1.1"])
    assert refusal(Tls("derp.test"), context, roots).startswith("tls: the ssl_context offers h2")


def test_end_is_told_apart_from_silence(leaf: Issued, roots: ssl.SSLContext) -> None:
    client, server = connect(Tls("derp.test"), roots, time.time), TlsSession(leaf.server_context(), server_side=True)
    shake(client, server)
    server.send(b"last")
    server.end()
    assert client.receive(server.take()) == b"last"
    assert client.has_ended
    client.end()
    server.end()


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(64), b"\x16\x03\x01\x00\x04abcd"])
def test_a_server_that_does_not_speak_tls_is_a_tls_error(answer: bytes) -> None:
    client = connect(Tls("derp.test"), None, time.time)
    with pytest.raises(TlsFailed, match=r"^tls: [a-z0-9 ]+$"):
        client.receive(answer)


def test_a_flipped_bit_ends_the_session(leaf: Issued, roots: ssl.SSLContext) -> None:
    client, server = connect(Tls("derp.test"), roots, time.time), TlsSession(leaf.server_context(), server_side=True)
    shake(client, server)
    client.send(b"hello")
    broken = bytearray(client.take())
    broken[-1] ^= 1
    with pytest.raises(TlsFailed, match=r"tls: .*bad record mac"):
        server.receive(bytes(broken))


@pytest.mark.parametrize("name", ["", ".", "a" * 64 + ".test", "x\0y"])
def test_a_name_that_cannot_be_sent_is_a_tls_error(name: str) -> None:
    with pytest.raises(TlsFailed, match=r"^tls: "):
        connect(Tls(name), None, time.time)


def test_contexts_are_kept() -> None:
    paths = ssl.get_default_verify_paths()
    assert system_context(paths) is system_context(paths)
    assert unverified_context() is unverified_context()


def test_tiny_records_are_opened_a_bounded_number_at_once(leaf: Issued, roots: ssl.SSLContext) -> None:
    client = connect(Tls("derp.test"), roots, time.time)
    server = TlsSession(leaf.server_context(), server_side=True)
    shake(client, server)
    for _ in range(2 * MAX_READS + 1):
        client.send(b"x")
    assert server.receive(client.take()) == b"x" * MAX_READS
    assert server.has_more
    assert server.receive(b"") == b"x" * MAX_READS
    assert server.receive(b"") == b"x"
    assert not server.has_more
