"""What a stack's owner sets reaches new connections."""

from __future__ import annotations

import pytest

from netstack import Stack
from netstack.limits import RunLimits
from netstack.tcp.settings import Settings
from tests.netstack.peer import Peer


def test_defaults_are_linuxs() -> None:
    settings = Settings()
    assert (settings.syn_retries, settings.synack_retries, settings.retries) == (6, 5, 15)
    assert (settings.nodelay, settings.congestion, settings.fin_timeout) == (False, "cubic", 60.0)
    assert settings.answer_wait == 0.0


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


def test_everything_linux_has_on_is_on() -> None:
    settings = Settings()
    features = ("timestamps", "sack", "dsack", "window_scaling", "frto", "tail_loss_probe", "slow_start_after_idle")
    assert {name: getattr(settings, name) for name in features} == dict.fromkeys(features, True)
    assert (settings.orphan_retries, settings.reordering) == (8, 3)


def test_what_the_stack_is_given_is_what_its_connections_have() -> None:
    stack = Stack(entropy=bytes, nodelay=True, congestion="reno")
    assert (stack.options.nodelay, stack.options.congestion) == (True, "reno")
    stack = Stack(entropy=bytes, max_run_packets=3, max_run_bytes=4000, run_overhead=5)
    assert stack.options.runs == RunLimits(packets=3, size=4000, overhead=5)
    assert Stack(entropy=bytes).options.runs == RunLimits(packets=64, size=65_507, overhead=0)
    assert Stack(entropy=bytes)._tcp.memory.ceiling == 256 << 20
    assert Stack(entropy=bytes, memory=1000)._tcp.memory.ceiling == 1000


@pytest.mark.parametrize(("passive", "count"), [(False, 6), (True, 5)])
def test_the_handshake_is_tried_as_often_as_in_linux(passive: bool, count: int) -> None:
    peer = Peer()
    if passive:
        peer.stack.listen(8080)
        peer.port, peer.their_port = 5000, 8080
        peer.send("S", seq=0, options=peer.syn_options())
        peer.take()
    else:
        peer.dial()
    again = peer.wait(200)
    assert [seen.flags for seen in again] == ["SA" if passive else "S"] * count
    assert not peer.stack.connections
