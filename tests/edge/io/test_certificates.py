"""The rules for certificates on their own: names, pins and dates, and what an outsider's bytes do to them."""

from __future__ import annotations

import hashlib
import ssl
import time

import pytest

from tests.authority import Issued, authority, issue
from tsnet.edge.io.certificates import (
    CertificateRefused,
    check_name,
    check_pin,
    presented_chain,
    reason_of,
    server_key_of,
)


def pin_of(issued: Issued) -> str:
    return "sha256-raw:" + hashlib.sha256(issued.der).hexdigest()


def pin_refusal(chain: list[bytes], pin: str, name: str = "derp.test", unix_time: float | None = None) -> str:
    with pytest.raises(CertificateRefused) as refused:
        check_pin(chain, pin, name, time.time() if unix_time is None else unix_time)
    return str(refused.value)


# --- names ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["a.test"], "a.test"),
        (["a.test", "b.test"], "b.test"),
        (["a.test"], "A.TEST"),
        (["*.test.example"], "a.test.example"),
        (["127.0.0.1"], "127.0.0.1"),
        (["::1"], "::1"),
        (["::1"], "[::1]"),
    ],
)
def test_names_that_fit(names: list[str], asked: str) -> None:
    check_name(issue(names, by=authority()).der, asked)


@pytest.mark.parametrize(
    ("names", "asked"),
    [
        (["a.test"], "b.test"),
        (["a.test"], "a.test.evil"),
        (["a.test"], "x.a.test"),
        (["*.test.example"], "a.b.test.example"),
        (["127.0.0.1"], "127.0.0.2"),
        (["a.test"], "127.0.0.1"),
        ([], "test"),
        (["a.test"], ""),
        (["a.test"], "a..test"),
        (["a.test"], "ä.test"),
    ],
)
def test_names_that_do_not(names: list[str], asked: str) -> None:
    with pytest.raises(CertificateRefused, match=r"^wrong name: not for "):
        check_name(issue(names, by=authority()).der, asked)


def test_a_leaf_that_openssl_makes_by_default_is_judged_by_its_name() -> None:
    check_name(issue(["a.test"], is_authority=True).der, "a.test")


def test_bytes_that_are_no_certificate_are_refused() -> None:
    der = issue(["a.test"]).der
    for broken in (b"", b"\x30\x03\x02\x01\x00", der[:-1], der[: len(der) // 2]):
        with pytest.raises(CertificateRefused):
            check_name(broken, "a.test")
        with pytest.raises(CertificateRefused):
            check_pin([broken], "sha256-raw:" + hashlib.sha256(broken).hexdigest(), "a.test", time.time())


# --- pins -------------------------------------------------------------------------------------------------------


def test_a_pin_that_fits() -> None:
    own = issue(["derp.test"])
    check_pin([own.der], pin_of(own), "derp.test", time.time())
    check_pin([own.der], "sha256-raw:" + pin_of(own)[11:].upper(), "derp.test", time.time())


def test_an_address_needs_no_name() -> None:
    own = issue(["derp.test"])
    check_pin([own.der], pin_of(own), "127.0.0.1", time.time())


def test_a_pin_still_asks_for_the_name() -> None:
    own = issue(["derp.test"])
    assert pin_refusal([own.der], pin_of(own), "other.test").startswith("wrong name")


def test_a_pin_still_asks_for_the_dates() -> None:
    own = issue(["derp.test"], days=(-2, 2))
    assert pin_refusal([own.der], pin_of(own), unix_time=time.time() - 3 * 86400) == "not yet valid"
    assert pin_refusal([own.der], pin_of(own), unix_time=time.time() + 3 * 86400) == "expired"


def test_a_pin_is_for_one_certificate() -> None:
    own, other = issue(["derp.test"]), issue(["derp.test"])
    assert pin_refusal([own.der, other.der], pin_of(own)) == "wrong pin: 2 certificates presented, the pin is for one"
    assert pin_refusal([], pin_of(own)).startswith("wrong pin: 0 certificates")


def test_meta_certificates_behind_the_first_do_not_count() -> None:
    own, meta = issue(["derp.test"]), issue(common_name="derpkey" + "0" * 64, serial=2)
    check_pin([own.der, meta.der], pin_of(own), "derp.test", time.time())
    check_pin([own.der, meta.der, meta.der], pin_of(own), "derp.test", time.time())


def test_the_pinned_certificate_must_be_the_one_whose_key_was_proved() -> None:
    """A stranger's own leaf that calls itself a meta certificate, and a copy of the pinned one behind it."""
    own, stranger = issue(["derp.test"]), issue(["derp.test"], common_name="derpkey" + "0" * 64, serial=2)
    assert pin_refusal([stranger.der, own.der], pin_of(own)).startswith("wrong pin: 2 certificates")
    assert pin_refusal([stranger.der], pin_of(own)).startswith("wrong pin: presented")


@pytest.mark.parametrize("pin", ["sha256-raw:", "sha256-raw:" + "0" * 64, "sha256-raw:ä", "sha256-raw:" + "z" * 64])
def test_a_wrong_pin_says_what_was_presented(pin: str) -> None:
    own = issue(["derp.test"])
    assert pin_refusal([own.der], pin) == f"wrong pin: presented {pin_of(own)}"


# --- the meta certificate ---------------------------------------------------------------------------------------


KEY = bytes(range(32))


def meta(name: str = "derpkey" + KEY.hex(), serial: int = 2) -> bytes:
    return issue(common_name=name, serial=serial).der


def test_the_servers_key_is_that_of_the_meta_certificate() -> None:
    leaf, other = issue(["derp.test"]).der, meta("derpkey" + "ff" * 32)
    assert server_key_of([leaf, meta()]) == KEY
    assert server_key_of([leaf, meta(), other]) == KEY
    assert server_key_of([leaf]) == server_key_of([]) == b""


@pytest.mark.parametrize(("serial", "taken"), [(1, True), (127, True), (128, True), (255, True), (256, False)])
def test_the_serial_number_is_a_version_of_one_byte(serial: int, taken: bool) -> None:
    assert server_key_of([meta(serial=serial)]) == (KEY if taken else b"")


@pytest.mark.parametrize("name", ["derpkey", "derpkey" + "00" * 31, "derpkey" + "00" * 33, "derpkey" + "zz" * 32])
def test_a_name_that_is_no_key_is_passed_over(name: str) -> None:
    assert server_key_of([meta(name), meta()]) == KEY
    assert server_key_of([meta(name)]) == b""


def test_any_bytes_may_stand_in_the_chain() -> None:
    der = meta()
    for end in range(len(der)):
        assert server_key_of([der[:end]]) in (b"", KEY)
    assert server_key_of([b"", bytes(100), der[::-1]]) == b""


# --- the contract with Python's ssl -----------------------------------------------------------------------------


def test_the_presented_chain_is_what_the_server_sent_in_its_order() -> None:
    """Below 3.13 this reads a private attribute: the version that changes it fails here, not at a pin."""
    own, second, third = issue(["derp.test"]), issue(common_name="second"), issue(common_name="third")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    to_client, to_server = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(to_client, to_server)
    server = own.server_context(second, third).wrap_bio(to_server, to_client, server_side=True)
    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    assert presented_chain(client) == [own.der, second.der, third.der]


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (9, "not yet valid"),
        (10, "expired"),
        (18, "self-signed"),
        (19, "unknown authority"),
        (20, "unknown authority"),
        (21, "unknown authority"),
        (62, "wrong name: openssl's text"),
        (64, "wrong name: openssl's text"),
        (23, "openssl's text"),
    ],
)
def test_openssls_verdicts_have_fixed_words(code: int, reason: str) -> None:
    error = ssl.SSLCertVerificationError()
    error.verify_code, error.verify_message = code, "openssl's text"
    assert reason_of(error) == reason
