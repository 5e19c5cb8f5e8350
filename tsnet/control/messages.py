"""What a node and its control server say to each other, as values; JSON both ways.

| request                | client encodes  | server answers                                                        |
|------------------------|-----------------|-----------------------------------------------------------------------|
| GET /key?v=N           |                 | ControlKeys                                                           |
| POST /machine/register | RegisterRequest | RegisterResponse                                                      |
| POST /machine/map      | MapRequest      | nothing (lite update), or MapResponse after MapResponse (`mapframes`) |

Every `decode` is a pure function of the bytes and raises MalformedError when they are no JSON object or lack what
the message cannot do without; `decode_map_in_steps` may therefore run on any thread. Unknown fields are ignored.

Source: Go tailcfg/tailcfg.go RegisterRequest, RegisterResponse, MapRequest, MapResponse, PeerChange, PingRequest.
Not here: nodes, filters and maps inside (`tailcfg`), what an update does to the netmap (`tsnet.netmap.merge`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs

from tsnet.base import jsonobject
from tsnet.base.addresses import UdpAddress
from tsnet.base.jsonpieces import Each, Members, Plans, parse_in_pieces
from tsnet.base.keys import DiscoKey, LockKey, MachineKey, NodeKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.base.steps import Steps, finish
from tsnet.control import gojson, tailcfg
from tsnet.control.gojson import integer, items, key, line, mapping, numbered, text
from tsnet.control.hostinfo import FIELDS
from tsnet.control.mapframes import expand
from tsnet.control.mapsize import OF_ELEMENTS, decoded_size
from tsnet.netmap.merge import MapUpdate, PeerChange
from tsnet.netmap.model import FilterRule, UserProfile

CAPABILITY_VERSION = 147
"""What we tell control we understand. Every version is a promise, and includes all those before it: what the last ones
ask of a node, and where that is done, is in tests/test_capability_versions.py and docs/decisions/0021.

Not below 113, the least that Headscale 0.29 accepts.
"""

KEY_PATH = f"/key?v={CAPABILITY_VERSION}"
REGISTER_PATH = "/machine/register"
MAP_PATH = "/machine/map"

LOGOUT_EXPIRY = 123.0
"""Unix seconds; an Expiry in the past logs the node out, this is the one Go sends."""

MAP_BUDGET = 90 << 20
"""Bytes of memory that the JSON of one map message would take as a whole: enough for some 12,000 peers. Less of it is
there at a time, since peers, users and rules are made as they are read."""

MADE_BUDGET = 48 << 20
"""Bytes of memory for what a map message is decoded to."""

REQUEST_BUDGET = 2 << 20
"""The same for a request: what a node says of itself is kept, and sent to all the others. It has a few kilobytes."""

JsonObject = dict[str, Any]


@record
class ControlKeys:
    """The answer of /key: `public` is the server's Noise key."""

    public: MachineKey

    @classmethod
    def decode(cls, document: bytes) -> ControlKeys:
        public = key(MachineKey, jsonobject.parse(document).get("publicKey"))
        if public is None:
            raise MalformedError("no publicKey")
        return cls(public)

    def encode(self) -> bytes:
        return jsonobject.encode({"legacyPublicKey": MachineKey.zero().text(), "publicKey": self.public.text()})


# --- requests' fields --------------------------------------------------------------------------------------------

HOST_NAMES = (*FIELDS, "NetInfo")
NET_NAMES = ("PreferredDERP", "DERPLatency")


def _request(document: bytes) -> JsonObject:
    """Go's servers take any case, and tailscale-rs writes HostInfo and PreferredDerp."""
    fields = gojson.spelled(jsonobject.parse(document, "the request", budget=REQUEST_BUDGET), ("Hostinfo",))
    host = gojson.spelled(gojson.raw(fields.get("Hostinfo")), HOST_NAMES)
    if "NetInfo" in host:
        host["NetInfo"] = gojson.spelled(host["NetInfo"], NET_NAMES)
    return {**fields, "Hostinfo": host}


# --- register ---------------------------------------------------------------------------------------------------


@record
class RegisterRequest:
    """expiry: None asks for none, a past one logs out. followup: the AuthURL to wait for."""

    node_key: NodeKey
    version: int = CAPABILITY_VERSION
    old_node_key: NodeKey | None = None
    lock_key: LockKey | None = None
    auth_key: str = attrs.field(default="", repr=False)
    expiry: float | None = None
    followup: str = ""
    hostinfo: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    ephemeral: bool = False

    def encode(self) -> bytes:
        fields: JsonObject = {
            "Version": self.version,
            "NodeKey": self.node_key.text(),
            "OldNodeKey": (self.old_node_key or NodeKey.zero()).text(),
            "NLKey": (self.lock_key or LockKey.zero()).text(),
            "Expiry": gojson.format_time(self.expiry),
            "Followup": self.followup,
            "Hostinfo": dict(self.hostinfo),
            "NodeKeySignature": None,
        }
        if self.auth_key:
            fields["Auth"] = {"AuthKey": self.auth_key}
        if self.ephemeral:
            fields["Ephemeral"] = True
        return jsonobject.encode(fields)

    @classmethod
    def decode(cls, document: bytes) -> RegisterRequest:
        fields = _request(document)
        node_key = key(NodeKey, fields.get("NodeKey"))
        if node_key is None:
            raise MalformedError("register request without NodeKey")
        return cls(
            node_key=node_key,
            version=integer(fields.get("Version")),
            old_node_key=key(NodeKey, fields.get("OldNodeKey")),
            lock_key=key(LockKey, fields.get("NLKey")),
            auth_key=text(mapping(fields.get("Auth")).get("AuthKey")),
            expiry=gojson.unix_time(fields.get("Expiry")),
            followup=text(fields.get("Followup")),
            hostinfo=fields["Hostinfo"],
            ephemeral=fields.get("Ephemeral") is True,
        )


@record
class RegisterResponse:
    """`error` not empty: a refusal, nothing else counts. `auth_url` not empty: a person has to go there first."""

    user: UserProfile = attrs.field(factory=lambda: UserProfile(0, ""))
    node_key_expired: bool = False
    machine_authorized: bool = True
    auth_url: str = ""
    node_key_signature: bytes = b""
    error: str = ""

    def encode(self) -> bytes:
        user, fields = self.user, {"ID": self.user.id, "DisplayName": self.user.display_name}
        return jsonobject.encode(
            {
                "User": fields,
                "Login": {**fields, "Provider": "tsnet", "LoginName": user.login_name},
                "NodeKeyExpired": self.node_key_expired,
                "MachineAuthorized": self.machine_authorized,
                "AuthURL": self.auth_url,
                "Error": self.error,
            }
        )

    @classmethod
    def decode(cls, document: bytes) -> RegisterResponse:
        fields = jsonobject.parse(document)
        login = tailcfg.decode_user(fields.get("Login"))
        return cls(
            user=attrs.evolve(login, id=integer(mapping(fields.get("User")).get("ID")) or login.id),
            node_key_expired=fields.get("NodeKeyExpired") is True,
            machine_authorized=fields.get("MachineAuthorized") is True,
            auth_url=line(fields.get("AuthURL"), gojson.MAX_URL),
            node_key_signature=_base64(fields.get("NodeKeySignature")),
            error=line(fields.get("Error")),
        )


# --- map --------------------------------------------------------------------------------------------------------


@record
class MapRequest:
    """stream and not omit_peers: the long poll. omit_peers and not stream: a lite update, only its status counts.

    session_handle, session_seq: the session to go on with, and its last message that we have; "" for a new one.
    """

    node_key: NodeKey
    disco_key: DiscoKey | None
    version: int = CAPABILITY_VERSION
    compress: bool = True
    keep_alive: bool = True
    stream: bool = False
    omit_peers: bool = False
    read_only: bool = False
    session_handle: str = ""
    session_seq: int = 0
    hostinfo: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    endpoints: tuple[UdpAddress, ...] = ()
    endpoint_types: tuple[int, ...] = ()

    def encode(self) -> bytes:
        fields: JsonObject = {
            "Version": self.version,
            "KeepAlive": self.keep_alive,
            "NodeKey": self.node_key.text(),
            "DiscoKey": (self.disco_key or DiscoKey.zero()).text(),
            "Stream": self.stream,
            "Hostinfo": dict(self.hostinfo),
            "Endpoints": [gojson.format_endpoint(where) for where in self.endpoints],
            "EndpointTypes": list(self.endpoint_types),
        }
        if self.compress:
            fields["Compress"] = "zstd"
        if self.omit_peers:
            fields["OmitPeers"] = True
        if self.read_only:
            fields["ReadOnly"] = True
        if self.session_handle:
            fields |= {"MapSessionHandle": self.session_handle, "MapSessionSeq": self.session_seq}
        return jsonobject.encode(fields)

    @classmethod
    def decode(cls, document: bytes) -> MapRequest:
        fields = _request(document)
        node_key = key(NodeKey, fields.get("NodeKey"))
        if node_key is None:
            raise MalformedError("map request without NodeKey")
        return cls(
            node_key=node_key,
            disco_key=key(DiscoKey, fields.get("DiscoKey")),
            version=integer(fields.get("Version")),
            compress=text(fields.get("Compress")) == "zstd",
            keep_alive=fields.get("KeepAlive") is True,
            stream=fields.get("Stream") is True,
            omit_peers=fields.get("OmitPeers") is True,
            read_only=fields.get("ReadOnly") is True,
            session_handle=text(fields.get("MapSessionHandle")),
            session_seq=integer(fields.get("MapSessionSeq")),
            hostinfo=fields["Hostinfo"],
            endpoints=gojson.endpoints(fields.get("Endpoints")),
            endpoint_types=tuple(integer(item) for item in items(fields.get("EndpointTypes"))),
        )


@record
class PingRequest:
    """types: "" asks for HEAD url, "c2n" for the answer to the HTTP request in `payload`, others ping `ip`.

    log: whether this node is to note it if all goes well.
    """

    url: str
    url_is_noise: bool = False
    types: str = ""
    ip: str = ""
    payload: bytes = attrs.field(default=b"", repr=False)
    log: bool = False

    def encode(self) -> JsonObject:
        fields: JsonObject = {"URL": self.url, "Types": self.types}
        if self.log:
            fields["Log"] = True
        if self.url_is_noise:
            fields["URLIsNoise"] = True
        if self.ip:
            fields["IP"] = self.ip
        if self.payload:
            fields["Payload"] = base64.b64encode(self.payload).decode()
        return fields

    @classmethod
    def decode(cls, value: Any) -> PingRequest | None:
        fields = mapping(value)
        if not text(fields.get("URL")):
            return None
        noise, payload = fields.get("URLIsNoise") is True, _base64(fields.get("Payload"))
        types, ip, log = text(fields.get("Types")), text(fields.get("IP")), fields.get("Log") is True
        return cls(text(fields.get("URL")), noise, types, ip, payload, log)


@record
class MapResponse:
    """One map message: the state it carries (`update`), and what it asks for beside it.

    A keep-alive carries no state. session_handle, of a stream's first message, and seq name the session and how far it
    is (`client.resumption`). `sleep` is Debug.SleepSeconds: how long to leave control alone.
    disable_log_tail asks a Go node to upload no logs; we upload none, so nothing here reads it.
    """

    update: MapUpdate = attrs.field(factory=MapUpdate)
    keep_alive: bool = False
    ping: PingRequest | None = None
    pop_browser_url: str = ""
    sleep: float = 0.0
    session_handle: str = ""
    seq: int = 0
    disable_log_tail: bool = False
    peers_weight: int | None = attrs.field(default=None, eq=False)
    """What all of `update.peers` weigh (`netmap.limits`), if they have been weighed."""

    @property
    def is_empty(self) -> bool:
        """No state at all: what Headscale sends a node that it has just deleted."""
        return attrs.evolve(self.update, control_time=None) == MapUpdate()

    def encode(self) -> bytes:
        """What a control server sends, before framing. Collections that are empty are left out."""
        fields = _encode_update(self.update)
        if self.keep_alive:
            fields["KeepAlive"] = True
        if self.ping is not None:
            fields["PingRequest"] = self.ping.encode()
        if self.session_handle:
            fields["MapSessionHandle"] = self.session_handle
        if self.seq:
            fields["Seq"] = self.seq
        if self.pop_browser_url:
            fields["PopBrowserURL"] = self.pop_browser_url
        debug = {"SleepSeconds": self.sleep, "DisableLogTail": self.disable_log_tail}
        if any(debug.values()):
            fields["Debug"] = {name: value for name, value in debug.items() if value}
        return jsonobject.encode(fields)


def decode_map(message: bytes) -> MapResponse:
    """One message as `MapFrames` cut it, zstd or plain. Raises MalformedError."""
    return finish(decode_map_in_steps(message))


def decode_map_in_steps(message: bytes) -> Steps[MapResponse]:
    """The same for a message of any size. Pure: it may run on any thread."""
    making = _Making()
    document = yield from expand(message)
    fields = yield from parse_in_pieces(document, making.plans, "it", budget=MAP_BUDGET)
    making.count(decoded_size(fields))
    return MapResponse(
        update=_decode_update(fields),
        keep_alive=fields.get("KeepAlive") is True,
        ping=PingRequest.decode(fields.get("PingRequest")),
        pop_browser_url=line(fields.get("PopBrowserURL"), gojson.MAX_URL),
        session_handle=text(fields.get("MapSessionHandle")),
        seq=integer(fields.get("Seq")),
        sleep=max(0.0, gojson.number(mapping(fields.get("Debug")).get("SleepSeconds"))),
    )


class _Making:
    """What the elements of a message's long lists become, each as soon as it is read. It is counted before that."""

    def __init__(self) -> None:
        self._size = 0
        plans = {name: Each(partial(self._make, name, decode)) for name, decode in _ELEMENTS.items()}
        self.plans: Plans = {**plans, "PacketFilters": Members(plans["PacketFilters"])}

    def _make(self, name: str, decode: Callable[[Any], Any], value: Any) -> Any:
        """None for what is no such thing."""
        if not isinstance(value, dict):
            return None
        self.count(OF_ELEMENTS[name](value))
        return decode(value)

    def count(self, size: int) -> None:
        self._size += size
        if self._size > MADE_BUDGET:
            raise MalformedError(f"what it holds would take more than {MADE_BUDGET >> 20} MiB of memory")


def _made(value: Any) -> tuple[Any, ...]:
    """What `_Making` has made of a list."""
    return tuple(item for item in items(value) if item is not None)


def _rules(value: Any) -> tuple[FilterRule, ...] | None:
    """None is unchanged; an empty list blocks everything."""
    return _made(value) if isinstance(value, list) else None


def _decode_update(fields: JsonObject) -> MapUpdate:
    """fields: with the elements of _ELEMENTS made already."""
    return MapUpdate(
        node=tailcfg.decode_node(fields.get("Node"), is_self=True),
        peers=_made(fields.get("Peers")),
        peers_changed=_made(fields.get("PeersChanged")),
        peers_removed=tuple(integer(item) for item in items(fields.get("PeersRemoved"))),
        peers_seen={number: value is True for number, value in numbered(fields.get("PeerSeenChange")).items()},
        online={number: value is True for number, value in numbered(fields.get("OnlineChange")).items()},
        patches=_made(fields.get("PeersChangedPatch")),
        users=_made(fields.get("UserProfiles")),
        derp_map=tailcfg.decode_derp_map(fields.get("DERPMap")),
        packet_filter=_rules(fields.get("PacketFilter")),
        packet_filters={name: _rules(item) for name, item in mapping(fields.get("PacketFilters")).items()},
        dns=tailcfg.decode_dns(fields.get("DNSConfig")),
        domain=line(fields.get("Domain")),
        health=None if fields.get("Health") is None else tuple(map(line, gojson.texts(fields.get("Health")))),
        display_messages={
            name: gojson.raw(item) if isinstance(item, dict) else None
            for name, item in mapping(fields.get("DisplayMessages")).items()
        },
        control_time=gojson.unix_time(fields.get("ControlTime")),
        is_locked=_is_locked(fields.get("TKAInfo")),
    )


def _is_locked(info: Any) -> bool | None:
    """TKAInfo; null is unchanged."""
    return None if info is None else isinstance(info, dict) and info.get("Disabled") is not True


def _encode_update(update: MapUpdate) -> JsonObject:
    fields: JsonObject = {
        "Node": None if update.node is None else tailcfg.encode_node(update.node),
        "Peers": [tailcfg.encode_node(peer) for peer in update.peers],
        "PeersChanged": [tailcfg.encode_node(peer) for peer in update.peers_changed],
        "PeersRemoved": list(update.peers_removed),
        "PeerSeenChange": {str(number): seen for number, seen in update.peers_seen.items()},
        "OnlineChange": {str(number): online for number, online in update.online.items()},
        "PeersChangedPatch": [_encode_patch(change) for change in update.patches],
        "UserProfiles": [tailcfg.encode_user(user) for user in update.users],
        "DERPMap": None if update.derp_map is None else tailcfg.encode_derp_map(update.derp_map),
        "PacketFilters": {
            name: None if rules is None else tailcfg.encode_filter(rules)
            for name, rules in update.packet_filters.items()
        },
        "DNSConfig": None if update.dns is None else tailcfg.encode_dns(update.dns),
        "Domain": update.domain,
        "DisplayMessages": dict(update.display_messages),
    }
    fields = {name: value for name, value in fields.items() if value}
    # An empty list means something in these two.
    if update.packet_filter is not None:
        fields["PacketFilter"] = tailcfg.encode_filter(update.packet_filter)
    if update.health is not None:
        fields["Health"] = list(update.health)
    if update.is_locked is not None:
        fields["TKAInfo"] = {"Disabled": not update.is_locked}
    if update.control_time is not None:
        fields["ControlTime"] = gojson.format_time(update.control_time)
    return fields


# PeerChange: which JSON field patches which field of Node, where absent (and zero, for numbers) is unchanged.
_PATCH_FIELDS: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "DERPRegion": ("home_region", lambda value: integer(value) or None),
    "Cap": ("capability_version", lambda value: integer(value) or None),
    "CapMap": ("capabilities", tailcfg.decode_cap_map),
    "Endpoints": ("endpoints", gojson.endpoints),
    "Key": ("key", lambda value: key(NodeKey, value)),
    "DiscoKey": ("disco_key", lambda value: key(DiscoKey, value)),
    "Online": ("online", gojson.tri),
    "LastSeen": ("last_seen", gojson.unix_time),
    "KeyExpiry": ("key_expiry", gojson.unix_time),
}

_ENCODE_PATCH: Mapping[str, Any] = {
    "CapMap": tailcfg.encode_cap_map,
    "Endpoints": lambda value: [gojson.format_endpoint(where) for where in value],
    "Key": str,
    "DiscoKey": str,
    "LastSeen": gojson.format_time,
    "KeyExpiry": gojson.format_time,
}


def _decode_patch(fields: JsonObject) -> PeerChange:
    changes: JsonObject = {}
    for name, (field, decode) in _PATCH_FIELDS.items():
        if fields.get(name) is None:
            continue
        value = decode(fields[name])
        if value is not None or name == "KeyExpiry":  # a zero KeyExpiry says that the key no longer expires
            changes[field] = value
    return PeerChange(integer(fields.get("NodeID")), changes)


_ELEMENTS: Mapping[str, Callable[[JsonObject], Any]] = {
    "Peers": tailcfg.decode_node,
    "PeersChanged": tailcfg.decode_node,
    "PeersChangedPatch": _decode_patch,
    "UserProfiles": tailcfg.decode_user,
    "PacketFilter": tailcfg.decode_rule,
    "PacketFilters": tailcfg.decode_rule,
}
"""What an element of the message's long lists is decoded to."""


def _encode_patch(change: PeerChange) -> JsonObject:
    fields: JsonObject = {"NodeID": change.node_id}
    for name, (field, _decode) in _PATCH_FIELDS.items():
        if field in change.fields:
            encode = _ENCODE_PATCH.get(name)
            fields[name] = encode(change.fields[field]) if encode else change.fields[field]
    return fields


def _base64(value: Any) -> bytes:
    try:
        return base64.b64decode(text(value), validate=True)
    except (binascii.Error, ValueError):
        return b""
