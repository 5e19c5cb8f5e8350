"""What is on users' disks: every field back, every damage named, and both ways between versions."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from tests.engine.identities import identity
from tsnet.base.keys import MachineKey
from tsnet.base.malformed import MalformedError
from tsnet.engine.identity import new_identity
from tsnet.engine.saved import (
    KnownControl,
    Whereabouts,
    decode_control,
    decode_identity,
    decode_port,
    decode_prefs,
    decode_whereabouts,
    encode_control,
    encode_identity,
    encode_port,
    encode_prefs,
    encode_whereabouts,
)

GOLDEN = Path(__file__).parent.parent / "edge/io/golden"
KEPT = {"hostname": "shop", "shields_up": True}
WHERE = Whereabouts("9f" * 8, 1234567)
CONTROL = KnownControl("https://control.test", MachineKey(b"\x5a" * 32))


# --- of every version -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "decode", "value", "encode"),
    [
        ("tsnet.state", decode_identity, identity(), encode_identity),
        ("tsnet.control-key", decode_control, CONTROL, encode_control),
        ("tsnet.prefs", decode_prefs, KEPT, encode_prefs),
        ("tsnet.udp-port", decode_port, 41641, encode_port),
        ("tsnet.whereabouts", decode_whereabouts, WHERE, encode_whereabouts),
    ],
)
def test_a_file_of_version_1_is_read_for_ever(
    name: str, decode: Callable[[bytes], Any], value: Any, encode: Callable[[Any], bytes]
) -> None:
    """The golden files never change. Of a later version, which only a later library knows, nothing is guessed."""
    text = (GOLDEN / name).read_bytes()
    assert decode(text) == value
    assert encode(value) == text
    later = text.replace(b'"version": 1', b'"version": 2')
    with pytest.raises(MalformedError, match="has version 2, and this library knows version 1"):
        decode(later)


# --- there and back ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ephemeral", [True, False, None])
def test_every_field_comes_back(ephemeral: bool | None) -> None:
    whole = identity(ephemeral=ephemeral)
    assert decode_identity(encode_identity(whole)) == whole
    fresh = attrs.evolve(new_identity(os.urandom), ephemeral=ephemeral)
    assert decode_identity(encode_identity(fresh)) == fresh


def test_controls_key_comes_back() -> None:
    assert decode_control(encode_control(CONTROL)) == CONTROL


@pytest.mark.parametrize("kept", [{}, {"shields_up": False}, KEPT])
def test_preferences_come_back(kept: dict[str, Any]) -> None:
    assert decode_prefs(encode_prefs(kept)) == kept


def test_the_identity_of_a_version_is_fixed() -> None:
    """A change here needs a new version and a way to read this one."""
    assert json.loads(encode_identity(identity())) == {
        "version": 1,
        "kind": "tsnet-py",
        "machine_key": identity().machine_key.reveal_text(),
        "node_key": identity().node_key.reveal_text(),
        "lock_key": identity().lock_key.reveal_text(),
        "old_node_key": "privkey:50" + "55" * 30 + "55",
        "control_url": "https://control.test",
        "stable_id": "nABC123",
        "login_name": "ann@example.com",
        "registered": True,
        "timestamp_mark": 1_700_000_000.5,
    }


def test_controls_key_of_a_version_is_fixed() -> None:
    assert json.loads(encode_control(CONTROL)) == {
        "version": 1,
        "kind": "tsnet-py",
        "control_url": "https://control.test",
        "control_key": "mkey:" + "5a" * 32,
    }


def test_a_place_that_is_none() -> None:
    for wrong in (None, True, "1", 1.0):
        with pytest.raises(MalformedError, match="directory is no number"):
            decode_whereabouts(damaged_json(machine="", directory=wrong))
    with pytest.raises(MalformedError, match="machine is missing"):
        decode_whereabouts(damaged_json(machine=1, directory=1))


def damaged_json(**fields: Any) -> bytes:
    return json.dumps({"version": 1, "kind": "tsnet-py", **fields}).encode()


def test_the_port_of_a_version_is_fixed_and_comes_back() -> None:
    assert json.loads(encode_port(41641)) == {"version": 1, "kind": "tsnet-py", "port": 41641}
    assert [decode_port(encode_port(port)) for port in (0, 1, 65_535)] == [0, 1, 65_535]
    for wrong in (-1, 65_536, None, True, "1", 1.0):
        with pytest.raises(MalformedError, match="port is no port"):
            decode_port(json.dumps({"version": 1, "kind": "tsnet-py", "port": wrong}).encode())


def test_the_preferences_of_a_version_are_fixed() -> None:
    golden = b"""{
  "version": 1,
  "kind": "tsnet-py",
  "prefs": {
    "hostname": "shop",
    "shields_up": true
  }
}
"""
    assert encode_prefs(KEPT) == golden
    assert decode_prefs(golden) == KEPT


# --- between versions -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kept", "meaning"), [(True, True), (False, False), (None, None), (..., False), ("yes", False)]
)
def test_an_identity_is_lasting_unless_it_says_otherwise(kept: Any, meaning: bool | None) -> None:
    """The first version did not say: its nodes are taken for lasting ones, which nothing deletes by mistake."""
    assert decode_identity(damaged(ephemeral=kept)).ephemeral is meaning


def test_what_is_new_since_the_first_version_is_only_added() -> None:
    """An older version reads by name what it knows, and passes over the rest."""
    first = json.loads(encode_identity(identity()))
    for ephemeral in (True, None):
        later = json.loads(encode_identity(identity(ephemeral=ephemeral)))
        assert {name: later[name] for name in first} == first


def test_unknown_fields_of_a_sibling_are_ignored() -> None:
    assert decode_identity(damaged(colour="blue")) == identity()


def test_a_preference_that_is_not_known_here_stays_saved() -> None:
    """A later version set it, and finds it again."""
    kept = {**KEPT, "exit_node": {"id": "n7"}}
    assert decode_prefs(encode_prefs(kept)) == kept


# --- damage -----------------------------------------------------------------------------------------------------


def damaged(**changes: Any) -> bytes:
    """The identity with other fields; `...` leaves one out."""
    fields = {**json.loads(encode_identity(identity())), **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


BOTH = pytest.mark.parametrize("decode", [decode_identity, decode_control])
ALL = pytest.mark.parametrize("decode", [decode_identity, decode_control, decode_prefs])


@ALL
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty"),
        (b"  \n", "is empty"),
        (b"\x00\x01\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "was not written by this library"),
        (b'{"_machinekey": "cHJpdmtleTo="}', "was not written by this library"),
        (damaged(version=2), "has version 2, and this library knows version 1"),
        (damaged(version=...), "has no version"),
        (damaged(version="privkey:" + "77" * 32), "has no version"),
    ],
)
def test_damage_of_any_is_named(decode: Callable[[bytes], object], text: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason) as raised:
        decode(text)
    assert "7777" not in str(raised.value)


@BOTH
def test_a_url_that_is_missing_is_named(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(MalformedError, match="control_url is missing"):
        decode(damaged(control_url=None))


@pytest.mark.parametrize(
    ("prefs", "reason"),
    [
        (..., "prefs is missing"),
        (["hostname"], "prefs is missing"),
        ({"hostname": 7}, "hostname has no sensible value"),
        ({"hostname": "-"}, "hostname has no sensible value"),
        ({"shields_up": "no"}, "shields_up has no sensible value"),
        ({"shields_up": None}, "shields_up has no sensible value"),
    ],
)
def test_damage_of_preferences_is_named(prefs: Any, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        decode_prefs(damaged(prefs=prefs))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"machine_key": ...}, "machine_key is no key"),
        ({"node_key": "privkey:00"}, "node_key is no key"),
        ({"lock_key": 7}, "lock_key is no key"),
        ({"old_node_key": "x"}, "old_node_key is no key"),
        ({"timestamp_mark": "yesterday"}, "timestamp_mark is no number"),
        ({"timestamp_mark": True}, "timestamp_mark is no number"),
    ],
)
def test_damage_of_an_identity_is_named(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        decode_identity(damaged(**changes))


@pytest.mark.parametrize("key", [..., None, 7, "", "mkey:00", "nodekey:" + "5a" * 32])
def test_damage_of_controls_key_is_named(key: Any) -> None:
    with pytest.raises(MalformedError, match="control_key is no key"):
        decode_control(damaged(control_key=key))


@pytest.mark.parametrize(
    ("decode", "whole"),
    [
        (decode_identity, encode_identity(identity())),
        (decode_control, encode_control(CONTROL)),
        (decode_prefs, encode_prefs(KEPT)),
        (decode_port, encode_port(41641)),
        (decode_whereabouts, encode_whereabouts(WHERE)),
    ],
)
def test_truncated_at_every_length(decode: Callable[[bytes], object], whole: bytes) -> None:
    for end in range(len(whole.rstrip())):
        with pytest.raises(MalformedError):
            decode(whole[:end])


@pytest.mark.parametrize("mark", ["NaN", "Infinity", "-1", "1e300", "true", '"1"', "1" + "0" * 40])
def test_a_mark_that_no_time_stamp_could_hold(mark: str) -> None:
    text = encode_identity(identity()).decode().replace("1700000000.5", mark)
    with pytest.raises(MalformedError, match="timestamp_mark"):
        decode_identity(text.encode())


def test_secrets_stay_out_of_errors() -> None:
    secret = identity().node_key.reveal_text()
    with pytest.raises(MalformedError) as raised:
        decode_identity(damaged(node_key=secret + "0", lock_key=secret))
    assert secret[8:] not in str(raised.value)
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__
