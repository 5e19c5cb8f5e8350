"""What a node saves: the keys, and the bytes of their values.

| key           | value                                                                                              |
|---------------|----------------------------------------------------------------------------------------------------|
| `identity`    | {"version": 1, "kind": "tsnet-py", "machine_key": "privkey:…", "node_key": "privkey:…", "lock_key": |
|               | "nlpriv:…", "old_node_key": null, "control_url": "…", "stable_id": "…", "login_name": "…",         |
|               | "registered": true, "timestamp_mark": 1700000000.0}                                                |
|               | "ephemeral" is true for an ephemeral node, null if that is not known, missing for a lasting one    |
| `control-key` | {"version": 1, "kind": "tsnet-py", "control_url": "https://…", "control_key": "mkey:…"}            |
| `prefs`       | {"version": 1, "kind": "tsnet-py", "prefs": {"hostname": "shop", "shields_up": true}}              |
|               | those alone that `set` has changed; missing altogether until then                                  |
| `netmap`      | what `control.client.keptmap` makes of a netmap; empty for none                                    |
| `udp-port`    | {"version": 1, "kind": "tsnet-py", "port": 41641}: the last one, 0 for any                         |
| `whereabouts` | {"version": 1, "kind": "tsnet-py", "machine": "9f…", "directory": 123}: of the last run; see       |
|               | `tsnet.edge.io.whereabouts`                                                                        |

These values are on users' disks. A field that is added later is optional, and a reader ignores the fields that it does
not know, so that older and newer versions of this library read each other's state. A preference that is not known here
stays among the saved ones.

The text of an error completes "the state file …", and quotes nothing of the file but its version.
Not here: who keeps the bytes (`tsnet.edge.io`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from tsnet.base import jsonobject
from tsnet.base.keys import LockPrivateKey, MachineKey, MachinePrivateKey, NodePrivateKey
from tsnet.base.malformed import MalformedError
from tsnet.base.records import record
from tsnet.engine.identity import Identity
from tsnet.errors import ConfigError
from tsnet.prefs import TRAITS

IDENTITY = "identity"
CONTROL_KEY = "control-key"
PREFS = "prefs"
UDP_PORT = "udp-port"
WHEREABOUTS = "whereabouts"
NETMAP = "netmap"
HOME_RELAY = "home-relay"

VERSION = 1
KIND = "tsnet-py"
MAX_MARK = 1 << 40
"""Unix seconds. No clock reaches it, and it still fits a time stamp."""

K = TypeVar("K")


@record
class KnownControl:
    """The key by which this node knows the control server at that URL."""

    control_url: str
    key: MachineKey


@record
class Whereabouts:
    """machine: what tells this machine from others, without naming it; "" if not known. directory: its inode."""

    machine: str
    directory: int


# --- the identity -----------------------------------------------------------------------------------------------


def encode_identity(identity: Identity) -> bytes:
    """The bytes of a lasting node have the fields of the first version and no others."""
    old = identity.old_node_key
    fields: dict[str, Any] = {
        "machine_key": identity.machine_key.reveal_text(),
        "node_key": identity.node_key.reveal_text(),
        "lock_key": identity.lock_key.reveal_text(),
        "old_node_key": None if old is None else old.reveal_text(),
        "control_url": identity.control_url,
        "stable_id": identity.stable_id,
        "login_name": identity.login_name,
        "registered": identity.registered,
        "timestamp_mark": identity.timestamp_mark,
    }
    if identity.ephemeral is not False:
        fields["ephemeral"] = identity.ephemeral
    return _encode(fields)


def decode_identity(text: bytes) -> Identity:
    """Raises MalformedError."""
    fields = _decode(text)
    mark = fields.get("timestamp_mark")
    if mark is not None and (type(mark) not in (int, float) or not 0 <= mark < MAX_MARK):
        raise MalformedError("is damaged: timestamp_mark is no number")
    old = fields.get("old_node_key")
    return Identity(
        machine_key=_key(MachinePrivateKey.parse, fields, "machine_key"),
        node_key=_key(NodePrivateKey.parse, fields, "node_key"),
        lock_key=_key(LockPrivateKey.parse, fields, "lock_key"),
        old_node_key=None if old is None else _key(NodePrivateKey.parse, fields, "old_node_key"),
        control_url=_text(fields, "control_url"),
        stable_id=_text(fields, "stable_id"),
        login_name=_text(fields, "login_name"),
        registered=fields.get("registered") is True,
        timestamp_mark=mark,
        ephemeral=None if fields.get("ephemeral", False) is None else fields.get("ephemeral") is True,
    )


# --- control's key ----------------------------------------------------------------------------------------------


def encode_control(control: KnownControl) -> bytes:
    return _encode({"control_url": control.control_url, "control_key": control.key.text()})


def decode_control(text: bytes) -> KnownControl:
    """Raises MalformedError."""
    fields = _decode(text)
    return KnownControl(_text(fields, "control_url"), _key(MachineKey.parse, fields, "control_key"))


# --- preferences ------------------------------------------------------------------------------------------------


def encode_prefs(kept: Mapping[str, Any]) -> bytes:
    """kept: `Choices.kept`."""
    return _encode({"prefs": dict(kept)})


def decode_prefs(text: bytes) -> dict[str, Any]:
    """What was encoded, for `Choices.saved`. Raises MalformedError."""
    saved = _decode(text).get("prefs")
    if not isinstance(saved, dict):
        raise MalformedError("is damaged: prefs is missing")
    return {name: _preference(name, value) for name, value in saved.items()}


def _preference(name: str, value: object) -> object:
    try:
        return TRAITS[name].check(name, value) if name in TRAITS else value
    except ConfigError:
        raise MalformedError(f"is damaged: {name} has no sensible value") from None


# --- the UDP port -----------------------------------------------------------------------------------------------


def encode_port(port: int) -> bytes:
    return _encode({"port": port})


def decode_port(text: bytes) -> int:
    """Raises MalformedError."""
    port = _decode(text).get("port")
    if type(port) is not int or not 0 <= port < 65_536:
        raise MalformedError("is damaged: port is no port")
    return port


# --- where the state was used last ------------------------------------------------------------------------------


def encode_whereabouts(where: Whereabouts) -> bytes:
    return _encode({"machine": where.machine, "directory": where.directory})


def decode_whereabouts(text: bytes) -> Whereabouts:
    """Raises MalformedError."""
    fields = _decode(text)
    directory = fields.get("directory")
    if type(directory) is not int:
        raise MalformedError("is damaged: directory is no number")
    return Whereabouts(_text(fields, "machine"), directory)


# --- their common shape -----------------------------------------------------------------------------------------


def _encode(fields: Mapping[str, Any]) -> bytes:
    return json.dumps({"version": VERSION, "kind": KIND, **fields}, indent=2).encode() + b"\n"


def _decode(text: bytes) -> dict[str, Any]:
    return jsonobject.parse_kept(text, KIND, VERSION, writer="this library")


def _key(parse: Callable[[str], K], fields: Mapping[str, Any], name: str) -> K:
    try:
        return parse(_text(fields, name))
    except MalformedError:
        raise MalformedError(f"is damaged: {name} is no key") from None


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"is damaged: {name} is missing")
    return value
