from __future__ import annotations

import socket

import pytest

from tests.house import House, events_of
from tests.test_server import server
from tests.testing.test_regions import asked, home_of
from tsnet.events import HomeChanged, RelayChanged
from tsnet.testing.tailnet import Tailnet


def test_each_fault_and_its_end() -> None:
    """The home relay is another one soon after; when the first is back, streams between the nodes have gone on."""
    for fault in ("stop", "kill", "silence"):
        house = House(regions=2, relays_only=True)
        home, other = house.tailnet.relays
        a, b = house.up("a"), house.up("b")
        home, other = (house.tailnet.relay(home_of(a)), other) if home_of(a) == home.region else (other, home)
        dialled, accepted, _listener = house.connect(b, a)
        assert home.is_running
        getattr(home, fault)()
        getattr(home, fault)()
        assert not home.is_running
        dialled.give(b"through the other one")
        house.until(lambda accepted=accepted: accepted.has_news)
        assert accepted.take(100) == b"through the other one"
        house.until(lambda a=a, b=b, other=other: {home_of(a), home_of(b)} == {other.region})
        home.start()
        home.start()
        house.run(5)
        other.restart()
        dialled.give(b"again")
        house.until(lambda accepted=accepted: accepted.has_news)
        assert accepted.take(100) == b"again"


def test_what_events_tell_of_a_home_that_dies() -> None:
    house = House(regions=2, relays_only=True)
    a = house.up("a")
    subscription = a.subscribe()
    before = home_of(a)
    house.tailnet.relay(before).kill()
    house.until(lambda: home_of(a) not in (0, before))
    told = [event for event in events_of(subscription) if isinstance(event, HomeChanged | RelayChanged)]
    assert next(type(event) for event in told) is RelayChanged
    assert told[-1] == HomeChanged(1801 - before)


def test_a_silent_relay_takes_connections_and_says_nothing() -> None:
    with Tailnet(regions=2) as tailnet, server(tailnet, "a") as a:
        a.reachable()
        relay = tailnet.relays[1]
        relay.silence()
        with socket.create_connection(("127.0.0.1", relay.derp_port), 5) as link:
            link.settimeout(0.1)
            link.sendall(b"GET /derp/probe HTTP/1.1\r\nHost: x\r\n\r\n")
            with pytest.raises(TimeoutError):
                link.recv(1)
            assert asked(relay.stun_port) is None
            relay.start()
            link.settimeout(5)
            assert link.recv(1) == b""
        assert asked(relay.stun_port) is not None


def test_only_its_own_connections_end() -> None:
    house = House(regions=2, relays_only=True)
    a = house.up("a")
    subscription = a.subscribe()
    house.tailnet.relay(1801 - home_of(a)).kill()
    house.run(30)
    assert not [event for event in events_of(subscription) if isinstance(event, HomeChanged)]
