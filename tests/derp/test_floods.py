"""Every attack of tests/attacks on both sides of a relay connection, on a hand clock, with the innocent beside it."""

from __future__ import annotations

import itertools

import pytest

from tests.attacks import derp as attacks
from tests.attacks import http2
from tests.derp.joined import BUDGET, SERVER_PRIVATE, Joined, Peer, entropy, private_key
from tests.derp.scripted import connected, hear, link_of, new_client
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.links import Accepted, Close, Closed, Data, Link, Pause, Received, Resume
from tsnet.derp import frames
from tsnet.derp.client import FRAMES_A_TURN, Client
from tsnet.derp.facts import Disconnected
from tsnet.derp.login import ClientInfo, seal_client_info
from tsnet.derp.server import FRAMES_A_TURN as RELAY_TURN
from tsnet.derp.server import MOST_SHARE, Relay
from tsnet.derp.session import NOBODY_BURST
from tsnet.derp.upgrade import encode_request

PEER = NodeKey(b"\x07" * 32)

CLOSED_FOR = {
    "pings": "flood of pings",
    "pongs": "flood of pongs",
    "unknown_frames": "flood of unknown frames",
    "keep_alives": "flood of keep-alives",
    "notes": "flood of notes",
    "empty_packets": "flood of empty packets",
    "packets_for_nobody": "flood of packets for nobody",
}


class Scene:
    """A relay, two innocent clients on it, and attackers."""

    def __init__(self) -> None:
        self.relay = Relay(SERVER_PRIVATE, entropy=entropy(1), now=0.0)
        self.now = 0.0
        self.paused: set[Link] = set()
        self.closed: set[Link] = set()
        self.decoders: dict[Link, frames.Decoder] = {}
        self.alice, self.bob = self.log_in(private_key(1), 1), self.log_in(private_key(2), 2)

    def log_in(self, private: NodePrivateKey, number: int) -> Link:
        link = Link("listen", 443, number)
        self.decoders[link] = frames.Decoder()
        login = seal_client_info(private, node_public(SERVER_PRIVATE), bytes(24), ClientInfo())
        self.relay.receive(Accepted(link, ("192.0.2.1", number)), self.now)
        request = encode_request("relay", fast_start=True)
        self.relay.receive(Received(link, request + frames.encode(frames.CLIENT_INFO, login)), self.now)
        self.turn()
        return link

    def turn(self) -> dict[Link, list[bytes]]:
        """What packets were sent, by link."""
        packets: dict[Link, list[bytes]] = {}
        for effect in self.relay.transmit(self.now, BUDGET):
            match effect:
                case Data(link, data):
                    found = self.decoders[link].feed(data)
                    packets[link] = [payload[32:] for kind, payload in found if kind == frames.RECV_PACKET]
                case Pause(link):
                    assert link not in self.paused
                    self.paused.add(link)
                case Resume(link):
                    self.paused.remove(link)
                case Close(link):
                    self.closed.add(link)
        return packets

    def is_relayed_at_once(self) -> bool:
        """Whether a packet from one innocent reaches the other within one turn."""
        packet = frames.encode(frames.SEND_PACKET, node_public(private_key(2)) + b"hello")
        self.relay.receive(Received(self.alice, packet), self.now)
        return b"hello" in self.turn().get(self.bob, [])


@pytest.mark.parametrize("name", attacks.ON_RELAY)
def test_a_flood_on_a_relay_leaves_the_others_their_turns(name: str) -> None:
    scene = Scene()
    link = scene.log_in(private_key(3), 3)
    victim = scene.log_in(private_key(4), 4)
    pieces = http2.chunks(attacks.ON_RELAY[name](node_public(private_key(4))))
    for _ in range(2 * int(NOBODY_BURST) // MOST_SHARE):
        if link in scene.closed:
            break
        if link not in scene.paused:
            scene.relay.receive(Received(link, next(pieces)), scene.now)
        assert scene.is_relayed_at_once()
        scene.now += 0.001
    assert (link in scene.closed) == (name in CLOSED_FOR)
    assert victim not in scene.closed
    if name in CLOSED_FOR:
        assert scene.relay.floods == {CLOSED_FOR[name]: 1}


def test_three_floods_of_tiny_packets_share_a_turn_with_everybody() -> None:
    """Each has more than its share waiting; the turn takes a share of each, and all of an innocent's."""
    scene = Scene()
    attackers = [scene.log_in(private_key(number), number) for number in (3, 4, 5)]
    receiver = scene.log_in(private_key(6), 6)
    flood = b"".join(itertools.islice(attacks.tiny_packets(node_public(private_key(6))), 3000))
    for link in attackers:
        scene.relay.receive(Received(link, flood), scene.now)
    relayed = 0
    for _ in range(10):
        packet = frames.encode(frames.SEND_PACKET, node_public(private_key(2)) + b"hello")
        scene.relay.receive(Received(scene.alice, packet), scene.now)
        packets = scene.turn()
        assert packets[scene.bob] == [b"hello"]
        assert len(packets[receiver]) <= RELAY_TURN
        relayed += len(packets[receiver])
    assert scene.paused == set(attackers)
    assert relayed == 10 * 3 * MOST_SHARE
    while scene.relay.deadline() <= scene.now:
        scene.turn()
    assert scene.paused == set()


def test_more_connections_than_a_turn_has_room_for_come_one_after_the_other() -> None:
    scene = Scene()
    links = [scene.log_in(private_key(number), number) for number in range(10, 90)]
    flood = b"".join(itertools.islice(attacks.tiny_packets(node_public(private_key(2))), 100))
    for link in links:
        scene.relay.receive(Received(link, flood), scene.now)
    turns = 0
    while not scene.is_relayed_at_once():
        turns += 1
    assert turns <= len(links) * 16 // RELAY_TURN + 1
    while scene.relay.deadline() <= scene.now:
        scene.turn()
    assert scene.paused == set()


def test_what_a_client_said_last_is_relayed_though_it_has_gone() -> None:
    scene = Scene()
    packet = frames.encode(frames.SEND_PACKET, node_public(private_key(2)) + b"bye")
    scene.relay.receive(Received(scene.alice, packet), scene.now)
    scene.relay.receive(Closed(scene.alice, "eof"), scene.now)
    assert scene.turn()[scene.bob] == [b"bye"]


def test_the_last_words_of_many_are_no_more_than_a_turn_has_room_for() -> None:
    scene = Scene()
    links = [scene.log_in(private_key(number), number) for number in range(10, 50)]
    receiver = node_public(private_key(2))
    words = frames.encode_packets(frames.SEND_PACKET, receiver, [b"x"] * MOST_SHARE)
    for link in links:
        scene.relay.receive(Received(link, words), scene.now)
        scene.relay.receive(Closed(link, "eof"), scene.now)
    assert len(scene.turn()[scene.bob]) == RELAY_TURN
    assert scene.is_relayed_at_once()


def test_an_application_that_goes_on_sending_to_a_peer_that_has_gone_is_not_closed() -> None:
    """Ten thousand packets a second, for ten seconds: after the burst, just as many as the rate allows."""
    scene = Scene()
    packets = frames.encode_packets(frames.SEND_PACKET, PEER, [bytes(1200)] * 100)
    for _ in range(1000):
        scene.now += 0.01
        scene.relay.receive(Received(scene.alice, packets), scene.now)
        scene.turn()
    assert scene.closed == set()


# --- our client, and a relay that attacks it -------------------------------------------------------------------------

ENDED_FOR = {
    "pings": "flood of pings",
    "pongs": "flood of pongs",
    "unknown_frames": "flood of unknown frames",
    "keep_alives": "flood of keep-alives",
    "peers_gone": "flood of peers gone",
    "health": "flood of health reports",
    "restarts": "flood of restarts",
    "empty_received": "flood of empty packets",
}


@pytest.mark.parametrize("name", attacks.ON_CLIENT)
def test_a_relay_that_floods_its_client_is_left(name: str) -> None:
    client = new_client()
    connected(client)
    pieces = http2.chunks(attacks.ON_CLIENT[name](PEER))
    link, paused, facts = link_of(client), False, []
    for _ in range(200):
        if client.link != link:
            break
        packets = client.read(0.0) if paused else hear(client, next(pieces))
        assert sum(len(run) for _source, run in packets) <= FRAMES_A_TURN
        facts += client.take_facts()
        paused = _is_paused(client, paused)
    facts += client.take_facts()
    assert (client.link != link) == (name in ENDED_FOR)
    if name in ENDED_FOR:
        assert client.dropped[ENDED_FOR[name]] == 1
        assert facts[-1] == Disconnected(7, ENDED_FOR[name], "relay.example")


def _is_paused(client: Client, paused: bool) -> bool:
    for effect in client.transmit(0.0, BUDGET):
        if isinstance(effect, Pause | Resume):
            assert paused != isinstance(effect, Pause)
            paused = isinstance(effect, Pause)
    return paused


def test_what_is_left_over_is_due_at_once_and_loses_nothing() -> None:
    client = new_client()
    connected(client)
    sent = [b"%d" % number for number in range(3 * FRAMES_A_TURN)]
    got = [
        packet for _source, run in hear(client, frames.encode_packets(frames.RECV_PACKET, PEER, sent)) for packet in run
    ]
    assert len(got) == FRAMES_A_TURN
    while client.deadline() <= 0.0:
        client.transmit(0.0, BUDGET)
        got += [packet for _source, run in client.read(0.0) for packet in run]
    assert got == sent


def test_packets_that_are_left_over_come_before_the_end_of_the_link() -> None:
    client = new_client()
    connected(client)
    hear(client, frames.encode_packets(frames.RECV_PACKET, PEER, [b"x"] * (FRAMES_A_TURN + 1)))
    assert client.receive(Closed(link_of(client), "reset"), 0.0) != []
    assert [type(fact) for fact in client.take_facts()] == [Disconnected]


def test_an_empty_packet_is_a_packet() -> None:
    client = new_client()
    connected(client)
    ((_source, packets),) = hear(client, frames.encode_packets(frames.RECV_PACKET, PEER, [b"a", b"", b"b"]))
    assert packets == [b"a", b"", b"b"]
    assert client.dropped == {}


def test_all_peers_of_a_large_tailnet_may_go_at_once() -> None:
    joined = Joined()
    peer: Peer = joined.add(1)
    joined.run()
    gone = b"".join(frames.encode_peer_gone(number.to_bytes(32, "big"), 0) for number in range(10_000))
    link = link_of(peer.client)
    peer.client.receive(Received(link, gone), joined.now)
    while peer.client.has_input:
        peer.client.read(joined.now)
        peer.client.take_facts()
    assert peer.client.link == link
