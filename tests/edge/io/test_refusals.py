"""What a refused certificate says of itself."""

from __future__ import annotations

import time

import pytest

from tests.authority import Issued, authority, issue, stranger
from tsnet.edge.io.refusals import complete

NOW = time.time()


def day(offset: float) -> str:
    return time.strftime("%Y-%m-%d", time.gmtime(NOW + offset * 86400))


def test_an_unknown_authority_is_named_by_the_last_of_the_chain() -> None:
    leaf = issue(["a.test"], by=stranger())
    name = stranger().certificate.subject.rfc4514_string().removeprefix("CN=")
    assert complete("unknown authority", [leaf.der], NOW) == f"unknown authority (issued by '{name}')"
    assert complete("unknown authority", [leaf.der, stranger().der], NOW).endswith(f"(issued by '{name}')")


def test_a_self_signed_one_says_who_it_is() -> None:
    own = issue(["a.test"], common_name="fritz.box")
    assert complete("self-signed", [own.der], NOW) == "self-signed (it calls itself 'fritz.box')"


def test_a_wrong_name_says_the_names() -> None:
    names = [f"{letter}.test" for letter in "abcd"]
    said = complete("wrong name: mismatch", [issue([*names, "10.0.0.1"]).der], NOW)
    assert said == "wrong name: mismatch (it is for 'a.test', 'b.test', 'c.test', others)"
    assert complete("wrong name", [issue(["10.0.0.1"]).der], NOW) == "wrong name (it is for '10.0.0.1')"
    assert complete("wrong name", [issue(common_name="old").der], NOW) == "wrong name (it is for 'old')"


@pytest.mark.parametrize(
    ("verdict", "days", "edge"),
    [("expired", (-9, -1), f"until {day(-1)}"), ("not yet valid", (1, 9), f"from {day(1)}")],
)
def test_dates_are_told_beside_the_clock(verdict: str, days: tuple[float, float], edge: str) -> None:
    said = complete(verdict, [issue(["a.test"], days=days).der], NOW)
    assert said == f"{verdict} (valid {edge}; this machine's clock says {day(0)})"


def test_the_date_is_of_the_certificate_that_is_out_of_date() -> None:
    old = issue(is_authority=True, days=(-9, -2), common_name="old authority")
    said = complete("expired", [issue(["a.test"], by=old).der, old.der], NOW)
    assert f"until {day(-2)}" in said


@pytest.mark.parametrize(
    ("name", "shown"),
    [("\x1b[31mred\x07", r"'\x1b[31mred\x07'"), ("x" * 64, f"'{'x' * 60}…'")],
)
def test_a_strangers_words_are_printable_and_short(name: str, shown: str) -> None:
    own: Issued = issue(["a.test"], common_name=name)
    assert complete("self-signed", [own.der], NOW) == f"self-signed (it calls itself {shown})"


@pytest.mark.parametrize("verdict", ["unknown authority", "self-signed", "wrong name", "expired", "something else"])
def test_whatever_the_chain_is_the_verdict_stands(verdict: str) -> None:
    der = issue(["a.test"], by=authority()).der
    for chain in ([], [b""], [b"\x30"], [der[:-9]], [der, b"\x30\x03"]):
        assert complete(verdict, chain, NOW).startswith(verdict)
    for number in range(0, len(der), 7):
        torn = bytearray(der)
        torn[number] ^= 0x80
        assert complete(verdict, [bytes(torn)], NOW).startswith(verdict)
