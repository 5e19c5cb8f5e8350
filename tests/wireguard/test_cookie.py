"""mac1, mac2 and cookies: maker against checker, and every way in which they must not fit."""

from __future__ import annotations

import attrs
import pytest

from tests.wireguard import vectors
from tests.wireguard.pair import entropy
from tsnet.base.addresses import DerpAddress, Destination, PeerRelayAddress, UdpAddress
from tsnet.base.crypto import keyed_blake2s
from tsnet.base.keys import NodeKey
from tsnet.wireguard.constants import COOKIE_LIFETIME
from tsnet.wireguard.cookie import CookieChecker, CookieMaker, source_bytes
from tsnet.wireguard.messages import CookieReply

RESPONDER = NodeKey(vectors.RESPONDER_PUBLIC)
INITIATOR = NodeKey(vectors.INITIATOR_PUBLIC)
SOURCE = UdpAddress("192.0.2.1", 41641)
MESSAGE = vectors.INITIATION[:116]
NO_MAC2 = bytes(16)


def checker() -> CookieChecker:
    return CookieChecker(RESPONDER, entropy(1))


def exchange() -> tuple[CookieMaker, CookieChecker]:
    """A maker that has just been given a cookie at time 0."""
    maker, checks = CookieMaker(RESPONDER), checker()
    reply = CookieReply.decode(checks.create_reply(maker.add_macs(MESSAGE, 0.0), SOURCE, 0.0))
    assert reply.receiver == vectors.INITIATOR_INDEX
    assert maker.consume_reply(reply, 0.0)
    return maker, checks


def test_the_computed_macs_of_both_messages() -> None:
    assert CookieMaker(RESPONDER).add_macs(vectors.INITIATION[:116], 0.0) == vectors.INITIATION
    assert CookieMaker(INITIATOR).add_macs(vectors.RESPONSE[:60], 0.0) == vectors.RESPONSE
    assert checker().check_mac1(vectors.INITIATION)
    assert CookieChecker(INITIATOR, entropy(1)).check_mac1(vectors.RESPONSE)


@pytest.mark.parametrize("place", range(132))
def test_mac1_covers_every_byte_before_it(place: int) -> None:
    broken = bytearray(vectors.INITIATION)
    broken[place] ^= 1
    assert not checker().check_mac1(bytes(broken))


def test_mac1_is_keyed_by_the_receiver() -> None:
    assert not CookieChecker(INITIATOR, entropy(1)).check_mac1(vectors.INITIATION)


def test_without_a_cookie_mac2_is_zero_and_never_valid() -> None:
    message = CookieMaker(RESPONDER).add_macs(MESSAGE, 0.0)
    assert message[132:] == NO_MAC2
    checks = checker()
    assert not checks.check_mac2(message, SOURCE, 0.0)
    checks.create_reply(message, SOURCE, 0.0)
    assert not checks.check_mac2(message, SOURCE, 0.0)


def test_with_a_cookie_the_next_message_carries_a_valid_mac2() -> None:
    maker, checks = exchange()
    message = maker.add_macs(MESSAGE, 5.0)
    assert message[132:] != NO_MAC2
    assert checks.check_mac1(message)
    assert checks.check_mac2(message, SOURCE, 5.0)


@pytest.mark.parametrize(
    "other", [UdpAddress("192.0.2.2", 41641), UdpAddress("192.0.2.1", 41642), DerpAddress(1, INITIATOR)]
)
def test_a_cookie_is_bound_to_its_source(other: Destination) -> None:
    maker, checks = exchange()
    assert not checks.check_mac2(maker.add_macs(MESSAGE, 1.0), other, 1.0)


@pytest.mark.parametrize("place", range(148))
def test_mac2_covers_every_byte_before_it(place: int) -> None:
    maker, checks = exchange()
    broken = bytearray(maker.add_macs(MESSAGE, 1.0))
    broken[place] ^= 1
    assert not checks.check_mac2(bytes(broken), SOURCE, 1.0)


def test_a_cookie_is_used_for_two_minutes() -> None:
    maker, _ = exchange()
    assert maker.add_macs(MESSAGE, COOKIE_LIFETIME - 0.1)[132:] != NO_MAC2
    assert maker.add_macs(MESSAGE, COOKIE_LIFETIME)[132:] == NO_MAC2


def test_a_secret_is_used_for_two_minutes() -> None:
    maker, checks = exchange()
    message = maker.add_macs(MESSAGE, 1.0)
    assert checks.check_mac2(message, SOURCE, COOKIE_LIFETIME - 0.1)
    assert not checks.check_mac2(message, SOURCE, COOKIE_LIFETIME)
    checks.create_reply(message, SOURCE, COOKIE_LIFETIME)
    assert not checks.check_mac2(message, SOURCE, COOKIE_LIFETIME)


def test_a_reply_answers_one_message_once() -> None:
    maker, checks = CookieMaker(RESPONDER), checker()
    reply = CookieReply.decode(checks.create_reply(maker.add_macs(MESSAGE, 0.0), SOURCE, 0.0))
    assert maker.consume_reply(reply, 0.0)
    assert not maker.consume_reply(reply, 1.0)


def test_a_reply_to_an_older_message_is_refused() -> None:
    maker, checks = CookieMaker(RESPONDER), checker()
    reply = CookieReply.decode(checks.create_reply(maker.add_macs(MESSAGE, 0.0), SOURCE, 0.0))
    maker.add_macs(MESSAGE[:-1] + b"?", 1.0)
    assert not maker.consume_reply(reply, 1.0)


def test_a_reply_to_somebody_who_sent_nothing_is_refused() -> None:
    reply = CookieReply.decode(checker().create_reply(vectors.INITIATION, SOURCE, 0.0))
    assert not CookieMaker(RESPONDER).consume_reply(reply, 0.0)


@pytest.mark.parametrize("place", range(8, 64))
def test_a_flipped_bit_in_a_reply_leaves_the_maker_as_it_was(place: int) -> None:
    maker, checks = CookieMaker(RESPONDER), checker()
    datagram = checks.create_reply(maker.add_macs(MESSAGE, 0.0), SOURCE, 0.0)
    broken = bytearray(datagram)
    broken[place] ^= 1 << place % 8
    assert not maker.consume_reply(CookieReply.decode(bytes(broken)), 0.0)
    assert maker.consume_reply(CookieReply.decode(datagram), 0.0)


def test_a_reply_from_another_key_is_refused() -> None:
    maker = CookieMaker(RESPONDER)
    stranger = CookieChecker(INITIATOR, entropy(3))
    reply = CookieReply.decode(stranger.create_reply(maker.add_macs(MESSAGE, 0.0), SOURCE, 0.0))
    assert not maker.consume_reply(reply, 0.0)


def test_nonces_differ() -> None:
    checks = checker()
    replies = [CookieReply.decode(checks.create_reply(vectors.INITIATION, SOURCE, 0.0)) for _ in range(3)]
    assert len({reply.nonce for reply in replies}) == 3


def test_source_bytes_tell_sources_apart() -> None:
    sources: list[Destination] = [
        UdpAddress("192.0.2.1", 1),
        UdpAddress("192.0.2.1", 11),
        UdpAddress("192.0.2.11", 1),
        UdpAddress("::1", 1),
        DerpAddress(1, INITIATOR),
        DerpAddress(2, INITIATOR),
        DerpAddress(1, RESPONDER),
        PeerRelayAddress("192.0.2.1", 1, 5),
        PeerRelayAddress("192.0.2.1", 1, 6),
        PeerRelayAddress("192.0.2.1", 2, 5),
    ]
    assert len({source_bytes(source) for source in sources}) == len(sources)


def test_the_cookie_is_a_keyed_hash_of_the_source() -> None:
    """What the reply carries is what mac2 is keyed with (WireGuard §5.4.7)."""
    maker, checks = exchange()
    message = maker.add_macs(MESSAGE, 1.0)
    cookie = keyed_blake2s(entropy(1)(32), source_bytes(SOURCE))
    assert message[132:] == keyed_blake2s(cookie, message[:132])
    assert checks.check_mac2(message, SOURCE, 1.0)


def test_replies_are_values() -> None:
    reply = CookieReply.decode(checker().create_reply(vectors.INITIATION, SOURCE, 0.0))
    assert attrs.evolve(reply) == reply
