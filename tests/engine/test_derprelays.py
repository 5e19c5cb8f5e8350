from __future__ import annotations

import itertools
import math
import random

from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Close, Closed, Open, Opened, Received
from tsnet.derp import frames
from tsnet.derp.client import FRAMES_A_TURN, Stage
from tsnet.derp.facts import Disconnected
from tsnet.engine.derprelays import Relays
from tsnet.netmap.model import DerpMap, DerpNode, DerpRegion

NOW = 1000.0
BUDGET = 1 << 20


def region(number: int, host: str = "") -> DerpRegion:
    node = DerpNode(f"{number}a", number, host or f"derp{number}.test")
    return DerpRegion(number, f"r{number}", nodes=(node,))


def relays(*regions: DerpRegion) -> Relays:
    relays = Relays(NodePrivateKey(bytes(range(32))), entropy=random.Random(1).randbytes, over_http=False)
    relays.apply(DerpMap({one.region_id: one for one in regions}))
    return relays


def opens(relays: Relays, now: float = NOW) -> list[Open]:
    return [effect for effect in relays.transmit(now, BUDGET) if isinstance(effect, Open)]


def test_nothing_is_dialled_that_nobody_wants() -> None:
    some = relays(region(1), region(2))
    assert some.transmit(NOW, BUDGET) == []
    assert some.deadline() == math.inf


def test_what_is_wanted_is_dialled_and_what_is_not_is_left() -> None:
    some = relays(region(1), region(2))
    some.want({2, 1}, NOW)
    assert [effect.hosts[0] for effect in opens(some)] == ["derp1.test", "derp2.test"]
    assert some.deadline() > NOW
    links = {number: client.link for number, client in some.clients.items()}
    some.want({2}, NOW)
    assert links[1] is not None
    assert some.transmit(NOW, BUDGET) == [Close(links[1])]
    assert set(some.clients) == {2}


def test_a_region_that_the_map_does_not_know_is_no_connection() -> None:
    some = relays(region(1))
    some.want({7}, NOW)
    assert some.clients == {}
    some.send(DerpAddress(7, NodeKey(bytes(32))), [b"1", b"2"], NOW)
    assert some.dropped["no-region"] == 2


def test_sending_connects() -> None:
    some = relays(region(1))
    some.send(DerpAddress(1, NodeKey(bytes(32))), [b"packet"], NOW)
    assert len(opens(some)) == 1


def test_a_region_that_changed_is_dialled_anew_and_links_never_have_the_same_name() -> None:
    some = relays(region(1))
    some.want({1}, NOW)
    (first,) = opens(some)
    some.apply(DerpMap({1: region(1, "elsewhere.test")}))
    some.want({1}, NOW)
    (second,) = opens(some)
    assert (first.hosts, second.hosts) == (("derp1.test",), ("elsewhere.test",))
    assert first.link != second.link
    some.apply(DerpMap({1: region(1, "elsewhere.test")}))
    assert opens(some) == []


def test_events_of_a_connection_that_is_gone_are_counted() -> None:
    some = relays(region(1))
    some.want({1}, NOW)
    (effect,) = opens(some)
    some.want(set(), NOW)
    assert some.receive(Received(effect.link, b"late"), NOW) == []
    assert some.receive(Opened(effect.link), NOW) == []
    assert some.dropped["closed"] == 2


def test_a_failed_attempt_is_a_fact_and_is_tried_again_later() -> None:
    some = relays(region(1))
    some.want({1}, NOW)
    (effect,) = opens(some)
    some.receive(Closed(effect.link, "refused"), NOW)
    assert some.take_facts() == [Disconnected(1, "refused", "derp1.test")]
    assert some.take_facts() == []
    assert NOW < some.deadline() < NOW + 60
    assert len(opens(some, some.deadline())) == 1


def test_a_new_identity_logs_in_again_everywhere() -> None:
    some = relays(region(1), region(2))
    some.want({1, 2}, NOW)
    old = {effect.link for effect in opens(some)}
    some.set_private_key(NodePrivateKey(bytes(32)))
    some.want({1, 2}, NOW)
    effects = some.transmit(NOW, BUDGET)
    assert {effect.link for effect in effects if isinstance(effect, Close)} == old
    assert not {effect.link for effect in effects if isinstance(effect, Open)} & old


def test_a_login_that_has_left_and_is_not_answered_yet() -> None:
    some = relays(region(1), region(2))
    some.want({1, 2}, NOW)
    opens(some)
    assert some.logged_in() == []
    link = some.clients[1].link
    assert link is not None
    some.receive(Opened(link, b"\x09" * 32), NOW)
    assert (some.logged_in(), some.is_connected(1)) == ([1], False)


def test_home_is_told_to_those_there_and_to_those_that_come() -> None:
    some = relays(region(1), region(2))
    some.want({1}, NOW)
    some.set_home(2, NOW)
    some.want({1, 2}, NOW)
    assert [client._preferred for client in some.clients.values()] == [False, True]
    some.set_home(1, NOW)
    assert [client._preferred for client in some.clients.values()] == [True, False]


def test_what_is_wrong_with_a_region_in_words() -> None:
    some = relays(region(1))
    assert some.trouble(1, NOW) == ""
    assert some.trouble(7, NOW) == "relay region 7 is in no map that control has sent"
    some.want({1}, NOW)
    (effect,) = opens(some)
    assert some.trouble(1, NOW) == "relay region 1 (derp1.test) has not answered yet"
    some.receive(Closed(effect.link, "refused"), NOW)
    (failure,) = some.take_facts()
    assert isinstance(failure, Disconnected)
    some.troubles.failed(failure, NOW)
    assert some.trouble(1, NOW) == "relay region 1 (derp1.test) cannot be reached: refused"
    some.want((), NOW)
    assert some.trouble(1, NOW) == "relay region 1 (derp1.test) cannot be reached: refused"
    some.apply(DerpMap({1: region(1, "elsewhere.test")}))
    assert some.trouble(1, NOW) == ""


def test_room_of_a_region_without_a_connection_is_unlimited() -> None:
    assert relays(region(1)).has_room(1)


def test_close_leaves_every_link() -> None:
    some = relays(region(1), region(2))
    some.want({1, 2}, NOW)
    opens(some)
    some.close()
    effects = some.transmit(NOW, BUDGET)
    assert [type(effect) for effect in effects] == [Close, Close]
    assert some.deadline() == math.inf


def test_many_changes_of_mind_leave_nothing_behind() -> None:
    some = relays(*map(region, range(1, 6)))
    chance = random.Random(2)
    opened: set[object] = set()
    for now in itertools.islice(itertools.count(NOW), 200):
        some.want(set(chance.sample(range(1, 8), chance.randrange(6))), now)
        for effect in some.transmit(now, BUDGET):
            (opened.add if isinstance(effect, Open) else opened.discard)(effect.link)
        assert opened == {client.link for client in some.clients.values()}


def test_what_one_turn_left_over_comes_with_the_next_one() -> None:
    some = relays(region(1))
    some.want({1}, NOW)
    (opened,) = opens(some)
    client = some.clients[1]
    client.stage = Stage.CONNECTED
    some.receive(Opened(opened.link), NOW)
    packets = [bytes([number % 256]) for number in range(FRAMES_A_TURN + 5)]
    data = frames.encode_packets(frames.RECV_PACKET, bytes(32), packets)
    ((_source, first),) = some.receive(Received(opened.link, data), NOW)
    assert some.deadline() <= NOW
    ((_source, rest),) = some.read(NOW)
    assert first + rest == packets
    assert some.read(NOW) == []
