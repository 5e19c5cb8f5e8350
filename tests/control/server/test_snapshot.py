"""An embedded tailnet at rest: every field back, every damage named, and never less than was there."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from ipaddress import ip_network
from typing import Any

import attrs
import pytest

from tests.issuer import AUDIENCE, ISSUER, claims, jwks, signed
from tsnet.base import jsonobject
from tsnet.base.addresses import UdpAddress
from tsnet.base.jsonobject import MIB
from tsnet.base.keys import DiscoKey, MachineKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control.server.members import MAX_HOST, Member
from tsnet.control.server.policy import Policy, Selector
from tsnet.control.server.snapshot import FIRST_REGION, KIND, VERSION, KeptRelay, Snapshot, decode, encode
from tsnet.control.server.tailnet import TailnetState
from tsnet.netmap.whois import TAGGED_DEVICES

NOW = 1_790_000_000.0
RULES: list[dict[str, Any]] = [
    {"src": ["ann@example.com", "10.0.0.0/8"], "dst": ["tag:web:80,443,8000-8999", "[fd7a::1]:*"], "proto": ["tcp"]},
    {"src": ["*"], "dst": ["*:*"], "app": {"example.com/cap": [{"a": [1, None]}]}},
]
OWNERS = {"tag:web": ["ann@example.com"]}


def tailnet() -> TailnetState:
    """One with every field of every kind set."""
    state = TailnetState(entropy=random.Random(1).randbytes, policy=Policy.parse(RULES, OWNERS))
    ann = state.add_user("ann@example.com", "Ann A.")
    state.use(state.create_auth_key("ann@example.com"))
    state.create_auth_key("bob@example.com", reusable=True, ephemeral=True, tags=["tag:web"], expires_at=NOW + 9)
    member = state.admit(
        MachineKey(b"\1" * 32),
        NodeKey(b"\2" * 32),
        ann.id,
        {"Hostname": "shop", "Odd": "\ud800", "NetInfo": {"PreferredDERP": 900, "X": [None, 1.5]}},
        NOW,
        disco_key=DiscoKey(b"\3" * 32),
        endpoints=(UdpAddress("192.0.2.1", 41641), UdpAddress("2001:db8::1", 1)),
        home_region=900,
        capability_version=131,
        key_expiry=NOW + 1,
        is_ephemeral=True,
    )
    state.change(member, routes=(ip_network("10.1.0.0/16"),), capabilities={"cap": ({"a": 1}, "b")})
    state.set_online(member, True, NOW + 2)
    tagged = state.admit(MachineKey(b"\4" * 32), NodeKey(b"\5" * 32), TAGGED_DEVICES.id, {}, NOW, tags=("tag:web",))
    state.expire(tagged, NOW + 3)
    state.add_wireguard_peer("plain", NodeKey(b"\6" * 32), UdpAddress("192.0.2.9", 5))
    gone = state.admit(MachineKey(b"\7" * 32), NodeKey(b"\7" * 32), ann.id, {}, NOW)
    state.delete(gone)
    return state


def snapshot(state: TailnetState | None = None, *others: KeptRelay) -> Snapshot:
    return Snapshot(
        MachinePrivateKey(b"\x11" * 32),
        41000,
        (KeptRelay(FIRST_REGION, "", "", NodePrivateKey(b"\x22" * 32), "-----BEGIN X-----", 41001, 0), *others),
        "tskey-auth-shown",
        (state or tailnet()).contents(NOW + 5),
    )


FAR = KeptRelay(902, "far", "Far", NodePrivateKey(b"\x33" * 32), "", 41003, 41004, is_beside_control=False)


def restored(document: bytes) -> TailnetState:
    state = TailnetState(entropy=random.Random(2).randbytes)
    state.restore(decode(document).contents)
    return state


# --- rest and return --------------------------------------------------------------------------------------------


def test_everything_comes_back() -> None:
    before, after = snapshot(None, FAR), decode(encode(snapshot(None, FAR)))
    assert (after.control_key, after.control_port) == (before.control_key, before.control_port)
    assert after.auth_key == before.auth_key
    assert [attrs.asdict(relay) for relay in after.relays] == [attrs.asdict(relay) for relay in before.relays]
    assert repr(after.contents) == repr(before.contents)
    for member, other in zip(before.contents.members, after.contents.members, strict=True):
        assert attrs.asdict(other, recurse=False) == attrs.asdict(member, recurse=False)
    for key, other_key in zip(before.contents.auth_keys, after.contents.auth_keys, strict=True):
        assert attrs.asdict(other_key) == attrs.asdict(key)
    assert encode(after) == encode(before)


def test_node_attributes_come_back() -> None:
    state = tailnet()
    state.set_node_attributes(Selector.parse("tag:web"), {"only-tcp-443": (), "x": ({"y": 1},)})
    document = encode(snapshot(state))
    new = restored(document)
    (web,) = (member for member in new.members.values() if member.tags == ("tag:web",))
    assert new.self_node(web).capabilities == {"only-tcp-443": (), "x": ({"y": 1},)}
    assert encode(snapshot(new)) == document
    damage: tuple[Any, ...] = ([], {"": {}}, {"tag:web": []}, {"tag:web": {"x": 1}})
    for bad in damage:
        fields = json.loads(document)
        fields["node_attributes"] = bad
        with pytest.raises(MalformedError, match="is damaged"):
            decode(json.dumps(fields).encode())


def test_oauth_clients_and_trusted_issuers_come_back() -> None:
    state = tailnet()
    before = state.revision
    client = state.add_oauth_client(["auth_keys"], ["tag:web"])
    keys = [{**key, "x5c": [b"no JSON"]} for key in jwks()["keys"]]
    asked: dict[str, Any] = {"audience": AUDIENCE, "subject": "repo:us/*", "scopes": ["all"], "tags": ["tag:web"]}
    trusted = state.trust_issuer(ISSUER, keys=keys, **asked)
    assert state.revision == before + 2
    document = encode(snapshot(state))
    new = restored(document)
    assert new.credentials.kept == ((client,), (trusted,))
    assert encode(snapshot(new)) == document
    token = new.credentials.token_for_secret(client.secret, NOW)
    assert new.credentials.client_of(token, NOW) == client
    token = new.credentials.token_for_jwt(trusted.id, signed(claims(NOW)), NOW)
    assert new.credentials.client_of(token, NOW) == trusted
    fields = json.loads(document)
    for name, several in (("clients", fields["clients"]), ("issuers", fields["issuers"])):
        damage: tuple[Any, ...] = ({}, [1], [{}], several * 2, [{**several[0], "tags": "x"}])
        for bad in damage:
            with pytest.raises(MalformedError, match="is damaged"):
                decode(json.dumps({**fields, name: bad}).encode())
    unusable = [{**fields["issuers"][0], "keys": [{"kty": "oct"}]}]
    with pytest.raises(MalformedError, match="keys is missing or not"):
        decode(json.dumps({**fields, "issuers": unusable}).encode())


def test_a_restored_tailnet_is_the_one_that_it_was() -> None:
    old, new = tailnet(), restored(encode(snapshot()))
    assert new.users == old.users
    assert new.policy == old.policy
    for member in old.members.values():
        again = new.members[member.id]
        assert again.stable_id == member.stable_id
        assert new.find(member.key) is again
        assert new.rules_for(again) == old.rules_for(member)
        assert list(new.peers_of(again)) == list(old.peers_of(member))
        shown = attrs.evolve(old.self_node(member), online=None, last_seen=None)
        assert attrs.evolve(new.self_node(again), online=None, last_seen=None) == shown


def test_nobody_is_online_but_was_seen_until_now() -> None:
    new = restored(encode(snapshot()))
    by_name = {member.name: member for member in new.members.values()}
    assert (by_name["shop"].is_online, by_name["shop"].last_seen) == (False, NOW + 5)
    assert (by_name["node"].is_online, by_name["node"].last_seen) == (False, None)
    assert by_name["plain"].is_online


def test_what_was_given_once_is_not_given_again() -> None:
    new = restored(encode(snapshot()))
    taken = {prefix for member in tailnet().members.values() for prefix in member.addresses}
    fresh = new.admit(MachineKey(b"\x51" * 32), NodeKey(b"\x51" * 32), 1, {"Hostname": "shop"}, NOW)
    assert (fresh.id, fresh.name) == (5, "shop-1")
    assert taken.isdisjoint(fresh.addresses)
    assert str(fresh.addresses[0]) == "100.64.0.5/32", "nor is that of a node that was removed"
    assert new.add_user("carl@example.com").id not in tailnet().users


def test_a_spent_key_stays_spent() -> None:
    new = restored(encode(snapshot()))
    assert [key.is_used for key in new.auth_keys.values()] == [True, False]


def test_later_changes_do_not_reach_a_snapshot() -> None:
    state = tailnet()
    taken = snapshot(state)
    before = encode(taken)
    for member in list(state.members.values()):
        state.rename(member, "other")
        state.change(member, tags=("tag:other",))
        state.delete(member)
    for key in state.auth_keys.values():
        state.use(key)
    assert encode(taken) == before


def test_secrets_are_not_shown() -> None:
    shown = repr(snapshot())
    for secret in ("tskey-auth-shown", "BEGIN X", "11" * 8, *(tailnet().auth_keys)):
        assert secret not in shown


def test_the_file_of_a_version_is_fixed() -> None:
    """What is on users' disks: a change here needs a new version and a way to read this one."""
    state = TailnetState(entropy=random.Random(1).randbytes)
    key = state.create_auth_key("ann@example.com")
    state.admit(MachineKey(b"\1" * 32), NodeKey(b"\2" * 32), 1, {"Hostname": "shop"}, NOW)
    assert json.loads(encode(snapshot(state))) == {
        "version": 1,
        "kind": "tsnet-py tailnet",
        "control_key": "privkey:10" + "11" * 30 + "51",
        "relay_key": "privkey:20" + "22" * 30 + "62",
        "certificate": "-----BEGIN X-----",
        "ports": {"control": 41000, "relay": 41001, "stun": 0},
        "auth_key": "tskey-auth-shown",
        "last_id": 1,
        "last_host": 1,
        "users": [{"id": 1, "login": "ann@example.com", "name": "ann"}],
        "auth_keys": [
            {
                "text": key.text,
                "user": 1,
                "reusable": False,
                "ephemeral": False,
                "tags": [],
                "expires_at": None,
                "used": False,
            }
        ],
        "members": [
            {
                "id": 1,
                "machine": "mkey:" + "01" * 32,
                "key": "nodekey:" + "02" * 32,
                "user": 1,
                "name": "shop",
                "addresses": ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"],
                "created_at": NOW,
                "tags": [],
                "ephemeral": False,
                "hostinfo": {"Hostname": "shop"},
                "capability_version": 0,
                "disco_key": None,
                "endpoints": [],
                "home_region": 0,
                "routes": [],
                "capabilities": {},
                "key_expiry": None,
                "expired": False,
                "last_seen": None,
                "wireguard_only": False,
            }
        ],
        "rules": [{"src": ["*"], "dst": ["*:0-65535"]}],
        "tag_owners": {},
    }


# --- damage -----------------------------------------------------------------------------------------------------


def damaged(change: Callable[[dict[str, Any]], object]) -> bytes:
    fields = json.loads(encode(snapshot()))
    change(fields)
    return json.dumps(fields).encode()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\0\1", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "was not written by an embedded tailnet"),
        (b'{"kind": "tsnet-py", "version": 1}', "was not written by an embedded tailnet"),
        (json.dumps({"kind": KIND, "version": VERSION + 1}).encode(), "has version 2"),
        (json.dumps({"kind": KIND}).encode(), "has no version"),
    ],
)
def test_what_is_no_tailnet_of_this_version(document: bytes, reason: str) -> None:
    with pytest.raises(MalformedError, match=reason):
        decode(document)


def fields_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all fields whose names this library chose."""
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in fields_of(item, (*path, index))]
    if not isinstance(value, dict) or path[-1:] in (("hostinfo",), ("tag_owners",), ("ports",), ("capabilities",)):
        return []
    if path[:1] == ("rules",):
        return []
    own = [(*path, name) for name in value]
    return own + [found for name, item in value.items() for found in fields_of(item, (*path, name))]


ALL_FIELDS = fields_of(json.loads(encode(snapshot())))


@pytest.mark.parametrize("path", ALL_FIELDS, ids=lambda path: ".".join(map(str, path)))
def test_each_field_is_needed_and_has_its_kind(path: tuple[Any, ...]) -> None:
    def change(fields: dict[str, Any], value: Any) -> None:
        *parents, name = path
        for parent in parents:
            fields = fields[parent]
        if value is ...:
            del fields[name]
        else:
            fields[name] = value

    value = json.loads(encode(snapshot()))
    for step in path:
        value = value[step]
    candidates: tuple[Any, ...] = (..., {"a": []}, [[]], -1, 1e300, "x")
    for bad in candidates:
        if type(bad) is type(value) and not isinstance(bad, list | int | float):
            continue  # another text or object, which may mean something
        with pytest.raises(MalformedError):
            decode(damaged(lambda fields, bad=bad: change(fields, bad)))  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields["members"][1].update(id=fields["members"][0]["id"]),
        lambda fields: fields["members"][1].update(key=fields["members"][0]["key"]),
        lambda fields: fields["members"][1].update(name=fields["members"][0]["name"]),
        lambda fields: fields["members"][1].update(addresses=fields["members"][0]["addresses"]),
        lambda fields: fields["members"][0].update(user=77),
        lambda fields: fields["auth_keys"][0].update(user=77),
        lambda fields: fields["auth_keys"].append(fields["auth_keys"][0]),
        lambda fields: fields["users"].append(fields["users"][0]),
        lambda fields: fields["members"][0].update(addresses=["x"]),
        lambda fields: fields["members"][0].update(endpoints=["192.0.2.1:0"]),
        lambda fields: fields["members"][0].update(tags=[1]),
        lambda fields: fields["members"][0].update(created_at=float("nan")),
        lambda fields: fields["members"][0].update(machine="mkey:00"),
        lambda fields: fields.update(control_key="privkey:zz"),
        lambda fields: fields.update(rules=[{"src": 7}]),
        lambda fields: fields.update(rules=[{"src": ["*"], "dst": ["nothing"]}]),
        lambda fields: fields.update(tag_owners={"tag:a": "text"}),
        lambda fields: fields["ports"].update(control=65_536),
        lambda fields: fields["ports"].update(control=True),
        lambda fields: fields.update(last_host=MAX_HOST + 1),
    ],
)
def test_what_cannot_be_true(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(MalformedError, match="is damaged") as raised:
        decode(damaged(change))
    assert "tskey" not in str(raised.value)
    assert "privkey" not in str(raised.value)


def test_numbers_that_went_back_do_not_give_a_nodes_address_away() -> None:
    document = damaged(lambda fields: fields.update(last_id=0, last_host=0))
    new = restored(document)
    taken = {prefix for member in new.members.values() for prefix in member.addresses}
    fresh = new.admit(MachineKey(b"\x51" * 32), NodeKey(b"\x51" * 32), 1, {}, NOW)
    assert fresh.id not in {member.id for member in tailnet().members.values()}
    assert taken.isdisjoint(fresh.addresses)


def test_truncated_at_each_length_it_is_damaged() -> None:
    document = encode(snapshot())
    for length in range(len(document) - 1):
        with pytest.raises(MalformedError):
            decode(document[:length])


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_damage_or_another_tailnet(bit: int) -> None:
    document = encode(snapshot())
    for index in range(0, len(document), 3):
        flipped = bytearray(document)
        flipped[index] ^= 1 << bit
        try:
            contents = decode(bytes(flipped)).contents
        except MalformedError:
            continue
        state = TailnetState(entropy=random.Random(2).randbytes)
        state.restore(contents)
        for member in state.members.values():
            assert isinstance(member, Member)
            state.self_node(member)
            state.rules_for(member)


def test_a_version_that_is_no_number_is_not_quoted() -> None:
    document = json.loads(encode(snapshot()))
    document["version"] = "secret" * 99
    with pytest.raises(MalformedError, match="has no version") as raised:
        decode(json.dumps(document).encode())
    assert "secret" not in str(raised.value)


def test_a_large_tailnet_is_read_again() -> None:
    """What a stranger's document may become does not bound what we have written ourselves."""
    state = tailnet()
    for number in range(2000):
        state.add_user(f"user-{number}@example.com", "u" * 100)
    assert decode(encode(snapshot(state))).contents.users == snapshot(state).contents.users
    with pytest.raises(MalformedError, match="MiB of memory"):
        jsonobject.parse_kept(encode(snapshot(state)), KIND, VERSION, writer="us", budget=MIB)


def test_flags_of_a_later_day_come_back_and_are_checked() -> None:
    state = TailnetState(entropy=random.Random(1).randbytes)
    state.create_auth_key("ann@example.com", preauthorized=True)
    member = state.admit(MachineKey(b"\1" * 32), NodeKey(b"\2" * 32), 1, {}, NOW, is_authorized=False)
    state.give_name(member, "till")
    document = encode(snapshot(state))
    new = restored(document)
    assert [key.is_preauthorized for key in new.auth_keys.values()] == [True]
    assert [(one.name, one.is_authorized, one.has_given_name) for one in new.members.values()] == [
        ("till", False, True)
    ]
    for list_name, flag in (
        ("auth_keys", "preauthorized"),
        ("members", "waits_for_approval"),
        ("members", "has_given_name"),
    ):
        fields = json.loads(document)
        assert fields[list_name][0][flag] is True
        fields[list_name][0][flag] = "yes"
        with pytest.raises(MalformedError, match="is damaged"):
            decode(json.dumps(fields).encode())
