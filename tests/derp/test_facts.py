"""Every fact, from the bytes that cause it."""

from __future__ import annotations

import typing

import pytest

from tests.derp.joined import BUDGET
from tests.derp.scripted import close, connected, hear, new_client, ready, said, server_info
from tsnet.base.keys import NodeKey
from tsnet.base.proxies import FORM
from tsnet.derp import facts, frames
from tsnet.derp.facts import (
    Cleared,
    Connected,
    Disconnected,
    Fact,
    Left,
    Measured,
    PeerGone,
    RelayHealth,
    Restarting,
    Suspected,
)
from tsnet.derp.liveness import NO_ANSWER, SILENCE

KEY = NodeKey(b"\x0a" * 32)

CASES: list[tuple[bytes, Fact]] = [
    (frames.encode_peer_gone(KEY, 0), PeerGone(7, KEY, frames.PEER_GONE_DISCONNECTED)),
    (frames.encode_peer_gone(KEY, 1), PeerGone(7, KEY, frames.PEER_GONE_NOT_HERE)),
    (frames.encode_peer_gone(KEY, 0xF0), PeerGone(7, KEY, 0xF0)),
    (frames.encode(frames.PEER_GONE, KEY), PeerGone(7, KEY, frames.PEER_GONE_DISCONNECTED)),  # an old server
    (frames.encode(frames.HEALTH, "zwölf".encode()), RelayHealth(7, "zwölf")),
    (frames.encode(frames.HEALTH, b"\xff"), RelayHealth(7, "\ufffd")),
    (frames.encode_restarting(0.5, 20.0), Restarting(7, 0.5, 20.0)),
]


@pytest.mark.parametrize(("stream", "fact"), CASES)
def test_a_frame_becomes_a_fact(stream: bytes, fact: Fact) -> None:
    client = new_client()
    connected(client)
    hear(client, stream)
    assert client.take_facts() == [fact]
    assert client.take_facts() == []


def test_a_relay_that_is_well_again_says_so_once() -> None:
    client = new_client()
    connected(client)
    for text in (b"", b"bad", b"bad", b"", b""):
        hear(client, frames.encode(frames.HEALTH, text))
    assert client.take_facts() == [RelayHealth(7, "bad"), RelayHealth(7, "")]


@pytest.mark.parametrize(
    ("reason", "hopeless"),
    [
        *((reason, False) for reason in ("eof", "reset", "refused", "unreachable", "timeout", "dns")),
        *((reason, False) for reason in ("timeout while dialling", NO_ANSWER, SILENCE)),
        *((reason, True) for reason in ("certificate: self-signed", "tls: wrong version number")),
        *((f"proxy http://p:1: {said}", True) for said in ("407 no", "403 no", FORM)),
        *((f"proxy http://p:1: {said}", False) for said in ("502 no", "refused", "eof", "not an HTTP answer")),
        *((reason, True) for reason in ("HTTP status 404", "no DERP greeting", "box does not open")),
    ],
)
def test_what_waiting_alone_cannot_mend(reason: str, hopeless: bool) -> None:
    assert Disconnected(7, reason).is_hopeless is hopeless


def test_connected_tells_the_latency_of_the_login() -> None:
    client = new_client()
    ready(client, 1.0)
    hear(client, server_info(), 1.125)
    assert client.take_facts() == [Connected(7, 0.125)]


def test_measured_tells_the_latency_of_a_ping() -> None:
    client = new_client()
    connected(client)
    client.ping(2.0)
    [(_, data)] = said(client.transmit(2.0, BUDGET))
    hear(client, frames.encode(frames.PONG, data), 2.5)
    assert client.take_facts() == [Measured(7, 0.5)]


def test_suspicion_is_told_and_taken_back() -> None:
    client = new_client()
    connected(client)
    client.ping(1.0)
    client.transmit(1.0, BUDGET)
    client.transmit(3.0, BUDGET)
    hear(client, frames.encode(frames.KEEP_ALIVE), 4.0)
    assert client.take_facts() == [Suspected(7), Cleared(7)]


def test_disconnected_comes_after_what_the_connection_told() -> None:
    client = new_client()
    connected(client)
    hear(client, frames.encode_peer_gone(KEY, 1))
    close(client, "reset")
    assert client.take_facts() == [PeerGone(7, KEY, 1), Disconnected(7, "reset", "relay.example")]


def test_a_connection_that_we_close_ends_in_left_and_an_attempt_in_nothing() -> None:
    client = new_client()
    connected(client)
    client.close()
    assert client.take_facts() == [Left(7)]
    client.close()
    attempt = new_client()
    ready(attempt)
    attempt.close()
    assert client.take_facts() + attempt.take_facts() == []


def test_every_kind_of_fact_is_shown_here() -> None:
    shown = {type(fact) for _, fact in CASES} | {Connected, Measured, Disconnected, Left, Suspected, Cleared}
    assert shown == set(typing.get_args(facts.Fact))
