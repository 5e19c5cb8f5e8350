"""The lines are what Wireshark reads; each handshake message of ours is told before it leaves, and nobody else's."""

from __future__ import annotations

import base64
import pickle

import pytest

from tests.wireguard.pair import Pair, Side, private_key
from tsnet.base.crypto import public_of
from tsnet.base.keys import NodeKey, PrivateKey, PublicKey
from tsnet.wireguard.constants import REKEY_AFTER_TIME
from tsnet.wireguard.keylog import HandshakeSecrets
from tsnet.wireguard.messages import Initiation, Response

PSK = bytes(range(32))


def secrets(seed: int = 1) -> HandshakeSecrets:
    return HandshakeSecrets(private_key(seed), NodeKey(b"\x05" * 32), PrivateKey(b"\x06" * 32), PSK)


def test_the_four_lines_as_wireshark_reads_them() -> None:
    lines = secrets().lines().decode().splitlines()
    names, values = zip(*(line.split(" = ") for line in lines), strict=True)
    assert names == (
        "LOCAL_STATIC_PRIVATE_KEY",
        "REMOTE_STATIC_PUBLIC_KEY",
        "LOCAL_EPHEMERAL_PRIVATE_KEY",
        "PRESHARED_KEY",
    )
    assert [base64.b64decode(value) for value in values] == [
        private_key(1).reveal(),
        b"\x05" * 32,
        PrivateKey(b"\x06" * 32).reveal(),
        PSK,
    ]
    assert secrets().lines().endswith(b"\n")


def test_only_lines_tell_a_secret() -> None:
    shown = f"{secrets()!r} {secrets()} {secrets():}"
    for secret in (private_key(1).reveal(), PrivateKey(b"\x06" * 32).reveal(), PSK):
        assert secret.hex() not in shown
        assert repr(secret)[2:-1] not in shown
        assert base64.b64encode(secret).decode() not in shown
    with pytest.raises(TypeError):
        pickle.dumps(secrets())


def logging_pair() -> tuple[Pair, dict[str, list[HandshakeSecrets]]]:
    """Both devices of the pair log, each to a list of its own."""
    pair, told = Pair(), dict[str, list[HandshakeSecrets]](a=[], b=[])
    for side in (pair.a, pair.b):
        side.device._local.key_log = told[side.name].append
    return pair, told


def test_both_roles_tell_their_own_ephemeral_key_of_the_message_that_went_out() -> None:
    pair, told = logging_pair()
    pair.send(pair.a, b"first")
    pair.run(pair.now + 0.1)
    ((ours,), (theirs,)) = told["a"], told["b"]
    (initiation,), (response,) = pair.sent(pair.a, "initiation"), pair.sent(pair.b, "response")
    assert public_of(ours.ephemeral, PublicKey) == Initiation.decode(initiation).ephemeral
    assert public_of(theirs.ephemeral, PublicKey) == Response.decode(response).ephemeral
    assert (ours.peer, theirs.peer) == (pair.b.key, pair.a.key)
    assert ours.static != theirs.static


def test_a_retry_and_a_rekey_tell_another_ephemeral_key() -> None:
    pair, told = logging_pair()
    pair.establish()
    pair.run(pair.now + REKEY_AFTER_TIME + 1)
    pair.send(pair.a, b"again")
    pair.run(pair.now + 1)
    assert len(told["a"]) == len(told["b"]) == 2
    assert told["a"][0].ephemeral != told["a"][1].ephemeral


def test_it_is_told_before_the_message_can_be_taken() -> None:
    pair, told = logging_pair()
    taken: list[int] = []

    def drop(sender: Side, datagram: bytes) -> bool:
        taken.append(len(told["a"]))
        return True

    pair.drop = drop
    pair.send(pair.a, b"first")
    assert taken == [1]


def test_a_strangers_handshake_tells_nothing() -> None:
    pair, told = logging_pair()
    pair.a.device.remove_peer(pair.b.key)
    pair.send(pair.b, b"who is there")
    pair.run(pair.now + 3)
    assert told["a"] == []
