"""The times of path selection: how they must stand to each other."""

from __future__ import annotations

from tsnet.disco import constants
from tsnet.disco.messages import Ping
from tsnet.wireguard.messages import TRANSPORT_OVERHEAD


def test_two_heartbeats_fit_into_the_trust_of_one_pong() -> None:
    assert 2 * constants.HEARTBEAT_INTERVAL < constants.TRUST_UDP_ADDRESS


def test_a_dead_path_is_found_by_its_data_before_its_trust_ends() -> None:
    assert constants.DATA_UNANSWERED + constants.DATA_PING_TIMEOUT < constants.TRUST_UDP_ADDRESS
    assert 2 * constants.DATA_PING_INTERVAL < constants.DATA_PING_TIMEOUT


def test_a_pause_outlasts_what_a_router_remembers_of_a_lone_datagram() -> None:
    assert constants.BURST_PAUSE > 30


def test_a_padded_ping_is_as_large_as_the_largest_datagram_of_wireguard() -> None:
    sealed = 78 + len(Ping(bytes(12), None, 32 + constants.DATA_PADDING).encode())
    assert sealed == 1280 + TRANSPORT_OVERHEAD
