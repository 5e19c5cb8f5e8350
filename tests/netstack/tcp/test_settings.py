"""What a stack's owner sets reaches new connections."""

from __future__ import annotations

import pytest

from netstack import Stack
from netstack.tcp.settings import Settings
from tests.netstack.peer import Peer


def test_defaults_are_linuxs() -> None:
    settings = Settings()
    assert (settings.syn_retries, settings.synack_retries, settings.retries) == (6, 5, 15)
    assert (settings.nodelay, settings.congestion, settings.fin_timeout) == (False, "cubic", 60.0)


@pytest.mark.parametrize("name", ["timestamps", "sack", "window_scaling"])
def test_an_option_that_is_off_is_not_offered(name: str) -> None:
    peer = Peer()
    setattr(peer.stack.options, name, False)
    connection = peer.connect()
    info = connection.info()
    assert (info.has_timestamps, info.has_sack, bool(info.receive_scale)) == tuple(
        name != other for other in ("timestamps", "sack", "window_scaling")
    )


def test_retries() -> None:
    peer = Peer()
    peer.stack.options.syn_retries = 1
    peer.dial()
    assert [seen.flags for seen in peer.wait(100)] == ["S"]
    assert peer.connection.error == "timeout"


def test_a_strategy_is_chosen_for_the_stack() -> None:
    peer = Peer()
    peer.stack.options.congestion = "reno"
    assert peer.connect().info().congestion == "reno"
    with pytest.raises(ValueError, match="bbr"):
        Stack(entropy=bytes, congestion="bbr")
