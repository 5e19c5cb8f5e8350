"""Virtual time."""

from __future__ import annotations

from types import SimpleNamespace

from tests.scripts.script import ACK
from tests.scripts.shell import DEFAULTS
from tests.scripts.wire import TCP, build_segment
from tests.scripts.world import LINK, START, World, apply


def stray(world: World) -> bytes:
    remote, local = world.remote.packed, world.local.packed
    return build_segment(remote, local, (1, 2), seq=3, ack=4, flags=ACK, window=5)


def test_what_the_stack_answers_is_sent_now() -> None:
    world = World()
    world.advance(START + 5)
    world.inject([stray(world)])
    assert [(seen.at, seen.protocol, seen.by_timer) for seen in world.sent] == [(START + 5, TCP, False)]


def test_timers_go_off_on_the_way() -> None:
    world = World(version=6)
    world.stack.connect(world.remote, 80, world.now, link=LINK)
    world.turn()
    world.advance(START + 10)
    assert [round(seen.at - START, 3) for seen in world.sent] == [0, 1, 3, 7]
    assert [seen.by_timer for seen in world.sent] == [False, True, True, True]
    assert world.now == START + 10


def test_a_call_that_waits_is_tried_after_every_turn() -> None:
    world = World()
    tries: list[float] = []

    def attempt() -> bool:
        tries.append(world.now)
        return len(tries) == 3

    world.waiting = attempt
    world.wake_at = START + 2
    world.turn()
    world.inject([stray(world)])
    world.advance(START + 3)
    assert tries == [START, START, START + 2]
    assert world.waiting is None


def test_a_full_queue_holds_the_link() -> None:
    world = World()
    world.stack.connect(world.remote, 80, world.now, link=LINK)
    world.host.full = True
    world.configure()
    world.turn()
    assert not world.sent
    world.host.full = False
    world.configure()
    world.turn()
    assert len(world.sent) == 1


def test_settings_become_options_of_the_stack() -> None:
    options = SimpleNamespace(sack=True, syn_retries=6, congestion="")
    notes = apply({"tcp_sack": "0", "tcp_syn_retries": "3", "tcp_congestion_control": "reno"}, options)
    assert options == SimpleNamespace(sack=False, syn_retries=3, congestion="reno")
    assert not notes


def test_what_cannot_be_set_is_noted() -> None:
    settings = {**DEFAULTS, "tcp_timestamps": "0", "tcp_rmem": "1 2 3", "tcp_abc": "1"}
    assert apply(settings, None) == ["no option for tcp_timestamps=0", "no option for tcp_abc=1"]
