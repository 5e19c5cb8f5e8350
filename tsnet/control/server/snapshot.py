"""A saved embedded tailnet: everything that must be the same after a restart, as one JSON document.

    {"version": 1, "kind": "tsnet-py tailnet", "control_key": "privkey:…", "relay_key": "privkey:…",
     "certificate": "-----BEGIN …", "ports": {"control": 41000, "relay": 41001, "stun": 41002},
     "relays": [{"region": 901, "code": …, "name": …, "key": "privkey:…", "certificate": …, "ports": {…}, …}],
     "auth_key": "tskey-auth-…", "last_id": 2, "last_host": 2,
     "users": […], "auth_keys": […], "members": […], "rules": […], "tag_owners": {"tag:web": ["ann@example.com"]},
     "clients": [{"id": …, "secret": "tskey-client-…", "scopes": […], "tags": […]}],
     "issuers": [{"id": …, "issuer": …, "audience": …, "subject": "*", "keys": [{"kty": …}], "scopes": …, "tags": …}]}

relay_key, certificate and two of the ports are those of the relay of FIRST_REGION; relays are the others. A document
that an earlier version wrote has no relays, clients or issuers, no node_attributes: {"tag:web": {"x": []}}, and none of
the flags preauthorized (of a key), waits_for_approval and has_given_name (of a member), which are written where true.

There is one document and not several, so that a one-off key is spent if, and only if, the node that it let in is there.
All of it is secret. A field that is missing or of another kind is damage, which raises: a tailnet that came back
without one of its nodes, or gave an address twice, would be worse than one that does not start.

Source: none; the format is this library's own.
Not here: what the contents mean (`tailnet`), files (the edge).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import attrs

from tsnet.base import jsonobject, jsonwebtoken
from tsnet.base.keys import DiscoKey, MachineKey, MachinePrivateKey, NodeKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.control import gojson
from tsnet.control.server.credentials import OAuthClient, TrustedIssuer
from tsnet.control.server.members import MAX_HOST, Member, host_of
from tsnet.control.server.policy import Policy, Selector
from tsnet.control.server.tailnet import AuthKey, Contents
from tsnet.errors import ConfigError
from tsnet.netmap.model import UserProfile
from tsnet.netmap.whois import TAGGED_DEVICES

VERSION = 1
KIND = "tsnet-py tailnet"
FIRST_REGION = 900
MAX_ID = 1 << 31
MAX_PORT = 65_535
MAX_TIME = 1 << 40
"""Unix seconds: a time that no clock reaches, but that can still be written as a date."""

T = TypeVar("T")


@attrs.frozen(eq=False)
class KeptRelay:
    """A relay region's key, its certificate with its key in PEM ("" if it has none), and its ports.

    is_beside_control: it listens on control's address, so that it can be made again from this alone.
    """

    region: int
    code: str
    name: str
    key: NodePrivateKey
    certificate: str = attrs.field(default="", repr=False)
    derp_port: int = 0
    stun_port: int = 0
    is_beside_control: bool = True


@attrs.frozen(eq=False)
class Snapshot:
    """The servers' keys and ports, and the tailnet's contents.

    control_port: on which control listened. auth_key: the text of the tailnet's own auth key, which it shows to whoever
    runs it.
    """

    control_key: MachinePrivateKey
    control_port: int = 0
    relays: tuple[KeptRelay, ...] = ()
    auth_key: str = attrs.field(default="", repr=False)
    contents: Contents = attrs.field(factory=Contents)


def encode(snapshot: Snapshot) -> bytes:
    contents = snapshot.contents
    first = next((relay for relay in snapshot.relays if relay.region == FIRST_REGION), None)
    fields: dict[str, Any] = {
        "version": VERSION,
        "kind": KIND,
        "control_key": snapshot.control_key.reveal_text(),
        "relay_key": None if first is None else first.key.reveal_text(),
        "certificate": "" if first is None else first.certificate,
        "ports": {"control": snapshot.control_port, **({} if first is None else _ports(first))},
        "auth_key": snapshot.auth_key,
        "last_id": contents.last_id,
        "last_host": contents.last_host,
        "users": [_user(user) for user in contents.users],
        "auth_keys": [_auth_key(key) for key in contents.auth_keys],
        "members": [_member(member) for member in contents.members],
        "rules": contents.policy.written(),
        "tag_owners": {tag: list(logins) for tag, logins in contents.policy.tag_owners.items()},
    }
    if others := [_relay(relay) for relay in snapshot.relays if relay is not first]:
        fields["relays"] = others
    if contents.node_attributes:
        fields["node_attributes"] = {
            target: {name: list(values) for name, values in given.items()}
            for target, given in contents.node_attributes.items()
        }
    if contents.clients:
        fields["clients"] = [_client(client) for client in contents.clients]
    if contents.issuers:
        fields["issuers"] = [_issuer(trusted) for trusted in contents.issuers]
    return jsonobject.encode(fields) + b"\n"


BUDGET = 1 << 30
"""Bytes of memory for a snapshot: as many as the largest file that is read can become. It is this user's own."""


def decode(document: bytes) -> Snapshot:
    """Raises MalformedError, whose text completes "the state …" and quotes no value of the document but its version."""
    fields = _Fields(
        jsonobject.parse_kept(document, KIND, VERSION, writer="an embedded tailnet of this library", budget=BUDGET)
    )
    ports = fields.child("ports")
    return Snapshot(
        control_key=fields.key(MachinePrivateKey.parse, "control_key"),
        control_port=_read_port(ports, "control"),
        relays=_read_relays(fields, ports),
        auth_key=fields.text("auth_key"),
        contents=_contents(fields),
    )


# --- its parts, written -----------------------------------------------------------------------------------------


def _user(user: UserProfile) -> dict[str, Any]:
    return {"id": user.id, "login": user.login_name, "name": user.display_name}


def _relay(relay: KeptRelay) -> dict[str, Any]:
    return {
        "region": relay.region,
        "code": relay.code,
        "name": relay.name,
        "key": relay.key.reveal_text(),
        "certificate": relay.certificate,
        "ports": _ports(relay),
        "beside_control": relay.is_beside_control,
    }


def _ports(relay: KeptRelay) -> dict[str, int]:
    return {"relay": relay.derp_port, "stun": relay.stun_port}


def _auth_key(key: AuthKey) -> dict[str, Any]:
    return {
        "text": key.text,
        "user": key.user,
        "reusable": key.is_reusable,
        "ephemeral": key.is_ephemeral,
        "tags": list(key.tags),
        "expires_at": key.expires_at,
        "used": key.is_used,
        **_those_set(preauthorized=key.is_preauthorized),
    }


def _client(client: OAuthClient) -> dict[str, Any]:
    return {
        "id": client.id,
        "secret": client.secret,
        "scopes": list(client.scopes),
        "tags": list(client.tags),
    }


def _issuer(trusted: TrustedIssuer) -> dict[str, Any]:
    return {
        "id": trusted.id,
        "issuer": trusted.issuer,
        "audience": trusted.audience,
        "subject": trusted.subject,
        "keys": [dict(key) for key in trusted.keys],
        "scopes": list(trusted.scopes),
        "tags": list(trusted.tags),
    }


def _member(member: Member) -> dict[str, Any]:
    return {
        "id": member.id,
        "machine": member.machine.text(),
        "key": member.key.text(),
        "user": member.user,
        "name": member.name,
        "addresses": gojson.strings(member.addresses),
        "created_at": member.created_at,
        "tags": list(member.tags),
        "ephemeral": member.is_ephemeral,
        "hostinfo": dict(member.hostinfo),
        "capability_version": member.capability_version,
        "disco_key": None if member.disco_key is None else member.disco_key.text(),
        "endpoints": [gojson.format_endpoint(where) for where in member.endpoints],
        "home_region": member.home_region,
        "routes": gojson.strings(member.routes),
        "capabilities": {name: list(values) for name, values in member.capabilities.items()},
        "key_expiry": member.key_expiry,
        "expired": member.was_expired,
        "last_seen": member.last_seen,
        "wireguard_only": member.is_wireguard_only,
        **_those_set(waits_for_approval=not member.is_authorized, has_given_name=member.has_given_name),
    }


def _those_set(**flags: bool) -> dict[str, bool]:
    """Flags that an earlier version did not know: written only if they are true."""
    return {name: True for name, value in flags.items() if value}


# --- its parts, read --------------------------------------------------------------------------------------------


def _contents(fields: _Fields) -> Contents:
    users = tuple(_read_user(one) for one in fields.objects("users"))
    auth_keys = tuple(_read_auth_key(one) for one in fields.objects("auth_keys"))
    members = tuple(_read_member(one) for one in fields.objects("members"))
    _check_unique("users", (user.id for user in users))
    _check_unique("users", (user.login_name for user in users))
    _check_unique("auth_keys", (key.text for key in auth_keys))
    for aspect in ("id", "key", "name"):
        _check_unique("members", (getattr(member, aspect) for member in members))
    _check_unique("members", (address for member in members for address in member.addresses))
    clients = tuple(_read_client(one) for one in fields.later("clients"))
    issuers = tuple(_read_issuer(one) for one in fields.later("issuers"))
    _check_unique("clients", (client.secret for client in clients))
    _check_unique("issuers", (trusted.id for trusted in issuers))
    known = {TAGGED_DEVICES.id, *(user.id for user in users)}
    if not known.issuperset([key.user for key in auth_keys] + [member.user for member in members]):
        raise MalformedError("is damaged: something belongs to a user who is missing")
    hosts = [host_of(address) for member in members for address in member.addresses]
    return Contents(
        users=users,
        auth_keys=auth_keys,
        members=members,
        policy=_read_policy(fields),
        node_attributes=_read_attributes(fields),
        last_id=max([fields.integer("last_id", MAX_ID), *(member.id for member in members)]),
        last_host=max([fields.integer("last_host", MAX_HOST), *hosts]),
        clients=clients,
        issuers=issuers,
    )


def _read_relays(fields: _Fields, ports: _Fields) -> tuple[KeptRelay, ...]:
    """The first region's, if it has one, and the others."""
    relays = [_read_relay(one) for one in fields.later("relays")]
    if fields["relay_key"] is not None:
        key = fields.key(NodePrivateKey.parse, "relay_key")
        derp, stun = _read_port(ports, "relay"), _read_port(ports, "stun")
        relays.insert(0, KeptRelay(FIRST_REGION, "", "", key, fields.text("certificate"), derp, stun))
    _check_unique("relays", (relay.region for relay in relays))
    return tuple(relays)


def _read_relay(fields: _Fields) -> KeptRelay:
    ports = fields.child("ports")
    return KeptRelay(
        region=fields.integer("region", MAX_ID),
        code=fields.text("code"),
        name=fields.text("name"),
        key=fields.key(NodePrivateKey.parse, "key"),
        certificate=fields.text("certificate"),
        derp_port=_read_port(ports, "relay"),
        stun_port=_read_port(ports, "stun"),
        is_beside_control=fields.flag("beside_control"),
    )


def _read_port(ports: _Fields, name: str) -> int:
    """0 if there was none."""
    return ports.integer(name, MAX_PORT) if name in ports else 0


def _read_user(fields: _Fields) -> UserProfile:
    return UserProfile(fields.integer("id", MAX_ID), fields.text("login"), fields.text("name"))


def _read_auth_key(fields: _Fields) -> AuthKey:
    return AuthKey(
        text=fields.text("text"),
        user=fields.integer("user", MAX_ID),
        is_reusable=fields.flag("reusable"),
        is_ephemeral=fields.flag("ephemeral"),
        tags=fields.texts("tags"),
        expires_at=fields.optional("expires_at", fields.time),
        is_used=fields.flag("used"),
        is_preauthorized=fields.is_set("preauthorized"),
    )


def _read_client(fields: _Fields) -> OAuthClient:
    return OAuthClient(fields.text("id"), fields.text("secret"), fields.texts("scopes"), fields.texts("tags"))


def _read_issuer(fields: _Fields) -> TrustedIssuer:
    keys = tuple(dict(key.items()) for key in fields.objects("keys"))
    try:
        jsonwebtoken.check_keys(keys)
    except MalformedError:
        raise _damage("keys") from None
    return TrustedIssuer(
        id=fields.text("id"),
        issuer=fields.text("issuer"),
        audience=fields.text("audience"),
        subject=fields.text("subject"),
        keys=keys,
        scopes=fields.texts("scopes"),
        tags=fields.texts("tags"),
    )


def _read_member(fields: _Fields) -> Member:
    capabilities = fields.child("capabilities")
    is_wireguard_only = fields.flag("wireguard_only")
    return Member(
        id=fields.integer("id", MAX_ID),
        machine=fields.key(MachineKey.parse, "machine"),
        key=fields.key(NodeKey.parse, "key"),
        user=fields.integer("user", MAX_ID),
        name=fields.text("name"),
        addresses=tuple(fields.each("addresses", gojson.prefix)),
        created_at=fields.time("created_at"),
        tags=fields.texts("tags"),
        is_ephemeral=fields.flag("ephemeral"),
        hostinfo=dict(fields.child("hostinfo").items()),
        capability_version=fields.integer("capability_version", MAX_ID),
        disco_key=fields.optional("disco_key", lambda name: fields.key(DiscoKey.parse, name)),
        endpoints=tuple(fields.each("endpoints", gojson.endpoint)),
        home_region=fields.integer("home_region", MAX_ID),
        routes=tuple(fields.each("routes", gojson.prefix)),
        capabilities={name: tuple(capabilities.elements(name)) for name in capabilities},
        key_expiry=fields.optional("key_expiry", fields.time),
        was_expired=fields.flag("expired"),
        is_online=is_wireguard_only,
        last_seen=fields.optional("last_seen", fields.time),
        is_wireguard_only=is_wireguard_only,
        is_authorized=not fields.is_set("waits_for_approval"),
        has_given_name=fields.is_set("has_given_name"),
    )


def _read_policy(fields: _Fields) -> Policy:
    owners = fields.child("tag_owners")
    rules = [dict(rule.items()) for rule in fields.objects("rules")]
    try:
        return Policy.parse(rules, {tag: owners.texts(tag) for tag in owners})
    except (ConfigError, TypeError, ValueError, AttributeError):
        raise MalformedError("is damaged: rules mean nothing") from None


def _read_attributes(fields: _Fields) -> dict[str, dict[str, tuple[Any, ...]]]:
    """By target; none in a document of an earlier version."""
    if "node_attributes" not in fields:
        return {}
    targets = fields.child("node_attributes")
    try:
        for target in targets:
            Selector.parse(target)
    except ConfigError:
        raise MalformedError("is damaged: node_attributes are nobody's") from None
    given = {target: targets.child(target) for target in targets}
    return {target: {name: tuple(some.elements(name)) for name in some} for target, some in given.items()}


def _check_unique(what: str, values: Iterable[object]) -> None:
    found = list(values)
    if len(set(found)) != len(found):
        raise MalformedError(f"is damaged: two of its {what} are the same")


class _Fields(Mapping[str, Any]):
    """A JSON object that checks its fields when they are read. A wrong one raises MalformedError with its name."""

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def __getitem__(self, name: str) -> Any:
        if name not in self._fields:
            raise _damage(name)
        return self._fields[name]

    def __contains__(self, name: object) -> bool:
        return name in self._fields

    def __iter__(self) -> Any:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def text(self, name: str) -> str:
        return self._of(str, name)

    def flag(self, name: str) -> bool:
        return self._of(bool, name)

    def is_set(self, name: str) -> bool:
        """A flag that is written only if it is true."""
        return name in self._fields and self.flag(name)

    def elements(self, name: str) -> list[Any]:
        return self._of(list, name)

    def child(self, name: str) -> _Fields:
        return _Fields(self._of(dict, name))

    def integer(self, name: str, last: int) -> int:
        """An integer from 0 to `last`."""
        value = self._of(int, name)
        if not 0 <= value <= last:
            raise _damage(name)
        return value

    def time(self, name: str) -> float:
        value = self[name]
        if type(value) not in (int, float) or not 0 <= value < MAX_TIME:
            raise _damage(name)
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self.each(name, lambda item: item if isinstance(item, str) else None))

    def objects(self, name: str) -> Iterable[_Fields]:
        return self.each(name, lambda item: _Fields(item) if isinstance(item, dict) else None)

    def later(self, name: str) -> Iterable[_Fields]:
        """Objects that an earlier version did not write: none are missing."""
        return self.objects(name) if name in self._fields else ()

    def each(self, name: str, read: Callable[[Any], T | None]) -> list[T]:
        """The elements as `read` returns them; None from it means damage."""
        found = [read(item) for item in self.elements(name)]
        if any(item is None for item in found):
            raise _damage(name)
        return [item for item in found if item is not None]

    def optional(self, name: str, read: Callable[[str], T]) -> T | None:
        return None if self[name] is None else read(name)

    def key(self, parse: Callable[[str], T], name: str) -> T:
        try:
            return parse(self.text(name))
        except MalformedError:
            raise _damage(name) from None

    def _of(self, kind: type[T], name: str) -> T:
        value = self[name]
        if type(value) is not kind:
            raise _damage(name)
        return value


def _damage(name: str) -> MalformedError:
    return MalformedError(f"is damaged: {name} is missing or not what it ought to be")
