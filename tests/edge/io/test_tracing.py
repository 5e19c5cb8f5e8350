"""Traces as DEBUG lines: how values are shown, what is bounded, and what an event costs while nobody listens."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from ipaddress import ip_address

import pytest

from tsnet.base.addresses import DerpAddress, PeerRelayAddress, UdpAddress
from tsnet.base.keys import MachineKey, NodeKey, NodePrivateKey
from tsnet.edge.io.tracing import BURST, MAX_LINE, MAX_VALUE, RoomTrace, Traces

SHOP, NOBODY = NodeKey(bytes([1]) * 32), NodeKey(bytes([2]) * 32)


class Hands:
    """A clock."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def trace(clock: Hands) -> RoomTrace:
    traces = Traces("laptop", clock)
    traces.peer_name = lambda key: "shop" if key == SHOP else ""
    return traces("wireguard")


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Lines]:
    with caplog.at_level(logging.DEBUG, "tsnet"):
        yield Lines(caplog)


class Lines:
    """What was logged since the last look."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self._caplog = caplog

    def take(self) -> list[str]:
        taken = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return taken


def test_an_event_is_a_line_of_its_rooms_logger(trace: RoomTrace, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "tsnet"):
        trace("session made")
        trace("handshake sent", peer=SHOP, why="data waits")
    assert [(record.name, record.levelno, record.getMessage()) for record in caplog.records] == [
        ("tsnet.wireguard", logging.DEBUG, "laptop: session made"),
        ("tsnet.wireguard", logging.DEBUG, "laptop: handshake sent: peer=shop, why=data waits"),
    ]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (SHOP, "shop"),
        (NOBODY, "0202020202"),
        (MachineKey(bytes([3]) * 32), "0303030303"),
        (DerpAddress(7, SHOP), "relay region 7"),
        (UdpAddress("192.0.2.1", 41641), "192.0.2.1:41641"),
        (UdpAddress("fd7a::1", 41641), "[fd7a::1]:41641"),
        (PeerRelayAddress("192.0.2.1", 7777, 5), "peer relay 192.0.2.1:7777 vni 5"),
        (ip_address("100.64.0.1"), "100.64.0.1"),
        (True, "yes"),
        (False, "no"),
        (900, "900"),
        (0.03149, "0.0315 s"),
        ((1, UdpAddress("192.0.2.1", 1)), "1 192.0.2.1:1"),
        ("two\nlines \x1b[2J", r"two lines \x1b[2J"),
        (NodePrivateKey(bytes(range(32))), "NodePrivateKey"),
        (b"raw bytes", "bytes"),
        ({"a": 1}, "dict"),
        (None, "none"),
    ],
)
def test_how_a_value_is_shown(trace: RoomTrace, lines: Lines, value: object, shown: str) -> None:
    trace("event", value=value)
    assert lines.take() == [f"laptop: event: value={shown}"]


def test_long_values_and_lines_are_cut(trace: RoomTrace, lines: Lines) -> None:
    trace("event", value="x" * 1000)
    (line,) = lines.take()
    assert line == f"laptop: event: value={'x' * (MAX_VALUE - 1)}…"
    trace("event", a="x" * 70, b="y" * 70, c="z" * 70)
    (line,) = lines.take()
    assert len(line) == MAX_LINE


def test_one_kind_of_event_cannot_fill_a_disk_and_hides_no_other(trace: RoomTrace, lines: Lines, clock: Hands) -> None:
    for _ in range(1000):
        trace("handshake answered", peer=SHOP)
    assert len(lines.take()) == BURST
    trace("session made", peer=SHOP)
    assert lines.take() == ["laptop: session made: peer=shop"]
    clock.now += 1
    trace("handshake answered", peer=SHOP)
    trace("handshake answered", peer=SHOP)
    (line,) = lines.take()
    assert line.endswith("(and 980 more like this since it was last said)")
    clock.now += 1
    trace("handshake answered", peer=SHOP)
    (line,) = lines.take()
    assert line.endswith("(and 1 more like this since it was last said)")


class Costly:
    def __str__(self) -> str:
        raise AssertionError("nobody listens")


def test_while_debug_is_off_nothing_is_made_of_an_event_and_it_can_be_switched_on(
    trace: RoomTrace, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "tsnet"):
        for _ in range(1000):
            trace("event", value=Costly(), other=[Costly()])
    assert caplog.records == []
    with caplog.at_level(logging.DEBUG, "tsnet.wireguard"):
        trace("event", value=1)
    assert [record.getMessage() for record in caplog.records] == ["laptop: event: value=1"]


class Broken(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise ValueError("the disk is full")


def test_a_handler_that_raises_ends_nothing(trace: RoomTrace) -> None:
    logger, handler = logging.getLogger("tsnet.wireguard"), Broken()
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        trace("event")
    finally:
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)
