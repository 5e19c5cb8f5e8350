"""The relay: who gets in, who gets what, who is told, and what closes a connection."""

from __future__ import annotations

import random

import pytest

from tests.derp.joined import BUDGET, SERVER_PRIVATE, Joined, Peer, entropy, private_key
from tsnet.base.crypto import node_public
from tsnet.base.keys import NodeKey
from tsnet.base.links import Accepted, Close, Closed, Data, Effect, Full, Link, Received, Room
from tsnet.base.timetable import SPARE
from tsnet.derp import frames
from tsnet.derp.facts import Disconnected, PeerGone, Restarting
from tsnet.derp.login import ClientInfo, open_server_info, seal_client_info
from tsnet.derp.queues import DISCO_MAGIC
from tsnet.derp.server import Relay
from tsnet.derp.upgrade import encode_request

LINK: Link = Link("served", "", 1)
REMOTE = ("198.51.100.9", 4242)
DISCO = DISCO_MAGIC + bytes(100)
SERVER_KEY = node_public(SERVER_PRIVATE)
NOBODY = NodeKey(b"\x77" * 32)


def new_relay() -> Relay:
    return Relay(SERVER_PRIVATE, entropy=entropy(1), now=0.0)


def client_info(number: int = 3) -> bytes:
    return frames.encode(frames.CLIENT_INFO, seal_client_info(private_key(number), SERVER_KEY, bytes(24), ClientInfo()))


def sent(effects: list[Effect], link: Link = LINK) -> bytes:
    return b"".join(effect.data for effect in effects if isinstance(effect, Data) and effect.link == link)


def logged_in(relay: Relay, number: int = 3, link: Link = LINK, now: float = 0.0) -> NodeKey:
    relay.receive(Accepted(link, REMOTE), now)
    relay.receive(Received(link, encode_request("relay") + client_info(number)), now)
    relay.transmit(now, BUDGET)
    return node_public(private_key(number))


def told(relay: Relay, now: float = 0.0, link: Link = LINK) -> list[tuple[int, bytes]]:
    return frames.Decoder().feed(sent(relay.transmit(now, BUDGET), link))


def test_login_byte_by_byte() -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    request = encode_request("relay")
    for position in range(len(request)):
        relay.receive(Received(LINK, request[position : position + 1]), 0.0)
    head, _, stream = sent(relay.transmit(0.0, BUDGET)).partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"HTTP/1.1 101 Switching Protocols",
        b"Upgrade: DERP",
        b"Connection: Upgrade",
        b"Derp-Version: 2",
        b"Derp-Public-Key: " + SERVER_KEY.hex().encode(),
    ]
    assert stream == frames.encode(frames.SERVER_KEY, b"DERP\xf0\x9f\x94\x91" + SERVER_KEY)
    login = client_info()
    for position in range(len(login)):
        relay.receive(Received(LINK, login[position : position + 1]), 0.0)
    [(frame_type, payload)] = told(relay)
    assert frame_type == frames.SERVER_INFO
    assert open_server_info(private_key(3), SERVER_KEY, payload).version == 2
    assert relay.clients == {node_public(private_key(3))}


def test_fast_start_gets_no_101_and_keeps_what_came_behind_the_head() -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    head = encode_request("relay").removesuffix(b"\r\n") + b"Derp-Fast-Start: 1\r\n\r\n"
    ping = frames.encode(frames.PING, b"12345678")
    relay.receive(Received(LINK, head + client_info() + ping), 0.0)
    assert [frame_type for frame_type, _ in told(relay)] == [frames.SERVER_KEY, frames.SERVER_INFO, frames.PONG]


@pytest.mark.parametrize(
    ("request_text", "status", "extra"),
    [
        ("GET /derp HTTP/1.1\r\nHost: x\r\n\r\n", 426, b"Upgrade: DERP"),
        ("GET /derp/probe HTTP/1.1\r\nConnection: close\r\n\r\n", 200, b"Access-Control-Allow-Origin: *"),
        ("GET /derp/latency-check HTTP/1.1\r\nConnection: close\r\n\r\n", 200, b"Access-Control-Allow-Origin: *"),
        ("GET /derp/probe HTTP/1.0\r\nHost: x\r\n\r\n", 200, b"Connection: close"),
        ("GET /generate_204 HTTP/1.1\r\nX-Tailscale-Challenge: ts_x.y\r\n\r\n", 204, b"response ts_x.y"),
        ("GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", 404, b"not found"),
    ],
)
def test_other_requests_are_answered_and_the_link_closed(request_text: str, status: int, extra: bytes) -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Received(LINK, request_text.encode()), 0.0)
    effects = relay.transmit(0.0, BUDGET)
    assert sent(effects).startswith(f"HTTP/1.1 {status} ".encode())
    assert extra in sent(effects)
    assert effects[-1] == Close(LINK)
    assert relay.deadline() > 0.0
    relay.receive(Received(LINK, b"more"), 0.0)
    assert relay.transmit(0.0, BUDGET) == []


PROBE = b"GET /derp/latency-check HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_probe_may_be_followed_by_another_and_by_derp() -> None:
    """tailscale-rs measures by the second of one connection, and knows no home if there is none."""
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    for now in (0.0, 9.0, 18.0):
        relay.receive(Received(LINK, PROBE), now)
        (effect,) = relay.transmit(now, BUDGET)
        assert b"HTTP/1.1 200 OK\r\n" in sent([effect])
        assert b"Connection: keep-alive\r\n" in sent([effect])
    relay.receive(Received(LINK, encode_request("relay") + client_info()), 20.0)
    assert sent(relay.transmit(20.0, BUDGET)).startswith(b"HTTP/1.1 101 ")
    assert len(relay.clients) == 1


def test_after_the_last_probe_the_link_is_closed() -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Received(LINK, PROBE), 1.0)
    relay.transmit(1.0, BUDGET)
    assert relay.transmit(10.9, BUDGET) == []
    assert relay.transmit(11.0, BUDGET) == [Close(LINK)]


def test_pipelined_probes_are_not_collected() -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Received(LINK, PROBE * 1000), 0.0)
    effects = relay.transmit(0.0, BUDGET)
    assert (sent(effects).count(b"HTTP/1.1 200"), effects[-1]) == (2, Close(LINK))


BREACHES = [
    (frames.encode(frames.NOTE_PREFERRED), "NotePreferred of impossible size"),
    (frames.encode(frames.NOTE_PREFERRED, b"\1\1"), "NotePreferred of impossible size"),
    (frames.encode(frames.PING, bytes(7)), "Ping of impossible size"),
    (frames.encode(frames.PING, bytes(1001)), "Ping of impossible size"),
    (frames.encode(frames.SEND_PACKET, bytes(31)), "SendPacket of impossible size"),
    (frames.encode(frames.SEND_PACKET, bytes(32 + 65_537)), "SendPacket of impossible size"),
    (frames.encode(frames.FORWARD_PACKET, bytes(64)), "mesh frame"),
    (frames.encode(frames.WATCH_CONNS), "mesh frame"),
    (frames.encode(frames.CLOSE_PEER, bytes(32)), "mesh frame"),
    (bytes([frames.SEND_PACKET]) + (frames.MAX_FRAME_SIZE + 1).to_bytes(4, "big"), "frame too long"),
]


@pytest.mark.parametrize(("breach", "reason"), BREACHES)
def test_a_breach_of_the_rules_closes_the_connection(breach: bytes, reason: str) -> None:
    relay = new_relay()
    logged_in(relay)
    relay.receive(Received(LINK, breach), 0.0)
    assert relay.transmit(0.0, BUDGET) == [Close(LINK)]
    assert relay.dropped == {reason: 1}
    assert relay.clients == frozenset()


@pytest.mark.parametrize("size", [8, 9, 1000])
def test_ping_of_any_allowed_size_is_echoed_by_its_first_eight_bytes(size: int) -> None:
    relay = new_relay()
    logged_in(relay)
    data = bytes(range(8)) + bytes(size - 8)
    relay.receive(Received(LINK, frames.encode(frames.PING, data)), 0.0)
    assert told(relay) == [(frames.PONG, bytes(range(8)))]


@pytest.mark.parametrize("frame_type", [0x00, 0x06, 0x0B, 0x13, 0x16, 0xFF])
def test_unknown_frames_are_skipped(frame_type: int) -> None:
    relay = new_relay()
    logged_in(relay)
    relay.receive(Received(LINK, frames.encode(frame_type, b"whatever") + frames.encode(frames.PING, bytes(8))), 0.0)
    assert told(relay) == [(frames.PONG, bytes(8))]


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (frames.encode(frames.PING, bytes(8)), "no ClientInfo"),
        (frames.encode(frames.CLIENT_INFO, bytes(55)), "ClientInfo of impossible size"),
        (frames.encode(frames.CLIENT_INFO, bytes(100)), "public key of low order"),
        (client_info()[:-1] + b"\0", "box does not open"),
        (bytes([2]) + ((256 << 10) + 1).to_bytes(4, "big"), "frame too long"),
    ],
)
def test_what_is_no_login_closes_the_connection(stream: bytes, reason: str) -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Received(LINK, encode_request("relay")), 0.0)
    relay.transmit(0.0, BUDGET)
    relay.receive(Received(LINK, stream), 0.0)
    assert relay.transmit(0.0, BUDGET) == [Close(LINK)]
    assert relay.dropped == {reason: 1}


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\r\n\r\n", b"GET\r\n\r\n", b"GET / HTTP/2\r\n\r\n", bytes(20_000)]
)
def test_what_is_no_http_closes_the_connection(garbage: bytes) -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Received(LINK, garbage), 0.0)
    assert relay.transmit(0.0, BUDGET) == [Close(LINK)]
    assert sum(relay.dropped.values()) == 1


@pytest.mark.parametrize("arrived", [b"", b"GET /derp", encode_request("relay")])
def test_a_silent_connection_is_closed_after_ten_seconds(arrived: bytes) -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Received(LINK, arrived), 0.0)
    relay.transmit(0.0, BUDGET)
    assert relay.transmit(9.99, BUDGET) == []
    assert relay.deadline() == 10.0
    assert relay.transmit(10.0, BUDGET) == [Close(LINK)]
    assert relay.dropped == {"login timeout": 1}


def test_admission_sees_key_and_address_and_may_refuse() -> None:
    asked: list[tuple[NodeKey, str]] = []

    def admit(key: NodeKey, host: str) -> bool:
        asked.append((key, host))
        return False

    relay = Relay(SERVER_PRIVATE, entropy=entropy(1), admit=admit, now=0.0)
    key = logged_in(relay)
    assert asked == [(key, REMOTE[0])]
    assert relay.clients == frozenset()
    assert relay.dropped == {"not admitted": 1}


def test_whoever_is_admitted_no_more_is_shown_out_with_the_next_keepalive() -> None:
    admitted = {node_public(private_key(3)), node_public(private_key(4))}
    relay = Relay(SERVER_PRIVATE, entropy=entropy(1), admit=lambda key, _host: key in admitted, now=0.0)
    other = Link("served", "", 2)
    gone, stays = logged_in(relay, 3), logged_in(relay, 4, other)
    admitted.remove(gone)
    assert relay.clients == {gone, stays}
    closed = []
    while (now := relay.deadline()) < 66:
        closed += [effect.link for effect in relay.transmit(now, BUDGET) if isinstance(effect, Close)]
    assert closed == [LINK]
    assert relay.clients == {stays}
    assert relay.dropped == {"not admitted": 1}


def test_keepalives_come_every_sixty_seconds_and_a_fixed_jitter() -> None:
    relay = new_relay()
    logged_in(relay)
    times: list[float] = []
    while len(times) < 4:
        now = relay.deadline()
        if any(frame == (frames.KEEP_ALIVE, b"") for frame in told(relay, now)):
            times.append(now)
        assert relay.deadline() > now
    gaps = {round(after - before, 6) for before, after in zip([0.0, *times], times, strict=False)}
    assert len(gaps) == 1
    assert 60 <= gaps.pop() <= 65


def test_packets_reach_their_destination_with_their_source() -> None:
    world = Joined()
    a, b = world.add(3), world.add(4)
    world.run()
    a.client.send(b.key, [b"one", b"two", b"three"], world.now)
    b.client.send(a.key, [b"four"], world.now)
    world.run()
    assert b.inbox == [(a.key, b"one"), (a.key, b"two"), (a.key, b"three")]
    assert a.inbox == [(b.key, b"four")]


@pytest.mark.parametrize("chunk", [1, 5, 37, 1000, 1 << 18])
def test_the_largest_packet_passes_in_any_pieces(chunk: int) -> None:
    world = Joined(chunk=chunk)
    a, b = world.add(3), world.add(4)
    world.run()
    packet = random.Random(5).randbytes(65_536 if chunk > 1 else 2000)
    a.client.send(b.key, [packet, b"", packet], world.now)
    world.run()
    assert b.packets() == [packet, b"", packet]


def test_a_packet_for_nobody_is_dropped_and_only_path_discovery_hears_of_it() -> None:
    world = Joined()
    a = world.add(3)
    world.run()
    a.facts.clear()
    a.client.send(NOBODY, [b"data"], world.now)
    world.run()
    assert a.facts == []
    a.client.send(NOBODY, [DISCO], world.now)
    world.run()
    assert a.facts == [PeerGone(7, NOBODY, frames.PEER_GONE_NOT_HERE)]
    assert world.relay.dropped == {"no such peer": 2}


def test_not_here_is_told_three_times_at_once_then_once_a_second() -> None:
    world = Joined()
    a = world.add(3)
    world.run()
    a.facts.clear()
    for _ in range(10):
        a.client.send(NOBODY, [DISCO], world.now)
        world.run()
    assert len(a.facts) == 3
    world.run(until=world.now + 1)
    a.client.send(NOBODY, [DISCO], world.now)
    world.run()
    assert len(a.facts) == 4


def test_who_was_sent_packets_of_a_leaver_is_told_and_again_after_its_return() -> None:
    world = Joined()
    a, b, c = world.add(3), world.add(4), world.add(5)
    world.run()
    for _time in range(2):
        a.client.send(b.key, [b"x"], world.now)
        world.run()
        for peer in (a, b, c):
            peer.facts.clear()
        world.break_link(a)
        world.run()
        assert b.facts == [PeerGone(7, a.key, frames.PEER_GONE_DISCONNECTED)]
        assert c.facts == []
        world.run(until=world.now + 1)
        assert a.client.is_connected


def two_of_one_key(world: Joined) -> tuple[Peer, Peer, Peer]:
    old, new, other = world.add(3), world.add(3), world.add(4)
    world.run()
    return old, new, other


def test_of_two_connections_with_one_key_the_last_to_send_is_active() -> None:
    world = Joined()
    old, new, other = two_of_one_key(world)
    other.client.send(old.key, [b"to the newest"], world.now)
    world.run()
    assert (old.packets(), new.packets()) == ([], [b"to the newest"])
    old.client.send(other.key, [b"hello"], world.now)
    world.run()
    other.client.send(old.key, [b"to the writer"], world.now)
    world.run()
    assert (old.packets(), new.packets()) == ([b"to the writer"], [b"to the newest"])
    assert len(world.relay.clients) == 2


def test_peer_gone_comes_with_the_last_of_two_connections() -> None:
    world = Joined()
    old, new, other = two_of_one_key(world)
    old.client.send(other.key, [b"hello"], world.now)
    world.run()
    other.facts.clear()
    old.client.close()
    world.run()
    assert other.facts == []
    other.client.send(old.key, [b"reverted"], world.now)
    world.run()
    assert new.packets() == [b"reverted"]
    new.client.close()
    world.run()
    assert other.facts == [PeerGone(7, old.key, frames.PEER_GONE_DISCONNECTED)]


def test_a_slow_reader_loses_the_oldest_and_blocks_nobody() -> None:
    world = Joined()
    a, b, c = world.add(3), world.add(4), world.add(5)
    world.run()
    world.deafen(b)
    packets = [b"%d" % number for number in range(100)]
    a.client.send(b.key, packets, world.now)
    a.client.send(b.key, [DISCO], world.now)
    a.client.send(c.key, [b"fast"], world.now)
    world.run()
    assert (b.packets(), c.packets()) == ([], [b"fast"])
    world.deafen(b, False)
    world.run()
    assert [packet for packet in b.packets() if packet != DISCO] == packets[-32:]
    assert b.packets().index(DISCO) < 2
    assert world.relay.dropped == {"queue": 68}


def test_a_link_that_stays_full_is_closed() -> None:
    relay = new_relay()
    logged_in(relay)
    relay.receive(Full(LINK), 1.0)
    relay.receive(Room(LINK), 2.0)
    relay.receive(Full(LINK), 3.0)
    assert relay.transmit(12.9, BUDGET) == []
    assert relay.transmit(13.0, BUDGET) == [Close(LINK)]
    assert relay.dropped == {"write timeout": 1}


def test_a_link_that_fills_up_again_and_again_keeps_its_few_timers() -> None:
    relay = new_relay()
    logged_in(relay)
    for step in range(1, 200):
        relay.receive(Full(LINK), 20.0 * step)
        relay.receive(Room(LINK), 20.0 * step + 1)
        relay.transmit(20.0 * step + 15, BUDGET)
    assert len(relay._due) <= 3


def test_a_full_link_keeps_an_answer_until_there_is_room() -> None:
    relay = new_relay()
    relay.receive(Accepted(LINK, REMOTE), 0.0)
    relay.receive(Full(LINK), 0.0)
    relay.receive(Received(LINK, b"GET / HTTP/1.1\r\n\r\n"), 0.0)
    assert relay.transmit(0.0, BUDGET) == []
    assert relay.deadline() > 0.0
    relay.receive(Room(LINK), 0.0)
    assert [type(effect) for effect in relay.transmit(0.0, BUDGET)] == [Data, Close]


@pytest.mark.parametrize("budget", [1, 10, 1000])
def test_the_budget_is_kept_and_every_link_gets_its_share(budget: int) -> None:
    relay = new_relay()
    links: list[Link] = [Link("served", "", number) for number in range(3)]
    keys = [logged_in(relay, 3 + number, link) for number, link in enumerate(links)]
    stream = b"".join(frames.encode(frames.SEND_PACKET, key + bytes(500)) for key in keys[1:])
    relay.receive(Received(links[0], stream), 0.0)
    first_served: list[Link] = []
    total = 0
    while relay.deadline() <= 0.0:
        effects = relay.transmit(0.0, budget)
        size = sum(len(effect.data) for effect in effects if isinstance(effect, Data))
        assert 0 < size <= budget
        total += size
        first_served.append(effects[0].link)
    assert total == 2 * (5 + 32 + 500)
    assert set(first_served[:2]) == set(links[1:])


def test_mangle_stands_between_the_clients_and_counts_for_itself() -> None:
    rng = random.Random(9)
    faults = {"lost": 0}
    flows: set[tuple[NodeKey, NodeKey]] = set()

    def mangle(source: NodeKey, destination: NodeKey, packets: list[bytes]) -> list[bytes]:
        flows.add((source, destination))
        kept = [packet for packet in packets if rng.random() > 0.5]
        faults["lost"] += len(packets) - len(kept)
        return kept[::-1]

    world = Joined(relay=Relay(SERVER_PRIVATE, entropy=entropy(1), mangle=mangle, now=1000.0))
    a, b = world.add(3), world.add(4)
    world.run()
    packets = [b"%d" % number for number in range(100)]
    a.client.send(b.key, packets, world.now)
    world.run()
    assert flows == {(a.key, b.key)}
    assert 0 < faults["lost"] < 100
    assert len(b.packets()) == 100 - faults["lost"]
    assert b.packets() == [packet for packet in packets[::-1] if packet in b.packets()]


def test_note_preferred_is_noted() -> None:
    world = Joined()
    a = world.add(3, preferred=True)
    world.run()
    session = world.relay._sessions[world.link_of(a)]
    assert session.is_preferred
    a.client.set_preferred(False, world.now)
    world.run()
    assert not session.is_preferred


def test_close_tells_the_clients_and_ends_every_connection() -> None:
    world = Joined()
    a = world.add(3)
    world.run()
    a.facts.clear()
    world.is_up = False
    world.relay.close()
    world.run()
    assert a.facts[:2] == [Restarting(7, 0.0, 30.0), Disconnected(7, "eof", "relay.example")]
    assert world.relay.clients == frozenset()
    assert world.relay._sessions == {}


def test_a_restarted_relay_is_found_again() -> None:
    world = Joined()
    a, b = world.add(3), world.add(4)
    world.run()
    world.is_up = False
    world.relay.close()
    world.run(until=world.now + 30)
    assert not a.client.is_connected
    world.is_up = True
    world.relay = Relay(SERVER_PRIVATE, entropy=entropy(2), now=world.now)
    world.run(until=world.now + 5.5)
    a.client.send(b.key, [b"back"], world.now)
    world.run()
    assert b.packets() == [b"back"]


def test_a_connection_that_ends_leaves_nothing_behind() -> None:
    relay = new_relay()
    key = logged_in(relay)
    relay.receive(Received(LINK, frames.encode(frames.SEND_PACKET, key + b"to myself")), 0.0)
    assert told(relay) == [(frames.RECV_PACKET, key + b"to myself")]
    relay.receive(Closed(LINK, "eof"), 0.0)
    assert relay.transmit(100.0, BUDGET) == []
    assert (relay._sessions, relay._by_key, relay._pending, len(relay._due)) == ({}, {}, {}, 0)


def test_whoever_comes_and_goes_leaves_no_time_limit_behind() -> None:
    relay = new_relay()
    for number in range(1000):
        link = Link("served", "", number)
        relay.receive(Accepted(link, REMOTE), 0.0)
        relay.receive(Closed(link, "reset"), 0.0)
    assert len(relay._due) <= SPARE + 1


def test_events_of_unknown_links_are_ignored() -> None:
    relay = new_relay()
    for event in (Received(LINK, b"x"), Full(LINK), Room(LINK), Closed(LINK, "eof")):
        relay.receive(event, 0.0)
    assert relay.transmit(0.0, BUDGET) == []


@pytest.mark.parametrize("seed", range(10))
def test_random_bytes_after_the_login_never_raise(seed: int) -> None:
    rng = random.Random(seed)
    relay = new_relay()
    for turn in range(50):
        logged_in(relay, now=float(turn))
        for _ in range(10):
            kind, size = rng.randrange(0x18), rng.choice([0, 1, 8, 31, 32, 33, 64, 1000])
            relay.receive(
                Received(LINK, frames.encode(kind, rng.randbytes(size))[: rng.randrange(1, 1100)]), float(turn)
            )
            relay.transmit(float(turn), BUDGET)
        relay.receive(Closed(LINK, "eof"), float(turn))
