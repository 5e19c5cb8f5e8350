"""Keys: text both ways, types that do not mix up, private halves that do not leak."""

from __future__ import annotations

import copy
import pickle

import pytest

from tsnet.base import keys
from tsnet.base.keys import (
    ChallengeKey,
    DiscoKey,
    LockKey,
    LockPrivateKey,
    MachineKey,
    MachinePrivateKey,
    NodeKey,
    NodePrivateKey,
    PrivateKey,
    PublicKey,
)
from tsnet.base.malformed import MalformedError

PUBLIC = [
    (MachineKey, "mkey:"),
    (NodeKey, "nodekey:"),
    (DiscoKey, "discokey:"),
    (ChallengeKey, "chalpub:"),
    (LockKey, "nlpub:"),
]
RAW = bytes(range(32))


@pytest.mark.parametrize(("kind", "prefix"), PUBLIC)
def test_public_text_is_prefix_and_lower_case_hex(kind: type[PublicKey], prefix: str) -> None:
    key = kind(RAW)
    assert key.text() == str(key) == prefix + RAW.hex()
    assert kind.parse(key.text()) == key
    assert type(kind.parse(key.text())) is kind


NOT_A_NODE_KEY = {
    "empty": "",
    "no digits": "nodekey:",
    "one short": "nodekey:" + "0" * 63,
    "one long": "nodekey:" + "0" * 65,
    "not hex": "nodekey:" + "g" * 64,
    "other kind": "mkey:" + "0" * 64,
    "no prefix": "0" * 64,
    "leading space": " nodekey:" + "0" * 64,
    "trailing spaces": "nodekey:" + "0" * 62 + "  ",
    "upper case prefix": "NODEKEY:" + "0" * 64,
}


@pytest.mark.parametrize("text", NOT_A_NODE_KEY.values(), ids=NOT_A_NODE_KEY.keys())
def test_other_text_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        NodeKey.parse(text)


@pytest.mark.parametrize("size", [0, 31, 33, 64])
def test_a_public_key_has_32_bytes(size: int) -> None:
    with pytest.raises(MalformedError):
        NodeKey(bytes(size))


def test_a_public_key_is_its_bytes() -> None:
    key = NodeKey(RAW)
    assert {key: 1}[NodeKey(RAW)] == 1
    assert {RAW: 1}[key] == 1
    assert key + b"x" == RAW + b"x"
    assert copy.copy(key) == pickle.loads(pickle.dumps(key)) == key


def test_zero() -> None:
    assert NodeKey.zero().is_zero
    assert not NodeKey(RAW).is_zero


def test_a_public_repr_is_short() -> None:
    assert repr(DiscoKey(RAW)) == "<DiscoKey 0001020304>"


def test_a_curve25519_private_key_is_clamped() -> None:
    secret = NodePrivateKey(b"\xff" * 32).reveal()
    assert secret[0] == 0xF8
    assert secret[31] == 0x7F
    assert NodePrivateKey(bytes(32)).reveal()[31] == 0x40
    assert NodePrivateKey(secret).reveal() == secret


def test_a_private_key_has_a_text_that_only_reveal_gives() -> None:
    key = NodePrivateKey(RAW)
    assert key.reveal_text() == "privkey:" + key.reveal().hex()
    assert NodePrivateKey.parse(key.reveal_text()) == key


@pytest.mark.parametrize("text", ["privkey:" + "f" * 63, "nodekey:" + "f" * 64, "f" * 64])
def test_a_bad_private_text_is_not_in_the_error(text: str) -> None:
    with pytest.raises(MalformedError) as caught:
        NodePrivateKey.parse(text)
    assert "ffff" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_private_keys_compare_within_their_type_only() -> None:
    assert NodePrivateKey(RAW) == NodePrivateKey(RAW)
    assert NodePrivateKey(RAW) != NodePrivateKey(bytes(32))
    assert NodePrivateKey(RAW) != MachinePrivateKey(RAW)


def test_a_private_key_shows_and_travels_nowhere() -> None:
    key = NodePrivateKey(b"\x42" * 32)
    assert repr(key) == str(key) == "<NodePrivateKey (secret)>"
    assert "42" not in f"{key!r}{[key]}"
    with pytest.raises(TypeError, match="secret"):
        pickle.dumps(key)
    with pytest.raises(TypeError):
        hash(key)
    with pytest.raises(TypeError):
        bytes(key)  # type: ignore[call-overload]
    assert not hasattr(key, "__dict__")


def test_a_lock_key_is_seed_and_public_key_unclamped() -> None:
    raw = b"\xff" * 64
    assert LockPrivateKey(raw).reveal() == raw
    assert LockPrivateKey(raw).reveal_text().startswith("nlpriv:")
    with pytest.raises(MalformedError):
        LockPrivateKey(bytes(32))


@pytest.mark.parametrize("name", [name for name in dir(keys) if name.endswith("PrivateKey")])
def test_every_private_key_refuses_other_sizes_without_telling_the_bytes(name: str) -> None:
    kind: type[PrivateKey] = getattr(keys, name)
    with pytest.raises(MalformedError) as caught:
        kind(b"\x42" * 33)
    assert "42" not in str(caught.value)
