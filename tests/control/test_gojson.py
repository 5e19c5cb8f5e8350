from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Network
from random import Random

import pytest

from tsnet.base.addresses import UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.control import gojson

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("seed", range(5))
def test_times_are_those_of_the_calendar(seed: int) -> None:
    random = Random(seed)
    for _ in range(1000):
        unix = random.randrange(-62_000_000_000, 253_402_300_799)
        when = EPOCH + timedelta(seconds=unix)
        text = f"{when.year:04d}" + when.strftime("-%m-%dT%H:%M:%SZ")
        assert gojson.format_time(unix) == text
        assert gojson.unix_time(text) == unix


@pytest.mark.parametrize(
    ("text", "unix"),
    [
        ("1970-01-01T00:02:03Z", 123.0),
        ("2026-11-24T20:42:07.532003382Z", 1795552927.5320034),
        ("2026-11-24T22:42:07+02:00", 1795552927.0),
        ("2026-11-24T15:12:07-05:30", 1795552927.0),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00.5+01:00", None),
        ("2026-13-01T00:00:00Z", None),
        ("2026-11-24", None),
        ("yesterday", None),
        (None, None),
        (12, None),
    ],
)
def test_times_as_go_writes_them(text: object, unix: float | None) -> None:
    assert gojson.unix_time(text) == unix


def test_no_time_is_the_zero_time() -> None:
    assert gojson.format_time(None) == "0001-01-01T00:00:00Z"
    assert gojson.format_time(0.25) == "1970-01-01T00:00:00.25Z"


@pytest.mark.parametrize("value", [None, 5, "text", [1], {"a": 1}, True, 1.5])
def test_a_value_of_the_wrong_kind_reads_as_absent(value: object) -> None:
    assert isinstance(gojson.text(value), str)
    assert isinstance(gojson.integer(value), int)
    assert isinstance(gojson.number(value), float)
    assert isinstance(gojson.items(value), list)
    assert isinstance(gojson.mapping(value), dict)
    assert gojson.tri(value) in (None, True)
    assert gojson.key(NodeKey, value) is None
    assert gojson.address(value) is None
    assert gojson.prefix(value) is None
    assert gojson.endpoint(value) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), ("-7", -7), (7.0, 7), ("", 0), ("7x", 0), ("9" * 30, 0), (10**30, 0), (-(2**62), -(2**62))],
)
def test_integers(value: object, number: int) -> None:
    assert gojson.integer(value) == number


def test_ids_as_map_keys() -> None:
    assert gojson.numbered({"12": True, "x": False, "900": None}) == {12: True, 900: None}


def test_keys() -> None:
    text = "nodekey:" + "ab" * 32
    assert gojson.key(NodeKey, text) == NodeKey(b"\xab" * 32)
    assert gojson.key(NodeKey, "nodekey:" + "00" * 32) is None
    assert gojson.key(NodeKey, "mkey:" + "ab" * 32) is None


def test_addresses_and_prefixes() -> None:
    assert gojson.address("100.64.0.1") == IPv4Address("100.64.0.1")
    assert tuple(gojson.prefixes(["100.64.0.1/32", "fd7a::/48", "nonsense", 5, None])) == (
        IPv4Network("100.64.0.1/32"),
        IPv6Network("fd7a::/48"),
    )


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("1.2.3.4:5", UdpAddress("1.2.3.4", 5)),
        ("[2001:db8::1]:41641", UdpAddress("2001:db8::1", 41641)),
        ("1.2.3.4:0", None),
        ("1.2.3.4:65536", None),
        ("1.2.3.4", None),
        ("host:5", None),
        (":5", None),
        ("1.2.3.4:+5", None),
        ("[fe80::1%eth0]:7", UdpAddress("fe80::1%eth0", 7)),
        ("[fe80::1%a b]:7", None),
        ("[fe80::1%\u00e9]:7", None),
        ("[fe80::1%\u2028]:7", None),
    ],
)
def test_endpoints(text: str, where: UdpAddress | None) -> None:
    assert gojson.endpoint(text) == where
    if where is not None:
        assert gojson.format_endpoint(where) == text


def test_lists_keep_what_can_be_read() -> None:
    assert gojson.texts(["a", 1, None, "b"]) == ("a", "b")
    assert gojson.objects([{"a": 1}, None, 3]) == [{"a": 1}]
    assert gojson.endpoints(["1.2.3.4:5", "x"]) == (UdpAddress("1.2.3.4", 5),)
    assert gojson.strings([IPv4Address("1.2.3.4")]) == ["1.2.3.4"]


def test_what_is_kept_as_it_came_is_not_deep() -> None:
    assert gojson.raw({"a": [{"b": 1}]}) == {"a": [{"b": 1}]}
    first, second = (gojson.raw({"".join(["na", "me"]): 1}) for _ in range(2))
    assert next(iter(first)) is next(iter(second)), "thousands of nodes have the same names"
    assert gojson.raw([1]) == gojson.raw(None) == {}
    for levels, kept in ((gojson.MAX_DEPTH - 1, True), (gojson.MAX_DEPTH, False), (900, False)):
        for wrap in (lambda value: [value], lambda value: {"x": value}):
            value: object = 1
            for _ in range(levels):
                value = wrap(value)
            assert bool(gojson.raw({"deep": value})) is kept


def test_numbers_and_texts_that_python_would_choke_on_later() -> None:
    assert [gojson.number(value) for value in (10**400, float("inf"), float("nan"), 1.5)] == [0.0, 0.0, 0.0, 1.5]
    assert gojson.endpoint("192.0.2.1:" + "9" * 5000) is None
    assert gojson.endpoint("192.0.2.1:\u0661\u0662") is None
    assert gojson.text("a\ud800b") == "a?b"
    assert gojson.texts(["\udfff", "ä"]) == ("?", "ä")


def test_a_mapped_endpoint_is_the_v4_one() -> None:
    assert gojson.endpoint("[::ffff:192.0.2.1]:7") == UdpAddress("192.0.2.1", 7)


def test_a_line_for_people_stays_one() -> None:
    assert gojson.line("shop") == "shop"
    assert gojson.line("Zoë 商店") == "Zoë 商店"
    assert gojson.line("a\x1b[2J\r\nb\u202ec\u2028") == "a\\x1b[2J  b\\u202ec "
    assert gojson.line(7) == ""


def test_names_of_fields_in_any_case() -> None:
    value = {"HostInfo": 1, "version": 2, "Version": 3, "Other": 4}
    assert gojson.spelled(value, ("Hostinfo", "Version")) == {"Hostinfo": 1, "Version": 3, "Other": 4}
    assert gojson.spelled(None, ("Hostinfo",)) == {}
