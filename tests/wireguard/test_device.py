"""The door: sorting what comes, golden bytes through the whole device, load, budgets, many peers."""

from __future__ import annotations

import itertools
import math
import random
from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from tests.attacks.wireguard import calls, noise, strangers
from tests.wireguard import vectors
from tests.wireguard.pair import UNIX_TIME, Pair, entropy, flood, private_key
from tests.wireguard.snapshot import snapshot
from tsnet.base.addresses import MAX_RUN_BYTES, DerpAddress, Destination, UdpAddress
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey
from tsnet.wireguard.constants import HANDSHAKES_PER_SECOND, RATE_BURST, UNDER_LOAD_HANDSHAKES
from tsnet.wireguard.cookie import CookieMaker
from tsnet.wireguard.device import HANDSHAKES_PER_TURN, Device
from tsnet.wireguard.facts import Established, Heard
from tsnet.wireguard.messages import CookieReply
from tsnet.wireguard.timers import TIMERS

DATA = b"data".ljust(16, b"\0")
ELSEWHERE = UdpAddress("203.0.113.1", 9)


@pytest.fixture
def pair() -> Pair:
    return Pair()


def scripted(*draws: bytes) -> Callable[[int], bytes]:
    """Entropy that says what one wants, as long as it lasts; then zeros."""
    left = list(draws)

    def entropy(size: int) -> bytes:
        draw = left.pop(0) if left else bytes(size)
        assert len(draw) == size
        return draw

    return entropy


# --- golden bytes through the whole device ----------------------------------------------------------------------


def test_the_computed_handshake_byte_for_byte() -> None:
    wall_offset = vectors.UNIX_NANOSECONDS / 1e9
    initiator = Device(
        vectors.INITIATOR,
        entropy=scripted(vectors.INITIATOR_INDEX.to_bytes(4, "little"), b"\x33" * 32),
        wall_offset=wall_offset,
    )
    responder = Device(
        vectors.RESPONDER,
        entropy=scripted(vectors.RESPONDER_INDEX.to_bytes(4, "little"), b"\x44" * 32),
        wall_offset=wall_offset,
    )
    initiator.add_peer(responder.public_key)
    responder.add_peer(initiator.public_key)
    initiator.mark_saved(wall_offset + 1)
    initiator.send_keepalive(responder.public_key, 0.0)
    assert initiator.transmit(0.0, 10_000) == [(responder.public_key, [vectors.INITIATION])]
    assert responder.receive([(ELSEWHERE, [vectors.INITIATION])], 0.0) == []
    assert responder.transmit(0.0, 10_000) == [(initiator.public_key, [vectors.RESPONSE])]
    assert initiator.receive([(ELSEWHERE, [vectors.RESPONSE])], 0.0) == []
    assert initiator.transmit(0.0, 10_000) == [(responder.public_key, [vectors.KEEPALIVE])]
    assert responder.receive([(ELSEWHERE, [vectors.KEEPALIVE])], 0.0) == [(initiator.public_key, ELSEWHERE, [])]


def test_a_psk_must_be_held_by_both() -> None:
    for ours, theirs, through in ((b"p" * 32, b"p" * 32, True), (b"p" * 32, None, False)):
        pair = Pair()
        for side, psk in ((pair.a, ours), (pair.b, theirs)):
            other = pair.other(side).key
            side.device.remove_peer(other)
            side.device.add_peer(other, psk=psk)
        pair.send(pair.a, DATA)
        pair.run(pair.now + 1)
        assert bool(pair.b.received) is through
        assert bool(pair.a.device.dropped["forged response"]) is not through


# --- sorting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("datagram", "reason"),
    [
        (b"", "malformed"),
        (b"\7", "malformed"),
        (b"\4\0\0", "malformed"),
        (b"\1\0\0\0" + bytes(143), "malformed"),
        (b"\1\0\0\0" + bytes(145), "malformed"),
        (b"\1\0\0\1" + bytes(144), "malformed"),
        (b"\2\0\0\0" + bytes(87), "malformed"),
        (b"\3\0\0\0" + bytes(61), "malformed"),
        (b"\4\0\0\0" + bytes(27), "malformed"),
        (b"\5\0\0\0" + bytes(60), "malformed"),
        (b"\0\0\0\0" + bytes(60), "malformed"),
        (b"\1\0\0\0" + bytes(144), "mac1"),
        (b"\2\0\0\0" + bytes(88), "unknown receiver"),
        (b"\3\0\0\0" + bytes(60), "unknown receiver"),
        (b"\4\0\0\0" + bytes(28), "unknown receiver"),
    ],
)
def test_what_is_nothing_to_us_is_counted_by_reason(pair: Pair, datagram: bytes, reason: str) -> None:
    before = snapshot(pair.b.device)
    assert pair.b.device.receive([(ELSEWHERE, [datagram])], pair.now) == []
    assert pair.b.device.dropped == {reason: 1}
    assert snapshot(pair.b.device) == before


@pytest.mark.parametrize("seed", range(8))
def test_garbage_never_raises_and_leaves_no_trace(pair: Pair, seed: int) -> None:
    pair.establish()
    chance = random.Random(seed)
    before = snapshot(pair.b.device)
    heads = [b"", *(bytes([kind, 0, 0, 0]) for kind in range(6)), *pair.b.device._sessions]
    for _ in range(300):
        datagram = chance.choice(heads) + chance.randbytes(chance.choice([0, 5, 24, 28, 56, 84, 88, 140, 144, 1400]))
        assert pair.b.device.receive([(ELSEWHERE, [datagram])], pair.now) == []
    pair.turn(pair.b)
    assert snapshot(pair.b.device) == before
    assert pair.b.device.dropped.total() == 300


def test_empty_runs_are_nothing(pair: Pair) -> None:
    assert pair.b.device.receive([(ELSEWHERE, [])], pair.now) == []
    pair.a.device.send([(pair.b.key, [])], pair.now)
    assert pair.a.device.deadline() == math.inf


def test_an_initiation_from_a_stranger_is_dropped(pair: Pair) -> None:
    pair.b.device.remove_peer(pair.a.key)
    before = snapshot(pair.b.device)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert pair.b.device.dropped == {"unknown peer": 1}
    assert snapshot(pair.b.device) == before


def test_packets_for_a_stranger_are_dropped(pair: Pair) -> None:
    pair.a.device.send([(NodeKey(b"s" * 32), [DATA, DATA])], pair.now)
    assert pair.a.device.dropped == {"unknown peer": 2}


def test_a_mixed_run_is_sorted_and_nothing_is_lost(pair: Pair) -> None:
    """A rekey in the middle of a batch that the kernel has joined: two sessions, a handshake, and noise."""
    pair.establish()
    packets = [bytes([n]) * 32 for n in range(6)]
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, *packets[:3])
    old = pair.sent(pair.a, "transport")
    pair.drop = lambda sender, datagram: False
    pair.run(pair.now + 125)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    pair.log.clear()
    pair.b.received.clear()
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, *packets[3:])
    new = pair.sent(pair.a, "transport")
    mixed = [old[0], new[0], b"\7", old[1], bytes(148), new[1], new[2], old[2]]
    pair.inject(pair.b, pair.a.address, *mixed)
    assert sorted(pair.b.received) == packets
    assert pair.b.received == [packets[n] for n in (0, 3, 1, 4, 5, 2)]
    assert pair.b.device.dropped == {"malformed": 2}


# --- runs -------------------------------------------------------------------------------------------------------


def test_a_run_stays_a_run(pair: Pair) -> None:
    pair.establish()
    packets = [random.Random(n).randbytes(1280) for n in range(49)]
    pair.a.device.send([(pair.b.key, packets)], pair.now)
    (down,) = pair.a.device.transmit(pair.now, 65_536)
    assert (down[0], len(down[1]), {len(datagram) for datagram in down[1]}) == (pair.b.key, 49, {1312})
    assert pair.b.device.receive([(pair.a.address, down[1])], pair.now) == [(pair.a.key, pair.a.address, packets)]


@pytest.mark.parametrize("size", [1, 100, 700, 1280, 2000, 7270, 16_000, 65_000])
def test_no_run_is_longer_than_one_send_can_carry(pair: Pair, size: int) -> None:
    pair.establish()
    packets = [bytes(size)] * max(1, 65_000 // max(size, 1300))
    pair.a.device.send([(pair.b.key, packets)], pair.now)
    for _, datagrams in pair.a.device.transmit(pair.now, 10**7):
        assert sum(map(len, datagrams)) <= MAX_RUN_BYTES


def test_a_budget_leaves_the_rest_due(pair: Pair) -> None:
    pair.establish()
    pair.a.device.send([(pair.b.key, [bytes(1280)] * 40)], pair.now)
    count = 0
    while pair.a.device.deadline() <= pair.now:
        down = pair.a.device.transmit(pair.now, 5000)
        assert 0 < sum(len(datagram) for _, run in down for datagram in run) <= 5000
        count += sum(len(run) for _, run in down)
    assert count == 40


# --- peers ------------------------------------------------------------------------------------------------------


def test_peers_come_and_go(pair: Pair) -> None:
    device, b, c = pair.a.device, pair.b.key, NodeKey(b"c" * 32)
    assert b in device.peers
    device.set_peers([b, c])
    assert set(device.peers) == {b, c}
    device.set_peers([c])
    assert b not in device.peers
    device.remove_peer(b)
    device.reset_peer(b, pair.now)
    device.path_gained(b, pair.now)
    device.send_keepalive(b, pair.now)
    assert device.status(b) is None
    assert not device.dropped


def test_adding_a_peer_that_is_there_keeps_its_session(pair: Pair) -> None:
    pair.establish()
    pair.a.device.add_peer(pair.b.key)
    pair.a.device.set_peers([pair.b.key])
    pair.send(pair.a, DATA)
    assert pair.kinds() == ["a transport"]


def test_we_are_no_peer_of_ours(pair: Pair) -> None:
    pair.a.device.add_peer(pair.a.key)
    assert pair.a.key not in pair.a.device.peers
    assert pair.a.device.dropped == {"own key": 1}


def test_a_removed_peer_leaves_nothing_behind(pair: Pair) -> None:
    pair.establish()
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    late = pair.sent(pair.a, "transport")[0]
    pair.b.device.send([(pair.a.key, [DATA])], pair.now)
    pair.b.device.remove_peer(pair.a.key)
    assert pair.b.device.transmit(pair.now, 10_000) == []
    assert pair.b.device.deadline() == math.inf
    assert not pair.b.device._indices.owners
    assert pair.b.device.receive([(pair.a.address, [late])], pair.now) == []
    assert pair.b.device.dropped == {"unknown receiver": 1}


def test_a_peer_key_of_low_order_is_given_up_at_once(pair: Pair) -> None:
    key = NodeKey(bytes(32))
    pair.a.device.add_peer(key)
    pair.a.device.send([(key, [DATA])], pair.now)
    pair.turn(pair.a)
    assert pair.log == []
    assert pair.a.device.dropped == {"unusable key": 1, "no answer": 1}
    assert not pair.a.device._indices.owners


def test_status(pair: Pair) -> None:
    status = pair.a.device.status(pair.b.key)
    assert status is not None
    assert (status.last_handshake, status.sent_bytes, status.has_session) == (None, 0, False)
    pair.establish()
    status, theirs = pair.a.device.status(pair.b.key), pair.b.device.status(pair.a.key)
    assert status is not None
    assert theirs is not None
    assert (status.sent_bytes, status.received_bytes) == (148 + 48, 92)
    assert (theirs.sent_bytes, theirs.received_bytes) == (92, 148 + 48)
    assert status.last_handshake == pytest.approx(1000.02)
    assert status.has_session


def test_ten_thousand_peers_cost_nothing_until_used() -> None:
    device = Device(private_key(1), entropy=entropy(1), wall_offset=UNIX_TIME)
    keys = [NodeKey(n.to_bytes(32)) for n in range(1, 10_001)]
    device.set_peers(keys)
    assert device.deadline() == math.inf
    assert len(device._alarms) == 0
    assert device.transmit(0.0, 65_536) == []


# --- our own key ------------------------------------------------------------------------------------------------


def test_a_new_key_of_ours_reaches_the_peer_with_the_next_packet(pair: Pair) -> None:
    pair.establish()
    old = pair.a.key
    pair.a.device.set_private_key(private_key(99), pair.now)
    pair.b.device.add_peer(pair.a.key)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.1)
    assert pair.b.batches[-1] == (pair.a.address, 1)
    assert Established(pair.a.key, is_initiator=False) in pair.b.facts
    assert Established(old, is_initiator=False) not in pair.b.facts


def test_a_new_key_makes_what_was_staged_for_the_old_one_void(pair: Pair) -> None:
    pair.send(pair.a, DATA)
    initiation = pair.log[0][2]
    pair.b.device.receive([(pair.a.address, [initiation])], pair.now)
    pair.b.device.set_private_key(private_key(99), pair.now)
    assert pair.b.device.transmit(pair.now, 10_000) == []
    pair.b.device.receive([(pair.a.address, [initiation])], pair.now)
    assert pair.b.device.dropped == {"mac1": 1}


def test_a_waiting_handshake_goes_out_again_with_the_new_key(pair: Pair) -> None:
    pair.drop = lambda sender, datagram: True
    pair.send(pair.a, DATA)
    pair.run(pair.now + 4)
    pair.drop = lambda sender, datagram: False
    pair.a.device.set_private_key(private_key(99), pair.now)
    pair.b.device.add_peer(pair.a.key)
    pair.run(pair.now + 0.1)
    assert pair.b.received == [DATA]


def test_a_peer_that_has_our_new_key_is_no_peer_any_more(pair: Pair) -> None:
    pair.a.device.set_private_key(private_key(3), pair.now)
    assert pair.a.key == pair.b.key
    assert pair.a.key not in pair.a.device.peers


# --- load -------------------------------------------------------------------------------------------------------


def test_handshakes_are_paid_under_a_budget(pair: Pair) -> None:
    flood(pair, 3 * HANDSHAKES_PER_TURN + 1)
    for turn in range(1, 4):
        assert pair.b.device.transmit(pair.now, 10_000) == []
        assert pair.b.device.dropped["forged initiation"] == turn * HANDSHAKES_PER_TURN
        assert pair.b.device.deadline() <= pair.now
        assert "handshakes" in pair.b.device.why()
    pair.b.device.transmit(pair.now, 10_000)
    assert pair.b.device.deadline() == math.inf


def test_a_flood_of_handshakes_does_not_stop_the_data(pair: Pair) -> None:
    pair.establish()
    flood(pair, 100)
    pair.b.device.send([(pair.a.key, [DATA])], pair.now)
    assert [len(run) for _, run in pair.b.device.transmit(pair.now, 10_000)] == [1]


def test_the_cookie_exchange_under_load(pair: Pair) -> None:
    """The first initiation gets a cookie, the retry carries mac2 and completes."""
    flood(pair, UNDER_LOAD_HANDSHAKES)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.25)
    assert pair.b.device.is_under_load(pair.now)
    assert pair.kinds()[0] == "a initiation"
    assert pair.kinds()[-1] == "b cookie"
    assert pair.b.device.dropped == {"forged initiation": UNDER_LOAD_HANDSHAKES, "mac2": 1}
    flood(pair, UNDER_LOAD_HANDSHAKES)
    pair.run(pair.now + 0.5)
    initiations = pair.sent(pair.a, "initiation")
    assert [datagram[132:] == bytes(16) for datagram in initiations] == [True, False]
    assert pair.b.received == [DATA]


def test_a_cookie_alone_does_not_hurry_the_retry(pair: Pair) -> None:
    flood(pair, UNDER_LOAD_HANDSHAKES)
    start = pair.now
    pair.send(pair.a, DATA)
    pair.run(start + 0.29)
    assert len(pair.times(pair.a, "initiation")) == 1


def test_a_response_can_be_asked_for_a_cookie_too(pair: Pair) -> None:
    """We initiated and are under load ourselves: the responder's answer must prove its address."""
    pair.establish()
    pair.run(pair.now + 200)
    pair.log.clear()
    pair.a.device.send([(pair.b.key, [DATA])], pair.now)
    pair.turn(pair.a)
    flood(pair, UNDER_LOAD_HANDSHAKES, receiver=pair.a)
    pair.run(pair.now + 0.1)
    assert pair.kinds()[:2] == ["a initiation", "b response"] or "a cookie" in pair.kinds()
    assert pair.kinds()[-1] == "a cookie"
    pair.run(pair.now + 12)
    responses = pair.sent(pair.b, "response")
    assert responses[0][76:] == bytes(16) != responses[1][76:]
    assert pair.b.received == [DATA]


def test_a_cookie_does_not_buy_more_than_its_rate(pair: Pair) -> None:
    """A replayed message with a valid mac2 costs no Diffie-Hellman, and its source no more than a proven one's rate."""
    flood(pair, UNDER_LOAD_HANDSHAKES)
    pair.send(pair.a, DATA)
    pair.run(pair.now + 0.2)
    flood(pair, UNDER_LOAD_HANDSHAKES)
    pair.run(pair.now + 0.2)
    proven = pair.sent(pair.a, "initiation")[-1]
    assert pair.b.established() == 1
    flood(pair, UNDER_LOAD_HANDSHAKES)
    pair.inject(pair.b, pair.a.address, *[proven] * 50)
    pair.turn(pair.b)
    assert pair.b.device.dropped["replayed initiation"] == RATE_BURST
    assert pair.b.device.dropped["rate limit"] == 50 - RATE_BURST


def test_cookie_replies_go_to_the_source_and_are_bound_to_it(pair: Pair) -> None:
    pair.b.device.transmit(pair.now, 10**6)
    flood(pair, UNDER_LOAD_HANDSHAKES)
    flood(pair, 10, ELSEWHERE)
    down = pair.b.device.transmit(pair.now, 10**6)
    assert {recipient for recipient, _ in down} == {ELSEWHERE}
    assert [len(datagram) for _, run in down for datagram in run] == [64] * 10


def test_an_initiation_by_relay_from_a_key_that_is_no_peer_is_not_opened(pair: Pair) -> None:
    flood(pair, 3, DerpAddress(7, NodeKey(bytes(31) + b"\x07")))
    assert pair.b.device.deadline() == math.inf
    assert pair.b.device.dropped == {"unknown peer": 3}


def test_a_response_that_nobody_waits_for_is_not_opened(pair: Pair) -> None:
    pair.establish()
    pair.run(pair.now + 130)
    pair.log.clear()
    pair.send(pair.a, DATA)
    pair.run(pair.now + 1)
    (response,) = pair.sent(pair.b, "response")
    pair.inject(pair.a, pair.b.address, *[response] * 100)
    assert pair.a.device.deadline() > pair.now
    assert pair.a.device.dropped == {"unexpected response": 100}


class Flooded:
    """A second of 5,000 messages, and beside it a peer that has a session, one packet each ten milliseconds."""

    PER_SECOND, SLICES = 5000, 200

    def __init__(self, pair: Pair) -> None:
        self.pair = pair
        pair.establish()

    def run(self, messages: Sequence[tuple[Destination, bytes]]) -> None:
        pair, device, start = self.pair, self.pair.b.device, self.pair.now
        device.take_facts()
        for number in range(self.SLICES):
            due = messages[number * len(messages) // self.SLICES : (number + 1) * len(messages) // self.SLICES]
            device.receive([(source, [datagram]) for source, datagram in due], pair.now)
            if number % 2 == 0:
                pair.send(pair.a, DATA)
            pair.run(start + (number + 1) / self.SLICES)
        assert pair.b.received == [DATA] * (self.SLICES // 2)

    def opened(self) -> int:
        """How many messages have cost Diffie-Hellman."""
        staged = Counter(self.pair.b.device.dropped)
        return self.PER_SECOND - sum(
            staged[reason] for reason in ("mac2", "rate limit", "replayed initiation", "handshake queue full")
        )


def heard(pair: Pair) -> set[NodeKey]:
    """The peers whose initiations b has answered."""
    return {fact.key for fact in pair.b.facts if isinstance(fact, Heard)}


def test_5000_replays_a_second_cost_next_to_nothing(pair: Pair) -> None:
    flooded = Flooded(pair)
    (recorded,) = calls(pair.b.key, private_key(2), 1, unix_time=UNIX_TIME + pair.now - 1000)
    flooded.run([(ELSEWHERE, recorded)] * Flooded.PER_SECOND)
    assert flooded.opened() <= 1
    assert pair.b.device.dropped["mac2"] >= 4800


def test_5000_recordings_of_one_peer_a_second_are_opened_50_times(pair: Pair) -> None:
    """They are many messages, so that few are known again."""
    flooded = Flooded(pair)
    recorded = calls(pair.b.key, private_key(2), 1000, unix_time=UNIX_TIME - 10_000)
    flooded.run([(ELSEWHERE, message) for message in recorded] * 5)
    assert Flooded.PER_SECOND - pair.b.device.dropped["mac2"] <= 50
    assert pair.b.device.dropped["mac2"] >= 4800


@pytest.mark.parametrize("relayed", [False, True])
def test_a_hostile_peer_gets_at_most_50_answers_a_second(pair: Pair, relayed: bool) -> None:
    """Its initiations are true, each later than the one before."""
    hostile = private_key(77)
    pair.b.device.add_peer(node_public(hostile))
    source = DerpAddress(1, node_public(hostile)) if relayed else ELSEWHERE
    flooded = Flooded(pair)
    true = calls(pair.b.key, hostile, 1000, unix_time=UNIX_TIME)
    flooded.run([(source, message) for message in true for _ in range(5)])
    assert 1 <= len(pair.sent(pair.b, "response")) <= 50
    assert flooded.opened() <= 50


def test_a_flood_from_many_sources_leaves_room_for_a_newcomer(pair: Pair) -> None:
    """It asks for the cookie, and is in with its second message; so is one behind a relay, with its first."""
    newcomer, behind = private_key(78), private_key(79)
    for key in (newcomer, behind):
        pair.b.device.add_peer(node_public(key))
    flooded = Flooded(pair)
    flood: list[tuple[Destination, bytes]] = list(
        zip(itertools.cycle(strangers(2000)), noise(pair.b.key, Flooded.PER_SECOND))
    )
    first, second = calls(pair.b.key, newcomer, 2, unix_time=UNIX_TIME)
    (relayed,) = calls(pair.b.key, behind, 1, unix_time=UNIX_TIME)
    home = UdpAddress("192.0.2.99", 9)
    flood[2500:2500] = [(home, first), (DerpAddress(1, node_public(behind)), relayed)]
    flooded.run(flood)
    assert [reason for reason in pair.b.device.dropped if "outbox" in reason or "queue" in reason] == []
    assert flooded.opened() <= HANDSHAKES_PER_SECOND
    assert heard(pair) == {node_public(behind)}
    reply = next(datagram for datagram in pair.sent(pair.b, "cookie") if datagram[4:8] == first[4:8])
    maker = CookieMaker(pair.b.key)
    maker.add_macs(first[:116], pair.now)
    assert maker.consume_reply(CookieReply.decode(reply), pair.now)
    pair.inject(pair.b, home, maker.add_macs(second[:116], pair.now))
    pair.run(pair.now + 0.1)
    assert {fact.key for fact in pair.b.facts if isinstance(fact, Heard)} == {
        node_public(behind),
        node_public(newcomer),
    }


# --- the heap ---------------------------------------------------------------------------------------------------


SOURCE = UdpAddress("192.0.2.9", 9)


class Star:
    """A hub and its spokes, to which anything may happen; three in ten datagrams are lost."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.hub = Device(private_key(1), entropy=entropy(1), wall_offset=UNIX_TIME)
        spokes = [Device(private_key(n), entropy=entropy(n), wall_offset=UNIX_TIME) for n in range(10, 18)]
        self.spokes = {spoke.public_key: spoke for spoke in spokes}
        for number, spoke in enumerate(spokes):
            self.hub.add_peer(spoke.public_key, persistent_keepalive=25.0 if number % 3 == 0 else None)
            spoke.add_peer(self.hub.public_key)

    def happen(self) -> None:
        self.now += self.chance.choice([0.0, 0.01, 0.3, 5.0, 60.0, 200.0])
        key = self.chance.choice(list(self.spokes))
        match self.chance.randrange(5):
            case 0:
                self.hub.send([(key, [DATA])], self.now)
            case 1:
                self.spokes[key].send([(self.hub.public_key, [DATA])], self.now)
            case 2:
                self.hub.path_gained(key, self.now)
            case 3:
                self.hub.reset_peer(key, self.now)
            case 4:
                self.hub.suspended(self.now)

    def drain_hub(self) -> None:
        for _ in range(100):
            for recipient, datagrams in self.hub.transmit(self.now, 65_536):
                assert isinstance(recipient, NodeKey)
                if self.chance.random() < 0.7:
                    self.spokes[recipient].receive([(SOURCE, datagrams)], self.now)
            if self.hub.deadline() > self.now:
                return
        raise AssertionError(self.hub.why())

    def drain_spokes(self) -> None:
        for spoke in self.spokes.values():
            for _, datagrams in spoke.transmit(self.now, 65_536):
                if self.chance.random() < 0.7:
                    self.hub.receive([(SOURCE, datagrams)], self.now)


def test_a_peer_costs_next_to_nothing_until_the_two_speak() -> None:
    pair = Pair()
    keys = [NodeKey(number.to_bytes(32, "big")) for number in range(1, 1000)]
    pair.a.device.set_peers([pair.b.key, *keys])
    assert len(list(pair.a.device.peers)) == 1000
    for key in keys:
        pair.a.device.path_gained(key, pair.now)
    assert not pair.a.device._peers
    pair.send(pair.a, b"first")
    assert [*pair.a.device._peers] == [pair.b.key]
    status = pair.a.device.status(keys[0])
    assert status is not None
    assert not status.has_session
    assert [*pair.a.device._peers] == [pair.b.key], "to be asked about is not to speak"
    pair.a.device.reset_peer(pair.b.key, pair.now)
    assert [*pair.a.device._peers] == [pair.b.key], "its packet waits"
    pair.a.device.remove_peer(pair.b.key)
    pair.a.device.add_peer(pair.b.key)
    pair.a.device.send_keepalive(pair.b.key, pair.now)
    pair.a.device.reset_peer(pair.b.key, pair.now)
    assert not pair.a.device._peers
    assert pair.b.key in pair.a.device.peers


@pytest.mark.parametrize("seed", range(6))
def test_the_deadline_is_never_later_than_the_least_of_all_peers(seed: int) -> None:
    star = Star(seed)
    for _ in range(400):
        star.happen()
        star.drain_hub()
        assert star.now < star.hub.deadline() <= min(peer.deadline() for peer in star.hub._peers.values())
        star.drain_spokes()


def test_its_timers_are_those_of_the_peers_that_were_spoken_to(pair: Pair) -> None:
    assert list(pair.a.device.timers()) == []
    pair.establish()
    told = {slot: at for key, slot, at in pair.a.device.timers() if key == pair.b.key}
    assert tuple(told) == TIMERS
    assert min(told.values()) >= pair.a.device.deadline()  # which may be early


def test_why_names_the_peer_and_its_timer(pair: Pair) -> None:
    assert pair.a.device.why() == "nothing"
    pair.send(pair.a, DATA)
    assert pair.a.device.why() == f"retransmit_at of {pair.b.key!r}"
    pair.run(pair.now + 0.1)
    pair.a.device.send([(pair.b.key, [DATA])], pair.now)
    assert pair.a.device.why() == "1 datagrams to send"


def test_public_key_is_that_of_the_private_key(pair: Pair) -> None:
    assert pair.a.key == node_public(private_key(2))
