"""What a user sees of the way to a peer: events and status, over the change from relay to direct and back."""

from __future__ import annotations

import pytest

from tests.house import House, events_of
from tsnet.edge.run.dialing import PingResult
from tsnet.edge.run.handle import Handle
from tsnet.engine.peerpath import NO_PATH, PeerPath
from tsnet.errors import ConfigError
from tsnet.events import PathChanged
from tsnet.status import peers_of


def path(handle: Handle) -> PeerPath:
    """To its one peer, as its status says."""
    view = handle.view
    assert view is not None
    (peer,) = peers_of(view.netmap, view.whois, handle.path_to)
    return peer.path


def test_from_the_relay_to_a_direct_path() -> None:
    house = House()
    a, b = house.up("a"), house.up("b")
    assert path(b) is NO_PATH  # nothing was sent to it
    events = b.subscribe()
    house.connect(b, a)
    house.until(lambda: path(b).is_direct, 5.0)
    told = [event for event in events_of(events) if isinstance(event, PathChanged)]
    assert [event.peer.name.partition(".")[0] for event in told] == ["a"] * len(told)
    relay = PeerPath(region=900, region_code="embedded")
    assert (told[0].before, told[0].path, told[0].why) == (NO_PATH, relay, "it is sent to")
    assert (told[-1].path, told[-1].why) == (path(b), "a pong came")
    assert [event.before for event in told[1:]] == [event.path for event in told[:-1]]
    assert path(a).is_direct


def test_with_relays_alone() -> None:
    house = House(relays_only=True)
    a, b = house.up("a"), house.up("b")
    events = b.subscribe()
    house.connect(b, a)
    house.run(10.0)
    assert path(b).region == path(a).region == 900
    assert not path(b).address
    told = [event for event in events_of(events) if isinstance(event, PathChanged)]
    assert [(event.path, event.why) for event in told] == [(path(b), "it is sent to")]


def test_a_peer_that_has_left_has_no_path() -> None:
    house = House()
    a, b = house.up("a"), house.up("b")
    house.connect(b, a)
    house.until(lambda: path(b).is_direct, 5.0)
    key = b.node.netmap.peers[1].key if b.node.netmap is not None else b""
    assert b.path_to(key).is_direct
    house.finish(a.close(5.0))
    house.until(lambda: b.node.netmap is not None and not b.node.netmap.peers)
    assert b.path_to(key) is NO_PATH


def test_a_node_that_is_gone_has_no_paths() -> None:
    house = House()
    a, b = house.up("a"), house.up("b")
    house.connect(b, a)
    key = next(iter(b.node.netmap.peers.values())).key if b.node.netmap is not None else b""
    house.finish(b.close(5.0))
    assert b.path_to(key) is NO_PATH


def test_pings_show_how_a_direct_path_is_found() -> None:
    house = House()
    house.up("a")
    b = house.up("b")
    found: list[PingResult] = []
    while len(found) < 10 and not (found and found[-1].path.is_direct):
        found.append(house.finish(b.ping("a", "icmp", 5.0)))
        house.run(0.05)
    assert found[0].path == PeerPath(region=900, region_code="embedded")
    assert found[-1].path == path(b)
    assert found[-1].path.is_direct
    assert found[-1].seconds < found[0].seconds
    assert house.finish(b.ping("a", "tsmp", 5.0)).path == path(b)


def test_a_ping_that_waited_for_a_path_tells_which_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    house = House(relays_only=True)
    house.up("a")
    b = house.up("b")
    known, before = b.node.path_towards, [NO_PATH]
    monkeypatch.setattr(b.node, "path_towards", lambda address: before.pop() if before else known(address))
    for kind in ("icmp", "tsmp"):
        assert house.finish(b.ping("a", kind, 5.0)).path == PeerPath(region=900, region_code="embedded")
    assert not before


def test_a_disco_ping_tells_the_path_that_answered() -> None:
    house = House()
    house.up("a")
    b = house.up("b")
    found: list[PingResult] = []
    while len(found) < 10 and not (found and found[-1].path.is_direct):
        found.append(house.finish(b.ping("a", "disco", 5.0)))
        house.run(0.05)
    assert found[-1].path.is_direct
    assert (found[-1].kind, found[-1].address) == ("disco", b.node.calls.resolve("a"))


def test_a_disco_ping_by_relays_alone() -> None:
    house = House(relays_only=True)
    house.up("a")
    b = house.up("b")
    assert house.finish(b.ping("a", "disco", 5.0)).path == PeerPath(region=900, region_code="embedded")
    assert isinstance(house.failure(b.ping("b", "disco", 1.0)), ConfigError)  # nobody answers for this node itself
