"""SymmetricState under the published IK and IKpsk2 vectors: the whole handshake is played over it, both sides.

Source of the vectors: haskell-cryptography/cacophony vectors/cacophony.txt, commit 8ee9d41e34a1.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from tsnet.base.crypto import aead_seal, public_of, x25519
from tsnet.base.keys import NodeKey, NodePrivateKey, PrivateKey, PublicKey
from tsnet.base.malformed import MalformedError
from tsnet.base.noise import SymmetricState

PROLOGUE = b"John Galt"
INITIATOR = NodePrivateKey(bytes.fromhex("e61ef9919cde45dd5f82166404bd08e38bceb5dfdfded0a34c8df7ed542214d1"))
INITIATOR_EPHEMERAL = PrivateKey(bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a"))
RESPONDER = NodePrivateKey(bytes.fromhex("4a3acbfdb163dec651dfa3194dece676d437029c62a408b4c5ea9114246e4893"))
RESPONDER_EPHEMERAL = PrivateKey(bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b"))
PAYLOADS = [b"Ludwig von Mises", b"Murray Rothbard", b"F. A. Hayek", b"Carl Menger"]


class Vector(NamedTuple):
    name: bytes
    psk: bytes
    messages: tuple[str, ...]
    handshake_hash: str


IK = Vector(
    b"Noise_IK_25519_ChaChaPoly_BLAKE2s",
    b"",
    (
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c79440b03ddc7aac5123d06a1b23b71670e32"
        "e76c28239a7ca4ac8f784de7e44c1adbfc6e83fef7352a58d9d56157400c0a737b1d171ce368229c7b752ac25b8faf4e"
        "ca690f6d896f543be02c996ab2b86b76",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843d9b5a8927f0ac9655ef76833bc7e5561"
        "f42e691ac8404efd6fbd6308b6a27c",
        "2c256ed08fcd08c2980f954ee4beaccb61c9581340f5dd2fd1cf3b",
        "d6033f70eee20945c7c9dba304e397ee3b284ff5e00fd9efb095d3",
    ),
    "48f3cb8bc9319da4ba1e9933991b1c4ed4034f1f126a76d3a1fbcfd7f94248d4",
)
IK_PSK2 = Vector(
    b"Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s",
    b"This is my Austrian perspective!",
    (
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944001e21de9f98ddd8e2ad57527207feb5"
        "6253c9c94a9e496782ecfcb2a75fbcaf1b52948cc48daefe660c62119ab5000980c84831215f2441eba616548e832985"
        "464cf17e51ee93109008399a21f7e13f",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843cb765f2caef0751b8f007572dab03222"
        "17755c0632f365717edbf34d33e87a",
        "8153ca9833bc3c1b91a7e66e5f4d4f5b59bf9e64c2f20d15f0bba7",
        "07af0c9c86e1b4e80f36b04ff7688d51141af3debd0332f0a705ef",
    ),
    "f5191b875290abcd41347ac3622d9679688a7e980229cb937ef748336cfde0e5",
)


def begin(vector: Vector) -> SymmetricState:
    noise = SymmetricState(vector.name)
    noise.mix_hash(PROLOGUE)
    noise.mix_hash(public_of(RESPONDER, NodeKey))
    return noise


def mix_ephemeral(noise: SymmetricState, ephemeral: bytes, vector: Vector) -> None:
    noise.mix_hash(ephemeral)
    if vector.psk:  # Noise §9.2: in psk handshakes e is mixed into the key, too
        noise.mix_chaining_key(ephemeral)


def initiate(vector: Vector) -> tuple[SymmetricState, bytes]:
    noise = begin(vector)
    ephemeral = public_of(INITIATOR_EPHEMERAL, PublicKey)
    mix_ephemeral(noise, ephemeral, vector)
    noise.mix_key(x25519(INITIATOR_EPHEMERAL, public_of(RESPONDER, NodeKey)))
    static = noise.encrypt_and_hash(public_of(INITIATOR, NodeKey))
    noise.mix_key(x25519(INITIATOR, public_of(RESPONDER, NodeKey)))
    return noise, ephemeral + static + noise.encrypt_and_hash(PAYLOADS[0])


def respond(vector: Vector, noise: SymmetricState) -> bytes:
    """noise: after the first message."""
    ephemeral = public_of(RESPONDER_EPHEMERAL, PublicKey)
    mix_ephemeral(noise, ephemeral, vector)
    noise.mix_key(x25519(RESPONDER_EPHEMERAL, public_of(INITIATOR_EPHEMERAL, PublicKey)))
    noise.mix_key(x25519(RESPONDER_EPHEMERAL, public_of(INITIATOR, NodeKey)))
    if vector.psk:
        noise.mix_key_and_hash(vector.psk)
    return ephemeral + noise.encrypt_and_hash(PAYLOADS[1])


@pytest.mark.parametrize("vector", [IK, IK_PSK2], ids=["IK", "IKpsk2"])
def test_we_make_the_published_messages(vector: Vector) -> None:
    noise, first = initiate(vector)
    second = respond(vector, noise)
    keys = noise.split()
    transport = [aead_seal(key, bytes(12), payload, b"") for key, payload in zip(keys, PAYLOADS[2:], strict=True)]
    assert [message.hex() for message in (first, second, *transport)] == list(vector.messages)
    assert noise.hash.hex() == vector.handshake_hash


@pytest.mark.parametrize("vector", [IK, IK_PSK2], ids=["IK", "IKpsk2"])
def test_we_read_the_published_first_message(vector: Vector) -> None:
    message = bytes.fromhex(vector.messages[0])
    noise = begin(vector)
    mix_ephemeral(noise, message[:32], vector)
    noise.mix_key(x25519(RESPONDER, message[:32]))
    static = noise.decrypt_and_hash(message[32:80])
    assert static == public_of(INITIATOR, NodeKey)
    noise.mix_key(x25519(RESPONDER, static))
    assert noise.decrypt_and_hash(message[80:]) == PAYLOADS[0]


def test_a_copy_is_independent() -> None:
    noise, _ = initiate(IK)
    twin = noise.copy()
    twin.mix_key(b"else")
    twin.mix_hash(b"else")
    assert (noise.chaining_key, noise.hash) != (twin.chaining_key, twin.hash)
    assert respond(IK, noise).hex() == IK.messages[1]


def test_a_short_name_is_padded_and_a_long_one_hashed() -> None:
    assert SymmetricState(b"Noise_X").hash == b"Noise_X" + bytes(25)
    assert SymmetricState(b"N" * 32).hash == b"N" * 32
    assert SymmetricState(IK_PSK2.name).hash.hex() == "60e26daef327efc02ec335e2a025d2d016eb4206f87277f52d38d1988b78cd36"


def test_the_hash_authenticates_what_came_before() -> None:
    ours, sealed = begin(IK), b""
    theirs = begin(IK)
    for noise in (ours, theirs):
        noise.mix_key(bytes(32))
    theirs.mix_hash(b"one message more")
    sealed = theirs.encrypt_and_hash(b"payload")
    with pytest.raises(MalformedError):
        ours.decrypt_and_hash(sealed)


def test_repr_tells_nothing() -> None:
    noise = begin(IK)
    assert noise.chaining_key.hex() not in repr(noise)
    assert repr(noise) == "<SymmetricState (secret)>"
