"""The client: dialling, login, watchdogs, back-off and queue, on a hand clock."""

from __future__ import annotations

import itertools
import math
import random

import pytest

from tests.derp.joined import BUDGET, REGION, SERVER_PRIVATE, Joined
from tests.derp.scripted import (
    GREETING,
    KEY,
    SERVER_KEY,
    SWITCHING,
    close,
    connected,
    hear,
    link_of,
    new_client,
    opened,
    ready,
    said,
    server_info,
)
from tests.traces import Traced
from tsnet.base.addresses import DerpAddress
from tsnet.base.keys import NodeKey
from tsnet.base.links import ADDRESS_LOST, Close, Closed, Data, Full, Link, Open, Opened, Received, Room, Tls
from tsnet.derp import frames
from tsnet.derp.attempts import BACKOFF_HOPELESS, BACKOFF_MAX, CONNECT_TIMEOUT, FAILOVER_TIMEOUT
from tsnet.derp.client import HEALTH_BURST, MAX_FACTS, TIMERS, Client, Stage
from tsnet.derp.facts import Cleared, Connected, Disconnected, Left, Measured, PeerGone, RelayHealth, Suspected
from tsnet.derp.liveness import (
    DOUBT_AT_LEAST,
    DOUBT_AT_MOST,
    NO_ANSWER,
    PONG_TIMEOUT,
    PROBE_AFTER,
    PROBE_HOME,
    SILENCE_TIMEOUT,
    SUSPECT_AFTER,
)
from tsnet.derp.login import ServerInfo, open_client_info
from tsnet.derp.outbox import MAX_WAITING
from tsnet.netmap.model import DerpNode, DerpRegion

ALICE, BOB = NodeKey(b"\x0a" * 32), NodeKey(b"\x0b" * 32)

TWO_NODES = DerpRegion(
    7,
    nodes=(
        DerpNode("7s", 7, "stun.example", stun_only=True),
        DerpNode("7x", 7, "none.example", ipv4="none", ipv6="none"),
        DerpNode("7a", 7, "a.example", ipv4="192.0.2.1", ipv6="none"),
        DerpNode("7b", 7, "b.example", derp_port=8443, cert_name="other.example", insecure_for_tests=True),
    ),
)


def recv(source: NodeKey, *packets: bytes) -> bytes:
    return frames.encode_packets(frames.RECV_PACKET, source, packets)


# --- dialling ---------------------------------------------------------------------------------------------------


def test_nodes_are_dialled_in_order_without_those_that_cannot_be() -> None:
    client = new_client(TWO_NODES)
    [first] = client.transmit(0.0, BUDGET)
    assert first == Open(Link("derp", 7, 1), ("192.0.2.1",), 443, Tls("a.example"), FAILOVER_TIMEOUT)
    close(client, "refused", 1.0)
    assert client.deadline() <= 1.0
    [second] = client.transmit(1.0, BUDGET)
    tls = Tls("b.example", "other.example", True)
    assert second == Open(Link("derp", 7, 2), ("b.example",), 8443, tls, CONNECT_TIMEOUT)
    assert client.take_facts() == []
    close(client, "refused", 2.0)
    assert client.take_facts() == [Disconnected(7, "refused", "b.example")]


def test_a_later_node_is_told_which_would_be_the_first() -> None:
    client = new_client(TWO_NODES)
    client.transmit(0.0, BUDGET)
    client.receive(Opened(link_of(client)), 0.0)
    [request] = client.transmit(0.0, BUDGET)
    assert isinstance(request, Data)
    assert b"\r\nIdeal-Node: 7s\r\n" in request.data


@pytest.mark.parametrize(("derp_port", "port"), [(0, 3340), (8080, 8080)])
def test_plain_http_has_its_own_default_port(derp_port: int, port: int) -> None:
    client = new_client(DerpRegion(7, nodes=(DerpNode("a", 7, "h", derp_port=derp_port),)), use_http=True)
    [effect] = client.transmit(0.0, BUDGET)
    assert isinstance(effect, Open)
    assert (effect.port, effect.tls) == (port, None)


@pytest.mark.parametrize("region", [DerpRegion(7), DerpRegion(7, nodes=TWO_NODES.nodes[:2])])
def test_a_region_without_a_node_to_dial_is_a_failure_not_a_loop(region: DerpRegion) -> None:
    client = new_client(region)
    assert client.transmit(0.0, BUDGET) == []
    assert client.take_facts() == [Disconnected(7, "no node to dial")]
    assert client.deadline() > 0.0


def test_generations_are_never_used_twice_even_by_two_clients() -> None:
    generations = itertools.count(1)
    links = []
    for _ in range(3):
        client = new_client(generations=generations)
        client.transmit(0.0, BUDGET)
        links.append(client.link)
        close(client, "refused")
        client.transmit(client.deadline(), BUDGET)
        links.append(client.link)
    assert links == [Link("derp", 7, number) for number in range(1, 7)]


# --- login ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [1, 2, 7, 1000])
def test_login_in_any_pieces_with_bytes_behind_the_101(chunk: int) -> None:
    client = new_client()
    opened(client)
    stream = SWITCHING + GREETING
    for at in range(0, len(stream), chunk):
        hear(client, stream[at : at + chunk])
    assert client.stage is Stage.LOGGING_IN
    client.transmit(0.0, BUDGET)
    stream = server_info() + recv(ALICE, b"hello")
    packets = [run for at in range(0, len(stream), chunk) for run in hear(client, stream[at : at + chunk], 0.25)]
    assert packets == [(DerpAddress(7, ALICE), [b"hello"])]
    assert client.take_facts() == [Connected(7, 0.25)]


def test_packets_leave_right_behind_client_info_and_note_preferred() -> None:
    client = new_client(preferred=True)
    client.send(ALICE, [b"first"], 0.0)
    opened(client)
    hear(client, SWITCHING + GREETING)
    frames_sent = said(client.transmit(0.0, BUDGET))
    assert [kind for kind, _ in frames_sent] == [frames.CLIENT_INFO, frames.NOTE_PREFERRED, frames.SEND_PACKET]
    assert frames_sent[1:] == [(frames.NOTE_PREFERRED, b"\1"), (frames.SEND_PACKET, ALICE + b"first")]
    assert not client.is_connected


@pytest.mark.parametrize(
    ("stream", "reason"),
    [
        (b"HTTP/1.1 426 Upgrade Required\r\n\r\n", "HTTP status 426"),
        (b"SSH-2.0-OpenSSH\r\n\r\n", "not an HTTP/1 response"),
        (b"x" * 20_000, "HTTP head too long"),
        (SWITCHING + frames.encode(frames.KEEP_ALIVE), "no DERP greeting"),
        (SWITCHING + frames.encode(frames.SERVER_KEY, bytes(40)), "no DERP greeting"),
        (
            SWITCHING + frames.encode(frames.SERVER_KEY, b"DERP\xf0\x9f\x94\x91" + bytes(32)),
            "public key of low order",
        ),
        (SWITCHING + b"\x01\x00\x00\x04\x01", "frame too long"),
        (SWITCHING + GREETING + frames.encode(frames.SERVER_INFO, bytes(10)), "ServerInfo of impossible size"),
        (SWITCHING + GREETING + frames.encode(frames.SERVER_INFO, bytes(60)), "box does not open"),
    ],
)
def test_what_is_no_relay_ends_the_attempt_and_is_tried_again(stream: bytes, reason: str) -> None:
    client = new_client()
    opened(client)
    link = link_of(client)
    hear(client, stream)
    assert client.take_facts() == [Disconnected(7, reason, "relay.example")]
    assert client.stage is Stage.WAITING
    assert client.transmit(0.0, BUDGET) == [Close(link)]
    at = client.deadline()
    assert 0.0 < at <= 0.15
    [effect] = client.transmit(at, BUDGET)
    assert isinstance(effect, Open)


@pytest.mark.parametrize("progress", [0, 1, 2, 3])
def test_a_whole_attempt_has_a_time_limit(progress: int) -> None:
    client = new_client()
    if progress >= 1:
        opened(client)
    else:
        client.transmit(0.0, BUDGET)
    if progress >= 2:
        hear(client, SWITCHING)
    if progress >= 3:
        hear(client, GREETING)
        client.transmit(5.0, BUDGET)
    stage = client.stage
    assert client.deadline() == CONNECT_TIMEOUT
    assert client.transmit(CONNECT_TIMEOUT - 0.1, BUDGET) == []
    link = link_of(client)
    assert client.transmit(CONNECT_TIMEOUT, BUDGET) == [Close(link)]
    assert client.take_facts() == [Disconnected(7, f"timeout while {stage.value}", "relay.example")]


def test_a_node_whose_login_never_ends_gives_way_to_the_next_one() -> None:
    """It accepts connections and answers nothing, as a front without a relay behind it does."""
    client = new_client(TWO_NODES)
    opened(client)
    link = link_of(client)
    closed, second = client.transmit(FAILOVER_TIMEOUT, BUDGET)
    assert closed == Close(link)
    assert isinstance(second, Open)
    assert second.hosts == ("b.example",)
    assert client.take_facts() == []


# --- fast start -------------------------------------------------------------------------------------------------


def test_with_the_servers_key_the_login_follows_the_request_at_once() -> None:
    client = new_client(preferred=True)
    client.send(ALICE, [b"first"], 0.0)
    client.transmit(0.0, BUDGET)
    client.receive(Opened(link_of(client), SERVER_KEY), 0.0)
    [effect] = client.transmit(0.0, BUDGET)
    assert isinstance(effect, Data)
    head, _, rest = effect.data.partition(b"\r\n\r\n")
    assert b"\r\nDerp-Fast-Start: 1" in head
    (kind, login), *others = frames.Decoder().feed(rest)
    assert kind == frames.CLIENT_INFO
    assert open_client_info(SERVER_PRIVATE, login)[0] == KEY
    assert others == [(frames.NOTE_PREFERRED, b"\1"), (frames.SEND_PACKET, ALICE + b"first")]
    hear(client, GREETING + server_info() + recv(ALICE, b"x"), 0.5)
    assert client.is_connected
    assert client.take_facts() == [Connected(7, 0.5)]


def test_without_it_the_request_asks_for_an_answer() -> None:
    client = new_client()
    client.transmit(0.0, BUDGET)
    client.receive(Opened(link_of(client)), 0.0)
    [effect] = client.transmit(0.0, BUDGET)
    assert isinstance(effect, Data)
    assert b"Fast-Start" not in effect.data
    assert effect.data.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("key", [bytes(32), b"\xff" * 32])
def test_a_key_that_is_none_ends_the_attempt(key: bytes) -> None:
    """Of low order, it cannot even be sealed to; of somebody else, the answer does not open."""
    client = new_client()
    client.transmit(0.0, BUDGET)
    client.receive(Opened(link_of(client), key), 0.0)
    if client.link is not None:
        hear(client, GREETING + server_info())
    [fact] = client.take_facts()
    assert isinstance(fact, Disconnected)
    assert fact.reason in ("public key of low order", "box does not open")
    assert [type(effect) for effect in client.transmit(0.0, BUDGET)] == [Close]
    assert client.deadline() > 0.0


@pytest.mark.parametrize(("has_meta", "round_trips"), [(True, 3), (False, 4)])
def test_three_seconds_of_round_trip_time_are_no_hindrance(has_meta: bool, round_trips: int) -> None:
    """TCP, TLS, (the 101,) the login."""
    world = Joined(round_trip=3.0, has_meta=has_meta)
    peer = world.add(1)
    world.run(until=1000.0 + 3.0 * round_trips - 0.1)
    assert not peer.client.is_connected
    world.run(until=1000.0 + 3.0 * round_trips + 0.1)
    assert peer.client.is_connected
    assert peer.facts == [Connected(7, 3.0)]
    assert world.relay.clients == {peer.key}


def test_even_names_and_two_round_trips_of_tls_leave_time_for_the_login() -> None:
    world = Joined(round_trip=3.0, open_trips=4.0)
    peer = world.add(1)
    world.run(until=1060.0)
    assert peer.facts == [Connected(7, 3.0)]


# --- steady state -----------------------------------------------------------------------------------------------


def test_packets_of_a_batch_come_grouped_by_source_and_in_order() -> None:
    client = new_client()
    connected(client)
    runs = hear(client, recv(ALICE, b"1", b"2") + recv(BOB, b"3") + recv(ALICE, b"4", b""))
    assert runs == [(DerpAddress(7, ALICE), [b"1", b"2", b"4", b""]), (DerpAddress(7, BOB), [b"3"])]


def test_a_ping_is_answered_at_once() -> None:
    client = new_client()
    connected(client)
    hear(client, frames.encode(frames.PING, b"12345678and more"))
    assert said(client.transmit(0.0, BUDGET)) == [(frames.PONG, b"12345678")]


def test_frames_that_mean_nothing_are_counted_and_skipped() -> None:
    client = new_client()
    connected(client)
    short = [frames.RECV_PACKET, frames.PEER_GONE, frames.PING, frames.PONG, frames.RESTARTING, frames.PEER_PRESENT]
    stream = b"".join(frames.encode(kind, b"short") for kind in short)
    stream += frames.encode(0x7F, b"later") + frames.encode(frames.SERVER_KEY) + frames.encode(frames.KEEP_ALIVE)
    assert hear(client, stream + recv(ALICE, b"x")) == [(DerpAddress(7, ALICE), [b"x"])]
    assert client.dropped == {"short": 6, "unknown": 1}
    assert client.is_connected


def test_packets_before_a_broken_frame_still_count() -> None:
    client = new_client()
    connected(client)
    runs = hear(client, recv(ALICE, b"x") + b"\x05\x00\x10\x00\x01")
    assert runs == [(DerpAddress(7, ALICE), [b"x"])]
    assert client.take_facts() == [Disconnected(7, "frame too long", "relay.example")]


def test_silence_of_two_minutes_ends_the_connection_and_any_byte_puts_it_off() -> None:
    client = new_client()
    connected(client)
    assert client.deadline() == SILENCE_TIMEOUT
    hear(client, frames.encode(frames.KEEP_ALIVE), 65.0)
    assert client.deadline() == 65.0 + SILENCE_TIMEOUT
    assert client.transmit(184.9, BUDGET) == []
    link = link_of(client)
    assert client.transmit(185.0, BUDGET) == [Close(link, abort=True)]
    assert client.take_facts() == [Disconnected(7, "silence", "relay.example")]


def test_a_ping_that_nothing_follows_ends_the_connection() -> None:
    client = new_client()
    connected(client)
    client.ping(1.0)
    client.ping(2.0)
    [(kind, _data)] = said(client.transmit(1.0, BUDGET))
    suspect_at = 1.0 + SUSPECT_AFTER - PROBE_AFTER
    assert (kind, client.deadline()) == (frames.PING, suspect_at)
    client.transmit(suspect_at, BUDGET)
    assert client.take_facts() == [Suspected(7)]
    assert client.deadline() == 1.0 + PONG_TIMEOUT
    client.transmit(1.0 + PONG_TIMEOUT, BUDGET)
    assert client.take_facts() == [Disconnected(7, NO_ANSWER, "relay.example")]


def test_a_suspect_relay_that_answers_is_cleared_once() -> None:
    client = new_client()
    connected(client)
    client.ping(1.0)
    client.transmit(1.0, BUDGET)
    client.transmit(3.0, BUDGET)
    assert client.is_suspect(3.0)
    for at in (4.0, 5.0):
        hear(client, frames.encode(frames.KEEP_ALIVE), at)
    assert client.take_facts() == [Suspected(7), Cleared(7)]
    assert not client.is_suspect(100.0)


def test_the_home_relay_is_probed_when_it_is_quiet_and_only_while_it_is_home() -> None:
    client = new_client(preferred=True)
    connected(client)
    begun = client.deadline() - PROBE_HOME
    assert [kind for kind, _ in said(client.transmit(begun + PROBE_HOME, BUDGET))] == [frames.PING]
    hear(client, frames.encode(frames.KEEP_ALIVE), begun + 11.0)
    assert client.deadline() == begun + 11.0 + PROBE_HOME
    client.set_preferred(False, begun + 12.0)
    client.transmit(begun + 12.0, BUDGET)
    assert client.deadline() == begun + 11.0 + SILENCE_TIMEOUT
    client.set_preferred(True, begun + 13.0)
    client.transmit(begun + 13.0, BUDGET)
    assert client.deadline() == begun + 13.0 + PROBE_HOME


def test_any_byte_after_a_ping_is_a_sign_of_life_and_the_pong_still_counts() -> None:
    client = new_client()
    connected(client)
    client.ping(1.0)
    [(_kind, data)] = said(client.transmit(1.0, BUDGET))
    hear(client, frames.encode(frames.PONG, data[::-1]), 3.0)
    assert client.deadline() == 3.0 + SILENCE_TIMEOUT
    hear(client, frames.encode(frames.PONG, data), 4.0)
    assert client.take_facts() == [Measured(7, 3.0)]


def test_a_relay_that_answers_nothing_is_probed_and_replaced_within_fifteen_seconds() -> None:
    client = new_client(TWO_NODES)
    connected(client)
    first, begun = link_of(client), 60.0
    hear(client, frames.encode(frames.KEEP_ALIVE), begun - 1)
    now, pings, opens = begun, [], []
    while now < begun + 15:
        client.send(ALICE, [b"into nothing"], now)
        effects = client.transmit(now, BUDGET)
        pings += [now for kind, _ in said(effects) if kind == frames.PING] if client.link == first else []
        opens += [(now, effect) for effect in effects if isinstance(effect, Open)]
        assert client.is_suspect(now) is (begun + SUSPECT_AFTER <= now and client.link == first)
        now = min(client.deadline(), now + 0.5)
    assert pings == [begun + PROBE_AFTER]
    assert client.take_facts() == [Suspected(7), Disconnected(7, NO_ANSWER, "a.example")]
    [(at, effect)] = opens
    assert at <= begun + 15
    assert effect.hosts == ("b.example",)  # not the dead one again, while there is another


def test_a_relay_alone_in_its_region_is_dialled_anew() -> None:
    world = Joined()
    alice, bob = world.add(1), world.add(2)
    world.run(until=1060.0)
    world.is_mute = True
    alice.client.send(bob.key, [b"lost"], world.now)
    world.run(until=world.now + PROBE_AFTER + PONG_TIMEOUT + 0.01)
    world.is_mute = False
    world.run(until=world.now + 1)
    assert [type(fact) for fact in alice.facts] == [Connected, Suspected, Disconnected, Connected]
    alice.client.send(bob.key, [b"again"], world.now)
    world.run()
    assert bob.packets() == [b"again"]


def test_packets_that_want_no_answer_are_no_reason_to_give_up_a_relay_that_pongs() -> None:
    world = Joined(round_trip=3.0, has_meta=True)
    alice, bob = world.add(1), world.add(2)
    world.run(until=1060.0)
    for _ in range(600):
        alice.client.send(bob.key, [b"one way"], world.now)
        world.run(until=world.now + 0.1)
    assert len(bob.packets()) > 560
    assert {type(fact) for fact in alice.facts} == {Connected, Measured}
    assert [type(fact) for fact in bob.facts] == [Connected]


def test_an_idle_connection_is_never_probed() -> None:
    world = Joined()
    alice, bob = world.add(1), world.add(2)
    world.run(until=1010.0)
    alice.client.send(bob.key, [b"question"], world.now)
    world.run()
    bob.client.send(alice.key, [b"answer"], world.now)
    world.run()
    asleep = world.now
    assert min(alice.client.deadline(), bob.client.deadline()) > asleep + PROBE_AFTER - 0.1
    world.run(until=asleep + 600)
    # bob's answer was the last word: one probe shows that the relay is there, and no other follows
    assert [type(fact) for fact in alice.facts] == [Connected]
    assert [type(fact) for fact in bob.facts] == [Connected, Measured]


def test_a_full_link_that_moves_is_alive_and_one_that_does_not_is_dead() -> None:
    client = new_client()
    connected(client)
    client.send(ALICE, [bytes(1000)], 1.0)
    client.transmit(1.0, BUDGET)
    client.receive(Full(link_of(client)), 1.0)
    client.transmit(1.0 + PROBE_AFTER, BUDGET)  # the Ping has to wait for room
    client.receive(Room(link_of(client)), 8.0)
    client.send(ALICE, [bytes(1000)], 8.0)
    client.receive(Full(link_of(client)), 8.0)
    assert client.take_facts() == []
    for at in (8.0 + PROBE_AFTER, 8.0 + SUSPECT_AFTER, 8.0 + PROBE_AFTER + PONG_TIMEOUT):
        assert client.deadline() == at
        client.transmit(at, BUDGET)
    assert client.take_facts() == [Suspected(7), Disconnected(7, NO_ANSWER, "relay.example")]


def test_what_a_relay_can_repeat_for_ever_is_bounded() -> None:
    client = new_client()
    connected(client)
    gone = [frames.encode_peer_gone(bytes([number % 251]) * 32, 1) for number in range(MAX_FACTS + 10)]
    hear(client, b"".join(gone))
    while client.has_input:
        client.read(0.0)
    close(client, "eof")
    told = client.take_facts()
    assert len(told) == MAX_FACTS + 1
    assert isinstance(told[-1], Disconnected)  # which is never left out
    assert client.dropped == {"facts": 10}


def test_a_relay_that_complains_all_the_time_is_not_listened_to() -> None:
    client = new_client()
    connected(client)
    for number in range(1000):
        hear(client, frames.encode(frames.HEALTH, b"%d" % number), number / 100)
    told = [fact for fact in client.take_facts() if isinstance(fact, RelayHealth)]
    assert len(told) <= HEALTH_BURST + 1
    assert client.dropped["health"] == 1000 - len(told)


def test_preference_is_told_when_it_changes_and_again_after_a_reconnect() -> None:
    client = new_client()
    connected(client)
    client.set_preferred(True, 0.0)
    client.set_preferred(True, 0.0)
    assert said(client.transmit(0.0, BUDGET)) == [(frames.NOTE_PREFERRED, b"\1")]
    close(client, "reset")
    at = client.deadline()
    opened(client, at)
    hear(client, SWITCHING + GREETING, at)
    assert (frames.NOTE_PREFERRED, b"\1") in said(client.transmit(at, BUDGET))


def test_preference_set_before_the_login_is_told_once() -> None:
    client = new_client()
    client.set_preferred(True, 0.0)
    ready(client)
    assert client.transmit(0.0, BUDGET) == []


# --- coming back ------------------------------------------------------------------------------------------------


def test_back_off_doubles_to_five_seconds_with_jitter() -> None:
    client = new_client()
    now, waits = 0.0, []
    for _ in range(12):
        client.transmit(now, BUDGET)
        close(client, "refused", now)
        waits.append(client.deadline() - now)
        now = client.deadline()
    for number, wait in enumerate(waits):
        base = min(BACKOFF_MAX, 0.1 * 2**number)
        assert 0.5 * base <= wait <= base
    assert len(set(waits)) == len(waits)


def test_what_waiting_cannot_mend_is_tried_ever_less_often() -> None:
    client = new_client()
    now = waited = 0.0
    attempts = 0
    while now < 600:
        client.transmit(now, BUDGET)
        close(client, "certificate: self-signed", now)
        waited, now = client.deadline() - now, client.deadline()
        attempts += 1
    assert attempts < 45
    assert BACKOFF_HOPELESS / 2 <= waited <= BACKOFF_HOPELESS


def test_a_connection_that_lasted_starts_the_back_off_anew_and_a_short_one_does_not() -> None:
    client = new_client()
    now = 0.0
    for lived, small in ((0.0, True), (0.0, False), (0.0, False), (0.0, False), (20.0, True)):
        connected(client, now)
        close(client, "eof", now + lived)
        assert (client.deadline() - now - lived <= 0.15) is small
        now = client.deadline()


def test_events_of_an_old_link_are_stale() -> None:
    client = new_client()
    connected(client)
    old = link_of(client)
    close(client, "reset")
    opened(client, client.deadline())
    for event in (Received(old, SWITCHING), Opened(old), Full(old), Room(old), Closed(old, "eof")):
        client.receive(event, 1.0)
    assert client.stage is Stage.UPGRADING
    assert client.dropped == {"stale": 5}


def test_close_closes_the_link_and_nothing_follows() -> None:
    client = new_client()
    connected(client)
    link = link_of(client)
    client.close()
    client.send(ALICE, [b"late"], 0.0)
    assert client.transmit(0.0, BUDGET) == [Close(link)]
    assert client.deadline() == math.inf
    assert client.transmit(1e9, BUDGET) == []
    assert client.take_facts() == [Left(7)]


# --- the queue --------------------------------------------------------------------------------------------------


def test_before_the_login_the_oldest_packets_give_way() -> None:
    client = new_client()
    packets = [b"%d" % number for number in range(MAX_WAITING + 10)]
    assert client.has_room
    for packet in packets:
        client.send(ALICE, [packet], 0.0)
    assert not client.has_room
    opened(client)
    hear(client, SWITCHING + GREETING)
    assert client.has_room
    sent = [payload[32:] for kind, payload in said(client.transmit(0.0, BUDGET)) if kind == frames.SEND_PACKET]
    assert sent == packets[10:]
    assert client.dropped == {"queue": 10}


def test_a_full_link_holds_everything_and_is_not_due() -> None:
    client = new_client()
    connected(client)
    client.receive(Full(link_of(client)), 0.0)
    assert not client.has_room
    client.send(ALICE, [b"x"], 0.0)
    assert client.transmit(0.0, BUDGET) == []
    assert client.deadline() > 0.0
    client.receive(Room(link_of(client)), 0.0)
    assert client.has_room
    assert client.deadline() <= 0.0
    assert said(client.transmit(0.0, BUDGET)) == [(frames.SEND_PACKET, ALICE + b"x")]


def test_all_frames_of_a_turn_leave_as_one_piece_and_the_budget_cuts_it() -> None:
    client = new_client()
    connected(client)
    packets = [random.Random(1).randbytes(1000) for _ in range(49)]
    client.send(ALICE, packets, 0.0)
    client.send(BOB, packets, 0.0)
    pieces = []
    while client.deadline() <= 0.0:
        [effect] = client.transmit(0.0, 30_000)
        assert isinstance(effect, Data)
        assert len(effect.data) <= 30_000
        pieces.append(effect.data)
    sent = frames.Decoder().feed(b"".join(pieces))
    assert sent == [(frames.SEND_PACKET, key + packet) for key in (ALICE, BOB) for packet in packets]


def test_a_packet_above_64_kib_is_dropped_here_not_by_the_relay() -> None:
    client = new_client()
    connected(client)
    client.send(ALICE, [bytes(65_537), bytes(65_536)], 0.0)
    assert [len(payload) - 32 for _, payload in said(client.transmit(0.0, BUDGET))] == [65_536]
    assert client.dropped == {"oversize": 1}


def test_the_servers_rate_limit_drops_what_exceeds_it() -> None:
    client = new_client()
    connected(client, info=ServerInfo(rate=1000, burst=3 * (5 + 32 + 100)))
    client.send(ALICE, [bytes(100)] * 5, 0.0)
    assert len(said(client.transmit(0.0, BUDGET))) == 3
    client.send(ALICE, [bytes(100)] * 5, 0.2)
    assert len(said(client.transmit(0.2, BUDGET))) == 1
    assert client.dropped == {"rate": 6}


# --- timers, noise ----------------------------------------------------------------------------------------------


def test_no_timer_is_left_out_of_the_table() -> None:
    public = {name for name in vars(new_client()) if name.endswith(("_at", "_by")) and not name.startswith("_")}
    assert public == set(TIMERS)


@pytest.mark.parametrize("slot", TIMERS)
def test_each_timer_alone_is_the_deadline(slot: str) -> None:
    client = new_client()
    for name in TIMERS:
        setattr(client, name, math.inf)
    assert client.deadline() == math.inf
    setattr(client, slot, 123.0)
    assert client.deadline() == 123.0


def test_the_secret_is_in_no_repr() -> None:
    assert "0303" not in repr(vars(new_client()))


@pytest.mark.parametrize("seed", range(20))
def test_random_streams_never_raise_and_the_machine_always_rests(seed: int) -> None:
    rng = random.Random(seed)
    client = Client(REGION, new_client()._private_key, entropy=rng.randbytes, now=0.0)
    good = SWITCHING + GREETING + server_info() + recv(ALICE, b"x") + frames.encode_peer_gone(KEY, 1)
    now = 0.0
    for _ in range(60):
        for _step in range(10):
            client.transmit(now, 1000)
            if client.deadline() > now:
                break
        else:
            raise AssertionError("the client never rests")
        if client.link is not None:
            stream = bytearray(good)
            if rng.random() < 0.8:
                stream[rng.randrange(len(stream))] ^= 1 << rng.randrange(8)
            client.receive(Opened(client.link), now)
            for at in range(0, len(stream), size := rng.choice([1, 50, 500])):
                if client.link is not None:
                    client.receive(Received(client.link, bytes(stream[at : at + size])), now)
                    client.transmit(now, 1000)
            if client.link is not None and rng.random() < 0.5:
                close(client, "reset", now)
        facts = client.take_facts()
        assert all(isinstance(fact, Connected | Disconnected | PeerGone) or fact.region == 7 for fact in facts)
        now = max(now + rng.random(), min(client.deadline(), now + 10))


def test_what_a_relay_says_of_itself_is_a_short_line() -> None:
    client = new_client()
    connected(client)
    client.take_facts()
    hear(client, frames.encode(frames.HEALTH, b"bad\r\n\x1b[2J" + b"x" * 100_000))
    (fact,) = client.take_facts()
    assert isinstance(fact, RelayHealth)
    assert fact.text.isprintable()
    assert len(fact.text) <= 1024


# --- what is traced ---------------------------------------------------------------------------------------------


def test_a_connections_life_is_traced_with_its_reasons() -> None:
    told = Traced()
    client = new_client(TWO_NODES, trace=told("derp"))
    client.transmit(0.0, BUDGET)
    close(client, "refused", 1.0)
    connected(client, 1.0)
    hear(client, recv(ALICE, *[bytes(100)] * 50), 1.0)
    client.send(BOB, [bytes(100)] * 50, 1.0)
    client.transmit(1.0, BUDGET)
    close(client, "reset", 20.0)
    again_in = client.retry_at - 20.0
    client.close()
    assert told.events == [
        "dialling",
        "attempt failed",
        "dialling",
        "link opened",
        "connected",
        "connection lost",
        "connection closed",
    ]
    assert [fields["host"] for fields in told.fields("dialling")] == ["a.example", "b.example"]
    (failed,) = told.fields("attempt failed")
    assert (failed["why"], failed["next"]) == ("refused", "another node of the region")
    (lost,) = told.fields("connection lost")
    assert (lost["region"], lost["why"], lost["again_in"]) == (7, "reset", again_in)


# --- the network changes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("anew", [False, True])
def test_a_wait_is_over_when_the_network_changes_and_the_next_one_is_short(anew: bool) -> None:
    client, now = new_client(), 0.0
    for _ in range(20):
        now = max(now, client.deadline())
        client.transmit(now, BUDGET)
        close(client, "unreachable", now)
    assert client.deadline() > now + 1.0
    client.network_changed(now, anew=anew)
    [effect] = client.transmit(now, BUDGET)
    assert isinstance(effect, Open)
    close(client, "unreachable", now)
    assert client.deadline() <= now + 0.1


def test_a_dial_under_way_begins_anew_if_the_way_is_another() -> None:
    client = new_client()
    client.transmit(0.0, BUDGET)
    before = link_of(client)
    client.network_changed(1.0, anew=False)
    assert client.transmit(1.0, BUDGET) == []
    client.network_changed(1.0, anew=True)
    closed, opened_again = client.transmit(1.0, BUDGET)
    assert closed == Close(before)
    assert isinstance(opened_again, Open)
    assert opened_again.link.generation > before.generation
    assert client.take_facts() == []


def test_a_login_under_way_gets_three_more_seconds() -> None:
    client = new_client()
    opened(client)
    client.network_changed(1.0, anew=False)
    assert client.connect_by > 1.0 + DOUBT_AT_MOST
    client.network_changed(1.0, anew=True)
    assert client.connect_by == 1.0 + DOUBT_AT_MOST
    assert client.stage is Stage.UPGRADING


def test_a_connection_that_answers_stays_and_one_that_does_not_is_replaced_at_once() -> None:
    client = new_client()
    connected(client)
    client.network_changed(10.0, anew=True)
    [(kind, data)] = said(client.transmit(10.0, BUDGET))
    assert kind == frames.PING
    hear(client, frames.encode(frames.PONG, data), 10.1)
    client.transmit(10.5, BUDGET)
    assert client.is_connected
    client.network_changed(20.0, anew=False)
    [(kind, _)] = said(client.transmit(20.0, BUDGET))
    assert kind == frames.PING
    assert client.deadline() == 20.0 + DOUBT_AT_LEAST
    client.transmit(20.0 + DOUBT_AT_LEAST, BUDGET)
    assert client.take_facts()[-1] == Disconnected(REGION.region_id, NO_ANSWER, client.host)
    assert client.deadline() <= 20.0 + DOUBT_AT_LEAST + 0.1


def test_a_client_that_was_closed_stays_closed() -> None:
    client = new_client()
    connected(client)
    client.close()
    client.transmit(0.0, BUDGET)
    client.network_changed(1.0, anew=True)
    assert client.transmit(1.0, BUDGET) == []
    assert client.deadline() == math.inf


def test_a_lost_address_passes_by_itself() -> None:
    assert not Disconnected(1, ADDRESS_LOST).is_hopeless
