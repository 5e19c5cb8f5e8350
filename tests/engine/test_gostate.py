"""Go's states: each field where it belongs, which profile, and everything that is not one refused by name."""

from __future__ import annotations

import contextlib
import random
from typing import Any

import pytest

from tests.engine.gostates import LOCK, MACHINE, NODE, ZERO, go_state, profile
from tsnet.base.malformed import MalformedError
from tsnet.config import DEFAULT_CONTROL_URL
from tsnet.engine.gostate import GoNode, decode_go_state

TWO = {
    "ab12": {"ID": "ab12", "Name": "ann@example.com", "Key": "profile-ab12"},
    "cd34": {"ID": "cd34", "Name": "bob@example.com", "Key": "profile-cd34"},
}
BOB = profile(persist_UserProfile={"LoginName": "bob@example.com"}, Hostname="", ShieldsUp=False)


def decoded(text: bytes, wanted: str | None = None) -> GoNode:
    return decode_go_state(text, wanted, lambda size: b"\x07" * size)


def test_every_field() -> None:
    node = decoded(go_state())
    identity = node.identity
    assert node.profile == "ann@example.com"
    assert node.prefs == {"hostname": "shop", "shields_up": True}
    assert identity.machine_key.reveal_text() == MACHINE
    assert identity.node_key.reveal_text() == NODE
    assert identity.lock_key.reveal_text() == LOCK
    assert identity.old_node_key is None
    assert (identity.control_url, identity.stable_id) == ("https://hs.example.com", "nABC")
    assert (identity.login_name, identity.registered, identity.ephemeral) == ("ann@example.com", True, False)
    assert identity.timestamp_mark is None


@pytest.mark.parametrize(
    ("said", "url"),
    [
        ("", DEFAULT_CONTROL_URL),
        ("https://login.tailscale.com", DEFAULT_CONTROL_URL),
        ("https://controlplane.tailscale.com", DEFAULT_CONTROL_URL),
        ("http://hs:8080/", "http://hs:8080"),
    ],
)
def test_the_control_server_as_our_option_has_it(said: str, url: str) -> None:
    assert decoded(go_state(profile__ab12=profile(ControlURL=said))).identity.control_url == url


@pytest.mark.parametrize("wanted", ["cd34", "profile-cd34", "bob@example.com"])
def test_another_profile_by_any_of_its_names(wanted: str) -> None:
    state = go_state(_profiles=TWO, profile__cd34=BOB)
    assert decoded(state).profile == "ann@example.com"
    node = decoded(state, wanted)
    assert (node.profile, node.identity.login_name, dict(node.prefs)) == ("bob@example.com", "bob@example.com", {})


def test_the_only_profile_is_the_current_one() -> None:
    assert decoded(go_state(**{"_current__profile": None})).profile == "ann@example.com"


def test_a_file_that_only_old_versions_wrote() -> None:
    old = go_state(_profiles=None, _daemon=profile(), **{"_current__profile": None, "profile__ab12": None})
    assert decoded(old).identity.login_name == "ann@example.com"


@pytest.mark.parametrize("key", [None, "nlpriv:" + "00" * 64])
def test_a_lock_key_where_there_was_none(key: str | None) -> None:
    made = decoded(go_state(profile__ab12=profile(persist_NetworkLockKey=key))).identity.lock_key
    assert made.reveal_text().startswith("nlpriv:0707")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "is empty"),
        (b"\0" * 400, "is damaged: it is not JSON"),
        (b"[]", "is damaged: it is no JSON object"),
        (b"{}", "has no machine key"),
        (b'{"key": {}, "nonce": "", "data": "AA=="}', r"is encrypted by the TPM .* --encrypt-state=false"),
        (b'{"_machinekey": "?"}', "are not base64"),
        (b'{"_machinekey": 7}', "are not base64"),
        (go_state(_machinekey=ZERO), "has no machine key"),
        (go_state(_machinekey="privkey:zz"), "is damaged: its machine key is no key"),
        (go_state(profile__ab12=None), "has no profile under 'profile-ab12'"),
        (go_state(**{"_current__profile": NODE}), "has no profile: its node never finished its login"),
        (go_state(profile__ab12=b"\xff{"), "is damaged: its profile is not JSON"),
        (go_state(profile__ab12=profile(persist_PrivateNodeKey=ZERO)), "its node has logged out"),
        (go_state(profile__ab12=profile(persist_PrivateNodeKey=["x"])), "its node key is no key"),
        (go_state(profile__ab12={**profile(), "Config": None}), "its node has logged out"),
        (go_state(profile__ab12=profile(persist_AttestationKey={"tpmPrivate": "x"})), "bound to this machine's hardw"),
        (go_state(profile__ab12=profile(Hostname=["x"])), "its preferences have no sensible values"),
        (go_state(_profiles=TWO, **{"_current__profile": None}), r"has no current profile, but .*cd34 \(bob@example"),
        (go_state(_profiles=None, **{"_current__profile": None}), "has no node that joined"),
        (go_state(_profiles=[1]), "the list of profiles is no JSON object"),
    ],
)
def test_what_is_no_node_is_named(text: bytes, why: str) -> None:
    with pytest.raises(MalformedError, match=why) as raised:
        decoded(text)
    assert "privkey" not in str(raised.value)


def test_an_unknown_profile_is_told_the_known_ones() -> None:
    with pytest.raises(MalformedError, match=r"has no profile 'eve', but profile-ab12 \(ann@example\.com\)"):
        decoded(go_state(), "eve")


@pytest.mark.parametrize("seed", range(8))
def test_damage_of_any_kind_is_malformed_or_harmless(seed: int) -> None:
    chance, whole = random.Random(seed), go_state()
    for _ in range(50):
        text = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            text[chance.randrange(len(text))] = chance.randrange(256)
        changed: Any = bytes(text[: chance.choice([len(text), chance.randrange(len(text))])])
        with contextlib.suppress(MalformedError):
            decoded(changed)
