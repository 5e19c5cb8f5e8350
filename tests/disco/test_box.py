"""The disco envelope: the golden datagram, every truncation, every flipped bit, and who can open what."""

from __future__ import annotations

import pytest

from tsnet.base.crypto import disco_public, node_public
from tsnet.base.keys import DiscoKey, DiscoPrivateKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.disco.box import OVERHEAD, Box, looks_like_disco, sender_of
from tsnet.disco.messages import Ping

SENDER, RECIPIENT = DiscoPrivateKey(b"\x11" * 32), DiscoPrivateKey(b"\x22" * 32)
SENDER_KEY, RECIPIENT_KEY = disco_public(SENDER), disco_public(RECIPIENT)
PING = Ping(bytes(range(1, 13)), node_public(NodePrivateKey(b"\x22" * 32))).encode()
GOLDEN = bytes.fromhex(
    "5453f09f92ac7b4e909bbe7ffe44c465a220037d608ee35897d31ef972f07f74892cb0f73f130001"
    "02030405060708090a0b0c0d0e0f1011121314151617bd6cfc38cb2d41bbc4a6868c1165b42e5a8c"
    "18945d97ffce3da53ca6da5d7d108d9bc0fcd3847e33c9d8ec3b972f59d03efa350e95acf18f4f8d"
    "24912c0a"
)


def counting(size: int) -> bytes:
    return bytes(range(size))


def test_golden_datagram_both_ways() -> None:
    assert Box(SENDER, counting).seal(RECIPIENT_KEY, PING) == GOLDEN
    assert Box(RECIPIENT, counting).open(GOLDEN) == PING
    assert len(GOLDEN) == OVERHEAD + len(PING) == 124
    assert looks_like_disco(GOLDEN)
    assert sender_of(GOLDEN) == SENDER_KEY
    assert isinstance(sender_of(GOLDEN), DiscoKey)


@pytest.mark.parametrize("length", range(len(GOLDEN)))
def test_a_truncated_datagram_does_not_open(length: int) -> None:
    cut = GOLDEN[:length]
    assert looks_like_disco(cut) is (length >= 38)
    if looks_like_disco(cut):
        with pytest.raises(MalformedError):
            Box(RECIPIENT, counting).open(cut)


@pytest.mark.parametrize("position", range(len(GOLDEN)))
def test_a_flipped_bit_does_not_open(position: int) -> None:
    flipped = bytearray(GOLDEN)
    flipped[position] ^= 1
    if position < 6:
        assert not looks_like_disco(bytes(flipped))
    else:
        with pytest.raises(MalformedError):
            Box(RECIPIENT, counting).open(bytes(flipped))


def test_a_sender_key_of_low_order_does_not_open() -> None:
    with pytest.raises(MalformedError):
        Box(RECIPIENT, counting).open(GOLDEN[:6] + bytes(32) + GOLDEN[38:])


def test_only_the_recipient_and_the_sender_can_open() -> None:
    with pytest.raises(MalformedError):
        Box(DiscoPrivateKey(b"\x33" * 32), counting).open(GOLDEN)


def test_the_empty_message_has_a_box_too() -> None:
    sealed = Box(SENDER, counting).seal(RECIPIENT_KEY, b"")
    assert len(sealed) == OVERHEAD
    assert Box(RECIPIENT, counting).open(sealed) == b""


def test_shared_keys_of_gone_correspondents_are_forgotten() -> None:
    box = Box(SENDER, counting)
    others = [disco_public(DiscoPrivateKey(bytes([number]) * 32)) for number in (4, 5, 6)]
    for key in others:
        box.seal(key, b"")
    for key in (others[0], others[2], RECIPIENT_KEY):
        box.forget(key)
    assert set(box._shared) == {others[1]}
    assert box.seal(RECIPIENT_KEY, PING) == GOLDEN


def test_the_secret_is_in_no_repr() -> None:
    assert "11" * 4 not in repr(Box(SENDER, counting))
