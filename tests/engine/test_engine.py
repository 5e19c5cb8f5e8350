from __future__ import annotations

import random
from ipaddress import ip_network
from typing import Any

import attrs
import pytest

from tests.engine.pair import A4, B4, B6, BUDGET, NEVER, REGION, UNIX_TIME, Pair, apply, netmap
from tsnet.base.addresses import MAX_RUN_PAYLOAD, DerpAddress, PeerRelayAddress, UdpAddress
from tsnet.base.addresses import Destination as To
from tsnet.base.crypto import disco_public
from tsnet.base.keys import DiscoPrivateKey, NodeKey
from tsnet.engine import tsmp
from tsnet.engine.engine import ANSWER_WAIT, MAX_STUN, MTU, UDP, path_of, udp_runs
from tsnet.netcheck.stun import encode_request
from tsnet.netmap.model import Destination, FilterRule, PortRange
from tsnet.netmap.packed import raw_prefix
from tsnet.netmap.routes import own_prefixes

ONLY_WEB = (FilterRule(("*",), (Destination("*", PortRange(80, 80)),)),)


def connected(pair: Pair, port: int = 80, v6: bool = False) -> tuple[Any, Any]:
    """A connection from b to a."""
    listener = pair.a.engine.stack.listen(port)
    target = pair.nodes[0].ips[1 if v6 else 0]
    client = pair.b.engine.stack.connect(target, port, pair.now, link=pair.nodes[0].key)
    pair.reach(lambda: listener.readable)
    server = listener.accept()
    listener.close(pair.now)
    return client, server


def send_all(pair: Pair, sender: Any, receiver: Any, payload: bytes) -> bytes:
    received, sent = bytearray(), 0

    def step() -> bool:
        nonlocal sent
        if sent < len(payload):
            sent += sender.write(payload[sent:], pair.now)
        received.extend(receiver.read())
        return len(received) == len(payload)

    pair.reach(step, 600)
    return bytes(received)


# --- the path there and back ------------------------------------------------------------------------------------


@pytest.mark.parametrize("v6", [False, True])
@pytest.mark.parametrize(("loss", "reorder", "duplicate"), [(0.0, 0.0, 0.0), (0.1, 0.1, 0.1)])
def test_a_stream_arrives_whole(v6: bool, loss: float, reorder: float, duplicate: float) -> None:
    pair = Pair(seed=3, loss=loss, reorder=reorder, duplicate=duplicate)
    client, server = connected(pair, v6=v6)
    payload = random.Random(1).randbytes(100_000)
    assert send_all(pair, client, server, payload) == payload
    assert send_all(pair, server, client, payload) == payload


def test_a_question_and_its_answer_take_four_datagrams_with_the_handshake() -> None:
    """What acknowledges the SYN-ACK and the question travels with data."""
    pair = Pair()
    connected(pair)  # so that there is a session
    listener = pair.a.engine.stack.listen(81)
    client = pair.b.engine.stack.connect(pair.nodes[0].ips[0], 81, pair.now, link=pair.nodes[0].key)
    pair.reach(lambda: client.connected)
    client.write(b"question", pair.now)
    pair.reach(lambda: listener.readable)
    server = listener.accept()
    assert server is not None
    assert server.read() == b"question"
    server.write(b"answer", pair.now)
    pair.reach(lambda: client.readable)
    sent = [end.info(pair.now).segments_sent for end in (client, server)]
    assert (client.read(), sent) == (b"answer", [2, 2])
    assert pair.a.engine.stack.options.answer_wait == ANSWER_WAIT


def test_datagrams_of_one_run_have_one_length_but_the_last() -> None:
    pair = Pair()
    client, _server = connected(pair)
    client.write(bytes(50_000), pair.now)
    pair.run(seconds=0.05)
    for _ in range(20):
        for destination, run in pair.b.engine.transmit(pair.now, BUDGET):
            assert isinstance(destination, UdpAddress)
            assert len({len(datagram) for datagram in run[:-1]}) <= 1
            assert max(map(len, run)) <= MTU + 32 + 16
        pair.step(pair.now + 0.05)


def test_a_session_of_a_peer_relay_carries_a_stream_in_geneve() -> None:
    """Whole datagrams of a run still fit one send, with the header of each."""
    pair = Pair()
    client, server = connected(pair)
    session = PeerRelayAddress("198.51.100.7", 7777, 5)
    for node, player in ((pair.nodes[0], pair.b), (pair.nodes[1], pair.a)):
        player.engine.paths._routes[node.raw_key] = (session,)
    header, received, sent, runs = bytes.fromhex("00007a1200000500"), 0, 0, []
    while received < 300_000:
        sent += client.write(bytes(300_000 - sent), pair.now)
        for player, other in ((pair.b, pair.a), (pair.a, pair.b)):
            for to, run in player.engine.transmit(pair.now, BUDGET):
                assert to == session.relay
                assert all(datagram.startswith(header) for datagram in run)
                runs.append(sum(map(len, run)))
                other.engine.receive([(session.relay, run)], pair.now)
        received += len(server.read())
    assert 60_000 < max(runs) <= MAX_RUN_PAYLOAD


def test_the_budget_cuts_and_the_rest_is_due_at_once() -> None:
    pair = Pair()
    client, _server = connected(pair)
    send_all(pair, client, _server, bytes(300_000))  # opens the congestion window
    client.write(bytes(200_000), pair.now)
    sizes = sum(len(datagram) for _, run in pair.b.engine.transmit(pair.now, 10_000) for datagram in run)
    assert 0 < sizes <= 10_000 + 2 * MTU
    assert pair.b.engine.deadline() <= pair.now


def test_ping_and_the_packet_filter() -> None:
    pair = Pair()
    apply(pair.a.engine, netmap(pair.nodes[0], pair.nodes[1], rules=ONLY_WEB), pair.now)
    client, _ = connected(pair, 80)
    assert client.connected
    echo = pair.b.engine.stack.ping(A4)
    echo.send(pair.now, 1, b"12345678")
    pair.reach(lambda: echo.readable)


def test_a_port_that_the_filter_denies_is_refused_at_once_by_tsmp() -> None:
    pair = Pair()
    apply(pair.a.engine, netmap(pair.nodes[0], pair.nodes[1], rules=ONLY_WEB), pair.now)
    pair.a.engine.stack.listen(81)
    client = pair.b.engine.stack.connect(A4, 81, pair.now, link=pair.nodes[0].key)

    def told() -> bool:
        pair.b.engine.take_messages(pair.now)
        return client.error is not None

    pair.reach(told, 5.0)
    assert client.error == tsmp.DENIED + tsmp.POLICY
    assert pair.now < 1001.0
    assert pair.a.engine.packet_filter.dropped["rule"] >= 1


def test_the_refusal_of_a_flow_that_is_no_connection_is_counted() -> None:
    pair = Pair()
    refusal = tsmp.packet(A4.packed, B4.packed, tsmp.Rejected(17, "A", 53, 53))
    pair.a.engine.device.send([(pair.nodes[1].key, [refusal])], pair.now)

    def told() -> bool:
        pair.b.engine.take_messages(pair.now)
        return pair.b.engine.dropped["rejected"] == 1

    pair.reach(told)


def test_a_rejection_that_is_not_final_ends_no_connection() -> None:
    """Go waits on after "maybe broken", too."""
    pair = Pair()
    pair.a.engine.stack.listen(80)
    client = pair.b.engine.stack.connect(A4, 80, pair.now, link=pair.nodes[0].key)
    word = tsmp.Rejected(6, tsmp.NOT_FORWARDED, client.local[1], 80, maybe_broken=True)
    pair.a.engine.device.send([(pair.nodes[1].key, [tsmp.packet(A4.packed, B4.packed, word)])], pair.now)

    def told() -> bool:
        pair.b.engine.take_messages(pair.now)
        return pair.b.engine.dropped["rejected"] == 1 and client.connected

    pair.reach(told)
    assert client.error is None


def test_tsmp_ping() -> None:
    pair = Pair()
    assert pair.b.engine.ping_tsmp(A4.packed, b"abcdefgh", pair.now)
    found: list[Any] = []

    def answered() -> bool:
        found.extend(pair.b.engine.take_messages(pair.now))
        return bool(found)

    pair.reach(answered)
    assert found == [(pair.nodes[0].key, A4.packed, tsmp.TsmpPong(b"abcdefgh"))]
    assert not pair.b.engine.ping_tsmp(bytes([100, 64, 0, 99]), bytes(8), pair.now)


# --- bytes of strangers -----------------------------------------------------------------------------------------


def test_garbage_is_dropped_and_counted_by_whoever_it_was_meant_for() -> None:
    pair = Pair()
    connected(pair)
    engine, chance = pair.a.engine, random.Random(5)
    stranger = UdpAddress("203.0.113.5", 5)
    before = engine.device.dropped.total() + engine.paths.dropped.total() + engine.dropped.total()
    garbage = [chance.randbytes(chance.randrange(200)) for _ in range(300)]
    garbage += [bytes([kind]) + chance.randbytes(147) for kind in range(6)] + [b"", encode_request(bytes(12))]
    for datagram in garbage:
        engine.receive([(stranger, [datagram])], pair.now)
    pair.run(seconds=1)
    after = engine.device.dropped.total() + engine.paths.dropped.total() + engine.dropped.total()
    assert after - before >= len(garbage) - 6
    assert engine.take_stun() == [(stranger, encode_request(bytes(12)))]  # netcheck judges it
    assert not [datagram for destination, datagram in pair.a.sent if destination == stranger]


def test_stun_waits_in_a_bounded_list_and_none_of_it_comes_through_a_relay() -> None:
    engine, datagram = Pair().a.engine, encode_request(bytes(12))
    engine.receive([(DerpAddress(1, NodeKey(bytes(32))), [datagram])], 0.0)
    assert engine.take_stun() == []
    assert engine.dropped["stun"] == 1
    server = UdpAddress("203.0.113.5", 3478)
    for _ in range(MAX_STUN + 10):
        engine.receive([(server, [datagram])], 0.0)
    assert engine.take_stun() == [(server, datagram)] * MAX_STUN
    assert engine.dropped["stun"] == 11
    assert engine.take_stun() == []


def test_what_a_relay_says_comes_from_whoever_is_no_peer_is_dropped_unread() -> None:
    pair = Pair()
    peer, stranger = DerpAddress(1, pair.b.engine.device.public_key), DerpAddress(1, NodeKey(b"s" * 32))
    runs = [(peer, [b"1", b"2"]), (stranger, [b"3", b"4", b"5"]), (peer, [b"6"])]
    assert pair.a.engine.of_peers(runs) == [(peer, [b"1", b"2"]), (peer, [b"6"])]
    assert pair.a.engine.dropped == {"stranger": 3}


def test_a_flipped_bit_anywhere_leaves_no_trace() -> None:
    pair = Pair()
    client, server = connected(pair)
    client.write(b"hello", pair.now)
    ((destination, (datagram,)),) = pair.b.engine.transmit(pair.now, BUDGET)
    for at in range(len(datagram)):
        damaged = bytearray(datagram)
        damaged[at] ^= 1
        pair.a.engine.receive([(pair.b.address, [bytes(damaged)])], pair.now)
        assert not server.readable
    pair.a.engine.receive([(pair.b.address, [datagram])], pair.now)
    assert server.read() == b"hello"
    assert destination == pair.a.address


# --- control's word ---------------------------------------------------------------------------------------------


def test_a_peer_that_left_takes_its_connections_along() -> None:
    pair = Pair()
    client, _ = connected(pair)
    apply(pair.b.engine, netmap(pair.nodes[1]), pair.now)
    assert client.error == "unreachable"
    assert pair.b.engine.egress.routes.lookup(A4.packed) is None


def test_an_expired_peer_counts_as_gone() -> None:
    pair = Pair()
    expired = attrs.evolve(pair.nodes[0], expired=True)
    apply(pair.b.engine, netmap(pair.nodes[1], expired), pair.now)
    assert pair.b.engine.egress.routes.lookup(A4.packed) is None


def test_our_own_address_taken_away_ends_its_connections() -> None:
    pair = Pair()
    client, _ = connected(pair)
    moved = attrs.evolve(pair.nodes[1], addresses=(ip_network("100.64.0.200/32"),))
    apply(pair.b.engine, netmap(moved, pair.nodes[0]), pair.now)
    assert client.error == "aborted"


def test_a_peer_with_a_new_disco_key_has_restarted_and_its_session_is_made_anew() -> None:
    pair = Pair()
    connected(pair)
    sent = len(pair.b.sent)
    reborn = attrs.evolve(pair.nodes[0], disco_key=disco_public(DiscoPrivateKey(bytes(range(32)))))
    apply(pair.b.engine, netmap(pair.nodes[1], reborn), pair.now)
    echo = pair.b.engine.stack.ping(A4)
    echo.send(pair.now, 1, bytes(8))
    pair.reach(lambda: echo.readable)
    assert next(datagram[0] for _, datagram in pair.b.sent[sent:]) == 1  # an initiation came first


def test_a_new_disco_key_that_the_session_itself_has_told_leaves_the_session_alone() -> None:
    """The peer restarted, met us again, and only then control tells us of it."""
    pair = Pair()
    connected(pair)
    reborn = attrs.evolve(pair.nodes[0], disco_key=disco_public(DiscoPrivateKey(bytes(range(32)))))
    assert reborn.disco_key is not None
    pair.a.engine.disco_key = reborn.disco_key
    pair.a.engine.suspended(pair.now)  # as after a restart: its next session opens with the new key
    echo = pair.a.engine.stack.ping(B4)
    echo.send(pair.now, 1, bytes(8))
    pair.reach(lambda: echo.readable)
    assert pair.b.engine.take_messages(pair.now) == []
    sent = len(pair.b.sent)
    apply(pair.b.engine, netmap(pair.nodes[1], reborn), pair.now)
    echo = pair.b.engine.stack.ping(A4)
    echo.send(pair.now, 1, bytes(8))
    pair.reach(lambda: echo.readable)
    assert 1 not in [datagram[0] for _, datagram in pair.b.sent[sent:]]  # no initiation


def test_routes_through_a_peer_carry_nothing_yet() -> None:
    pair = Pair()
    router = attrs.evolve(
        pair.nodes[0], allowed_ips=(*pair.nodes[0].allowed_ips, ip_network("10.0.0.0/8"), ip_network("0.0.0.0/0"))
    )
    assert own_prefixes(router) == list(map(raw_prefix, pair.nodes[0].addresses))
    apply(pair.b.engine, netmap(pair.nodes[1], router), pair.now)
    assert pair.b.engine.egress.routes.lookup(bytes([10, 1, 2, 3])) is None


def test_an_address_that_is_not_allowed_is_not_the_peers() -> None:
    pair = Pair()
    half = attrs.evolve(pair.nodes[0], allowed_ips=pair.nodes[0].addresses[:1])
    assert own_prefixes(half) == [raw_prefix(pair.nodes[0].addresses[0])]


def test_without_a_netmap_nothing_is_due() -> None:
    pair = Pair()
    apply(pair.a.engine, netmap(pair.nodes[0]), pair.now)
    assert pair.a.engine.transmit(pair.now, BUDGET) == []
    assert pair.a.engine.deadline() == NEVER


# --- room -------------------------------------------------------------------------------------------------------


def test_a_full_path_holds_what_its_peers_have_to_send_and_does_not_stay_due() -> None:
    pair = Pair()
    client, server = connected(pair)
    pair.run(seconds=5)
    pair.b.engine.hold(UDP)
    client.write(bytes(5000), pair.now)
    assert not pair.b.engine.transmit(pair.now, BUDGET)
    assert pair.b.engine.deadline() > pair.now
    pair.b.engine.release(UDP)
    pair.reach(lambda: server.readable)


def test_room_of_another_path_is_another_matter() -> None:
    pair = Pair()
    client, server = connected(pair)
    pair.b.engine.hold(900)
    client.write(b"on", pair.now)
    pair.reach(lambda: server.readable)


def test_a_peer_that_goes_while_its_path_is_full_can_be_talked_to_when_it_comes_back() -> None:
    pair = Pair()
    connected(pair)
    pair.b.engine.hold(UDP)
    apply(pair.b.engine, netmap(pair.nodes[1]), pair.now)
    pair.b.engine.release(UDP)
    apply(pair.b.engine, netmap(pair.nodes[1], pair.nodes[0]), pair.now)
    again, _ = connected(pair, port=81)
    assert again.connected


def test_a_path_that_is_gone_is_not_full() -> None:
    pair = Pair()
    client, server = connected(pair)
    pair.b.engine.set_full({UDP})
    client.write(bytes(5000), pair.now)
    assert not pair.b.engine.transmit(pair.now, BUDGET)
    pair.b.engine.set_full({900})
    pair.reach(lambda: server.readable)


# --- two paths to one peer --------------------------------------------------------------------------------------


def taken(pair: Pair) -> set[Any]:
    """The destinations that b has used since the last call."""
    used = {destination for destination, _datagram in pair.b.sent}
    pair.b.sent.clear()
    return used


def test_data_takes_every_path_that_has_room_and_waits_while_none_has() -> None:
    pair = Pair()
    client, server = connected(pair)
    udp, relay = pair.add_relay()
    engine = pair.b.engine
    taken(pair)
    for full, expected in (
        (set(), {udp, relay}),
        ({UDP}, {relay}),
        ({UDP, REGION}, set()),
        ({REGION}, {udp}),
        ({UDP, REGION}, set()),
        ({UDP}, {relay}),
        ({7, 8}, {udp, relay}),
    ):
        engine.set_full(full)
        client.write(bytes(3000), pair.now)
        pair.drain(pair.b)
        assert taken(pair) == expected, full
        pair.run(seconds=1.0)
        assert not expected or len(server.read()) >= 3000
        taken(pair)


def test_a_bulk_transfer_goes_on_by_the_other_path_when_one_of_two_is_full() -> None:
    pair = Pair()
    client, server = connected(pair)
    udp, relay = pair.add_relay()
    payload = random.Random(1).randbytes(600_000)
    third = len(payload) // 3
    send_all(pair, client, server, payload[:third])
    assert taken(pair) >= {udp}
    pair.b.engine.set_full({UDP})
    begun = pair.now
    assert send_all(pair, client, server, payload[third : 2 * third]) == payload[third : 2 * third]
    assert taken(pair) == {relay}
    assert pair.now - begun < 2.0
    pair.b.engine.set_full(set())
    assert send_all(pair, client, server, payload[2 * third :]) == payload[2 * third :]
    assert udp in taken(pair)


def test_a_peer_that_waits_goes_on_at_once_by_a_path_that_it_gains() -> None:
    pair = Pair()
    client, server = connected(pair)
    udp, relay = pair.add_relay()
    pair.route_b(relay)
    pair.b.engine.set_full({REGION})
    pair.drain(pair.b)
    client.write(bytes(3000), pair.now)
    taken(pair)
    pair.drain(pair.b)
    assert taken(pair) == set()
    pair.route_b(udp, relay)
    assert pair.b.engine.deadline() <= pair.now
    pair.reach(lambda: server.readable, 1.0)
    assert taken(pair) == {udp}


@pytest.mark.parametrize("seed", range(8))
def test_in_any_order_of_full_room_and_routes_nothing_goes_where_there_is_no_room(seed: int) -> None:
    """What a slow twin says: data goes to all the routes that have room, and nowhere while none has."""
    pair = Pair(seed=seed)
    client, server = connected(pair)
    routes = pair.add_relay()
    choose, engine = random.Random(seed), pair.b.engine
    payload = random.Random(1).randbytes(120 * 30_000)
    received, sent, full, used = bytearray(), 0, set[int](), set[Any]()
    choices: list[tuple[Any, ...]] = [routes, routes[::-1], routes[:1], routes[1:]]
    taken(pair)
    for _ in range(120):
        if choose.random() < 0.4:
            full = set(choose.sample([UDP, REGION, 7], choose.randrange(4)))
            engine.set_full(full)
        if choose.random() < 0.2:
            pair.route_b(*choose.choice(choices))
        sent += client.write(payload[sent : sent + 30_000], pair.now)
        pair.run(seconds=choose.choice((0.01, 0.05)))
        received += server.read()
        roomy = [one for one in engine.paths.routes(pair.nodes[0].key) if path_of(one) not in full]
        seen = taken(pair)
        assert seen in (set(), set(roomy))
        used |= seen
    assert used == set(routes)
    engine.set_full(set())
    while len(received) < sent:
        pair.reach(lambda: server.readable)
        received += server.read()
    assert received == payload[:sent]


# --- a relay that comes back ------------------------------------------------------------------------------------


def lose_everything(pair: Pair, lost: bool) -> None:
    for wire in pair.wires.values():
        wire.loss = 1.0 if lost else 0.0


def in_an_outage(seconds: float) -> tuple[Pair, Any, bytearray]:
    """b sends a 100,000 bytes to a by their relay, which has lost everything for so long and does so no more."""
    pair = Pair(relayed=True)
    for side in pair.sides:
        side.engine.relay_connected(REGION, 0.0, pair.now)
    client, server = connected(pair)
    received = bytearray()
    client.write(bytes(100_000), pair.now)
    pair.run(seconds=0.03)
    lose_everything(pair, True)
    pair.run(seconds=seconds)
    lose_everything(pair, False)
    received += server.read()
    assert len(received) < 50_000
    return pair, server, received


def until_all_is_received(pair: Pair, server: Any, received: bytearray) -> float:
    began = pair.now

    def whole() -> bool:
        received.extend(server.read())
        return len(received) == 100_000

    pair.reach(whole)
    return pair.now - began


@pytest.mark.parametrize("seconds", [10, 118, 300])
def test_what_waits_behind_a_relay_is_sent_again_when_it_connects(seconds: float) -> None:
    pair, server, received = in_an_outage(seconds)
    for side in pair.sides:
        side.engine.relay_connected(REGION, 0.0, pair.now)
    assert until_all_is_received(pair, server, received) < 1.0


@pytest.mark.parametrize("seconds", [30, 118])
def test_who_is_told_nothing_goes_on_with_the_new_session(seconds: float) -> None:
    """Only the receiver's relay was gone. The sender makes handshakes meanwhile, every five seconds."""
    pair, server, received = in_an_outage(seconds)
    pair.a.engine.relay_connected(REGION, 0.0, pair.now)
    assert until_all_is_received(pair, server, received) < 6.0


def moved_home(session: bool) -> tuple[Pair, To]:
    """a learns that b's home is another region now. Nobody has anything to say."""
    pair = Pair(relayed=True)
    for side in pair.sides:
        side.engine.relay_connected(REGION, 0.0, pair.now)
    if session:
        connected(pair)
    pair.run(seconds=2.0)
    pair.a.sent.clear()
    after = attrs.evolve(pair.nodes[1], home_region=REGION + 1)
    apply(pair.a.engine, netmap(pair.nodes[0], after), pair.now)
    pair.run(seconds=1.0)
    return pair, DerpAddress(REGION + 1, after.key)


def test_a_peer_that_has_moved_is_spoken_to_at_its_new_home() -> None:
    """It may not reach the old one, where we are: so it learns a way to us. Once, and when we are connected there."""
    pair, new_home = moved_home(session=True)
    engine = pair.a.engine
    assert engine.paths.regions_wanted(pair.now) == {REGION + 1}
    assert engine.paths.route(pair.nodes[1].key) == DerpAddress(REGION, pair.nodes[1].key)
    assert not pair.a.sent
    engine.relay_connected(REGION + 1, 0.0, pair.now)
    pair.run(seconds=1.0)
    assert [to for to, _ in pair.a.sent] == [new_home]


def test_a_home_relay_that_is_far_away_leaves_a_handshake_the_time_for_its_answer() -> None:
    engine = Pair().a.engine
    engine.paths.set_home(REGION, 0.0)
    engine.relay_connected(REGION + 1, 3.0, 0.0)
    assert engine.device._local.round_trip == 0.0
    engine.relay_connected(REGION, 0.6, 0.0)
    assert engine.device._local.round_trip == 1.2


def test_a_peer_that_we_do_not_talk_to_may_move_as_it_likes() -> None:
    pair, _ = moved_home(session=False)
    assert pair.a.engine.paths.regions_wanted(pair.now) == set()
    pair.a.engine.relay_connected(REGION + 1, 0.0, pair.now)
    pair.run(seconds=1.0)
    assert not pair.a.sent


def test_a_relay_of_another_region_restores_nothing() -> None:
    pair, _, _ = in_an_outage(118)
    before = [len(side.sent) for side in pair.sides]
    for side in pair.sides:
        side.engine.relay_connected(REGION + 1, 0.0, pair.now)
        side.engine.transmit(pair.now, BUDGET)
    assert [len(side.sent) for side in pair.sides] == before


@pytest.mark.parametrize("away", [0.1, 3.0, 20.0, 60.0])
def test_a_dial_goes_on_when_the_relay_connects(away: float) -> None:
    pair = Pair(relayed=True)
    pair.a.engine.relay_connected(REGION, 0.0, pair.now)
    listener = pair.a.engine.stack.listen(80)
    lose_everything(pair, True)
    pair.b.engine.stack.connect(A4, 80, pair.now, link=pair.nodes[0].key)
    pair.run(seconds=away)
    lose_everything(pair, False)
    pair.b.engine.relay_connected(REGION, 0.0, pair.now)
    began = pair.now
    pair.reach(lambda: listener.readable)
    assert pair.now - began < 0.2


def test_quiet_once_the_peer_has_acknowledged_everything() -> None:
    pair = Pair()
    client, server = connected(pair)
    udp = pair.b.engine.stack.open_udp(9)
    assert not pair.b.engine.is_quiet
    client.write(b"last words", pair.now)
    client.close(pair.now)
    assert not pair.b.engine.is_quiet
    pair.run(seconds=1)
    assert server.read() == b"last words"
    assert pair.b.engine.is_quiet  # FIN_WAIT_2, and an open UDP port, are nothing to wait for
    udp.close()


def test_suspended_sessions_are_made_anew() -> None:
    pair = Pair()
    client, server = connected(pair)
    pair.run(seconds=1)
    sent = len(pair.b.sent)
    pair.clock.advance(3600)
    pair.b.engine.suspended(pair.now)
    client.write(b"back", pair.now)
    pair.reach(lambda: server.readable)
    assert 1 in {datagram[0] for _, datagram in pair.b.sent[sent:]}


def test_peers_that_had_dropped_our_sessions_meet_us_anew_at_once() -> None:
    """They did while our key was expired; without a word of it the old session would go on for 15 s."""
    pair = Pair()
    connected(pair)
    expired = attrs.evolve(pair.nodes[1], expired=True)
    apply(pair.a.engine, netmap(pair.nodes[0], expired), pair.now)
    pair.run(seconds=30)
    apply(pair.a.engine, netmap(*pair.nodes), pair.now)
    pair.b.engine.sessions_lost(pair.now)
    echo = pair.b.engine.stack.ping(A4)
    echo.send(pair.now, 1, bytes(8))
    pair.reach(lambda: echo.readable, 1)


def test_a_handshake_waits_until_its_mark_is_saved_which_is_asked_for_until_then() -> None:
    pair = Pair()
    pair.b.saves_marks = False
    listener = pair.a.engine.stack.listen(80)
    pair.b.engine.stack.connect(A4, 80, pair.now, link=pair.nodes[0].key)
    pair.run(seconds=1)
    assert pair.b.sent == []
    mark = pair.b.engine.timestamp_mark
    assert mark == UNIX_TIME + 600
    pair.clock.advance(10)
    pair.b.engine.transmit(pair.now, BUDGET)
    assert pair.b.engine.take_mark() == mark
    assert pair.b.engine.take_mark() is None
    pair.b.engine.mark_saved(mark)
    assert pair.b.engine.deadline() <= pair.now
    pair.reach(lambda: listener.readable, 5)


def test_handshakes_are_stamped_with_the_wall_clock_as_it_was_set() -> None:
    pair = Pair()
    pair.b.engine.set_wall_offset(UNIX_TIME + 86_400, pair.now)
    connected(pair)
    assert pair.b.engine.timestamp_mark == UNIX_TIME + 86_400 + pair.now // 1 + 600


def test_down_is_split_by_the_kind_of_its_path() -> None:
    udp, derp = UdpAddress("192.0.2.1", 1), DerpAddress(900, NodeKey(bytes(32)))
    runs: list[tuple[UdpAddress | DerpAddress, list[bytes]]] = [(udp, [b"1"]), (derp, [b"2"]), (udp, [b"3"])]
    assert udp_runs(runs) == ([(udp, [b"1"]), (udp, [b"3"])], [(derp, [b"2"])])


def test_own_addresses_by_their_length() -> None:
    pair = Pair()
    assert pair.b.engine.own_address(4) == B4.packed
    assert pair.b.engine.own_address(16) == B6.packed
    assert pair.b.engine.own_address(3) is None


def test_a_call_whose_answer_may_come_by_our_home_alone_is_repeated_when_home_connects() -> None:
    """After a sleep the direct path is back before our relay, and the peer answers by that relay. Without another call
    the next one would leave after REKEY_TIMEOUT."""
    pair = Pair()
    client, _ = connected(pair)
    engine, peer = pair.b.engine, pair.nodes[0].key
    engine.paths.set_home(REGION, pair.now)
    engine.suspended(pair.now)
    lose_everything(pair, True)
    client.write(b"hello again", pair.now)
    pair.run(seconds=0.2)
    assert engine.paths.route(peer) == pair.a.address, "it is no relay"
    lose_everything(pair, False)
    engine.relay_connected(REGION + 1, 0.0, pair.now)
    before = engine.device.deadline()
    engine.relay_connected(REGION, 0.0, pair.now)
    assert engine.device.deadline() < min(before, pair.now + 1.0)
