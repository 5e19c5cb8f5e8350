"""The handshake against computed bytes, and what every kind of wrong message leaves behind: nothing."""

from __future__ import annotations

import attrs
import pytest

from tests.wireguard import vectors
from tsnet.base.crypto import x25519
from tsnet.base.keys import NodeKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.base.noise import SymmetricState
from tsnet.wireguard import handshake
from tsnet.wireguard.handshake import Consumed, Initiated, Keys, Opened, Remote, Responded, StaticKeys
from tsnet.wireguard.messages import Initiation, Response

INITIATOR = StaticKeys.of(vectors.INITIATOR)
RESPONDER = StaticKeys.of(vectors.RESPONDER)
STATIC_STATIC = x25519(vectors.INITIATOR, vectors.RESPONDER_PUBLIC)
THE_RESPONDER = Remote(RESPONDER.public, STATIC_STATIC)
THE_INITIATOR = Remote(INITIATOR.public, STATIC_STATIC)
LOW_ORDER = bytes(32)


def initiate(them: Remote = THE_RESPONDER) -> tuple[Initiated, Initiation]:
    return handshake.create_initiation(
        INITIATOR, them, vectors.INITIATOR_INDEX, vectors.INITIATOR_EPHEMERAL, vectors.TIMESTAMP
    )


def consume(message: Initiation, them: Remote = THE_INITIATOR) -> Consumed:
    opened = handshake.open_static(RESPONDER, message)
    assert opened is not None
    consumed = handshake.open_timestamp(opened, them)
    assert consumed is not None
    return consumed


def respond(consumed: Consumed, them: Remote = THE_INITIATOR) -> Responded:
    return handshake.create_response(consumed, them, vectors.RESPONDER_INDEX, vectors.RESPONDER_EPHEMERAL)


def state(noise: SymmetricState) -> tuple[bytes, bytes]:
    return noise.chaining_key, noise.hash


def test_where_every_handshake_begins() -> None:
    noise = SymmetricState(handshake.CONSTRUCTION)
    assert noise.chaining_key == vectors.CHAINING_KEY
    noise.mix_hash(handshake.IDENTIFIER)
    assert noise.hash == vectors.HASH


def test_public_keys() -> None:
    assert (INITIATOR.public, RESPONDER.public) == (vectors.INITIATOR_PUBLIC, vectors.RESPONDER_PUBLIC)


def test_the_computed_initiation_both_ways() -> None:
    _, message = initiate()
    assert message.encode() == vectors.INITIATION[:116]
    consumed = consume(Initiation.decode(vectors.INITIATION))
    assert (consumed.static, consumed.sender, consumed.timestamp) == (
        INITIATOR.public,
        vectors.INITIATOR_INDEX,
        vectors.TIMESTAMP,
    )


def test_the_computed_response_both_ways() -> None:
    initiated, message = initiate()
    responded = respond(consume(message))
    assert responded.response.encode() == vectors.RESPONSE[:60]
    assert responded.keys == Keys(vectors.RESPONDER_TO_INITIATOR, vectors.INITIATOR_TO_RESPONDER)
    keys = handshake.consume_response(INITIATOR, THE_RESPONDER, initiated, Response.decode(vectors.RESPONSE))
    assert keys == Keys(vectors.INITIATOR_TO_RESPONDER, vectors.RESPONDER_TO_INITIATOR)


def test_a_psk_changes_the_keys_and_both_must_hold_it() -> None:
    ours, theirs = (attrs.evolve(them, psk=b"p" * 32) for them in (THE_RESPONDER, THE_INITIATOR))
    initiated, message = initiate(ours)
    responded = respond(consume(message, theirs), theirs)
    keys = handshake.consume_response(INITIATOR, ours, initiated, responded.response)
    assert keys is not None
    assert keys.send == responded.keys.receive != vectors.INITIATOR_TO_RESPONDER
    assert handshake.consume_response(INITIATOR, THE_RESPONDER, initiated, responded.response) is None


@pytest.mark.parametrize("place", range(8, 116))
def test_a_flipped_bit_in_an_initiation_does_not_open(place: int) -> None:
    broken = bytearray(vectors.INITIATION)
    broken[place] ^= 1 << place % 8
    opened = handshake.open_static(RESPONDER, Initiation.decode(bytes(broken)))
    if place < 88:
        assert opened is None
    else:
        assert opened is not None
        before = state(opened.noise)
        assert handshake.open_timestamp(opened, THE_INITIATOR) is None
        assert state(opened.noise) == before


@pytest.mark.parametrize("place", range(12, 60))
def test_a_flipped_bit_in_a_response_leaves_the_handshake_able_to_complete(place: int) -> None:
    initiated, _ = initiate()
    before = state(initiated.noise)
    broken = bytearray(vectors.RESPONSE)
    broken[place] ^= 1 << place % 8
    response = Response.decode(bytes(broken))
    assert handshake.consume_response(INITIATOR, THE_RESPONDER, initiated, response) is None
    assert state(initiated.noise) == before
    assert (
        handshake.consume_response(INITIATOR, THE_RESPONDER, initiated, Response.decode(vectors.RESPONSE)) is not None
    )


def test_an_initiation_for_another_key_does_not_open() -> None:
    stranger = StaticKeys.of(NodePrivateKey(b"\x55" * 32))
    assert handshake.open_static(stranger, Initiation.decode(vectors.INITIATION)) is None


def test_a_stolen_public_key_does_not_open_the_timestamp() -> None:
    """Anyone can encrypt the initiator's public key to the responder; only the initiator has static-static."""
    thief = StaticKeys(NodePrivateKey(b"\x66" * 32), INITIATOR.public)
    them = Remote(RESPONDER.public, x25519(thief.private, RESPONDER.public))
    _, message = handshake.create_initiation(thief, them, 1, vectors.INITIATOR_EPHEMERAL, vectors.TIMESTAMP)
    opened = handshake.open_static(RESPONDER, message)
    assert isinstance(opened, Opened)
    assert opened.static == INITIATOR.public
    assert handshake.open_timestamp(opened, THE_INITIATOR) is None


def test_ephemerals_of_low_order_do_not_open() -> None:
    message = attrs.evolve(Initiation.decode(vectors.INITIATION), ephemeral=LOW_ORDER)
    assert handshake.open_static(RESPONDER, message) is None
    initiated, _ = initiate()
    response = attrs.evolve(Response.decode(vectors.RESPONSE), ephemeral=LOW_ORDER)
    assert handshake.consume_response(INITIATOR, THE_RESPONDER, initiated, response) is None


def test_a_peer_of_low_order_cannot_be_called_nor_answered() -> None:
    with pytest.raises(MalformedError):
        initiate(Remote(NodeKey(LOW_ORDER), bytes(32)))
    with pytest.raises(MalformedError):
        respond(attrs.evolve(consume(initiate()[1]), ephemeral=LOW_ORDER))


def test_states_are_frozen_and_silent() -> None:
    initiated, message = initiate()
    consumed = consume(message)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        initiated.sender = 9  # type: ignore[misc]
    shown = f"{initiated!r}{consumed!r}{respond(consumed)!r}{THE_RESPONDER!r}{INITIATOR!r}"
    for secret in (STATIC_STATIC, vectors.INITIATOR_TO_RESPONDER, b"\x11" * 32, b"\x33" * 32):
        assert secret.hex() not in shown
        assert repr(secret) not in shown
