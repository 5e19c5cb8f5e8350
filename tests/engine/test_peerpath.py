from __future__ import annotations

import pytest

from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.base.keys import NodeKey
from tsnet.engine.peerpath import NO_PATH, PeerPath, path_by
from tsnet.netmap.model import DerpMap, DerpRegion

RELAY = DerpAddress(1, NodeKey(bytes(32)))
DIRECT = UdpAddress("192.0.2.7", 41641)
SESSION = PeerRelayAddress("192.0.2.9", 7777, 5)
MAP = DerpMap({1: DerpRegion(1, "nyc")})


@pytest.mark.parametrize(
    ("routes", "path", "text"),
    [
        ((), NO_PATH, "none"),
        ((RELAY,), PeerPath("", 1, "nyc"), "relay 1 (nyc)"),
        ((DerpAddress(7, RELAY.key),), PeerPath("", 7, ""), "relay 7"),
        ((DIRECT,), PeerPath("192.0.2.7:41641"), "direct 192.0.2.7:41641"),
        ((UdpAddress("2001:db8::7", 9),), PeerPath("[2001:db8::7]:9"), "direct [2001:db8::7]:9"),
        ((DIRECT, RELAY), PeerPath("192.0.2.7:41641", 1, "nyc"), "direct 192.0.2.7:41641 and relay 1 (nyc)"),
        ((SESSION,), PeerPath("192.0.2.9:7777", vni=5), "peer relay 192.0.2.9:7777 (session 5)"),
        (
            (SESSION, RELAY),
            PeerPath("192.0.2.9:7777", 1, "nyc", 5),
            "peer relay 192.0.2.9:7777 (session 5) and relay 1 (nyc)",
        ),
    ],
)
def test_a_path_says_what_the_routes_are(routes: tuple[Destination, ...], path: PeerPath, text: str) -> None:
    assert path_by(routes, MAP) == path
    assert str(path) == text
    assert bool(path) == bool(routes)
    assert path.is_direct == (len(routes) == 1 and isinstance(routes[0], UdpAddress))
    assert path.is_peer_relay == (routes == (SESSION,))


def test_peers_without_a_path_share_one_object() -> None:
    assert path_by((), MAP) is NO_PATH


def test_without_a_map_a_relay_has_no_code() -> None:
    assert path_by((RELAY,), None) == PeerPath(region=1)
